//! The report of a run as text.

use std::fmt::Write as _;

use crate::model::{
    Calls, Expect, Failure, Figures, Generator, GroupReport, Packets, PartialReason, Report,
};

/// Figures of a distribution to be shown.
type Columns = [(&'static str, fn(&Figures) -> Option<f64>)];

/// The whole report; what is missing stands first.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut out, report);
    out
}

fn write_report(out: &mut String, report: &Report) -> std::fmt::Result {
    let Report {
        run,
        name,
        status,
        reason,
        partial,
        partial_reasons,
        warnings,
        verdict,
        started_at,
        ended_at,
        expects,
        groups,
    } = report;
    if *partial {
        writeln!(out, "PARTIAL: measurements are missing")?;
        for PartialReason {
            worker,
            group,
            endpoints,
            since,
            cause,
        } in partial_reasons
        {
            writeln!(
                out,
                "  {cause}: {endpoints} endpoints of group {group} on worker {worker}, since {since}"
            )?;
        }
    }
    let name = if name.is_empty() {
        String::new()
    } else {
        format!(" ({name})")
    };
    writeln!(out, "Run {run}{name}: {status}, verdict {verdict}")?;
    if !reason.is_empty() {
        writeln!(out, "  {reason}")?;
    }
    for warning in warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    if let (Some(from), Some(to)) = (started_at, ended_at) {
        writeln!(out, "  {from} to {to}")?;
    }
    for Expect {
        metric,
        stat,
        group,
        bound,
        measured,
        passed,
    } in expects
    {
        let mark = if *passed { "ok    " } else { "FAILED" };
        let of = group
            .as_ref()
            .map(|g| format!(" of {g}"))
            .unwrap_or_default();
        let found = measured.map_or_else(
            || "not measured".to_owned(),
            |value| format!("is {value:.3}"),
        );
        writeln!(out, "  {mark} {metric} {stat}{of} {bound}: {found}")?;
    }
    groups.iter().try_for_each(|group| write_group(out, group))
}

fn write_group(out: &mut String, group: &GroupReport) -> std::fmt::Result {
    let GroupReport {
        name,
        role,
        endpoints,
        workers,
        calls,
        failures,
        success_rate,
        setup_ms,
        post_dial_delay_ms,
        loss_percent,
        jitter_ms,
        mos,
        rtt_ms,
        packets,
        generator,
    } = group;
    let on: Vec<String> = workers
        .iter()
        .map(|w| format!("{} ({})", w.name, w.endpoints))
        .collect();
    let on = if on.is_empty() {
        String::new()
    } else {
        format!(" on {}", on.join(", "))
    };
    writeln!(out, "\nGroup {name}: {role}, {endpoints} endpoints{on}")?;
    write_calls(out, calls, *success_rate)?;
    write_failures(out, failures)?;
    let times: &Columns = &[
        ("p50", |f| f.p50),
        ("p95", |f| f.p95),
        ("p99", |f| f.p99),
        ("max", |f| f.max),
    ];
    let spread: &Columns = &[("mean", |f| f.mean), ("p95", |f| f.p95), ("max", |f| f.max)];
    let worst: &Columns = &[("mean", |f| f.mean), ("p05", |f| f.p05), ("min", |f| f.min)];
    figures(out, "setup", setup_ms.as_ref(), times, " ms", 1)?;
    figures(
        out,
        "post dial",
        post_dial_delay_ms.as_ref(),
        times,
        " ms",
        1,
    )?;
    figures(out, "loss", loss_percent.as_ref(), spread, " %", 3)?;
    figures(out, "jitter", jitter_ms.as_ref(), spread, " ms", 3)?;
    figures(out, "MOS", mos.as_ref(), worst, "", 3)?;
    figures(out, "RTT", rtt_ms.as_ref(), spread, " ms", 3)?;
    let Packets {
        sent,
        received,
        lost,
    } = packets;
    if sent.is_some() || received.is_some() {
        let n = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.0}"));
        writeln!(
            out,
            "  packets    sent {}, received {}, lost {}",
            n(sent),
            n(received),
            n(lost)
        )?;
    }
    write_generator(out, generator)
}

fn write_calls(out: &mut String, calls: &Calls, rate: Option<f64>) -> std::fmt::Result {
    let Calls {
        total,
        succeeded,
        placed,
        taken,
    } = calls;
    let rate = rate
        .map(|rate| format!(" ({rate:.1} %)"))
        .unwrap_or_default();
    writeln!(out, "  calls      {total}, {succeeded} succeeded{rate}")?;
    for (side, outcomes) in [("placed", placed), ("taken", taken)] {
        let listed: Vec<String> = outcomes
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        if !listed.is_empty() {
            writeln!(out, "             {side}: {}", listed.join(", "))?;
        }
    }
    Ok(())
}

