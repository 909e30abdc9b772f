//! The catalogue as a documentation page.

use std::fmt::Write as _;

use crate::catalogue::{
    Aggregation, CATALOGUE, CATALOGUE_VERSION, Category, Direction, Kind, Metric, measured,
};

const HEAD: &str = "\
One value per endpoint, direction and second, or one per call. A metric that was not measured is
absent, never zero. Counters carry the increment of the second; a counter whose increment is 0 is
sent once at the start and then left out. Percentiles over endpoints, workers and groups come from
merged histograms (relative error at most 0.1 %), never from averages.
";

/// The page `docs/metrics.md`, whole; the same bytes for the same catalogue.
pub fn catalogue_page() -> String {
    let mut page = String::from("# Metrics\n\n");
    page.push_str(HEAD);
    let _ = writeln!(
        page,
        "\nCatalogue version {CATALOGUE_VERSION}: {} metrics, of which {} are measured by this \
         version. The others are planned and have no value yet.",
        CATALOGUE.len(),
        measured().count(),
    );
    for category in Category::ALL {
        let _ = writeln!(page, "\n## {}\n", category.title());
        page.push_str("| # | Key | Name | Unit | Kind | Direction | Summary | Definition | Source | Measured |\n");
        page.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
        for metric in CATALOGUE
            .iter()
            .filter(|metric| metric.category == category)
        {
            line(&mut page, metric);
        }
    }
    page
}

fn line(page: &mut String, metric: &Metric) {
    let Metric {
        id,
        key,
        name,
        unit,
        kind,
        direction,
        aggregation,
        category: _,
        measured,
        definition,
        source,
    } = *metric;
    let kind = match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::PerCall => "per call",
        Kind::Aggregate => "aggregate",
        Kind::Distribution => "histogram",
    };
    let direction = match direction {
        Direction::Undirected => "–",
        Direction::Send => "send",
        Direction::Recv => "recv",
        Direction::Both => "both",
    };
    let aggregation = match aggregation {
        Aggregation::Sum => "sum",
        Aggregation::Distribution => "distribution",
        Aggregation::Level => "sum per second",
        Aggregation::Tally => "count by value",
        Aggregation::Share => "share",
        Aggregation::Buckets => "buckets",
        Aggregation::Derived => "derived",
    };
    let measured = if measured { "yes" } else { "planned" };
    let _ = writeln!(
        page,
        "| {id} | `{key}` | {name} | {unit} | {kind} | {direction} | {aggregation} | {definition} \
         | {source} | {measured} |"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_this_one() {
        let (held, made) = (include_str!("../../../docs/metrics.md"), catalogue_page());
        let differing = held
            .lines()
            .zip(made.lines())
            .find(|(held, made)| held != made);
        let how = "docs/metrics.md is what `callmeter metrics --markdown` prints";
        assert_eq!(differing, None, "{how}");
        assert_eq!(held, made, "{how}");
    }

    #[test]
    fn the_page_names_every_metric_once_and_its_state() {
        let page = catalogue_page();
        for metric in &CATALOGUE {
            let start = format!("| {} | `{}` | ", metric.id, metric.key);
            let lines: Vec<_> = page
                .lines()
                .filter(|line| line.starts_with(&start))
                .collect();
            assert_eq!(lines.len(), 1, "{start}");
            let state = if metric.measured {
                "| yes |"
            } else {
                "| planned |"
            };
            assert!(lines[0].ends_with(state), "{}", lines[0]);
            assert_eq!(lines[0].matches(" | ").count(), 9, "{}", lines[0]);
        }
    }
}
