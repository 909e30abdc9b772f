//! The configuration files of the nodes' components; pure functions of a node.

use serde_json::{Value, json};

use crate::image::PAUSE_IMAGE;
use crate::layout::{self, DNS_SERVICE_IP, Node, POD_RANGE, SYSTEM_TAINT};
use crate::pki;

/// Where a kube-proxy tells, to the whole cluster, whether its rules are written.
pub(crate) const KUBE_PROXY_HEALTH_PORT: u16 = 10256;

pub(crate) fn containerd(node: &Node) -> String {
    let dir = node.dir();
    let dir = dir.display();
    let socket = node.containerd_socket();
    let socket = socket.display();
    // The shims' sockets would otherwise go to a folder in /run shared with every containerd.
    let shims = layout::state().join("shims");
    let shims = shims.display();
    format!(
        r#"version = 3
root = "{dir}/containerd"
state = "{dir}/containerd-state"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{socket}"

[ttrpc]
address = "{socket}.ttrpc"

[plugins."io.containerd.shim.v1.manager"]
socket_dir = "{shims}"

# It waits for the disk at every change otherwise; a machine that crashes takes the cluster with it.
[plugins."io.containerd.metadata.v1.bolt"]
no_sync = true

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{dir}/cni"
use_internal_loopback = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
Root = "{dir}/runc"
"#
    )
}

pub(crate) fn cni(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": node.cni_network(),
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": node.dir().join("addresses"),
                    "ranges": [[{"subnet": node.pod_range}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

pub(crate) fn kubelet(node: &Node) -> Value {
    let certificate = pki::kubelet_file(node.name);
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup()),
        "containerRuntimeEndpoint": format!("unix://{}", node.containerd_socket().display()),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout::pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout::pki(&format!("{certificate}.crt")),
        "tlsPrivateKeyFile": layout::pki(&format!("{certificate}.key")),
        "podLogsDir": node.dir().join("pod-logs"),
        "volumePluginDir": node.dir().join("volume-plugins"),
        "failSwapOn": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE_IP],
        "resolvConf": "",
        // The disk is shared with builds and may be nearly full; images come from no registry,
        // so none may be collected.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "4s",
        "nodeStatusReportFrequency": "1m",
        // Tests that kill a container ten times do not wait for minutes.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        // The rules for host ports come from CNI, those for Services from kube-proxy.
        "makeIPTablesUtilChains": false,
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "healthzBindAddress": "127.0.0.1",
    });
    if node.role == "system" {
        config["registerWithTaints"] = json!([{"key": SYSTEM_TAINT, "effect": "NoSchedule"}]);
    }
    config
}

pub(crate) fn kube_proxy(node: &Node) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": pki::kubeconfig_of("kube-proxy")},
        "conntrack": {"maxPerCore": 0, "min": 0},
        "healthzBindAddress": format!("0.0.0.0:{KUBE_PROXY_HEALTH_PORT}"),
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

/// What the API server records: who touched pods, Secrets and our own resources, and every write.
/// Bodies are never recorded, as Secrets have them too.
pub(crate) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "resources": [
                {"group": "coordination.k8s.io", "resources": ["leases"]},
                {"group": "", "resources": ["events"]},
                {"group": "events.k8s.io", "resources": ["events"]},
                {"group": "authentication.k8s.io"},
                {"group": "authorization.k8s.io"},
            ]},
            {"level": "None", "userGroups": ["system:nodes"], "verbs": ["get", "list", "watch"]},
            {"level": "None", "users": ["system:kube-scheduler", "system:kube-proxy",
                "system:kube-controller-manager", "system:apiserver"],
                "verbs": ["get", "list", "watch"]},
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"],
                "verbs": ["get", "list", "watch"]},
            {"level": "Metadata", "resources": [
                {"group": "", "resources": ["pods", "pods/eviction", "pods/status", "secrets"]},
                {"group": "callmeter.io"},
            ]},
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete",
                "deletecollection"]},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::NODES;

    #[test]
    fn only_the_system_node_is_tainted() {
        for node in &NODES {
            let tainted = kubelet(node).get("registerWithTaints").is_some();
            assert_eq!(tainted, node.role == "system", "{}", node.name);
        }
    }

    /// `sockaddr_un` holds 107 bytes; a shim's socket is named by 64 hexadecimal digits.
    #[test]
    fn socket_paths_fit() {
        for node in &NODES {
            assert!(node.containerd_socket().as_os_str().len() + ".ttrpc".len() <= 107);
        }
        assert!(layout::state().join("shims").as_os_str().len() <= 42);
    }

    #[test]
    fn nodes_share_no_address() {
        for (index, node) in NODES.iter().enumerate() {
            for other in &NODES[index + 1..] {
                assert_ne!(node.ip, other.ip);
                assert_ne!(node.pod_range, other.pod_range);
                assert_ne!(node.netns, other.netns);
            }
        }
    }
}
