//! `/api/v1`: the API for people and programs, and the probes `/healthz` and `/readyz`.
//!
//! Every answer is an envelope: `{"data": …, "meta": {"requestId": …}}`, lists with
//! `meta.pagination`, refusals `{"error": {"code", "message"}, "meta": …}`.

mod answer;
mod pools;
mod request;
mod runs;
mod samples;
#[cfg(test)]
mod tests;
mod workers;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use callmeter_metrics::{CATALOGUE, CATALOGUE_VERSION};
use serde_json::json;

use crate::auth::Auth;
use crate::link::RunHandle;
use crate::run::service::Live;
use crate::sessions::Sessions;
use crate::store::{Role, Store};
use answer::{Answer, ApiError, Data};
use request::{Access, Page};

/// The largest request: a definition with a list of accounts.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// What the API works with; cheap to clone.
#[derive(Debug, Clone)]
pub struct RestState {
    /// Checks callers.
    pub auth: Auth,
    /// The session layer.
    pub sessions: Sessions,
    /// The run layer.
    pub runs: RunHandle,
    /// Live figures of runs.
    pub live: Live,
    /// The database.
    pub store: Store,
}

/// All routes.
pub fn router(state: RestState) -> Router {
    let api = Router::new()
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/pools", get(pools::list))
        .route("/workers", get(workers::list).post(workers::create))
        .route("/workers/{id}", get(workers::show).delete(workers::delete))
        .route("/workers/{id}/regenerate-token", post(workers::regenerate))
        .route("/workers/{id}/disable", post(workers::disable))
        .route("/workers/{id}/enable", post(workers::enable))
        .route("/runs", get(runs::list).post(runs::submit))
        .route("/runs/{id}", get(runs::show))
        .route("/runs/{id}/stop", post(runs::stop))
        .route("/runs/{id}/results", get(runs::results))
        .route("/runs/{id}/samples", get(samples::list))
        .route("/runs/{id}/live", get(runs::live));
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .fallback(async || {
            ApiError::not_found("path: no such resource; accepted: what is below /api/v1")
        })
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(answer::envelope))
        .with_state(state)
}

/// The store answers.
async fn ready(State(state): State<RestState>) -> (StatusCode, &'static str) {
    match state.store.ping().await {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer",
            )
        }
    }
}

async fn version(access: Access) -> Answer {
    access.at_least(Role::Viewer)?;
    Ok(Data::of(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "protocolVersion": callmeter_proto::PROTOCOL_VERSION,
        "catalogueVersion": CATALOGUE_VERSION,
    })))
}

/// The metric catalogue.
async fn metrics(access: Access, page: Page) -> Answer {
    access.at_least(Role::Viewer)?;
    Ok(page.of(&CATALOGUE))
}
