//! The rows of `WatchWorkers`: what an observer has been told, and what changed since.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use callmeter_proto::fleet::{
    Refusal, RefusalReason, WatchWorkersResponse, WorkerRow, WorkerStatus,
};
use tokio::sync::watch;

use crate::link::{self, Load, WorkerId, WorkerInfo};
use crate::sessions::Sessions;

/// What each worker has.
pub(super) type Loads = watch::Receiver<Arc<HashMap<WorkerId, Load>>>;

/// One observer's view.
#[derive(Debug)]
pub(super) struct WorkerRows {
    sessions: Sessions,
    organisation: String,
    selector: BTreeMap<String, String>,
    told: Option<HashMap<WorkerId, (Arc<WorkerInfo>, Load)>>,
}

impl WorkerRows {
    pub(super) fn new(
        sessions: Sessions,
        organisation: String,
        selector: BTreeMap<String, String>,
    ) -> Self {
        Self {
            sessions,
            organisation,
            selector,
            told: None,
        }
    }

    /// The first time everything, then what changed; none: nothing did.
    pub(super) fn next(&mut self, loads: &mut Loads) -> Option<WatchWorkersResponse> {
        let (infos, loads) = workers_then_loads(|| self.sessions.workers(), loads);
        let snapshot = self.told.is_none();
        let told = self.told.get_or_insert_default();
        let mut workers = Vec::new();
        let mut seen = HashSet::new();
        for info in infos {
            let selected = self
                .selector
                .iter()
                .all(|(key, value)| info.labels.get(key) == Some(value));
            if info.organisation != self.organisation || !selected {
                continue;
            }
            seen.insert(info.id);
            let load = loads.get(&info.id).copied().unwrap_or_default();
            let known = told
                .get(&info.id)
                .is_some_and(|(old, l)| Arc::ptr_eq(old, &info) && *l == load);
            if !known {
                let row = row(&info, load);
                let shown = told
                    .insert(info.id, (info, load))
                    .map(|(old, load)| self::row(&old, load));
                // A heartbeat makes a new value of the same row.
                if shown.as_ref() != Some(&row) {
                    workers.push(row);
                }
            }
        }
        let removed: Vec<_> = told
            .keys()
            .filter(|id| !seen.contains(id))
            .copied()
            .collect();
        for id in &removed {
            told.remove(id);
        }
        let removed: Vec<_> = removed.iter().map(ToString::to_string).collect();
        let anything = snapshot || !workers.is_empty() || !removed.is_empty();
        anything.then_some(WatchWorkersResponse {
            snapshot,
            workers,
            removed,
        })
    }
}

/// In this order: a row that shows the number of a fence is to show loads from behind the fence.
fn workers_then_loads(
    workers: impl FnOnce() -> Vec<Arc<WorkerInfo>>,
    loads: &mut Loads,
) -> (Vec<Arc<WorkerInfo>>, Arc<HashMap<WorkerId, Load>>) {
    let workers = workers();
    (workers, Arc::clone(&loads.borrow_and_update()))
}

fn row(info: &WorkerInfo, load: Load) -> WorkerRow {
    WorkerRow {
        id: info.id.to_string(),
        key: info.key.clone(),
        name: info.name.clone(),
        pod_uid: info.host.pod_uid.clone(),
        pod_namespace: info.host.pod_namespace.clone(),
        pod_name: info.host.pod_name.clone(),
        instance: info
            .instance
            .map(|instance| instance.0.to_vec())
            .unwrap_or_default(),
        status: status(info.status).into(),
        connected: info.connected,
        disabled: info.disabled,
        last_refusal: info.last_refusal.as_ref().map(refusal),
        active_endpoints: load.active,
        reserved_endpoints: load.reserved,
        effective_capacity: info.effective_capacity,
        // Until the run layer has seen the fence, the loads of this row may be from before it.
        fence_seq: info
            .fence
            .as_ref()
            .filter(|fence| fence.confirmed)
            .map_or(0, |fence| fence.seq),
        labels: info.labels.clone().into_iter().collect(),
    }
}

fn status(status: link::WorkerStatus) -> WorkerStatus {
    match status {
        link::WorkerStatus::Online => WorkerStatus::Online,
        link::WorkerStatus::Offline => WorkerStatus::Offline,
        link::WorkerStatus::Draining => WorkerStatus::Draining,
        link::WorkerStatus::Error => WorkerStatus::Error,
    }
}

fn refusal(refusal: &link::Refusal) -> Refusal {
    let reason = match refusal.reason {
        link::RefusalReason::InvalidToken => RefusalReason::InvalidToken,
        link::RefusalReason::WorkerDisabled => RefusalReason::WorkerDisabled,
        link::RefusalReason::DuplicateConnection => RefusalReason::DuplicateConnection,
    };
    Refusal {
        reason: reason.into(),
        pod_uid: refusal.pod_uid.clone(),
        at_unix_ms: refusal.at_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_not_older_than_the_workers() {
        let id = WorkerId(uuid::Uuid::from_bytes([1; 16]));
        let (publish, mut loads) = watch::channel(Arc::default());
        let fenced = || {
            // What the run layer tells before a fence is confirmed.
            let load = Load {
                active: 2,
                reserved: 0,
            };
            publish.send_replace(Arc::new(HashMap::from([(id, load)])));
            Vec::new()
        };
        let (_, seen) = workers_then_loads(fenced, &mut loads);
        assert_eq!(seen[&id].active, 2);
    }
}
