use callmeter_api::calltest::Verdict;
use callmeter_metrics::id;
use callmeter_proto::worker::{Direction, Outcome};
use serde_json::json;

use super::*;
use crate::definition::{self, Format, Role, ValidatedTest};
use crate::run::{Cause, Partial};

const TEST: &str = "
duration: 60s
groups:
  - {name: answerers, endpoints: 2, role: callee}
  - {name: callers, endpoints: 2, role: caller, target: {group: answerers}}
expect:
  - {metric: mos, stat: p05, min: 4.0}
  - {metric: mos, stat: min, group: callers, max: 4.2}
  - {metric: call_success_rate, min: 75}
  - {metric: call_success_rate, stat: min, group: callers, min: 75}
";

fn test() -> ValidatedTest {
    definition::parse(TEST, Format::Yaml, "").unwrap().0
}

fn row(
    group: &str,
    endpoint: u32,
    second: u32,
    direction: Direction,
    values: &[(MetricId, f64)],
) -> SampleRow {
    SampleRow {
        group: group.into(),
        endpoint,
        second,
        call: 1,
        direction: direction.into(),
        per_call: false,
        generator_limited: false,
        delay_partial: false,
        values: values
            .iter()
            .map(|(metric, value)| (metric.0, *value))
            .collect(),
    }
}

fn outcome(group: usize, endpoint: u32, call: u32, outcome: Outcome, outgoing: bool) -> OutcomeRow {
    OutcomeRow {
        group,
        endpoint,
        call,
        outcome,
        sip_status: 200,
        detail: String::new(),
        outgoing,
        completed: outcome == Outcome::Success,
    }
}

/// Callers sent 100 packets in two seconds, of which 98 came; MOS 4.4 and once 4.1. Endpoint 0
/// placed three good calls, endpoint 1 a good and a failed one.
fn measured() -> RunResults {
    let mut results = RunResults::new([(2, Role::Callee), (2, Role::Caller)]);
    let recv = |endpoint, second, mos, packets| {
        let values = [
            (id::MOS, mos),
            (id::PACKETS_RECEIVED, packets),
            (id::JITTER_MS, 1.0),
        ];
        row("answerers", endpoint, second, Direction::Recv, &values)
    };
    results.add_samples(0, &[recv(0, 1, 4.4, 50.0), recv(0, 2, 4.1, 48.0)]);
    let mut late = row(
        "callers",
        1,
        2,
        Direction::Send,
        &[(id::PACKETS_SENT, 50.0), (id::TX_LATENESS_P99_MS, 2.5)],
    );
    late.generator_limited = true;
    let early = row(
        "callers",
        1,
        1,
        Direction::Send,
        &[(id::PACKETS_SENT, 50.0), (id::TX_LATENESS_P99_MS, 0.5)],
    );
    let mut per_call = row(
        "callers",
        1,
        2,
        Direction::None,
        &[(id::CALL_SETUP_TIME_MS, 310.0)],
    );
    per_call.per_call = true;
    results.add_samples(1, &[early, late, per_call]);
    let mut rows = vec![outcome(1, 0, 0, Outcome::Success, true)];
    rows.extend((1..=3).map(|call| outcome(1, 0, call, Outcome::Success, true)));
    rows.push(outcome(1, 1, 1, Outcome::Success, true));
    rows.push(outcome(1, 1, 2, Outcome::CallFailed, true));
    rows.extend((1..=4).map(|call| outcome(0, 0, call, Outcome::Success, false)));
    results.add_outcomes(&rows);
    results
}

#[test]
fn bounds_are_judged_on_what_was_measured() {
    let expects = judge(&test(), &measured());
    let shown: Vec<_> = expects
        .iter()
        .map(|e| (e.bound.as_str(), e.measured, e.passed))
        .collect();
    // The callers measured no MOS; a call between two groups counts at its caller.
    assert_eq!(
        shown,
        [
            (">= 4", Some(4.1), true),
            ("<= 4.2", None, false),
            (">= 75", Some(80.0), true),
            (">= 75", Some(50.0), false)
        ]
    );
}

