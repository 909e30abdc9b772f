//! (a) A pool goes 0 → 3 → 1 while a call runs on every worker: no call is cut, and the order is
//! fence, end of the calls, delete. (d) `kubectl scale` does it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{direct_test, on_system_node, pool, run};
use jiff::SignedDuration;
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(90);
const CALL_SECONDS: i64 = 22;

#[tokio::test]
async fn scale_down_under_calls_cuts_none() -> Result<()> {
    run("drain", on_system_node(), |case| async move {
        case.apply(&pool("fra", 2, &json!({"replicas": 0}))).await?;
        case.await_online("fra", 0, START).await?;
        case.kubectl(&["scale", "workerpool/fra", "--replicas=3"])
            .await?;
        case.await_online("fra", 3, START).await?;

        // Three callers and three answerers on workers of two endpoints: each worker carries two.
        case.apply(&direct_test(
            "calls",
            "fra",
            3,
            "30s",
            &format!("{CALL_SECONDS}s"),
        ))
        .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        let busy = "waited for every worker to be busy";
        callmeter_e2e::eventually(busy, Duration::from_secs(20), || async {
            let workers = case.workers("fra").await?;
            let idle: Vec<_> = workers
                .iter()
                .filter(|w| !["Busy", "Full"].contains(&w["status"]["load"].as_str().unwrap_or("")))
                .map(|w| w["status"]["load"].clone())
                .collect();
            Ok((!idle.is_empty()).then(|| format!("{idle:?}")))
        })
        .await?;

        case.kubectl(&["scale", "workerpool/fra", "--replicas=1"])
            .await?;
        let done = case
            .await_phase("calls", &["COMPLETED"], Duration::from_secs(90))
            .await?;
        ensure!(
            done["status"]["verdict"] == "Passed",
            "a call was cut: {}",
            done["status"]
        );
        ensure!(
            done["status"]["partial"] != true,
            "partial: {}",
            done["status"]
        );
        // Every call starts with the run and lasts this long: a pod deleted earlier cut one.
        let started = done["status"]["startedAt"]
            .as_str()
            .context("no startedAt")?;
        let ended = instant(started)? + SignedDuration::from_secs(CALL_SECONDS);
        case.await_online("fra", 1, Duration::from_secs(60)).await?;

        // The observer: the two pods were deleted once each, after their calls had ended, by the
        // operator, and the gateway had fenced both before.
        let Some(observer) = &case.observer else {
            eprintln!("not run: the order of fence, calls and delete needs the audit log");
            return Ok(());
        };
        let deleted: Vec<_> = observer
            .events()?
            .into_iter()
            .filter(|e| e.resource == "pods" && e.verb == "delete" && e.user.ends_with("-operator"))
            .filter(|e| e.code < 300)
            .collect();
        ensure!(
            deleted.len() == 2,
            "two pods deleted by the operator: {deleted:?}"
        );
        let fences = fences(&case.gateway_log().await?);
        for event in &deleted {
            ensure!(
                instant(&event.at)? >= ended,
                "pod {} deleted at {}, before the calls had ended at {ended}",
                event.name,
                event.at
            );
            let fenced = fences.iter().find(|(worker, _)| *worker == event.name);
            let (_, at) = fenced.with_context(|| format!("{} was never fenced", event.name))?;
            ensure!(instant(at)? < ended, "{} fenced only at {at}", event.name);
        }
        Ok(())
    })
    .await
}

/// (worker, time) of each fence in the gateway's log.
fn fences(log: &str) -> Vec<(String, String)> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["message"] == "worker fenced")
        .filter_map(|entry| {
            let worker = entry["name"].as_str()?.to_owned();
            Some((worker, entry["timestamp"].as_str()?.to_owned()))
        })
        .collect()
}

fn instant(text: &str) -> Result<jiff::Timestamp> {
    text.parse()
        .with_context(|| format!("{text:?} is not a time"))
}
