//! (g) A worker's process ends with `kill -9` in a call: seen by its connection's end, long before its
//! heartbeats are missed, the run is partial, and its successor is ONLINE with the same token.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Nodes, Rest, direct_test, eventually, on_system_node, pool, run};
use serde_json::json;

const START: Duration = Duration::from_secs(180);
/// Half of the 60 s that a silent worker counts as connected.
const SEEN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_killed_worker_is_seen_and_its_run_is_partial() -> Result<()> {
    run("killed", on_system_node(), |case| async move {
        let Some(nodes) = Nodes::of(&case.cluster) else {
            eprintln!("not run: ending a process needs nodes of our own");
            return Ok(());
        };
        let rest = Rest::connect(&case).await?;
        case.apply(&pool("fra", 2, &json!({"replicas": 2}))).await?;
        case.await_online("fra", 2, START).await?;
        case.apply(&direct_test("calls", "fra", 2, "55s", "45s"))
            .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        case.await_in_call("calls", 4).await?;
        let pods = case.worker_pods("fra").await?;
        let (worker, (uid, _)) = pods.iter().next().context("no pod")?;
        let object = case.object("callmeterworker", worker).await?;
        let id = object.context("no worker")?["status"]["gateway"]["workerId"].clone();
        let path = format!("/workers/{}", id.as_str().context("no workerId")?);
        let instance = rest.get(&path).await?["connectedAt"].clone();

        nodes.kill_worker(uid).await?;
        eventually("the gateway to see the worker's end", SEEN, || async {
            let row = rest.get(&path).await?;
            // Its successor may be connected already.
            let seen = row["status"] == "OFFLINE" || row["connectedAt"] != instance;
            Ok((!seen).then(|| row.to_string()))
        })
        .await?;

        case.await_online("fra", 2, START).await?;
        let again = rest.get(&path).await?;
        ensure!(
            again["status"] == "ONLINE",
            "same record, same token: {again}"
        );
        let after = case.worker_pods("fra").await?;
        ensure!(
            after
                .get(worker)
                .is_some_and(|(now, restarts)| now == uid && *restarts == 1),
            "the kubelet starts the process again in its pod: {after:?}"
        );

        let done = case
            .await_phase("calls", &["COMPLETED", "FAILED"], Duration::from_secs(180))
            .await?;
        let status = &done["status"];
        ensure!(status["partial"] == true, "not partial: {status}");
        ensure!(
            status["verdict"] != "Passed",
            "a partial run passed: {status}"
        );
        let reasons = status["partialReasons"].as_array().context("no reasons")?;
        ensure!(
            reasons.iter().any(|r| r["cause"] == "WorkerLost"),
            "the cause is not told: {status}"
        );
        let log = case.gateway_log().await?;
        ensure!(
            !log.contains("duplicate connection"),
            "its successor was refused"
        );
        Ok(())
    })
    .await
}
