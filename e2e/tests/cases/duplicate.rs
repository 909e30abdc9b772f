//! (c) A second worker with a token that is in use is refused with the exact string, and comes ONLINE
//! by itself when the first one is gone. R63, R71, R73

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, Rest, eventually, on_system_node, pool, run};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(180);
const REFUSAL: &str = "authentication failed: duplicate connection";

#[tokio::test]
async fn a_second_worker_waits_until_the_first_one_is_gone() -> Result<()> {
    run("duplicate", on_system_node(), |case| async move {
        let rest = Rest::connect(&case).await?;
        let made = rest
            .post("/workers", &json!({"name": "shared", "capacity": 2}))
            .await?;
        let id = made["id"].as_str().context("no id")?.to_owned();
        case.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cmw-shared"},
            "stringData": {"token": made["token"]},
        }))
        .await?;
        let tokens = json!({
            "replicas": 1,
            "tokens": {"secrets": [{"name": "cmw-shared", "key": "token"}]},
        });
        case.apply(&pool("fra", 2, &tokens)).await?;
        case.await_online("fra", 1, START).await?;

        case.apply(&second(&case)).await?;
        eventually("the second worker to be refused", START, || async {
            let log = case.kubectl(&["logs", "second", "--tail=-1"]).await?;
            Ok((!log.contains(REFUSAL)).then(|| format!("{} bytes of log", log.len())))
        })
        .await?;
        let first = rest.get(&format!("/workers/{id}")).await?;
        ensure!(
            first["status"] == "ONLINE",
            "the first one was disturbed: {first}"
        );
        ensure!(!is_ready(&case).await?, "a refused worker is not ready");

        case.kubectl(&["scale", "workerpool/fra", "--replicas=0"])
            .await?;
        // It tries again after 1 s doubling to 30 s.
        eventually("the second worker to be online", START, || async {
            let ready = is_ready(&case).await?;
            let row = rest.get(&format!("/workers/{id}")).await?;
            let online = ready && row["status"] == "ONLINE";
            Ok((!online).then(|| format!("ready {ready}, {row}")))
        })
        .await?;
        let pod = case.object("pod", "second").await?.context("no pod")?;
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(
            *restarts == 0,
            "it came back by itself, not by {restarts} restarts"
        );
        case.kubectl(&["delete", "pod", "second"]).await.map(drop)
    })
    .await
}

async fn is_ready(case: &Case) -> Result<bool> {
    let pod = case.object("pod", "second").await?.context("no pod")?;
    Ok(pod["status"]["containerStatuses"][0]["ready"] == true)
}

/// A worker that no operator looks after, as a person would start one.
fn second(case: &Case) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "second"},
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "worker",
                "image": case.image("worker"),
                "env": [
                    {"name": "WORKER_TOKEN", "valueFrom": {"secretKeyRef": {"name": "cmw-shared", "key": "token"}}},
                    {"name": "CLOUD_URL", "value": format!("callmeter-gateway.{}.svc:443", case.namespace)},
                    {"name": "CLOUD_CA_FILE", "value": "/etc/callmeter/ca.crt"},
                ],
                "readinessProbe": {"httpGet": {"path": "/health", "port": 3030}, "periodSeconds": 2},
                "volumeMounts": [{"name": "ca", "mountPath": "/etc/callmeter"}],
            }],
            "volumes": [{"name": "ca", "configMap": {"name": "callmeter-gateway-ca"}}],
        },
    })
}
