//! The gateway's REST API.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::args::Connection;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const PER_PAGE: u32 = 200;

/// An authenticated client of `/api/v1`.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
}

/// The gateway refused a request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    code: String,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status: _,
            code,
            message,
        } = self;
        write!(f, "{message} ({code})")
    }
}

impl std::error::Error for Refused {}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    data: Value,
    error: Option<ErrorBody>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
}

#[derive(Deserialize, Default)]
struct Meta {
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    total_pages: u64,
}

impl Client {
    pub(crate) fn new(connection: &Connection) -> Result<Self> {
        let Connection {
            server,
            ca_file,
            api_key_file,
        } = connection;
        let base = base_url(server)?;
        let mut http = reqwest::Client::builder().timeout(ANSWER_WITHIN);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path)
                .with_context(|| format!("--ca-file: read {}", path.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).with_context(|| {
                format!("--ca-file: {} holds no PEM certificate", path.display())
            })?;
            if certificates.is_empty() {
                bail!("--ca-file: {} holds no PEM certificate", path.display());
            }
            http = http.tls_certs_only(certificates);
        }
        let key = api_key(api_key_file.as_deref())?;
        let bearer = Zeroizing::new(format!("Bearer {}", key.as_str()));
        let mut authorization = HeaderValue::from_str(&bearer)
            .ok()
            .context("the API key holds characters no header can carry; accepted: cmk_ and 32 hexadecimal characters")?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: http.build().context("set up TLS")?,
            base,
            authorization,
        })
    }

    /// `data` of a GET.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let envelope = self.request(Method::GET, path, None).await?;
        serde_json::from_value(envelope.data).with_context(|| format!("{path}: unexpected answer"))
    }

    /// `data` of a POST with a body of this content type.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<T> {
        let envelope = self.request(Method::POST, path, Some((kind, body))).await?;
        serde_json::from_value(envelope.data).with_context(|| format!("{path}: unexpected answer"))
    }

    /// All pages of a list.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        for page in 1.. {
            let path = format!("{path}?page={page}&perPage={PER_PAGE}");
            let envelope = self.request(Method::GET, &path, None).await?;
            let part: Vec<T> = serde_json::from_value(envelope.data)
                .with_context(|| format!("{path}: unexpected answer"))?;
            rows.extend(part);
            if envelope
                .meta
                .pagination
                .is_none_or(|p| page >= p.total_pages)
            {
                break;
            }
        }
        Ok(rows)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Envelope> {
        let url = self
            .base
            .join(path.trim_start_matches('/'))
            .context("address of the resource")?;
        let mut request = self
            .http
            .request(method, url)
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some((kind, body)) = body {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        let answer = request.send().await.with_context(|| {
            format!("no answer of {}", self.base.origin().ascii_serialization())
        })?;
        let status = answer.status();
        let bytes = answer.bytes().await.context("the answer broke off")?;
        let envelope: Envelope = serde_json::from_slice(&bytes)
            .with_context(|| format!("{status}: the answer is not one of a CallMeter gateway"))?;
        match envelope.error {
            Some(ErrorBody { code, message }) => Err(Refused {
                status,
                code,
                message,
            }
            .into()),
            None => Ok(envelope),
        }
    }
}

/// `https://host:port/api/v1/`; plain HTTP would show the API key to the network.
fn base_url(server: &str) -> Result<Url> {
    let wrong = || format!("--server: \"{server}\"; accepted: https://host[:port]");
    let url = Url::parse(server).with_context(wrong)?;
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => bail!("--server: \"{server}\"; accepted: https, or http to this machine only"),
        _ => bail!(wrong()),
    }
    if host.is_empty() || url.path() != "/" || url.query().is_some() {
        bail!(wrong());
    }
    url.join("api/v1/").context("address of the API")
}

fn api_key(file: Option<&std::path::Path>) -> Result<Zeroizing<String>> {
    let text = match (std::env::var("CALLMETER_API_KEY"), file) {
        (Ok(key), _) => Zeroizing::new(key),
        (Err(_), Some(path)) => Zeroizing::new(
            std::fs::read_to_string(path)
                .with_context(|| format!("--api-key-file: read {}", path.display()))?,
        ),
        (Err(_), None) => bail!(
            "no API key; accepted: CALLMETER_API_KEY, or --api-key-file with a file that holds one \
             (make one with `callmeter-gateway keys create`)"
        ),
    };
    let key = text.trim();
    if !key.starts_with("cmk_") {
        bail!(
            "the API key is malformed ({} characters); accepted: cmk_ and 32 hexadecimal characters",
            key.len()
        );
    }
    Ok(Zeroizing::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_addresses_are_accepted() {
        for (server, base) in [
            ("https://gw.example:8080", "https://gw.example:8080/api/v1/"),
            ("https://gw.example/", "https://gw.example/api/v1/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v1/"),
            ("http://[::1]:8080", "http://[::1]:8080/api/v1/"),
            ("http://localhost:1", "http://localhost:1/api/v1/"),
        ] {
            assert_eq!(base_url(server).unwrap().as_str(), base);
        }
        for server in [
            "http://gw.example",
            "gw.example:8080",
            "ftp://gw",
            "https://gw/x",
            "https://gw?a=b",
            "",
        ] {
            let refusal = base_url(server).unwrap_err().to_string();
            assert!(
                refusal.starts_with(&format!("--server: \"{server}\"; accepted: ")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_malformed_key_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "hunter2\n").unwrap();
        let refusal = api_key(Some(&path)).unwrap_err().to_string();
        assert!(
            refusal.contains("7 characters") && !refusal.contains("hunter2"),
            "{refusal}"
        );
        std::fs::write(&path, "cmk_0123\n").unwrap();
        assert_eq!(api_key(Some(&path)).unwrap().as_str(), "cmk_0123");
        let missing = api_key(Some(&dir.path().join("none")))
            .unwrap_err()
            .to_string();
        assert!(missing.starts_with("--api-key-file: read "), "{missing}");
    }
}