/// Why, and how often: the most frequent reasons first, as they come.
fn write_failures(out: &mut String, failures: &[Failure]) -> std::fmt::Result {
    for Failure {
        outcome,
        reason,
        calls,
        endpoints,
    } in failures
    {
        let of = |n: u64, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let counts: Vec<String> = [of(*calls, "call"), of(*endpoints, "endpoint")]
            .into_iter()
            .flatten()
            .collect();
        let counts = counts.join(" and ");
        writeln!(out, "  failed     {counts}: {outcome}, {reason}")?;
    }
    Ok(())
}

/// How late the workers themselves sent: a limited second is the generator's fault, not the network's.
fn write_generator(out: &mut String, generator: &Generator) -> std::fmt::Result {
    let Generator {
        tx_lateness_p50_ms,
        tx_lateness_p99_ms,
        tx_lateness_max_ms,
        rx_socket_drops,
        limited_seconds,
        seconds,
    } = generator;
    if *seconds == 0 {
        return Ok(());
    }
    let ms = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
    writeln!(
        out,
        "  generator  sends late by p50 {}, p99 {}, max {} ms; {limited_seconds} of {seconds} \
         endpoint-seconds limited; {:.0} packets dropped at its sockets",
        ms(tx_lateness_p50_ms),
        ms(tx_lateness_p99_ms),
        ms(tx_lateness_max_ms),
        rx_socket_drops.unwrap_or(0.0),
    )
}

fn figures(
    out: &mut String,
    label: &str,
    of: Option<&Figures>,
    columns: &Columns,
    unit: &str,
    digits: usize,
) -> std::fmt::Result {
    let Some(of) = of else { return Ok(()) };
    let shown: Vec<String> = columns
        .iter()
        .filter_map(|(name, figure)| Some(format!("{name} {:.digits$}", figure(of)?)))
        .collect();
    writeln!(out, "  {label:<10} {}{unit}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "run": "r1", "name": "demo", "status": "COMPLETED", "reason": "", "partial": false,
        "partialReasons": [], "verdict": "Passed", "createdAt": "x",
        "startedAt": "2026-11-21T10:00:00.000Z", "endedAt": "2026-11-21T10:00:42.000Z",
        "catalogueVersion": 1,
        "expects": [{"metric": "mos", "stat": "p05", "bound": ">= 4", "measured": 4.385, "passed": true},
                    {"metric": "call_success_rate", "stat": "mean", "group": "callers", "bound": ">= 100", "passed": false}],
        "groups": [{"name": "callers", "role": "caller", "endpoints": 20, "ready": 20, "ended": 20,
            "workers": [{"name": "demo-a", "endpoints": 12}, {"name": "demo-b", "endpoints": 8}],
            "calls": {"total": 40, "succeeded": 39, "placed": {"SUCCESS": 39, "CALL_FAILED": 1}, "taken": {}},
            "failures": [{"outcome": "CALL_FAILED", "sipStatus": 503, "reason": "refused: 503 Service Unavailable", "calls": 1, "endpoints": 0},
                         {"outcome": "REGISTRATION_FAILED", "sipStatus": 0, "reason": "403 Forbidden", "calls": 0, "endpoints": 2}],
            "successRate": 97.5,
            "setupMs": {"mean": 1010.0, "p50": 1009.2, "p95": 1012.0, "p99": 1020.4, "max": 1021.0, "count": 39},
            "lossPercent": {"mean": 0.0, "p95": 0.0, "max": 0.0},
            "jitterMs": {"mean": 0.051, "p95": 0.21, "max": 0.9},
            "mos": {"mean": 4.385, "p05": 4.3849, "min": 4.38},
            "packets": {"sent": 24000.0, "received": 23990.0, "lost": 0.0},
            "generator": {"txLatenessP50Ms": 0.02, "txLatenessP99Ms": 0.3, "txLatenessMaxMs": 1.2, "limitedSeconds": 1, "seconds": 480, "refusedValues": 0},
            "metrics": []}]
    }"#;

    #[test]
    fn a_report_reads_well() {
        let report: Report = serde_json::from_str(REPORT).unwrap();
        insta::assert_snapshot!(render(&report));
    }

    #[test]
    fn what_is_missing_stands_first() {
        let mut report: Report = serde_json::from_str(REPORT).unwrap();
        report.partial = true;
        report.partial_reasons = vec![PartialReason {
            worker: "demo-a".into(),
            group: "callers".into(),
            endpoints: 12,
            since: "2026-11-21T10:00:20.000Z".into(),
            cause: "WorkerLost".into(),
        }];
        let text = render(&report);
        assert!(
            text.starts_with("PARTIAL: measurements are missing\n  WorkerLost: 12 endpoints"),
            "{text}"
        );
    }

    #[test]
    fn warnings_are_shown_in_a_line_each() {
        let mut report: Report = serde_json::from_str(REPORT).unwrap();
        assert!(!render(&report).contains("warning"));
        report.warnings = vec!["group callers: too many calls".into(), "b".into()];
        let text = render(&report);
        let shown = "\n  warning: group callers: too many calls\n  warning: b\n";
        assert!(text.contains(shown), "{text}");
    }
}
