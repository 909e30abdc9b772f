//! (e) A pool is deleted with a foreground deletion, Argo CD's default, while a call runs: the call
//! ends normally first.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{direct_test, eventually, on_system_node, passed_whole, pool, run};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const START: Duration = Duration::from_secs(180);
const CALL_SECONDS: i64 = 35;

#[tokio::test]
async fn a_foreground_deletion_of_a_pool_cuts_no_call() -> Result<()> {
    run("foreground", on_system_node(), |case| async move {
        case.apply(&pool("fra", 2, &json!({"replicas": 1}))).await?;
        case.await_online("fra", 1, START).await?;
        let call = format!("{CALL_SECONDS}s");
        case.apply(&direct_test("calls", "fra", 1, "45s", &call))
            .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        case.await_in_call("calls", 2).await?;

        case.kubectl(&[
            "delete",
            "workerpool",
            "fra",
            "--cascade=foreground",
            "--wait=false",
        ])
        .await?;
        let done = case
            .await_phase("calls", &["COMPLETED"], Duration::from_secs(120))
            .await?;
        passed_whole(&done)?;
        eventually("the pool to be gone", Duration::from_secs(120), || async {
            let left = case.objects("workerpools,callmeterworkers").await?;
            Ok((!left.is_empty()).then(|| format!("{} objects", left.len())))
        })
        .await?;

        let Some(observer) = &case.observer else {
            eprintln!("not run: when the pod was deleted needs the audit log");
            return Ok(());
        };
        let started = done["status"]["startedAt"].as_str();
        let started: Timestamp = started.context("no startedAt")?.parse()?;
        let over = started + SignedDuration::from_secs(CALL_SECONDS);
        // The garbage collector asks for the end of the pods at once, whatever the owner references
        // say; the worker then drains by itself, and its node lets the pod go when it is empty.
        let removals: Vec<_> = observer
            .events()?
            .into_iter()
            .filter(|e| e.resource == "pods" && e.verb == "delete" && e.name.starts_with("fra-"))
            .filter(|e| e.user.starts_with("system:node:"))
            .collect();
        ensure!(!removals.is_empty(), "no node let the pod go");
        for event in &removals {
            let at: Timestamp = event.at.parse()?;
            ensure!(
                at >= over,
                "{event:?} came before the call was over at {over}"
            );
        }
        Ok(())
    })
    .await
}
