//! The watches of the fleet API as streams: the state first, then every change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use callmeter_proto::fleet::{RunState, WatchDemandResponse, WatchWorkersResponse};
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Watch;
use super::rows::{Loads, WorkerRows};
use crate::link::Demand;

/// Changes closer together than this go in one message.
const GATHER: Duration = Duration::from_millis(50);
/// Demand is told at least this often.
const DEMAND_EVERY: Duration = Duration::from_secs(10);

fn stopping() -> Status {
    Status::unavailable("the gateway is stopping")
}

/// Rows of workers.
pub(super) fn workers(
    rows: WorkerRows,
    changes: watch::Receiver<u64>,
    loads: Loads,
    shutdown: CancellationToken,
) -> Watch<WatchWorkersResponse> {
    struct State {
        rows: WorkerRows,
        changes: watch::Receiver<u64>,
        loads: Loads,
        not_before: Instant,
    }
    let next = async move |mut state: State| {
        loop {
            sleep_until(state.not_before).await;
            state.not_before = Instant::now() + GATHER;
            state.changes.mark_unchanged();
            if let Some(response) = state.rows.next(&mut state.loads) {
                return Some((Ok(response), state));
            }
            let told = tokio::select! {
                told = state.changes.changed() => told,
                told = state.loads.changed() => told,
            };
            told.ok()?;
        }
    };
    let state = State {
        rows,
        changes,
        loads,
        not_before: Instant::now(),
    };
    until(Box::pin(stream::unfold(state, next)), shutdown)
}

/// Demand of pools.
pub(super) fn demand(
    organisation: String,
    pools: Vec<String>,
    demand: watch::Receiver<Arc<Demand>>,
    shutdown: CancellationToken,
) -> Watch<WatchDemandResponse> {
    let pools: HashSet<_> = pools.into_iter().collect();
    let next = async move |(mut demand, first, pools, organisation): Follow| {
        if !first {
            // Without a change within the time the same state is told again.
            if let Ok(told) = tokio::time::timeout(DEMAND_EVERY, demand.changed()).await {
                told.ok()?;
            }
        }
        let response = {
            let now = demand.borrow_and_update();
            let listed = |key: &(String, String)| {
                key.0 == organisation && (pools.is_empty() || pools.contains(&key.1))
            };
            let pools = now
                .iter()
                .filter(|(key, _)| listed(key))
                .map(|(_, demand)| demand.clone())
                .collect();
            WatchDemandResponse { pools }
        };
        Some((Ok(response), (demand, false, pools, organisation)))
    };
    until(
        Box::pin(stream::unfold((demand, true, pools, organisation), next)),
        shutdown,
    )
}

type Follow = (watch::Receiver<Arc<Demand>>, bool, HashSet<String>, String);

/// States of a run, until it is over.
pub(super) fn run(
    states: watch::Receiver<RunState>,
    shutdown: CancellationToken,
) -> Watch<RunState> {
    let next = async move |(mut states, first): (watch::Receiver<RunState>, bool)| {
        // The sender is dropped when the run is over; a state not yet told still comes first.
        if !first && states.changed().await.is_err() {
            return None;
        }
        let state = states.borrow_and_update().clone();
        Some((Ok(state), (states, false)))
    };
    until(Box::pin(stream::unfold((states, true), next)), shutdown)
}

/// The stream, ended with a status when the gateway stops.
fn until<T: Send + 'static>(watch: Watch<T>, shutdown: CancellationToken) -> Watch<T> {
    use futures::StreamExt as _;

    Box::pin(stream::unfold(Some((watch, shutdown)), async |state| {
        let (mut watch, shutdown) = state?;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Some((Err(stopping()), None)),
            next = watch.next() => next.map(|next| (next, Some((watch, shutdown)))),
        }
    }))
}
