//! `ensure-tls`: makes the certificate authority and the server certificate if they are absent,
//! and renews the server certificate before it ends. In a cluster they are a Secret and a
//! ConfigMap; without one they are files.

mod bundle;
mod cluster;
mod files;

use std::path::PathBuf;
use std::time::SystemTime;

pub use bundle::{Bundle, BundleError, renewed};

/// Why the certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EnsureTlsError {
    /// Making or reading a certificate failed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file could not be read or written.
    #[error("{attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The API server could not be asked.
    #[error("{attempt}")]
    Cluster {
        /// What was attempted.
        attempt: String,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret is there and holds something else.
    #[error(
        "Secret {namespace}/{name}: {problem}; accepted: a Secret made by this command, or gateway.tls.existingSecret"
    )]
    ForeignSecret {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// Where the certificates go and for which names.
#[derive(Debug, Clone, clap::Args)]
pub struct EnsureTls {
    /// Namespace of the Secret and the `ConfigMap`.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Secret of the server certificate, its key and the authority.
    #[arg(long, default_value = "callmeter-gateway-tls")]
    secret: String,
    /// `ConfigMap` of the authority's certificate, for clients.
    #[arg(long, default_value = "callmeter-gateway-ca")]
    ca_config_map: String,
    /// Name of the Service: the certificate is good for its four names.
    #[arg(long, default_value = "callmeter-gateway")]
    service: String,
    /// A further name or address the certificate is good for; may be given again.
    #[arg(long = "san")]
    sans: Vec<String>,
    /// Write files into this directory instead of asking a cluster.
    #[arg(long)]
    out_dir: Option<PathBuf>,
}

impl EnsureTls {
    /// Makes what is absent and renews what ends within 30 days.
    pub async fn run(self) -> Result<(), EnsureTlsError> {
        let Self {
            namespace,
            secret,
            ca_config_map,
            service,
            sans: extra,
            out_dir,
        } = self;
        let sans = names(&service, &namespace, extra);
        let now = SystemTime::now();
        match out_dir {
            Some(dir) => files::ensure(&dir, &sans, now),
            None => cluster::ensure(&namespace, &secret, &ca_config_map, &sans, now).await,
        }
    }
}

/// The Service's four names, `localhost` for port-forwards, and what was asked for besides.
fn names(service: &str, namespace: &str, extra: Vec<String>) -> Vec<String> {
    let mut names = vec![
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        "localhost".to_owned(),
    ];
    for name in extra {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
