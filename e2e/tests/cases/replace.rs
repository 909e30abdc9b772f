//! (b) `kubectl delete pod` of a worker, idle and in a call: replaced under the same name and token,
//! without a duplicate connection.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, direct_test, eventually_some, on_system_node, passed_whole, pool, run};
use serde_json::json;

const START: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_deleted_pod_is_replaced_with_the_same_token() -> Result<()> {
    run("replace", on_system_node(), |case| async move {
        case.apply(&pool("fra", 2, &json!({"replicas": 1}))).await?;
        case.await_online("fra", 1, START).await?;
        let worker = case.online_workers("fra").await?.remove(0);

        let first = pod_uid(&case, &worker).await?.context("no pod")?;
        case.kubectl(&["delete", "pod", &worker]).await?;
        let second = replaced(&case, &worker, &first).await?;

        // In a call: the pod ends it first, since its grace period covers the drain.
        case.apply(&direct_test("calls", "fra", 1, "45s", "35s"))
            .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        case.await_in_call("calls", 2).await?;
        case.kubectl(&["delete", "pod", &worker, "--wait=false"])
            .await?;
        let done = case
            .await_phase("calls", &["COMPLETED"], Duration::from_secs(120))
            .await?;
        passed_whole(&done)?;
        replaced(&case, &worker, &second).await?;

        let log = case.gateway_log().await?;
        ensure!(
            !log.contains("duplicate connection"),
            "a second connection under one token"
        );
        Ok(())
    })
    .await
}

async fn pod_uid(case: &Case, pod: &str) -> Result<Option<String>> {
    let pod = case.object("pod", pod).await?;
    Ok(pod.and_then(|p| p["metadata"]["uid"].as_str().map(str::to_owned)))
}

/// Waits until another pod of the name is there and its worker is online again.
async fn replaced(case: &Case, worker: &str, old: &str) -> Result<String> {
    let what = format!("another pod of {worker}, online");
    eventually_some(&what, START, || async {
        let uid = pod_uid(case, worker).await?.filter(|uid| uid != old);
        let object = case
            .object("callmeterworker", worker)
            .await?
            .context("no worker")?;
        let status = &object["status"];
        let joined = status["podRef"]["uid"].as_str() == uid.as_deref();
        let online = status["phase"] == "Online" && joined;
        if uid.is_some() && !online {
            anyhow::bail!("{status}");
        }
        Ok(uid)
    })
    .await
}
