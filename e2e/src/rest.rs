//! The gateway's REST API as a user outside the cluster reaches it: through a port-forward.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::case::Case;

const DEADLINE: Duration = Duration::from_secs(20);

/// An authenticated client of `/api/v1`; the port-forward ends with it.
#[derive(Debug)]
pub struct Rest {
    client: reqwest::Client,
    base: String,
    key: String,
    // kubectl ends the forward when it cannot write to its standard output.
    _forward: (Child, Lines<BufReader<ChildStdout>>),
}

impl Rest {
    /// Makes an API key in the gateway's pod, starts a port-forward and trusts the release's CA.
    pub async fn connect(case: &Case) -> Result<Self> {
        let printed = case
            .kubectl(&[
                "exec",
                "callmeter-gateway-0",
                "--",
                "callmeter-gateway",
                "keys",
                "create",
                "--data-dir=/var/lib/callmeter",
                "--role=owner",
                "--name=e2e",
            ])
            .await?;
        let key = printed
            .split_whitespace()
            .find(|word| word.starts_with("cmk_"))
            .context("`keys create` printed no key")?
            .to_owned();
        let ca = case
            .object("configmap", "callmeter-gateway-ca")
            .await?
            .context("no CA")?;
        let pem = ca["data"]["ca.crt"]
            .as_str()
            .context("no ca.crt in the CA's ConfigMap")?;
        let mut forward = case
            .cluster
            .kubectl()
            .args([
                "--namespace",
                &case.namespace,
                "port-forward",
                "service/callmeter-gateway",
            ])
            .arg(":8080")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = forward
            .stdout
            .take()
            .context("no standard output of the port-forward")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(DEADLINE, lines.next_line())
            .await
            .context("waited 20 s for the port-forward")??
            .context("the port-forward ended")?;
        let port = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.split(' ').next())
            .with_context(|| format!("no port in {line:?}"))?;
        // A second call answers with an error that only says it was done before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(pem.as_bytes())?)
            .timeout(DEADLINE)
            .build()?;
        Ok(Self {
            client,
            base: format!("https://localhost:{port}/api/v1"),
            key,
            _forward: (forward, lines),
        })
    }

    /// The `data` of a GET; errors hold the answer.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.request(Method::GET, path, None).await
    }

    /// The `data` of a POST; errors hold the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.request(Method::POST, path, Some(body)).await
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let mut body: Value = answer.json().await?;
        if !status.is_success() {
            bail!("{path}: {status}: {body}");
        }
        Ok(body["data"].take())
    }
}
