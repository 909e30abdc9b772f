//! The cluster's own administrator.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{feed, output, succeeds};
use crate::{layout, tools};

fn kubectl() -> Result<Command> {
    let mut command = Command::new(tools::program("kubectl")?);
    command.arg(format!("--kubeconfig={}", layout::kubeconfig().display()));
    Ok(command)
}

/// `true` once the API server serves and has made its built-in roles.
pub(crate) fn api_is_ready() -> Result<bool> {
    Ok(succeeds(kubectl()?.args([
        "get",
        "--raw=/readyz",
        "--request-timeout=2s",
    ])))
}

/// `kubectl get -o json ARGS`.
pub(crate) fn get(args: &[&str]) -> Result<Value> {
    let text = output(
        kubectl()?
            .args(["get", "-o", "json", "--request-timeout=30s"])
            .args(args),
    )?;
    serde_json::from_str(&text).context("kubectl's answer is no JSON")
}

/// Server-side apply of YAML documents.
pub(crate) fn apply(documents: &str) -> Result<()> {
    let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    feed(
        kubectl()?
            .args(args)
            .arg("--field-manager=callmeter-cluster"),
        documents,
    )
    .map(drop)
}

/// A JSON patch of one object.
pub(crate) fn patch(object: &[&str], patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    output(
        kubectl()?
            .arg("patch")
            .args(object)
            .args(["--type=json", "-p", &patch]),
    )
    .map(drop)
}

/// Names of the nodes whose condition `Ready` is true.
pub(crate) fn ready_nodes() -> Result<Vec<String>> {
    let nodes = get(&["nodes"])?;
    let items = nodes["items"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(items
        .iter()
        .filter(|node| {
            let conditions = node["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
        })
        .filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned))
        .collect())
}

/// `kubectl describe ARGS`, for error messages.
pub(crate) fn describe(args: &[&str]) -> Result<String> {
    output(
        kubectl()?
            .args(["describe", "--request-timeout=10s"])
            .args(args),
    )
}
