//! A proxy before the API server that counts writes and can end the writer right after one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::cluster::output;
use crate::rest::install_tls;

/// No object of the tests is larger.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Headers of one connection, not of the request or answer.
const OF_CONNECTION: [HeaderName; 4] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
];

/// The proxy; it ends with it.
#[derive(Debug)]
pub struct WriteProxy {
    /// `http://127.0.0.1:port`.
    pub url: String,
    upstream: Arc<Upstream>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Upstream {
    server: String,
    client: reqwest::Client,
    /// Held over each write, so that writes have an order and a number.
    writes: Mutex<Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    told: Vec<String>,
    /// After the write of this number the process ends.
    ends: Option<(usize, u32)>,
    /// It has ended: what it had under way does not arrive.
    ended: bool,
}

impl WriteProxy {
    /// Starts one before the API server at `server`, whose certificate `ca` (PEM) signed.
    pub async fn start(server: &str, ca: &[u8]) -> Result<Self> {
        install_tls();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca)?])
            .build()?;
        let upstream = Arc::new(Upstream {
            server: server.trim_end_matches('/').to_owned(),
            client,
            writes: Mutex::default(),
        });
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .fallback(pass)
            .with_state(Arc::clone(&upstream));
        let task = tokio::spawn(async move {
            // Ends only with the runtime.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            url,
            upstream,
            task,
        })
    }

    /// Counts from 0 again; right after write `number` is done at the API server, and before the
    /// answer is passed on, process `pid` is ended as `kill -9` does.
    pub async fn end_after(&self, number: usize, pid: u32) {
        *self.upstream.writes.lock().await = Writes {
            ends: Some((number, pid)),
            ..Writes::default()
        };
    }

    /// Lets the writes of a successor pass; the count goes on.
    pub async fn resume(&self) {
        self.upstream.writes.lock().await.ended = false;
    }

    /// The writes since the count began, as `METHOD path`.
    pub async fn writes(&self) -> Vec<String> {
        self.upstream.writes.lock().await.told.clone()
    }
}

impl Drop for WriteProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(upstream): State<Arc<Upstream>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let outcome = if is_write(request.method(), &path) {
        let told = format!("{} {path}", request.method());
        upstream.write(request, told).await
    } else {
        upstream.forward(request).await
    };
    outcome.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
}

/// A write to an object that matters: leases and events do not.
fn is_write(method: &Method, path: &str) -> bool {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    let apart = ["/leases", "/events", "/tokenreviews"];
    writes && !apart.iter().any(|resource| path.contains(resource))
}

impl Upstream {
    async fn write(&self, request: Request, told: String) -> Result<Response> {
        let mut writes = self.writes.lock().await;
        anyhow::ensure!(!writes.ended, "the writer has ended");
        let answer = self.forward(request).await?;
        let (parts, body) = answer.into_parts();
        // To its end: the API server has carried it out.
        let body = to_bytes(body, MOST_BYTES).await?;
        writes.told.push(told);
        if let Some((number, pid)) = writes.ends
            && writes.told.len() == number
        {
            writes.ends = None;
            writes.ended = true;
            output(Command::new("kill").args(["-KILL", &pid.to_string()])).await?;
        }
        Ok((parts, body).into_response())
    }

    async fn forward(&self, request: Request) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().context("no path")?;
        let mut headers = parts.headers;
        for name in OF_CONNECTION {
            headers.remove(name);
        }
        let body = to_bytes(body, MOST_BYTES).await?;
        let answer = self
            .client
            .request(parts.method, format!("{}{path}", self.server))
            .headers(headers)
            .body(body)
            .send()
            .await?;
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if !OF_CONNECTION.contains(name) {
                response = response.header(name, value);
            }
        }
        Ok(response.body(Body::from_stream(answer.bytes_stream()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_objects_are_told_from_the_rest() {
        let pods = "/api/v1/namespaces/a/pods";
        assert!(is_write(&Method::POST, pods) && is_write(&Method::DELETE, pods));
        assert!(!is_write(&Method::GET, pods));
        let lease = "/apis/coordination.k8s.io/v1/namespaces/a/leases/x";
        assert!(!is_write(&Method::PUT, lease));
        let event = "/apis/events.k8s.io/v1/namespaces/a/events";
        assert!(!is_write(&Method::POST, event));
    }
}
