//! What the gateway reported last, by the keys that controllers ask with.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use callmeter_api::labels;
use callmeter_proto::fleet::{PoolDemand, WatchDemandResponse, WatchWorkersResponse, WorkerRow};

/// The demand of pools is repeated at least every 10 s; older than this it is not acted on.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(60);

/// The gateway's report. Cheap to clone; clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whether the stream of rows is open and its first snapshot was read.
    live: bool,
    rows: HashMap<String, WorkerRow>,
    demand: HashMap<String, PoolDemand>,
    demand_at: Option<Instant>,
}

/// What the gateway says of one worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum View {
    /// It cannot be asked.
    Unknown,
    /// It has no row that belongs to the worker.
    Absent,
    /// Its row.
    Row(Box<WorkerRow>),
}

/// What the gateway says of the demand of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Its figures are too old.
    Stale,
    /// Endpoints in use on workers that are not fenced, and endpoints that wait for this pool.
    Fresh {
        /// Active and reserved ones.
        active: u32,
        /// Waiting ones.
        queued: u32,
    },
}

impl Index {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of a worker: by the recorded id if there is one, else by the UID of its object, of
    /// its pod, or of its pod in the last refusal.
    pub(crate) fn worker(&self, id: Option<&str>, worker_uid: &str, pod_uid: Option<&str>) -> View {
        let state = self.read();
        if !state.live {
            return View::Unknown;
        }
        let row = match id {
            Some(id) => state.rows.get(id),
            None => state
                .rows
                .values()
                .find(|row| belongs(row, worker_uid, pod_uid)),
        };
        row.map_or(View::Absent, |row| View::Row(Box::new(row.clone())))
    }

    /// Rows of a pool, `namespace/name`, that an operator made; `None` if the gateway cannot be
    /// asked.
    pub(crate) fn made_for(&self, pool: &str) -> Option<Vec<(String, String)>> {
        let state = self.read();
        state.live.then(|| {
            state
                .rows
                .values()
                .filter(|row| !row.key.is_empty() && pool_of(row) == Some(pool))
                .map(|row| (row.id.clone(), row.key.clone()))
                .collect()
        })
    }

    /// The demand of a pool, `namespace/name`.
    pub(crate) fn demand(&self, pool: &str, now: Instant) -> Demand {
        let state = self.read();
        match state.demand_at {
            Some(at) if now.saturating_duration_since(at) < STALE_AFTER => {
                let demand = state.demand.get(pool);
                Demand::Fresh {
                    active: demand.map_or(0, |d| d.active_endpoints),
                    queued: demand.map_or(0, |d| d.queued_endpoints),
                }
            }
            _ => Demand::Stale,
        }
    }

    /// Whether the stream of rows is open.
    pub(crate) fn is_live(&self) -> bool {
        self.read().live
    }

    /// The stream of rows has ended: what it said is not acted on.
    pub(super) fn lost(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).live = false;
    }

    /// Takes a report in; the rows it changed.
    pub(super) fn take_workers(&self, report: WatchWorkersResponse) -> Vec<WorkerRow> {
        let WatchWorkersResponse {
            snapshot,
            workers,
            removed,
        } = report;
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        if snapshot {
            let before = std::mem::take(&mut state.rows);
            let now: HashSet<&str> = workers.iter().map(|new| new.id.as_str()).collect();
            let gone = before
                .into_values()
                .filter(|row| !now.contains(row.id.as_str()));
            changed.extend(gone);
            state.live = true;
        }
        for id in removed {
            changed.extend(state.rows.remove(&id));
        }
        for row in workers {
            state.rows.insert(row.id.clone(), row.clone());
            changed.push(row);
        }
        changed
    }

    /// Takes a report in; the pools whose demand it changed.
    pub(super) fn take_demand(&self, report: WatchDemandResponse, now: Instant) -> Vec<String> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut state.demand);
        let first = state.demand_at.is_none();
        state.demand = report
            .pools
            .into_iter()
            .map(|demand| (demand.pool.clone(), demand))
            .collect();
        state.demand_at = Some(now);
        let differs = |pool: &&String| {
            let figures = |d: &PoolDemand| (d.queued_endpoints, d.active_endpoints);
            first || before.get(*pool).map(figures) != state.demand.get(*pool).map(figures)
        };
        let mut pools: Vec<String> = before
            .keys()
            .chain(state.demand.keys())
            .filter(differs)
            .cloned()
            .collect();
        pools.sort();
        pools.dedup();
        pools
    }
}

