//! (h) The API server is away for 60 s during a scale-down: it converges, and no call is cut.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Nodes, direct_test, eventually, on_system_node, passed_whole, pool, run};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const START: Duration = Duration::from_secs(180);
const AWAY: Duration = Duration::from_secs(60);
/// Calls end while the API server is away: an idle worker waits for its deletion then.
const CALL_SECONDS: i64 = 40;

#[tokio::test]
async fn an_api_server_that_is_away_cuts_no_call() -> Result<()> {
    run("api-server", on_system_node(), |case| async move {
        let Some(nodes) = Nodes::of(&case.cluster) else {
            eprintln!("not run: ending the API server needs a cluster of our own");
            return Ok(());
        };
        case.apply(&pool("fra", 2, &json!({"replicas": 3}))).await?;
        case.await_online("fra", 3, START).await?;
        let call = format!("{CALL_SECONDS}s");
        case.apply(&direct_test("calls", "fra", 3, "50s", &call))
            .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        case.await_in_call("calls", 6).await?;
        case.kubectl(&["scale", "workerpool/fra", "--replicas=1"])
            .await?;
        eventually(
            "two workers to be drained",
            Duration::from_secs(30),
            || async {
                let workers = case.workers("fra").await?;
                let fenced = workers
                    .iter()
                    .filter(|w| w["status"]["drain"]["fencedAt"].is_string());
                let fenced = fenced.count();
                Ok((fenced != 2).then(|| format!("{fenced} fenced")))
            },
        )
        .await?;

        nodes.harness(&["kill", "kube-apiserver"]).await?;
        // The fault itself: it lasts this long.
        tokio::time::sleep(AWAY).await;
        nodes.harness(&["up"]).await?;

        let done = case
            .await_phase("calls", &["COMPLETED"], Duration::from_secs(120))
            .await?;
        passed_whole(&done)?;
        case.await_online("fra", 1, Duration::from_secs(120))
            .await?;
        let observer = case.observer.as_ref().context("no audit log")?;
        let started: Timestamp = done["status"]["startedAt"]
            .as_str()
            .context("no startedAt")?
            .parse()?;
        let over = started + SignedDuration::from_secs(CALL_SECONDS);
        let deletions: Vec<_> = observer
            .events()?
            .into_iter()
            .filter(|e| e.resource == "pods" && e.verb == "delete" && e.user.ends_with("-operator"))
            .filter(|e| e.code < 300)
            .collect();
        // A deletion whose answer was lost is asked for again.
        let names: BTreeSet<_> = deletions.iter().map(|event| &event.name).collect();
        ensure!(names.len() == 2, "two pods deleted: {deletions:?}");
        for event in &deletions {
            let at: Timestamp = event.at.parse()?;
            ensure!(
                at >= over,
                "{event:?} came before the calls were over at {over}"
            );
        }
        Ok(())
    })
    .await
}
