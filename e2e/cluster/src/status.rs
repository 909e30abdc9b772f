//! What runs and what does not.

use anyhow::Result;

use crate::component::Component;
use crate::layout::{self, NODES};
use crate::{control_plane, kubectl, network, node};

/// Every component of the cluster.
pub(crate) fn components() -> Result<Vec<Component>> {
    let mut all = vec![
        control_plane::etcd()?,
        control_plane::api_server()?,
        control_plane::controller_manager()?,
        control_plane::scheduler()?,
    ];
    for node in &NODES {
        all.extend([
            node::containerd(node)?,
            node::kubelet(node)?,
            node::kube_proxy(node)?,
        ]);
    }
    Ok(all)
}

/// Prints the state of each part; `true` if all of them are as they should be.
pub(crate) fn print() -> Result<bool> {
    let mut good = network::is_complete();
    println!(
        "{:24} {}",
        "network",
        if good { "there" } else { "not there" }
    );
    for component in components()? {
        let pid = component.pid();
        good &= pid.is_some();
        let state = pid.map_or_else(
            || "not running".to_owned(),
            |pid| format!("running, pid {pid}"),
        );
        println!("{:24} {state}", component.name);
    }
    let ready = if good && kubectl::api_is_ready()? {
        kubectl::ready_nodes()?
    } else {
        Vec::new()
    };
    for node in &NODES {
        let is_ready = ready.iter().any(|name| name == node.name);
        good &= is_ready;
        let state = if is_ready { "Ready" } else { "not Ready" };
        println!(
            "{:24} {state}, {}, {}",
            format!("node {}", node.name),
            node.role,
            node.ip
        );
    }
    let dns = good && dns_is_available()?;
    good &= dns;
    println!(
        "{:24} {}",
        "DNS",
        if dns { "available" } else { "not available" }
    );
    println!("{:24} {}", "kubeconfig", layout::kubeconfig().display());
    println!("{:24} {}", "audit log", layout::audit_log().display());
    Ok(good)
}

/// `true` once a pod of `coredns` is ready.
pub(crate) fn dns_is_available() -> Result<bool> {
    let deployment = kubectl::get(&["--namespace=kube-system", "deployment", "coredns"])?;
    Ok(deployment["status"]["availableReplicas"]
        .as_u64()
        .is_some_and(|count| count > 0))
}
