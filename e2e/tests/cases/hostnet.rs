//! Host network: two workers on each of two nodes carry calls at once, each on its own ports of the
//! grid; a worker of another pool whose block is taken everywhere waits and says why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{
    Case, Nodes, WORKER_NODES, condition, direct_test, eventually, on_system_node, passed_whole,
    pool, run,
};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(180);

#[tokio::test]
async fn four_workers_share_two_nodes_and_a_fifth_says_what_is_taken() -> Result<()> {
    run("hostnet", on_system_node(), |case| async move {
        if Nodes::of(&case.cluster).is_none() {
            eprintln!("not run: host ports of exactly two free nodes need nodes of our own");
            return Ok(());
        }
        let mut four = pool("four", 2, &json!({"replicas": 4}));
        on_host_network(&mut four);
        case.apply(&four).await?;
        case.await_online("four", 4, START).await?;
        let placed = placed(&case).await?;

        case.apply(&direct_test("calls", "four", 4, "45s", "35s"))
            .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        case.await_in_call("calls", 8).await?;
        own_ports(&case, &placed).await?;
        fifth_waits(&case).await?;
        let done = case.await_phase("calls", &["COMPLETED"], START).await?;
        passed_whole(&done)
    })
    .await
}

fn on_host_network(pool: &mut Value) {
    let name = pool["metadata"]["name"].clone();
    pool["spec"]["network"] = json!({"mode": "HostNetwork"});
    pool["spec"]["template"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {"callmeter.io/pool": name}},
    }]);
}

/// Where each worker is: (node, first and last RTP port, first and last SIP port).
type Placed = BTreeMap<String, (String, (u64, u64), (u64, u64))>;

async fn placed(case: &Case) -> Result<Placed> {
    let mut placed = Placed::new();
    for worker in case.workers("four").await? {
        let block = &worker["spec"]["network"]["block"];
        let port = |field: &str| block[field].as_u64().with_context(|| format!("no {field}"));
        let name = worker["metadata"]["name"].as_str().context("no name")?;
        let node = worker["status"]["podRef"]["nodeName"].as_str();
        placed.insert(
            name.to_owned(),
            (
                node.context("no node")?.to_owned(),
                (port("rtpStart")?, port("rtpEnd")?),
                (port("sipStart")?, port("sipEnd")?),
            ),
        );
    }
    for node in WORKER_NODES {
        let here = placed.values().filter(|(on, ..)| on == node);
        let blocks: BTreeSet<_> = here.map(|(_, rtp, sip)| (rtp, sip)).collect();
        ensure!(
            blocks.len() == 2,
            "two workers, two blocks on {node}: {placed:?}"
        );
    }
    for (_, rtp, sip) in placed.values() {
        ensure!(
            rtp.0 % 100 == 0 && (rtp.1 + 1) % 100 == 0,
            "off the grid: {rtp:?}"
        );
        ensure!(
            sip.0 % 20 == 0 && (sip.1 + 1) % 20 == 0,
            "off the grid: {sip:?}"
        );
    }
    Ok(placed)
}

/// What is bound on the nodes while calls run is inside the blocks, and every worker binds some. R19, R24
async fn own_ports(case: &Case, placed: &Placed) -> Result<()> {
    let nodes = Nodes::of(&case.cluster).context("no nodes of our own")?;
    for node in WORKER_NODES {
        let listed = ["exec", node, "--", "ss", "-H", "-n", "-l", "-u", "-p"];
        let sockets = nodes.harness(&listed).await?;
        let bound: BTreeSet<u64> = sockets
            .lines()
            .filter(|line| line.contains("callmeter-worke"))
            .filter_map(|line| {
                line.split_whitespace()
                    .nth(3)?
                    .rsplit_once(':')?
                    .1
                    .parse()
                    .ok()
            })
            .collect();
        let here: Vec<_> = placed.values().filter(|(on, ..)| on == node).collect();
        let inside = |port: u64, range: (u64, u64)| (range.0..=range.1).contains(&port);
        for port in &bound {
            ensure!(
                here.iter()
                    .any(|(_, rtp, sip)| inside(*port, *rtp) || inside(*port, *sip)),
                "{node}: port {port} is in no block of {here:?}"
            );
        }
        for (_, rtp, sip) in here {
            for block in [rtp, sip] {
                ensure!(
                    bound.iter().any(|port| inside(*port, *block)),
                    "{node}: nothing of {block:?} is bound while calls run: {bound:?}"
                );
            }
        }
    }
    Ok(())
}

/// Its only block covers granules that are taken on both nodes.
async fn fifth_waits(case: &Case) -> Result<()> {
    let mut fifth = pool("fifth", 100, &json!({"replicas": 1}));
    on_host_network(&mut fifth);
    fifth["spec"]["network"]["ports"] = json!({"rtp": {"start": 10000, "end": 10399}});
    case.apply(&fifth).await?;
    eventually(
        "the fifth pool's worker to say what is taken",
        START,
        || async {
            let workers = case.workers("fifth").await?;
            let worker = workers.first().context("no worker")?;
            let ports = condition(worker, "PortsBound");
            let told = ports.as_ref().is_some_and(|(status, reason, message)| {
                status == "False" && reason == "PortConflict" && message.contains("RTP 10000")
            });
            let waits = worker["status"]["phase"] == "Pending";
            Ok((!told || !waits).then(|| worker["status"].to_string()))
        },
    )
    .await
}

/// R74: the documented size of 25 endpoints, on a pod that a node runs; larger rows are snapshots of
/// the operator's tests, since the nodes here are too small for them.
#[tokio::test]
async fn a_worker_of_25_endpoints_has_the_documented_size() -> Result<()> {
    run("size", on_system_node(), |case| async move {
        let mut documented = pool("fra", 25, &json!({"replicas": 1}));
        documented["spec"]["template"]["resources"].take();
        case.apply(&documented).await?;
        case.await_online("fra", 1, START).await?;
        let worker = case.online_workers("fra").await?.remove(0);
        let pod = case.object("pod", &worker).await?.context("no pod")?;
        let resources = &pod["spec"]["containers"][0]["resources"];
        let size = json!({"cpu": "1", "memory": "512Mi"});
        ensure!(
            resources["limits"] == size && resources["requests"] == size,
            "{resources}"
        );
        ensure!(pod["spec"]["hostNetwork"] != true, "on the host network");
        Ok(())
    })
    .await
}