/// Never passed if anything is missing.
#[test]
fn a_verdict_needs_every_measurement() {
    let expect = |measured: Option<f64>, passed| ExpectOutcome {
        metric: "mos".into(),
        stat: "mean".into(),
        group: None,
        bound: ">= 4".into(),
        measured,
        passed,
    };
    let (good, bad, none) = (
        expect(Some(4.4), true),
        expect(Some(3.0), false),
        expect(None, false),
    );
    assert_eq!(verdict(std::slice::from_ref(&good), true), Verdict::Passed);
    assert_eq!(verdict(&[good.clone(), bad.clone()], true), Verdict::Failed);
    assert_eq!(verdict(&[good.clone(), none, bad], true), Verdict::Unknown);
    assert_eq!(verdict(&[good], false), Verdict::Unknown);
}

#[test]
fn the_report_has_every_figure_and_none_that_was_not_measured() {
    let partial = Partial {
        worker: "a".into(),
        group: "callers".into(),
        endpoints: 1,
        since_unix_ms: 0,
        cause: Cause::SamplesLost,
    };
    let context = ReportContext {
        run: "r".into(),
        name: "n".into(),
        status: "COMPLETED".into(),
        reason: String::new(),
        partial: true,
        partial_reasons: vec![partial],
        warnings: vec!["w".into()],
        verdict: "Unknown".into(),
        created_at: "c".into(),
        started_at: None,
        ended_at: None,
        placed: vec![
            GroupPlacement::default(),
            GroupPlacement {
                workers: vec![("a".into(), 2)],
                ready: 2,
                ended: 2,
            },
        ],
    };
    let report = report(&test(), &measured(), judge(&test(), &measured()), context);
    let json = serde_json::to_value(&report).unwrap();
    let expected = json!({"worker": "a", "group": "callers", "endpoints": 1, "since": "1970-01-01T00:00:00.000Z", "cause": "SamplesLost"});
    assert_eq!(json["partialReasons"][0], expected);
    assert_eq!(json["warnings"], json!(["w"]));
    let callers = &json["groups"][1];
    assert_eq!(
        callers["calls"],
        json!({"total": 5, "succeeded": 4, "placed": {"SUCCESS": 4, "CALL_FAILED": 1}, "taken": {}})
    );
    let failed = json!({"outcome": "CALL_FAILED", "sipStatus": 200, "reason": "", "calls": 1, "endpoints": 0});
    assert_eq!(callers["failures"], json!([failed]));
    assert_eq!(callers["successRate"], 80.0);
    assert_eq!(callers["packets"], json!({"sent": 100.0}));
    assert_eq!(
        (&callers["setupMs"]["p99"], &callers["setupMs"]["count"]),
        (&310.0.into(), &1.into())
    );
    assert_eq!(callers["workers"], json!([{"name": "a", "endpoints": 2}]));
    assert!(callers.get("mos").is_none(), "not measured, not zero");
    let generator = &callers["generator"];
    assert_eq!(
        (&generator["limitedSeconds"], &generator["seconds"]),
        (&1.into(), &2.into())
    );
    assert_eq!(generator["txLatenessP99Ms"], 2.5);
    let answerers = &json["groups"][0];
    assert_eq!(
        (&answerers["mos"]["min"], &answerers["packets"]["received"]),
        (&4.1.into(), &98.0.into())
    );
    let metrics: Vec<&str> = answerers["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["metric"].as_str().unwrap())
        .collect();
    assert_eq!(
        metrics,
        [
            "packets_received",
            "jitter_ms",
            "jitter_max_ms",
            "mos",
            "mos_min",
            "mos_p05",
            "pct_seconds_good",
            "call_success_rate"
        ]
    );
    // What is stored reads back.
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(
        serde_json::from_str::<Report>(&text).unwrap().groups,
        report.groups
    );
}

#[test]
fn live_figures_are_of_the_newest_complete_second() {
    let mut results = RunResults::new([(1, Role::Callee)]);
    for second in 1..=20 {
        let values = [
            (id::MOS, 4.0 + f64::from(second) / 100.0),
            (id::PACKETS_RECEIVED, f64::from(second)),
        ];
        results.add_samples(0, &[row("a", 0, second, Direction::Recv, &values)]);
    }
    let live = results.live();
    assert_eq!(
        (live.second, live.groups[0].packets_received),
        (18, Some(18.0))
    );
    assert_eq!(live.groups[0].packets_sent, None);
    assert!((live.groups[0].mos.unwrap() - 4.18).abs() < 0.005);
}

#[test]
fn values_no_catalogue_knows_are_counted_and_left_out() {
    let mut results = RunResults::new([(1, Role::Callee)]);
    let values = [(MetricId(9_999), 1.0), (id::MOS, f64::NAN), (id::MOS, 4.0)];
    results.add_samples(0, &[row("a", 0, 1, Direction::Recv, &values)]);
    assert_eq!(
        (results.groups()[0].refused(), results.live().groups.len()),
        (2, 1)
    );
}

/// An endpoint that failed is told if it had no call, whatever row the store gives first.
#[test]
fn the_order_of_ends_changes_no_failure() {
    let end = |endpoint, call| outcome(0, endpoint, call, Outcome::CallFailed, true);
    let mut rows = [end(0, 0), end(0, 1), end(0, 2), end(1, 0)];
    let told = |rows: &[OutcomeRow]| {
        let mut results = RunResults::new([(2, Role::Caller)]);
        results.add_outcomes(rows);
        let told = results.groups()[0].failures();
        told.iter()
            .map(|f| (f.calls, f.endpoints))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&rows), [(2, 1)]);
    rows.reverse();
    assert_eq!(told(&rows), [(2, 1)]);
}

