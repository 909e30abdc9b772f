//! Lists as aligned columns.

use callmeter_metrics::{CATALOGUE, Metric};
use serde_json::Value;

use crate::value::text;

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
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
pub(crate) fn runs(runs: &[Value]) -> String {
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            [
                "/id",
                "/name",
                "/status",
                "/verdict",
                "/createdAt",
                "/reason",
            ]
            .map(|field| text(run, field).to_owned())
            .to_vec()
        })
        .collect();
    table(
        &["RUN", "NAME", "STATUS", "VERDICT", "CREATED", "REASON"],
        &rows,
    )
}

/// `callmeter workers`.
pub(crate) fn workers(workers: &[Value]) -> String {
    let count = |worker: &Value, field: &str| worker["capacity"][field].as_u64().unwrap_or(0);
    let rows: Vec<_> = workers
        .iter()
        .map(|worker| {
            vec![
                text(worker, "/id").to_owned(),
                text(worker, "/name").to_owned(),
                text(worker, "/status").to_owned(),
                count(worker, "effective").to_string(),
                (count(worker, "active") + count(worker, "reserved")).to_string(),
            ]
        })
        .collect();
    table(&["WORKER", "NAME", "STATUS", "CAPACITY", "USED"], &rows)
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
