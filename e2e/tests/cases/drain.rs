//! (a) A pool goes 0 → 3 → 1 while a call runs on every worker: no call is cut, and the order is
//! fence, BYE, delete, as gateway, wire and API server tell it. (d) `kubectl scale` does it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{
    Case, Nodes, WORKER_NODES, Wire, direct_test, on_system_node, passed_whole, pool, run,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(180);
const CALL_SECONDS: i64 = 45;

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
            "55s",
            &format!("{CALL_SECONDS}s"),
        ))
        .await?;
        case.await_phase("calls", &["RUNNING"], START).await?;
        let busy = "waited for every worker to be busy";
        callmeter_e2e::eventually(busy, Duration::from_secs(40), || async {
            let workers = case.workers("fra").await?;
            let idle: Vec<_> = workers
                .iter()
                .filter(|w| !["Busy", "Full"].contains(&w["status"]["load"].as_str().unwrap_or("")))
                .map(|w| w["status"]["load"].clone())
                .collect();
            Ok((!idle.is_empty()).then(|| format!("{idle:?}")))
        })
        .await?;

        let pods = case.objects("pods").await?;
        let wires = listen(&case).await?;
        case.kubectl(&["scale", "workerpool/fra", "--replicas=1"])
            .await?;
        let done = case
            .await_phase("calls", &["COMPLETED"], Duration::from_secs(120))
            .await?;
        passed_whole(&done)?;
        // Every call starts with the run and lasts this long: a pod deleted earlier cut one.
        let started = done["status"]["startedAt"]
            .as_str()
            .context("no startedAt")?;
        let ended = instant(started)? + SignedDuration::from_secs(CALL_SECONDS);
        case.await_online("fra", 1, START).await?;

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
        // A deletion whose answer was lost is asked for again.
        let names: BTreeSet<_> = deleted.iter().map(|event| &event.name).collect();
        ensure!(
            names.len() == 2,
            "two pods deleted by the operator: {deleted:?}"
        );
        let fences = fences(&case.gateway_log().await?);
        let mut requests = Vec::new();
        for wire in wires {
            requests.extend(wire.stop().await?);
        }
        // R95: SIP goes between the workers; none of it to or from the gateway.
        let gateway = case.object("pod", "callmeter-gateway-0").await?;
        let gateway = gateway.context("no gateway")?["status"]["podIP"].clone();
        let passed = requests
            .iter()
            .find(|r| gateway == *r.from || gateway == *r.to);
        ensure!(passed.is_none(), "SIP at the gateway: {passed:?}");
        for event in &deleted {
            let deleted_at = instant(&event.at)?;
            ensure!(
                deleted_at >= ended,
                "pod {} deleted at {}, before the calls had ended at {ended}",
                event.name,
                event.at
            );
            let fenced = fences.iter().find(|(worker, _)| *worker == event.name);
            let (_, at) = fenced.with_context(|| format!("{} was never fenced", event.name))?;
            let fenced_at = instant(at)?;
            ensure!(fenced_at < ended, "{} fenced only at {at}", event.name);
            // Its calls ended by a BYE of either side, heard on its node after the fence.
            let pod = pods.iter().find(|p| p["metadata"]["name"] == *event.name);
            let ip = pod.and_then(|pod| pod["status"]["podIP"].as_str());
            let ip = ip.with_context(|| format!("{} had no address", event.name))?;
            let byes: Vec<_> = requests
                .iter()
                .filter(|r| r.method == "BYE" && (r.from == ip || r.to == ip))
                .collect();
            ensure!(!byes.is_empty(), "no BYE of {} ({ip}) was heard", event.name);
            for bye in byes {
                ensure!(
                    (seconds(fenced_at)..seconds(deleted_at)).contains(&bye.at),
                    "{bye:?} is not between the fence at {fenced_at} and the deletion at {deleted_at}"
                );
            }
        }
        Ok(())
    })
    .await
}

/// Ears on every node, where they are our own.
async fn listen(case: &Case) -> Result<Vec<Wire>> {
    let mut wires = Vec::new();
    if let Some(nodes) = Nodes::of(&case.cluster) {
        for node in WORKER_NODES.into_iter().chain(["system"]) {
            wires.push(Wire::listen(&nodes, node).await?);
        }
    }
    Ok(wires)
}

/// Seconds since 1970, as captures stamp packets.
fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
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
