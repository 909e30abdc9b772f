//! Lists as aligned columns.

use callmeter_metrics::{CATALOGUE, Metric};

use crate::model::{Capacity, RunRow, WorkerRow};

/// Columns as wide as their widest cell, two spaces apart.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut header.iter().copied());
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
}

/// `callmeter runs`.
pub(crate) fn runs(runs: Vec<RunRow>) -> String {
    let row = |run: RunRow| {
        let RunRow {
            id,
            name,
            status,
            verdict,
            created_at,
            reason,
        } = run;
        vec![id, name, status, verdict, created_at, reason]
    };
    let rows: Vec<_> = runs.into_iter().map(row).collect();
    table(
        &["RUN", "NAME", "STATUS", "VERDICT", "CREATED", "REASON"],
        &rows,
    )
}

/// `callmeter workers`.
pub(crate) fn workers(workers: Vec<WorkerRow>) -> String {
    let row = |worker: WorkerRow| {
        let WorkerRow {
            id,
            name,
            status,
            pool,
            region,
            capacity,
        } = worker;
        let Capacity {
            effective,
            active,
            reserved,
        } = capacity;
        let used = (active + reserved).to_string();
        vec![id, name, status, effective.to_string(), used, pool, region]
    };
    let rows: Vec<_> = workers.into_iter().map(row).collect();
    table(
        &[
            "WORKER", "NAME", "STATUS", "CAPACITY", "USED", "POOL", "REGION",
        ],
        &rows,
    )
}

/// `callmeter metrics`.
pub(crate) fn metrics() -> String {
    let row = |metric: &Metric| {
        vec![
            metric.key.to_owned(),
            metric.unit.to_owned(),
            if metric.measured { "yes" } else { "no" }.to_owned(),
            metric.definition.to_owned(),
        ]
    };
    let rows: Vec<_> = CATALOGUE.iter().map(row).collect();
    table(&["METRIC", "UNIT", "MEASURED", "DEFINITION"], &rows)
}
