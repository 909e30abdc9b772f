//! The components of one node.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::component::Component;
use crate::layout::{Node, ROLE_LABEL};
use crate::process::succeeds;
use crate::{cgroup, configs, files, pki, tools};

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
        files::write_changed(&path, &text)?;
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

/// `true` once the node's kube-proxy has written the rules of all Services.
pub(crate) fn kube_proxy_is_synced(node: &Node) -> bool {
    http_ok(node.ip, configs::KUBE_PROXY_HEALTH_PORT).unwrap_or(false)
}

/// `true` if `GET /healthz` is answered with 200.
fn http_ok(ip: &str, port: u16) -> Result<bool> {
    let limit = Duration::from_secs(1);
    let address = SocketAddr::new(ip.parse().context("a node's address")?, port);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET /healthz HTTP/1.0\r\nHost: {ip}\r\n\r\n")?;
    let mut status = [0; "HTTP/1.0 200".len()];
    stream.read_exact(&mut status)?;
    Ok(status.ends_with(b" 200"))
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
