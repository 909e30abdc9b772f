//! `/metrics` on one port, `/healthz` and `/readyz` on another.

use std::time::{Duration, Instant};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// When the process last showed that it can act: a tick of its runtime, at most this old.
const ALIVE_WITHIN: Duration = Duration::from_secs(15);

/// Serves the metrics until the token is cancelled.
pub(crate) async fn metrics(
    listener: TcpListener,
    metrics: Metrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/metrics", get(render))
        .with_state(metrics);
    axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn render(State(metrics): State<Metrics>) -> Result<String, StatusCode> {
    metrics
        .render()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Serves health until the token is cancelled. A process that waits for the lease is ready: it can
/// take over.
pub(crate) async fn health(
    listener: TcpListener,
    tick: watch::Receiver<Instant>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let alive = |State(tick): State<watch::Receiver<Instant>>| async move {
        if tick.borrow().elapsed() < ALIVE_WITHIN {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "stalled")
        }
    };
    let app = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(alive))
        .with_state(tick);
    axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}
