//! (f) `helm uninstall` refuses while pools exist, and un- and re-installs cleanly on one cluster.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, direct_test, eventually, on_system_node, passed_whole, pool, run};
use serde_json::json;

const START: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_release_goes_only_without_pools_and_comes_back() -> Result<()> {
    run("uninstall", on_system_node(), |case| async move {
        case.apply(&pool("fra", 2, &json!({"replicas": 1}))).await?;
        case.await_online("fra", 1, START).await?;

        let refused = case.helm(&["uninstall", "callmeter", "--wait"]).await;
        ensure!(refused.is_err(), "uninstalled under a pool: {refused:?}");
        let said = case
            .kubectl(&["logs", "job/callmeter-uninstall-guard", "--tail=-1"])
            .await?;
        let advice = format!("kubectl -n {} delete workerpool fra", case.namespace);
        ensure!(said.contains(&advice), "no advice in {said:?}");
        // Nothing was taken away: the pool still works.
        works(&case, "before").await?;

        case.kubectl(&["delete", "workerpool", "fra"]).await?;
        case.helm(&["uninstall", "callmeter", "--wait"]).await?;
        eventually("nothing of the release to be left", START, || async {
            let kinds = "deployments,statefulsets,services,jobs,pods,roles,rolebindings,\
                         serviceaccounts,configmaps";
            let left = case.objects(kinds).await?;
            let left: Vec<_> = left
                .iter()
                .filter_map(|o| o["metadata"]["name"].as_str())
                .filter(|name| name.starts_with("callmeter") && !KEPT.contains(name))
                .collect();
            Ok((!left.is_empty()).then(|| format!("{left:?}")))
        })
        .await?;

        case.install(on_system_node()).await?;
        case.apply(&pool("fra", 2, &json!({"replicas": 1}))).await?;
        case.await_online("fra", 1, START).await?;
        works(&case, "after").await?;
        // The results of before are still there: the volume outlives the release.
        let rest = callmeter_e2e::Rest::connect(&case).await?;
        let runs = rest.get("/runs").await?;
        ensure!(
            runs.as_array().is_some_and(|runs| runs.len() == 2),
            "{runs}"
        );
        Ok(())
    })
    .await
}

/// The gateway's CA, which a later release uses again; its key is in a Secret that is kept as well.
const KEPT: [&str; 1] = ["callmeter-gateway-ca"];

async fn works(case: &Case, name: &str) -> Result<()> {
    case.apply(&direct_test(name, "fra", 1, "8s", "3s")).await?;
    case.await_phase(name, &["RUNNING", "COMPLETED"], START)
        .await?;
    let done = case.await_phase(name, &["COMPLETED"], START).await?;
    passed_whole(&done).with_context(|| name.to_owned())
}
