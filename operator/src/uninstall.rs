//! The guard of `helm uninstall`: pools must be gone while the operator can still drain them.

use callmeter_api::WorkerPool;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

/// Fails while pools exist and names them, with the commands that go on.
pub async fn guard(namespace: Option<&str>) -> anyhow::Result<()> {
    // A second call answers with an error that only says it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await?;
    let pools: Api<WorkerPool> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let left = pools.list(&ListParams::default()).await?;
    let names: Vec<String> = left.iter().map(name).collect();
    anyhow::ensure!(names.is_empty(), refusal(&names));
    Ok(())
}

fn name(pool: &WorkerPool) -> String {
    format!(
        "{}/{}",
        pool.namespace().unwrap_or_default(),
        pool.name_any()
    )
}

fn refusal(pools: &[String]) -> String {
    let commands: Vec<String> = pools
        .iter()
        .filter_map(|pool| pool.split_once('/'))
        .map(|(namespace, name)| format!("kubectl -n {namespace} delete workerpool {name}"))
        .collect();
    format!(
        "WorkerPools still exist: {}. Delete them first, so that their workers drain ({}), or uninstall with uninstall.force=true",
        pools.join(", "),
        commands.join("; "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_each_pool_and_the_command() {
        let text = refusal(&["a/fra".to_owned(), "b/ams".to_owned()]);
        assert!(text.contains("a/fra, b/ams"), "{text}");
        assert!(
            text.contains("kubectl -n b delete workerpool ams"),
            "{text}"
        );
    }
}
