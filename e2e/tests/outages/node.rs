//! (d) A node dies while calls run: the run is partial, no second pod or session for its token until
//! the node is declared out of service, then the worker is replaced within 60 s.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{
    Case, Nodes, PodWatch, Rest, direct_test, eventually, on_system_node, pool, run,
};
use serde_json::json;

const START: Duration = Duration::from_secs(180);
const DEAD: &str = "worker-2";
/// The node's own time to be called lost, the eviction after it, and the pass of the controllers.
const EVICTED: Duration = Duration::from_secs(90);
/// The pod GC runs every 20 s.
const REPLACED: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_dead_node_loses_its_calls_and_no_token() -> Result<()> {
    run("node", on_system_node(), |case| async move {
        let Some(nodes) = Nodes::of(&case.cluster) else {
            eprintln!("not run: a node that dies has to be our own");
            return Ok(());
        };
        let result = dies(&case, &nodes).await;
        // The next case needs the node.
        case.cluster_kubectl(&["taint", "node", DEAD, "node.kubernetes.io/out-of-service-"])
            .await
            .ok();
        nodes.harness(&["up"]).await?;
        result
    })
    .await
}

async fn dies(case: &Case, nodes: &Nodes) -> Result<()> {
    let mut fra = pool("fra", 2, &json!({"replicas": 2}));
    let leaves_at_once = |taint: &str| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2});
    fra["spec"]["template"]["tolerations"] = json!([
        leaves_at_once("node.kubernetes.io/unreachable"),
        leaves_at_once("node.kubernetes.io/not-ready"),
    ]);
    case.apply(&fra).await?;
    case.await_online("fra", 2, START).await?;
    let watch = PodWatch::start(case)?;
    let rest = Rest::connect(case).await?;
    let workers = case.workers("fra").await?;
    let lost = workers
        .iter()
        .find(|w| w["status"]["podRef"]["nodeName"] == DEAD)
        .with_context(|| format!("no worker on {DEAD}"))?;
    let name = lost["metadata"]["name"].as_str().context("no name")?;
    let secret = lost["spec"]["tokenSecretRef"]["name"]
        .as_str()
        .context("no Secret")?;
    let id = lost["status"]["gateway"]["workerId"].as_str();
    let record = format!("/workers/{}", id.context("no workerId")?);

    case.apply(&direct_test("calls", "fra", 2, "60s", "50s"))
        .await?;
    case.await_phase("calls", &["RUNNING"], START).await?;
    case.await_in_call("calls", 4).await?;
    let pod = case.object("pod", name).await?.context("no pod")?;
    let uid = pod["metadata"]["uid"].clone();

    nodes.harness(&["node-down", DEAD]).await?;
    eventually("the pod to be evicted", EVICTED, || async {
        let pod = case.object("pod", name).await?.context("the pod is gone")?;
        let leaves = pod["metadata"]["deletionTimestamp"].is_string();
        Ok((!leaves).then(|| pod["status"].to_string()))
    })
    .await?;
    eventually("the worker to be OFFLINE", START, || async {
        let row = rest.get(&record).await?;
        Ok((row["status"] != "OFFLINE").then(|| row.to_string()))
    })
    .await?;
    let done = case
        .await_phase("calls", &["COMPLETED", "FAILED"], Duration::from_secs(150))
        .await?;
    let status = &done["status"];
    ensure!(status["partial"] == true, "not partial: {status}");
    ensure!(
        status["verdict"] != "Passed",
        "a partial run passed: {status}"
    );

    // All this time the token was nobody else's.
    ensure!(watch.pods_of(secret) == 1, "a second pod for {secret}");
    ensure!(
        watch.shared_tokens().is_empty(),
        "{:?}",
        watch.shared_tokens()
    );
    let row = rest.get(&record).await?;
    ensure!(row["status"] == "OFFLINE", "a second session: {row}");
    let still = case.object("pod", name).await?.context("the pod is gone")?;
    ensure!(still["metadata"]["uid"] == uid, "another pod");

    let taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
    case.cluster_kubectl(&["taint", "node", DEAD, taint])
        .await?;
    eventually("the worker to be replaced", REPLACED, || async {
        let row = rest.get(&record).await?;
        let pod = case.object("pod", name).await?;
        let node = pod.as_ref().map(|pod| pod["spec"]["nodeName"].clone());
        let fresh = pod.is_some_and(|pod| pod["metadata"]["uid"] != uid);
        let online = fresh && row["status"] == "ONLINE";
        Ok((!online).then(|| format!("fresh pod {fresh} on {node:?}, {row}")))
    })
    .await?;
    ensure!(
        watch.shared_tokens().is_empty(),
        "{:?}",
        watch.shared_tokens()
    );
    ensure!(watch.pods_of(secret) == 2, "{} pods", watch.pods_of(secret));
    let log = case.gateway_log().await?;
    ensure!(
        !log.contains("duplicate connection"),
        "a token was used twice"
    );
    Ok(())
}
