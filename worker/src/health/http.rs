//! The HTTP server on `HEALTH_PORT`: `/health`, `/live`, `/metrics` (R46).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::Health;
use crate::telemetry::Telemetry;

/// Opens the port on every address, IPv6 and IPv4 where the host has both.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        bound => bound,
    }
}

/// Answers health probes and metric scrapes.
#[derive(Debug, Clone)]
pub struct HealthServer {
    health: Arc<Health>,
    telemetry: Arc<Telemetry>,
}

impl HealthServer {
    /// A server over the shared state.
    pub fn new(health: Arc<Health>, telemetry: Arc<Telemetry>) -> Self {
        Self { health, telemetry }
    }

    /// Serves until the task is dropped; an error is the listener's end.
    pub async fn run(self, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/live", get(live))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn health(State(server): State<HealthServer>) -> Response {
    let report = server.health.report(Instant::now());
    let status = match report.status {
        "healthy" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response()
}

async fn live(State(server): State<HealthServer>) -> Response {
    let stuck = server.health.stuck(Instant::now());
    if stuck.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let text = format!("no tick for 5 s: {}\n", stuck.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics(State(server): State<HealthServer>) -> Response {
    let content = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content, server.telemetry.render()).into_response()
}
