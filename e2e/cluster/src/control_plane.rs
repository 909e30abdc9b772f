//! etcd, API server, controller manager and scheduler.

use std::path::PathBuf;

use anyhow::Result;

use crate::component::Component;
use crate::configs;
use crate::files;
use crate::layout::{
    self, API_PORT, CONTROL_PLANE_IP, CONTROL_PLANE_NETNS, POD_RANGE, SERVICE_RANGE,
};
use crate::pki;
use crate::tools;

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// Writes the files the components read.
pub(crate) fn prepare() -> Result<()> {
    let policy = serde_json::to_string_pretty(&configs::audit_policy())?;
    files::write_changed(&audit_policy(), &policy)
}

fn audit_policy() -> PathBuf {
    layout::state().join("audit-policy.json")
}

fn component(name: &str, args: Vec<String>) -> Result<Component> {
    Ok(Component {
        name: name.to_owned(),
        netns: CONTROL_PLANE_NETNS,
        program: tools::program(name)?,
        args,
    })
}

fn pki_file(file: &str) -> String {
    layout::pki(file).display().to_string()
}

/// Keeps the cluster's state. It trusts its clients: only the control plane's namespace reaches
/// its loopback address.
pub(crate) fn etcd() -> Result<Component> {
    let data = layout::state().join("etcd");
    component(
        "etcd",
        vec![
            "--name=callmeter".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={ETCD_PEER}"),
            format!("--initial-advertise-peer-urls={ETCD_PEER}"),
            format!("--initial-cluster=callmeter={ETCD_PEER}"),
            // What a crash of the machine loses is not wanted any more.
            "--unsafe-no-fsync".to_owned(),
            "--heartbeat-interval=500".to_owned(),
            "--election-timeout=5000".to_owned(),
            "--log-level=warn".to_owned(),
        ],
    )
}

pub(crate) fn api_server() -> Result<Component> {
    component(
        "kube-apiserver",
        vec![
            format!("--etcd-servers={ETCD}"),
            "--bind-address=0.0.0.0".to_owned(),
            format!("--secure-port={API_PORT}"),
            format!("--advertise-address={CONTROL_PLANE_IP}"),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            format!("--tls-cert-file={}", pki_file("apiserver.crt")),
            format!("--tls-private-key-file={}", pki_file("apiserver.key")),
            format!("--client-ca-file={}", pki_file("ca.crt")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--kubelet-certificate-authority={}", pki_file("ca.crt")),
            format!(
                "--kubelet-client-certificate={}",
                pki_file("apiserver-kubelet-client.crt")
            ),
            format!(
                "--kubelet-client-key={}",
                pki_file("apiserver-kubelet-client.key")
            ),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-signing-key-file={}",
                pki_file("service-account.key")
            ),
            format!(
                "--service-account-key-file={}",
                pki_file("service-account.pub")
            ),
            format!("--requestheader-client-ca-file={}", pki_file("ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            format!(
                "--proxy-client-cert-file={}",
                pki_file("front-proxy-client.crt")
            ),
            format!(
                "--proxy-client-key-file={}",
                pki_file("front-proxy-client.key")
            ),
            // Service addresses do not work in the control plane's namespace: go to the pods.
            "--enable-aggregator-routing=true".to_owned(),
            format!("--audit-policy-file={}", audit_policy().display()),
            format!("--audit-log-path={}", layout::audit_log().display()),
            // Written before the answer is sent, so that an observer misses nothing it has seen
            // the effect of.
            "--audit-log-mode=blocking-strict".to_owned(),
            "--audit-log-maxsize=500".to_owned(),
            "--audit-log-maxbackup=2".to_owned(),
            "--profiling=false".to_owned(),
            "--v=1".to_owned(),
        ],
    )
}

pub(crate) fn controller_manager() -> Result<Component> {
    let kubeconfig = pki::kubeconfig_of("controller-manager");
    let kubeconfig = kubeconfig.display();
    component(
        "kube-controller-manager",
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            // Each node's range is fixed in its CNI configuration.
            "--allocate-node-cidrs=false".to_owned(),
            format!("--cluster-cidr={POD_RANGE}"),
            format!("--root-ca-file={}", pki_file("ca.crt")),
            format!(
                "--service-account-private-key-file={}",
                pki_file("service-account.key")
            ),
            "--leader-elect=false".to_owned(),
            // A lost node shows sooner.
            "--node-monitor-grace-period=20s".to_owned(),
            "--kube-api-qps=100".to_owned(),
            "--kube-api-burst=200".to_owned(),
            "--profiling=false".to_owned(),
            "--v=1".to_owned(),
        ],
    )
}

pub(crate) fn scheduler() -> Result<Component> {
    let kubeconfig = pki::kubeconfig_of("scheduler");
    let kubeconfig = kubeconfig.display();
    component(
        "kube-scheduler",
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--profiling=false".to_owned(),
            "--v=1".to_owned(),
        ],
    )
}
