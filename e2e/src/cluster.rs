//! Which cluster the cases run on, and the tools they use as a user would.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// The cluster under the cases.
#[derive(Debug, Clone)]
pub struct Cluster {
    kubeconfig: PathBuf,
    audit_log: Option<PathBuf>,
    kubectl: PathBuf,
    helm: PathBuf,
}

impl Cluster {
    /// The cluster to use; `None`, with a message, where the cases are not asked for.
    pub fn find() -> Result<Option<Self>> {
        if std::env::var_os("CALLMETER_E2E").is_none_or(|v| v != "1") {
            eprintln!("skipped: needs a cluster; `make test` runs it (CALLMETER_E2E=1)");
            return Ok(None);
        }
        let path = |name: &str| -> Result<PathBuf> {
            let value = std::env::var_os(name)
                .with_context(|| format!("{name} is not set; scripts/e2e sets it"))?;
            Ok(PathBuf::from(value))
        };
        Ok(Some(Self {
            kubeconfig: path("KUBECONFIG")?,
            audit_log: std::env::var_os("CALLMETER_AUDIT_LOG").map(PathBuf::from),
            kubectl: path("CALLMETER_KUBECTL")?,
            helm: path("CALLMETER_HELM")?,
        }))
    }

    /// The API server's audit log, where the cluster is our own.
    pub fn audit_log(&self) -> Option<&Path> {
        self.audit_log.as_deref()
    }

    /// `kubectl` with the cluster's kubeconfig.
    pub fn kubectl(&self) -> Command {
        self.command(&self.kubectl)
    }

    /// `helm` with the cluster's kubeconfig.
    pub fn helm(&self) -> Command {
        self.command(&self.helm)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// Runs a command to its end and answers with its standard output; errors hold its standard error.
pub async fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{:?}", command.as_std());
    let done = command
        .output()
        .await
        .with_context(|| format!("start {shown}"))?;
    if !done.status.success() {
        bail!(
            "{shown}: {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
