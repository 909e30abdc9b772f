//! The gateway's REST API as a user reaches it: at its address, or through a port-forward from
//! outside the cluster.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;

use crate::case::Case;
use crate::forward::Forward;

const DEADLINE: Duration = Duration::from_secs(60);

/// An authenticated client of `/api/v1`; its port-forward, if it needs one, ends with it.
#[derive(Debug)]
pub struct Rest {
    client: reqwest::Client,
    base: String,
    key: String,
    _forward: Option<Forward>,
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
        let forward = Forward::to(case, "callmeter-gateway", 8080).await?;
        let base = format!("https://localhost:{}/api/v1", forward.port);
        Ok(Self {
            _forward: Some(forward),
            ..Self::at(base, key, pem.as_bytes())?
        })
    }

    /// A client of the API under `base`, with a key, that trusts the certificate of `ca_pem` too.
    pub fn at(base: String, key: String, ca_pem: &[u8]) -> Result<Self> {
        install_tls();
        let client = reqwest::Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(ca_pem)?)
            .timeout(DEADLINE)
            .build()?;
        Ok(Self {
            client,
            base,
            key,
            _forward: None,
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

    /// Every stored sample of a group of a run, in order of arrival.
    pub async fn samples(&self, run: &str, group: &str) -> Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/runs/{run}/samples?group={group}&limit=5000&after={after}");
            let part = self.get(&path).await?;
            let rows = part["samples"].as_array().context("no samples")?;
            if rows.is_empty() {
                return Ok(all);
            }
            all.extend(rows.iter().cloned());
            after = part["after"].as_i64().context("no position")?;
        }
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

/// The TLS provider of the whole test process, whichever case needs one first.
pub(crate) fn install_tls() {
    // A second call answers with an error that only says it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
