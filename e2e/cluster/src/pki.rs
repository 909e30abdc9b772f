//! One certificate authority, the certificates it signed, and the kubeconfigs that hold them.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::layout::{self, API_PORT, API_SERVICE_IP, CONTROL_PLANE_IP, NODES, UPLINK_IP};

/// Who a certificate speaks for.
struct Subject<'a> {
    /// Names the files: `NAME.crt`, `NAME.key`.
    file: &'a str,
    common_name: &'a str,
    organization: Option<&'a str>,
    /// Names and addresses it serves under; none for a client.
    names: &'a [&'a str],
}

/// Makes every key, certificate and kubeconfig, unless a whole set is there.
pub(crate) fn ensure() -> Result<()> {
    if marker().exists() {
        return Ok(());
    }
    let dir = layout::state().join("pki");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let authority = authority()?;
    let client = |file, common_name, organization| Subject {
        file,
        common_name,
        organization,
        names: &[],
    };
    for subject in [
        client("admin", "callmeter-admin", Some("system:masters")),
        client(
            "apiserver-kubelet-client",
            "kube-apiserver",
            Some("system:masters"),
        ),
        client("front-proxy-client", "front-proxy-client", None),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("kube-proxy", "system:kube-proxy", None),
    ] {
        issue(&authority, &subject)?;
    }
    issue(
        &authority,
        &Subject {
            file: "apiserver",
            common_name: "kube-apiserver",
            organization: None,
            names: &[
                CONTROL_PLANE_IP,
                UPLINK_IP,
                "127.0.0.1",
                API_SERVICE_IP,
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ],
        },
    )?;
    for node in &NODES {
        let subject = Subject {
            file: &kubelet_file(node.name),
            common_name: &format!("system:node:{}", node.name),
            organization: Some("system:nodes"),
            names: &[node.name, node.ip],
        };
        issue(&authority, &subject)?;
        write_kubeconfig(&kubeconfig_of(subject.file), subject.file)?;
    }
    let service_accounts = KeyPair::generate().context("generate the service account key")?;
    write_private(
        &layout::pki("service-account.key"),
        &service_accounts.serialize_pem(),
    )?;
    write_private(
        &layout::pki("service-account.pub"),
        &service_accounts.public_key_pem(),
    )?;
    for user in ["controller-manager", "scheduler", "kube-proxy"] {
        write_kubeconfig(&kubeconfig_of(user), user)?;
    }
    write_kubeconfig(&layout::kubeconfig(), "admin")?;
    write_private(&marker(), "")
}

/// The files of a node's kubelet certificate are called this.
pub(crate) fn kubelet_file(node: &str) -> String {
    format!("kubelet-{node}")
}

/// The kubeconfig of the component whose certificate is called `user`.
pub(crate) fn kubeconfig_of(user: &str) -> PathBuf {
    layout::pki(&format!("{user}.kubeconfig"))
}

fn marker() -> PathBuf {
    layout::pki("complete")
}

fn authority() -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "callmeter-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let key = KeyPair::generate().context("generate the authority's key")?;
    let certificate = params.self_signed(&key).context("sign the authority")?;
    write_private(&layout::pki("ca.crt"), &certificate.pem())?;
    write_private(&layout::pki("ca.key"), &key.serialize_pem())?;
    Ok(Issuer::new(params, key))
}

fn issue(authority: &Issuer<'_, KeyPair>, subject: &Subject<'_>) -> Result<()> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, subject.common_name);
    if let Some(organization) = subject.organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !subject.names.is_empty() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    for name in subject.names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().context("a name for a certificate")?),
        });
    }
    let key = KeyPair::generate().with_context(|| format!("generate {}.key", subject.file))?;
    let certificate = params
        .signed_by(&key, authority)
        .with_context(|| format!("sign {}", subject.file))?;
    write_private(
        &layout::pki(&format!("{}.crt", subject.file)),
        &certificate.pem(),
    )?;
    write_private(
        &layout::pki(&format!("{}.key", subject.file)),
        &key.serialize_pem(),
    )
}

/// A kubeconfig that needs no other file, so that it can be copied; JSON is YAML.
fn write_kubeconfig(path: &Path, user: &str) -> Result<()> {
    let data = |file: &str| -> Result<String> {
        let path = layout::pki(file);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(BASE64_STANDARD.encode(bytes))
    };
    let name = "callmeter-cluster";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://{CONTROL_PLANE_IP}:{API_PORT}"),
            "certificate-authority-data": data("ca.crt")?,
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": data(&format!("{user}.crt"))?,
            "client-key-data": data(&format!("{user}.key"))?,
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    write_private(path, &serde_json::to_string_pretty(&config)?)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
