//! (e) A queued test grows a pool from 0 and the pool shrinks back; one that is too big says so.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{condition, direct_test, eventually, on_system_node, pool, run};
use serde_json::json;

const START: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_queued_test_takes_the_pool_from_0_to_2_and_back() -> Result<()> {
    run("queue", on_system_node(), |case| async move {
        let autoscaling = json!({"autoscaling": {
            "minReplicas": 0, "maxReplicas": 3, "idleAfter": "2s",
            "behavior": {"scaleDown": {"stabilization": "2s"}},
        }});
        case.apply(&pool("fra", 10, &autoscaling)).await?;
        case.await_online("fra", 0, START).await?;

        case.apply(&direct_test("small", "fra", 10, "30s", "20s"))
            .await?;
        case.await_phase("small", &["RUNNING"], START).await?;
        let workers = case.online_workers("fra").await?;
        ensure!(
            workers.len() == 2,
            "20 endpoints of 10 per worker run on 2 workers: {workers:?}"
        );

        let done = case
            .await_phase("small", &["COMPLETED"], Duration::from_secs(120))
            .await?;
        let status = &done["status"];
        ensure!(status["verdict"] == "Passed", "verdict: {status}");
        ensure!(
            condition(&done, "Passed").is_some_and(|(value, ..)| value == "True"),
            "condition Passed: {status}"
        );

        eventually("the pool to be empty", Duration::from_secs(120), || async {
            let pool = case.object("workerpool", "fra").await?.context("no pool")?;
            let left = case.workers("fra").await?.len();
            let desired = pool["spec"]["replicas"].as_u64();
            Ok((left > 0 || desired != Some(0))
                .then(|| format!("{left} workers, replicas {desired:?}, {}", pool["status"])))
        })
        .await?;

        // The whole pool is 30 endpoints.
        case.apply(&direct_test("too-big", "fra", 20, "15s", "8s"))
            .await?;
        let refused = case
            .await_phase("too-big", &["CANNOT_RUN_FOR_NOW"], Duration::from_secs(90))
            .await?;
        let reason = refused["status"]["reason"].as_str().unwrap_or_default();
        let expected = format!(
            "pool {}/fra: 40 endpoints asked, at most 30 (3 workers of 10)",
            case.namespace
        );
        ensure!(
            reason.contains(&expected),
            "reason {reason:?} lacks {expected:?}"
        );
        let empty = case.empty_columns("calltests").await?;
        ensure!(!empty.contains(&"REASON".to_owned()), "no row fills REASON");
        Ok(())
    })
    .await
}
