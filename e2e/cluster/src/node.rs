//! The components of one node.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::component::Component;
use crate::layout::{Node, ROLE_LABEL};
use crate::process::succeeds;
use crate::{cgroup, configs, pki, tools};

/// Writes the node's files and makes its cgroups and the folders of its volumes.
pub(crate) fn prepare(node: &Node) -> Result<()> {
    let dir = node.dir();
    fs::create_dir_all(dir.join("cni")).with_context(|| format!("create {}", dir.display()))?;
    let files = [
        ("containerd.toml", configs::containerd(node)),
        (
            "cni/10-callmeter.conflist",
            serde_json::to_string_pretty(&configs::cni(node))?,
        ),
        (
            "kubelet.json",
            serde_json::to_string_pretty(&configs::kubelet(node))?,
        ),
        (
            "kube-proxy.json",
            serde_json::to_string_pretty(&configs::kube_proxy(node))?,
        ),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    for index in 1..=node.volumes {
        let path = node.volume_dir(index);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    }
    cgroup::make_everywhere(&node.cgroup())
}

pub(crate) fn containerd(node: &Node) -> Result<Component> {
    Ok(Component {
        name: format!("containerd@{}", node.name),
        netns: node.netns,
        program: tools::program("containerd")?,
        args: vec![
            format!("--config={}", node.dir().join("containerd.toml").display()),
            "--log-level=warn".to_owned(),
        ],
    })
}

/// `true` once the node's containerd answers; a kubelet started before ends at once.
pub(crate) fn containerd_answers(node: &Node) -> Result<bool> {
    Ok(node.containerd_socket().exists() && succeeds(ctr(node)?.arg("version")))
}

/// `ctr` on the images and containers that the node's kubelet sees.
pub(crate) fn ctr(node: &Node) -> Result<Command> {
    let mut command = Command::new(tools::program("ctr")?);
    command
        .arg("--address")
        .arg(node.containerd_socket())
        .args(["--namespace", "k8s.io"]);
    Ok(command)
}

pub(crate) fn kubelet(node: &Node) -> Result<Component> {
    let dir = node.dir();
    let kubeconfig = pki::kubeconfig_of(&pki::kubelet_file(node.name));
    Ok(Component {
        name: format!("kubelet@{}", node.name),
        netns: node.netns,
        program: tools::program("kubelet")?,
        args: vec![
            format!("--config={}", dir.join("kubelet.json").display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--root-dir={}", dir.join("kubelet").display()),
            format!("--cert-dir={}", dir.join("kubelet/pki").display()),
            format!("--hostname-override={}", node.name),
            format!("--node-ip={}", node.ip),
            format!("--node-labels={ROLE_LABEL}={}", node.role),
            "--v=1".to_owned(),
        ],
    })
}

pub(crate) fn kube_proxy(node: &Node) -> Result<Component> {
    Ok(Component {
        name: format!("kube-proxy@{}", node.name),
        netns: node.netns,
        program: tools::program("kube-proxy")?,
        args: vec![
            format!("--config={}", node.dir().join("kube-proxy.json").display()),
            "--v=1".to_owned(),
        ],
    })
}