/// The pool a row belongs to, `namespace/name`.
pub(super) fn pool_of(row: &WorkerRow) -> Option<&str> {
    row.labels.get(labels::POOL).map(String::as_str)
}

fn belongs(row: &WorkerRow, worker_uid: &str, pod_uid: Option<&str>) -> bool {
    if !row.key.is_empty() {
        return row.key == worker_uid;
    }
    pod_uid.is_some_and(|uid| {
        row.pod_uid == uid
            || row
                .last_refusal
                .as_ref()
                .is_some_and(|refusal| refusal.pod_uid == uid)
    })
}

#[cfg(test)]
mod tests {
    use callmeter_proto::fleet::Refusal;

    use super::*;

    fn row(id: &str, key: &str, pod_uid: &str) -> WorkerRow {
        WorkerRow {
            id: id.into(),
            key: key.into(),
            pod_uid: pod_uid.into(),
            labels: [(labels::POOL.to_owned(), "demo/fra".to_owned())].into(),
            ..WorkerRow::default()
        }
    }

    fn snapshot(workers: Vec<WorkerRow>) -> WatchWorkersResponse {
        WatchWorkersResponse {
            snapshot: true,
            workers,
            removed: vec![],
        }
    }

    #[test]
    fn a_worker_is_found_by_id_key_and_pod_and_unknown_while_the_stream_is_down() {
        let index = Index::default();
        assert_eq!(index.worker(None, "u1", Some("p1")), View::Unknown);
        let mut refused = row("c", "", "other");
        refused.last_refusal = Some(Refusal {
            pod_uid: "p3".into(),
            ..Refusal::default()
        });
        index.take_workers(snapshot(vec![
            row("a", "u1", ""),
            row("b", "", "p2"),
            refused,
        ]));
        let id = |view| match view {
            View::Row(row) => row.id,
            other => format!("{other:?}"),
        };
        assert_eq!(id(index.worker(None, "u1", None)), "a");
        assert_eq!(id(index.worker(None, "u2", Some("p2"))), "b");
        assert_eq!(id(index.worker(None, "u3", Some("p3"))), "c");
        assert_eq!(id(index.worker(Some("b"), "u1", None)), "b");
        assert_eq!(index.worker(Some("gone"), "u1", None), View::Absent);
        assert_eq!(index.worker(None, "u4", Some("p4")), View::Absent);
        index.lost();
        assert_eq!(index.worker(None, "u1", None), View::Unknown);
    }

    #[test]
    fn a_snapshot_tells_of_rows_that_went_while_the_stream_was_down() {
        let index = Index::default();
        index.take_workers(snapshot(vec![row("a", "", "p1"), row("b", "", "p2")]));
        index.lost();
        let changed = index.take_workers(snapshot(vec![row("b", "", "p2")]));
        assert_eq!(
            changed.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(index.made_for("demo/fra"), Some(vec![]));
    }

    #[test]
    fn demand_goes_stale_and_only_changes_are_told() {
        let index = Index::default();
        let start = Instant::now();
        assert_eq!(index.demand("demo/fra", start), Demand::Stale);
        let report = |queued| WatchDemandResponse {
            pools: vec![PoolDemand {
                pool: "demo/fra".into(),
                queued_endpoints: queued,
                active_endpoints: 3,
                ..PoolDemand::default()
            }],
        };
        assert_eq!(index.take_demand(report(5), start), ["demo/fra"]);
        assert_eq!(
            index.demand("demo/fra", start),
            Demand::Fresh {
                active: 3,
                queued: 5
            }
        );
        assert_eq!(
            index.demand("demo/ams", start),
            Demand::Fresh {
                active: 0,
                queued: 0
            }
        );
        assert!(
            index
                .take_demand(report(5), start + Duration::from_secs(10))
                .is_empty()
        );
        assert_eq!(
            index.demand("demo/fra", start + Duration::from_secs(69)),
            Demand::Fresh {
                active: 3,
                queued: 5
            }
        );
        assert_eq!(
            index.demand("demo/fra", start + Duration::from_secs(70)),
            Demand::Stale
        );
        let nothing = WatchDemandResponse { pools: vec![] };
        assert_eq!(
            index.take_demand(nothing, start + Duration::from_secs(80)),
            ["demo/fra"]
        );
    }
}
