//! The report of a run as text.

use serde_json::Value;

use crate::table::table;
use crate::value::{array, number, shown, text};

/// Renders the answer of `/runs/{id}/results`.
pub(crate) fn render(results: &Value) -> String {
    let mut out = String::new();
    // Said first: figures of a partial run are not the whole truth.
    if results["partial"] == true {
        out += "PARTIAL: measurements are missing\n";
        for reason in array(results, "/partialReasons") {
            out += &format!(
                "  {}: {} endpoints of {} on {}\n",
                text(reason, "/cause"),
                reason["endpoints"],
                text(reason, "/group"),
                text(reason, "/worker"),
            );
        }
    }
    out += &format!(
        "Run {} ({}): {}",
        text(results, "/run"),
        text(results, "/name"),
        text(results, "/status")
    );
    match text(results, "/reason") {
        "" => {}
        reason => out += &format!(", {reason}"),
    }
    out += "\n";
    let groups = array(results, "/groups");
    if !groups.is_empty() {
        out += "\n";
        out += &calls(groups);
        out += "\n";
        out += &media(groups);
        out += "\nThe workers' own part (a late or limited worker is not the network's fault)\n";
        out += &generator(groups);
    }
    let expects = array(results, "/expects");
    if !expects.is_empty() {
        out += "\n";
        out += &table(
            &["EXPECTED", "STAT", "BOUND", "MEASURED", ""],
            &expects.iter().map(expectation).collect::<Vec<_>>(),
        );
    }
    match text(results, "/verdict") {
        "" => {}
        verdict => out += &format!("\nVerdict: {verdict}\n"),
    }
    out
}

fn calls(groups: &[Value]) -> String {
    let row = |group: &Value| {
        let setup = |stat: &str| shown(number(group, &format!("/setupMs/{stat}")), 1, "");
        vec![
            text(group, "/name").to_owned(),
            text(group, "/role").to_owned(),
            workers(group),
            shown(number(group, "/endpoints"), 0, ""),
            shown(number(group, "/calls/total"), 0, ""),
            shown(number(group, "/calls/succeeded"), 0, ""),
            setup("p50"),
            setup("p95"),
            setup("p99"),
        ]
    };
    let header = [
        "GROUP",
        "ROLE",
        "WORKERS",
        "ENDPOINTS",
        "CALLS",
        "SUCCEEDED",
        "SETUP p50 ms",
        "p95",
        "p99",
    ];
    table(&header, &groups.iter().map(row).collect::<Vec<_>>())
}

fn workers(group: &Value) -> String {
    let names: Vec<_> = array(group, "/workers")
        .iter()
        .map(|w| text(w, "/name"))
        .collect();
    names.join(" ")
}

fn media(groups: &[Value]) -> String {
    let row = |group: &Value| {
        let figure = |pointer: &str, decimals| shown(number(group, pointer), decimals, "");
        vec![
            text(group, "/name").to_owned(),
            figure("/packets/sent", 0),
            figure("/packets/received", 0),
            figure("/packets/lost", 0),
            figure("/lossPercent/mean", 3),
            figure("/jitterMs/mean", 3),
            figure("/jitterMs/p95", 3),
            figure("/rttMs/mean", 3),
            figure("/mos/mean", 3),
            figure("/mos/p05", 3),
            figure("/mos/min", 3),
        ]
    };
    let header = [
        "GROUP",
        "SENT",
        "RECEIVED",
        "LOST",
        "LOSS %",
        "JITTER ms",
        "p95",
        "RTT ms",
        "MOS",
        "p05",
        "min",
    ];
    table(&header, &groups.iter().map(row).collect::<Vec<_>>())
}

fn generator(groups: &[Value]) -> String {
    let row = |group: &Value| {
        let of = |field: &str, decimals| {
            shown(number(group, &format!("/generator/{field}")), decimals, "")
        };
        vec![
            text(group, "/name").to_owned(),
            of("txLatenessP50Ms", 3),
            of("txLatenessP99Ms", 3),
            of("txLatenessMaxMs", 3),
            of("rxSocketDrops", 0),
            of("cpuThrottledMs", 0),
            format!("{} of {}", of("limitedSeconds", 0), of("seconds", 0)),
        ]
    };
    let header = [
        "GROUP",
        "LATE p50 ms",
        "p99",
        "max",
        "DROPS",
        "THROTTLED ms",
        "LIMITED SECONDS",
    ];
    table(&header, &groups.iter().map(row).collect::<Vec<_>>())
}

fn expectation(expect: &Value) -> Vec<String> {
    let metric = match text(expect, "/group") {
        "" => text(expect, "/metric").to_owned(),
        group => format!("{} of {group}", text(expect, "/metric")),
    };
    let held = if expect["passed"] == true {
        "held"
    } else {
        "NOT HELD"
    };
    vec![
        metric,
        text(expect, "/stat").to_owned(),
        text(expect, "/bound").to_owned(),
        shown(number(expect, "/measured"), 3, ""),
        held.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn results() -> Value {
        json!({
            "run": "r1", "name": "demo", "status": "COMPLETED", "reason": "", "partial": false,
            "verdict": "Passed",
            "expects": [{"metric": "mos", "stat": "p05", "bound": ">= 4", "measured": 4.38, "passed": true}],
            "groups": [{
                "name": "callers", "role": "caller", "endpoints": 20,
                "workers": [{"name": "demo-a", "endpoints": 20}],
                "calls": {"total": 40, "succeeded": 40},
                "setupMs": {"p50": 1004.2, "p95": 1010.0, "p99": 1012.5},
                "packets": {"sent": 24000.0, "received": 24000.0, "lost": 0.0},
                "lossPercent": {"mean": 0.0}, "jitterMs": {"mean": 0.031, "p95": 0.09},
                "mos": {"mean": 4.385, "p05": 4.38, "min": 4.377},
                "generator": {"txLatenessP50Ms": 0.02, "txLatenessP99Ms": 0.4, "txLatenessMaxMs": 1.1,
                    "limitedSeconds": 0, "seconds": 480},
            }],
        })
    }

    #[test]
    fn a_report_shows_every_figure_and_a_dash_for_what_was_not_measured() {
        insta::assert_snapshot!(render(&results()));
    }

    #[test]
    fn a_partial_run_says_so_before_anything_else() {
        let mut results = results();
        results["partial"] = json!(true);
        results["partialReasons"] = json!([{"cause": "WorkerLost", "endpoints": 3, "group": "callers", "worker": "demo-a"}]);
        let shown = render(&results);
        assert!(shown.starts_with("PARTIAL"), "{shown}");
        assert!(
            shown.contains("WorkerLost: 3 endpoints of callers on demo-a"),
            "{shown}"
        );
    }
}
