//! A port-forward to a Service of a case, as a user outside the cluster reaches it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::case::Case;

const DEADLINE: Duration = Duration::from_secs(60);

/// A running port-forward; it ends with it.
#[derive(Debug)]
pub struct Forward {
    /// The local port, on 127.0.0.1.
    pub port: u16,
    // kubectl ends the forward when it cannot write to its standard output.
    _kubectl: (Child, Lines<BufReader<ChildStdout>>),
}

impl Forward {
    /// Starts one from a free local port to `port` of a Service and waits until it listens.
    pub async fn to(case: &Case, service: &str, port: u16) -> Result<Self> {
        let mut kubectl = case
            .cluster
            .kubectl()
            .args(["--namespace", &case.namespace, "port-forward"])
            .args([format!("service/{service}"), format!(":{port}")])
            .stdout(Stdio::piped())
            // It complains of every connection that a test ends on purpose.
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = kubectl
            .stdout
            .take()
            .context("no standard output of the port-forward")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(DEADLINE, lines.next_line())
            .await
            .context("waited 60 s for the port-forward")??
            .context("the port-forward ended")?;
        let local = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("no port in {line:?}"))?;
        Ok(Self {
            port: local,
            _kubectl: (kubectl, lines),
        })
    }
}
