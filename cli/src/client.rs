//! The REST API: one request, its envelope opened, errors as sentences.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use callmeter_proto::Secret;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::args::Server;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An authenticated client.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Secret,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let key = match &server.api_key_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("read the API key file {}", path.display()))?,
            None => std::env::var("CALLMETER_API_KEY")
                .ok()
                .context("no API key: set CALLMETER_API_KEY, or name a file by --api-key-file")?,
        };
        let mut http = reqwest::Client::builder().timeout(TIMEOUT);
        if let Some(path) = &server.ca_file {
            let pem = std::fs::read(path)
                .with_context(|| format!("read the CA file {}", path.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no PEM certificate", path.display()))?;
            http = http.tls_certs_only(certificates);
        }
        Ok(Self {
            http: http.build()?,
            base: format!("{}/api/v1", server.url.trim_end_matches('/')),
            key: Secret::new(key.trim()),
        })
    }

    /// The `data` of a GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.send(self.request(Method::GET, path)).await?["data"].take())
    }

    /// The `data` of a POST.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        Ok(self
            .send(self.request(Method::POST, path).json(body))
            .await?["data"]
            .take())
    }

    /// All pages of a list.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for page in 1.. {
            let request = self.request(Method::GET, &format!("{path}?page={page}&perPage=100"));
            let mut answer = self.send(request).await?;
            if let Value::Array(rows) = answer["data"].take() {
                all.extend(rows);
            }
            if page
                >= answer["meta"]["pagination"]["totalPages"]
                    .as_u64()
                    .unwrap_or(1)
            {
                break;
            }
        }
        Ok(all)
    }

    /// Submits a definition as it stands; the gateway reads YAML and JSON alike.
    pub(crate) async fn submit(&self, name: &str, definition: String) -> Result<Value> {
        let request = self
            .request(Method::POST, "/runs")
            .query(&[("name", name)])
            .header("content-type", "application/yaml")
            .body(definition);
        Ok(self.send(request).await?["data"].take())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(self.key.expose())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value> {
        let answer = request
            .send()
            .await
            .context("the gateway does not answer")?;
        let status = answer.status();
        let body = answer.text().await?;
        let parsed: Option<Value> = serde_json::from_str(&body).ok();
        if status.is_success() {
            return parsed
                .with_context(|| format!("the gateway's answer is not JSON: {body:.200}"));
        }
        match parsed.as_ref().and_then(|b| b["error"]["message"].as_str()) {
            Some(message) => bail!("{message} ({status})"),
            None => bail!("the gateway answered {status}: {body:.200}"),
        }
    }
}
