//! Pools and what waits for them.

use axum::extract::State;
use callmeter_proto::fleet::PoolDemand;
use serde_json::{Value, json};

use super::RestState;
use super::answer::Answer;
use super::request::{Access, Page};
use crate::store::Role;

/// Pools that are registered, or have queued or active endpoints.
pub(super) async fn list(State(state): State<RestState>, access: Access, page: Page) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let demand = state.runs.demand().borrow().clone();
    let own = demand
        .iter()
        .filter(|((organisation, _), _)| *organisation == caller.organisation);
    let rows: Vec<Value> = own.map(|(_, demand)| row(demand)).collect();
    Ok(page.of(&rows))
}

fn row(demand: &PoolDemand) -> Value {
    let PoolDemand {
        pool,
        queued_endpoints,
        oldest_wait_ms,
        active_endpoints,
        runs,
    } = demand;
    json!({
        "pool": pool,
        "queuedEndpoints": queued_endpoints,
        "oldestWaitMs": oldest_wait_ms,
        "activeEndpoints": active_endpoints,
        "runs": runs,
    })
}
