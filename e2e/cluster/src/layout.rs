//! Names, addresses and paths: the one place that knows where things are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Everything the running cluster keeps on disk; a real file system, as overlayfs needs one.
/// Short, because paths of sockets below it are limited to 107 bytes.
pub(crate) const STATE: &str = "/var/lib/callmeter-cluster";

/// The component cgroups live below this directory of one hierarchy.
pub(crate) const COMPONENTS_CGROUP: &str = "callmeter-cluster";

pub(crate) const CONTROL_PLANE: &str = "control-plane";
pub(crate) const CONTROL_PLANE_NETNS: &str = "cm-cp";
pub(crate) const CONTROL_PLANE_IP: &str = "10.240.0.1";
pub(crate) const API_PORT: u16 = 6443;

pub(crate) const NODE_RANGE: &str = "10.240.0.0/24";
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
pub(crate) const API_SERVICE_IP: &str = "10.96.0.1";
pub(crate) const DNS_SERVICE_IP: &str = "10.96.0.10";

/// Both ends of the link between the root namespace and the control plane's namespace.
pub(crate) const ROOT_LINK: &str = "cm-root";
pub(crate) const ROOT_LINK_IP: &str = "10.240.255.1";
pub(crate) const UPLINK_IP: &str = "10.240.255.2";

/// The taint of the node that carries the gateway, the operator and DNS.
pub(crate) const SYSTEM_TAINT: &str = "callmeter.io/system";
/// The label that tells the nodes apart: `system` or `worker`.
pub(crate) const ROLE_LABEL: &str = "callmeter.io/role";

/// One node of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) role: &'static str,
    pub(crate) netns: &'static str,
    pub(crate) ip: &'static str,
    /// Pods of this node; host-local hands out its addresses.
    pub(crate) pod_range: &'static str,
    /// Static volumes made for this node.
    pub(crate) volumes: usize,
}

pub(crate) const NODES: [Node; 3] = [
    Node {
        name: "system",
        role: "system",
        netns: "cm-system",
        ip: "10.240.0.11",
        pod_range: "10.244.1.0/24",
        volumes: 30,
    },
    Node {
        name: "worker-1",
        role: "worker",
        netns: "cm-worker-1",
        ip: "10.240.0.12",
        pod_range: "10.244.2.0/24",
        volumes: 5,
    },
    Node {
        name: "worker-2",
        role: "worker",
        netns: "cm-worker-2",
        ip: "10.240.0.13",
        pod_range: "10.244.3.0/24",
        volumes: 5,
    },
];

impl Node {
    /// The node called `name`; the error lists the names there are.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        let found = NODES.iter().find(|node| node.name == name);
        found.with_context(|| {
            let names: Vec<_> = NODES.iter().map(|node| node.name).collect();
            format!("no node {name:?}; there are {}", names.join(", "))
        })
    }

    pub(crate) fn dir(&self) -> PathBuf {
        state().join("nodes").join(self.name)
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.dir().join("containerd.sock")
    }

    /// The cgroup below which the kubelet puts its pods, the same in every hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        format!("callmeter-{}", self.name)
    }

    /// The CNI network of this node; the plugins' caches are named after it.
    pub(crate) fn cni_network(&self) -> String {
        format!("callmeter-{}", self.name)
    }

    pub(crate) fn volume_dir(&self, index: usize) -> PathBuf {
        state()
            .join("volumes")
            .join(self.name)
            .join(format!("{index:02}"))
    }
}

pub(crate) fn state() -> &'static Path {
    Path::new(STATE)
}

pub(crate) fn logs() -> PathBuf {
    state().join("logs")
}

pub(crate) fn audit_log() -> PathBuf {
    logs().join("audit.log")
}

/// The administrator's kubeconfig.
pub(crate) fn kubeconfig() -> PathBuf {
    state().join("kubeconfig")
}

pub(crate) fn pki(file: &str) -> PathBuf {
    state().join("pki").join(file)
}

/// Where `ip netns` keeps the namespace `name`.
pub(crate) fn netns_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// All network namespaces of the cluster itself (those of pods are below `STATE`).
pub(crate) fn namespaces() -> impl Iterator<Item = &'static str> {
    std::iter::once(CONTROL_PLANE_NETNS).chain(NODES.iter().map(|node| node.netns))
}

/// The cache outside the tree: `CALLMETER_CACHE`, else `~/.cache/callmeter`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("CALLMETER_CACHE").filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        if !dir.is_absolute() {
            bail!(
                "CALLMETER_CACHE is {}, an absolute path is needed",
                dir.display()
            );
        }
        return Ok(dir);
    }
    let home = env::var_os("HOME").context("neither CALLMETER_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/callmeter"))
}

/// Root of the source tree: `CALLMETER_SOURCE_ROOT`, which the script `cluster` sets, else where
/// this binary was built.
pub(crate) fn source_root() -> PathBuf {
    if let Some(root) = env::var_os("CALLMETER_SOURCE_ROOT").filter(|root| !root.is_empty()) {
        return PathBuf::from(root);
    }
    let mut dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    dir.pop();
    dir.pop();
    dir
}
