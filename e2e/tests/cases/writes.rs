//! The operator is ended with `kill -9` right after its n-th write, for n from 1 to 10, with tokens
//! from Secrets and with minted ones: never are there two pods for one token, and it ends converged.

use std::time::Duration;

use anyhow::{Result, ensure};
use callmeter_e2e::{Case, OperatorHome, PodWatch, Rest, eventually, on_system_node, pool, run};
use serde_json::{Value, json};

const ENDS: Duration = Duration::from_secs(120);
const START: Duration = Duration::from_secs(180);
const WRITES: usize = 10;
const WORKERS: usize = 2;

#[tokio::test]
async fn an_operator_that_dies_at_any_write_leaves_one_pod_per_token_from_secrets() -> Result<()> {
    run("writes-secrets", values(), |case| async move {
        let rest = Rest::connect(&case).await?;
        let mut secrets = Vec::new();
        for n in 0..WORKERS {
            let name = format!("cmw-{n}");
            let made = rest
                .post("/workers", &json!({"name": name, "capacity": 2}))
                .await?;
            case.apply(&json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "stringData": {"token": made["token"]},
            }))
            .await?;
            secrets.push(json!({"name": name, "key": "token"}));
        }
        die_at_each_write(&case, &json!({"secrets": secrets})).await
    })
    .await
}

#[tokio::test]
async fn an_operator_that_dies_at_any_write_leaves_one_pod_per_minted_token() -> Result<()> {
    run("writes-claim", values(), |case| async move {
        die_at_each_write(&case, &json!({"claim": {}})).await?;
        // Records of the gateway that no worker stands for were dropped.
        let rest = Rest::connect(&case).await?;
        eventually(
            "no worker at the gateway",
            Duration::from_secs(90),
            || async {
                let left = rest.get("/workers").await?;
                let count = left.as_array().map_or(0, Vec::len);
                Ok((count > 0).then(|| left.to_string()))
            },
        )
        .await
    })
    .await
}

fn values() -> Value {
    let mut values = on_system_node();
    values["operator"]["replicas"] = json!(0);
    values
}

async fn die_at_each_write(case: &Case, tokens: &Value) -> Result<()> {
    let home = OperatorHome::make(case).await?;
    let watch = PodWatch::start(case)?;
    for number in 1..=WRITES {
        let name = format!("fra-{number}");
        let mut first = home.start()?;
        home.proxy().end_after(number, first.pid()?).await;
        let spec = json!({"replicas": WORKERS, "tokens": tokens});
        case.apply(&pool(&name, 2, &spec)).await?;
        first.ended(ENDS).await?;
        let writes = home.proxy().writes().await;
        ensure!(writes.len() == number, "ended after {number}: {writes:?}");

        home.proxy().resume().await;
        let second = home.start()?;
        case.await_online(&name, WORKERS, START).await?;
        ensure!(
            watch.shared_tokens().is_empty(),
            "after write {number} ({:?}): {:?}",
            writes.last(),
            watch.shared_tokens()
        );
        case.kubectl(&["delete", "workerpool", &name, "--wait=false"])
            .await?;
        eventually("the pool and its workers to be gone", START, || async {
            let left = case.objects("workerpools,callmeterworkers,pods").await?;
            let left: Vec<_> = left
                .iter()
                .map(|o| o["metadata"]["name"].clone())
                .filter(|name| name != "callmeter-gateway-0")
                .collect();
            Ok((!left.is_empty()).then(|| format!("{left:?}")))
        })
        .await?;
        drop(second);
    }
    ensure!(
        watch.pods() >= WRITES * WORKERS,
        "only {} pods were seen",
        watch.pods()
    );
    ensure!(
        watch.shared_tokens().is_empty(),
        "{:?}",
        watch.shared_tokens()
    );
    let log = case.gateway_log().await?;
    ensure!(
        !log.contains("duplicate connection"),
        "a token was used twice"
    );
    ensure!(!home.log()?.contains("panicked"), "the operator panicked");
    Ok(())
}
