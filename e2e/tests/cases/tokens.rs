//! (f) Wrong and disabled tokens: the exact strings in the log, the reason on the resource, and
//! recovery when put right. R69, R70.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, Rest, condition, eventually, on_system_node, pool, run};
use serde_json::json;

const START: Duration = Duration::from_secs(180);

#[tokio::test]
async fn wrong_and_disabled_tokens_are_named_and_put_right() -> Result<()> {
    run("tokens", on_system_node(), |case| async move {
        let rest = Rest::connect(&case).await?;
        let made = rest
            .post("/workers", &json!({"name": "fra-01", "capacity": 5}))
            .await?;
        let id = made["id"].as_str().context("no id")?.to_owned();
        let token = made["token"].as_str().context("no token")?.to_owned();

        let wrong = format!("cmw_{}", "0123456789abcdef".repeat(4));
        secret(&case, &wrong).await?;
        let tokens = json!({
            "replicas": 1,
            "tokens": {"secrets": [{"name": "cmw-fra-01", "key": "token"}]},
        });
        case.apply(&pool("fra", 5, &tokens)).await?;
        token_condition(&case, "False", "InvalidToken").await?;
        logged(&case, "authentication failed: invalid token").await?;

        secret(&case, &token).await?;
        case.await_online("fra", 1, START).await?;
        token_condition(&case, "True", "").await?;

        rest.post(&format!("/workers/{id}/disable"), &json!({}))
            .await?;
        token_condition(&case, "False", "WorkerDisabled").await?;
        logged(&case, "authentication failed: worker disabled").await?;
        rest.post(&format!("/workers/{id}/enable"), &json!({}))
            .await?;
        case.await_online("fra", 1, START).await?;
        token_condition(&case, "True", "").await?;

        for word in [&token, &wrong] {
            let body = word.trim_start_matches("cmw_");
            for source in ["callmeter-gateway-0", "deployment/callmeter-operator"] {
                let log = case.kubectl(&["logs", source, "--tail=-1"]).await?;
                ensure!(!log.contains(body), "{source} logged a token");
            }
        }
        Ok(())
    })
    .await
}

async fn secret(case: &Case, token: &str) -> Result<()> {
    case.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cmw-fra-01"},
        "stringData": {"token": token},
    }))
    .await
    .map(drop)
}

async fn token_condition(case: &Case, value: &str, reason: &str) -> Result<()> {
    let what = format!("TokenValid={value} {reason}");
    eventually(&what, START, || async {
        let workers = case.workers("fra").await?;
        let worker = workers.first().context("no worker")?;
        let seen = condition(worker, "TokenValid");
        let holds = seen
            .as_ref()
            .is_some_and(|(v, r, _)| v == value && (reason.is_empty() || r == reason));
        Ok((!holds).then(|| format!("{seen:?}")))
    })
    .await
}

/// The worker's log, this container's or the one before it, holds `text`.
async fn logged(case: &Case, text: &str) -> Result<()> {
    eventually(&format!("{text:?} in the worker's log"), START, || async {
        let selector = "--selector=callmeter.io/pool=fra";
        let mut log = case
            .kubectl(&["logs", selector, "--tail=-1"])
            .await
            .unwrap_or_default();
        log += &case
            .kubectl(&["logs", selector, "--tail=-1", "--previous"])
            .await
            .unwrap_or_default();
        Ok((!log.contains(text)).then(|| format!("{} bytes of log", log.len())))
    })
    .await
}
