//! The gateway's pod goes while calls run: at once back, away for 90 s, away for 3 minutes. The calls
//! go on, no worker restarts, and what the workers say they sent is what is stored, per endpoint and
//! second. R94, R104

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, Rest, direct_test, eventually, on_system_node, passed_whole, pool, run};
use serde_json::Value;

const START: Duration = Duration::from_secs(180);
/// Endpoints of each of the two groups.
const ENDPOINTS: u32 = 2;

#[tokio::test]
async fn calls_outlive_a_gateway_that_restarts() -> Result<()> {
    outage("gateway-restart", Duration::ZERO, 45).await
}

#[tokio::test]
async fn calls_outlive_a_gateway_that_is_away_for_90_s() -> Result<()> {
    outage("gateway-90s", Duration::from_secs(90), 150).await
}

#[tokio::test]
async fn calls_outlive_a_gateway_that_is_away_for_3_minutes() -> Result<()> {
    outage("gateway-180s", Duration::from_secs(180), 240).await
}

/// `run_seconds` is the length of the run; its calls end 10 s before it does.
async fn outage(name: &str, length: Duration, run_seconds: u64) -> Result<()> {
    run(name, on_system_node(), |case| async move {
        case.apply(&pool("fra", ENDPOINTS, &serde_json::json!({"replicas": 2})))
            .await?;
        case.await_online("fra", 2, START).await?;
        let test = direct_test(
            "calls",
            "fra",
            ENDPOINTS,
            &format!("{run_seconds}s"),
            &format!("{}s", run_seconds - 10),
        );
        case.apply(&test).await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        let run = case
            .await_in_call("calls", u64::from(2 * ENDPOINTS))
            .await?;
        let before = case.worker_pods("fra").await?;

        take_away(&case, length).await?;

        let deadline = Duration::from_secs(run_seconds + 120);
        let done = case.await_phase("calls", &["COMPLETED"], deadline).await?;
        passed_whole(&done)?;
        let after = case.worker_pods("fra").await?;
        ensure!(before == after, "{before:?} became {after:?}");
        let said = rows_said(&case, &after, &run).await?;
        ensure!(
            said.len() == 2 * ENDPOINTS as usize,
            "totals said: {said:?}"
        );
        let rest = Rest::connect(&case).await?;
        for group in ["answerers", "callers"] {
            let samples = rest.samples(&run, group).await?;
            stored_as_said(&samples, group, &said, run_seconds - 15)?;
        }
        Ok(())
    })
    .await
}

/// Deletes the gateway's pod, and lets no other one be for `length`.
async fn take_away(case: &Case, length: Duration) -> Result<()> {
    let (pod, set) = ("callmeter-gateway-0", "statefulset/callmeter-gateway");
    if length.is_zero() {
        case.kubectl(&["delete", "pod", pod]).await?;
    } else {
        case.kubectl(&["scale", set, "--replicas=0"]).await?;
        eventually(
            "the gateway to be gone",
            Duration::from_secs(90),
            || async {
                Ok(case
                    .object("pod", pod)
                    .await?
                    .map(|_| "still there".to_owned()))
            },
        )
        .await?;
        // The fault itself: it lasts this long.
        tokio::time::sleep(length).await;
        case.kubectl(&["scale", set, "--replicas=1"]).await?;
    }
    case.kubectl(&["rollout", "status", set, "--timeout=180s"])
        .await
        .map(drop)
}

/// Rows that each endpoint's worker says it sent, from the worker's log: (group, endpoint) → rows.
async fn rows_said(
    case: &Case,
    workers: &BTreeMap<String, (String, u64)>,
    run: &str,
) -> Result<BTreeMap<(String, u64), u64>> {
    let mut said = BTreeMap::new();
    for worker in workers.keys() {
        let log = case.kubectl(&["logs", worker, "--tail=-1"]).await?;
        let begin = format!("run {run} ended: ");
        let messages = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|entry| entry["message"].as_str().map(str::to_owned));
        for totals in messages.filter_map(|m| m.strip_prefix(&begin).map(str::to_owned)) {
            for share in totals.split("; ") {
                let (group, first, rows) = share_said(share)
                    .with_context(|| format!("totals in another form: {share:?}"))?;
                for (endpoint, rows) in (first..).zip(rows) {
                    said.insert((group.clone(), endpoint), rows);
                }
            }
        }
    }
    Ok(said)
}

/// `group callers, endpoints 0 to 1: 2 calls, rows 41 40`
fn share_said(text: &str) -> Option<(String, u64, Vec<u64>)> {
    let (group, rest) = text.strip_prefix("group ")?.split_once(", endpoints ")?;
    let (first, rest) = rest.split_once(" to ")?;
    let (_, rows) = rest.split_once("rows ")?;
    let rows: Result<Vec<u64>, _> = rows.split(' ').map(str::parse).collect();
    Some((group.to_owned(), first.parse().ok()?, rows.ok()?))
}

/// The rows stored of each endpoint are as many as its worker said, `least` of each direction are
/// among them, and between the first and the last none is missing but where the machine stood still.
fn stored_as_said(
    samples: &[Value],
    group: &str,
    said: &BTreeMap<(String, u64), u64>,
    least: u64,
) -> Result<()> {
    for ((_, endpoint), rows) in said.iter().filter(|((g, _), _)| g == group) {
        let own: Vec<_> = samples
            .iter()
            .filter(|row| row["endpoint"] == *endpoint)
            .collect();
        ensure!(
            own.len() as u64 == *rows,
            "{group} {endpoint}: {rows} rows said, {} stored",
            own.len()
        );
        for direction in ["send", "recv"] {
            let mut seconds: Vec<(u64, bool)> = own
                .iter()
                .filter(|row| row["direction"] == direction && row["perCall"] == false)
                .filter_map(|row| Some((row["second"].as_u64()?, row["generatorLimited"] == true)))
                .collect();
            seconds.sort_unstable();
            ensure!(
                seconds.len() as u64 >= least && !lacks_rows(&seconds),
                "{group} {endpoint} {direction}: seconds {seconds:?}, of {least} at least"
            );
        }
    }
    Ok(())
}

/// Whether seconds of a call, each with whether its generator was limited, lack one. What was
/// measured is filed under the second it is handled in: a machine that is late leaves out one and
/// files all that follow a second later, one that stood still for longer says so in the next row.
fn lacks_rows(seconds: &[(u64, bool)]) -> bool {
    seconds
        .windows(2)
        .any(|pair| match (pair[1].0 - pair[0].0, pair[1].1) {
            (1 | 2, _) => false,
            (0, _) => true,
            (_, limited) => !limited,
        })
}

#[test]
fn totals_are_read_from_the_log() {
    assert_eq!(
        share_said("group callers, endpoints 2 to 3: 2 calls, rows 41 40"),
        Some(("callers".to_owned(), 2, vec![41, 40]))
    );
    assert_eq!(share_said("group callers"), None);
}

#[test]
fn only_a_late_machine_may_leave_out_seconds() {
    let whole = |from, to| (from..=to).map(|second| (second, false));
    let with = |gap_to, limited| -> Vec<_> {
        let after = whole(gap_to + 1, 9);
        whole(1, 3)
            .chain([(gap_to, limited)])
            .chain(after)
            .collect()
    };
    assert!(!lacks_rows(&with(4, false)));
    assert!(!lacks_rows(&with(5, false)), "one second late");
    assert!(lacks_rows(&with(6, false)), "two seconds are missing");
    assert!(!lacks_rows(&with(6, true)), "stood still, and says so");
    assert!(lacks_rows(&with(3, false)), "a second twice");
}