/// A callee that is asked for a transfer places a second call: it is shown, and changes no rate of
/// the calls taken, of the group or of the run.
#[test]
fn a_transfer_changes_no_rate_of_callees() {
    let rate = |results: &RunResults| results.groups()[0].totals();
    for (role, calls) in [(Role::Callee, 4), (Role::Both, 1), (Role::Caller, 1)] {
        let mut results = RunResults::new([(2, role)]);
        let mut rows: Vec<_> = (1..=3)
            .map(|call| outcome(0, 0, call, Outcome::Success, false))
            .collect();
        rows.push(outcome(0, 1, 1, Outcome::CallFailed, false));
        results.add_outcomes(&rows);
        let before = rate(&results);
        results.add_outcomes(&[outcome(0, 0, 4, Outcome::CallFailed, true)]);
        assert_eq!(rate(&results).calls, calls, "{role:?}");
        assert_eq!(
            results.groups()[0].calls_of_endpoints(0, 2),
            5,
            "as the worker counts"
        );
        if role == Role::Callee {
            assert_eq!(rate(&results), before);
            assert_eq!((before.calls, before.success), (4, 3));
            let shown = results.groups()[0].by_outcome(true);
            assert_eq!(shown, BTreeMap::from([(Outcome::CallFailed, 1)]));
        }
    }

    // The run: what callees place is nobody's call.
    let mut all = measured();
    all.add_outcomes(&[outcome(0, 0, 5, Outcome::CallFailed, true)]);
    let (before, after) = (judge(&test(), &measured()), judge(&test(), &all));
    assert_eq!(after, before);
}

/// Sessions that complete are told by the call, not by its outcome (RFC 6076 §4.9): one with
/// warnings may have completed or never have been answered.
#[test]
fn completion_is_told_by_the_call() {
    let mut results = RunResults::new([(1, Role::Caller)]);
    let warned = |call, completed| OutcomeRow {
        completed,
        ..outcome(0, 0, call, Outcome::CompletedWithWarnings, true)
    };
    results.add_outcomes(&[
        outcome(0, 0, 1, Outcome::Success, true),
        warned(2, true),
        warned(3, false),
        warned(4, false),
        outcome(0, 0, 5, Outcome::Success, false),
    ]);
    let sent = row("a", 0, 1, Direction::None, &[(id::INVITE_SENT, 4.0)]);
    results.add_samples(0, &[sent]);
    let group = &results.groups()[0];
    let scr = callmeter_metrics::derive(id::SCR, group.aggregate(), Some(&group.totals()));
    assert_eq!(scr, Some(50.0));
}
