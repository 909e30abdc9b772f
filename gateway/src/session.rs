//! Who holds which token: the rules of sessions, statuses and fences, without clock or IO.
//!
//! Contract: call a `Registry` method with the time it happened, then drain
//! [`Registry::poll_output`] and carry the outputs out in order; what is stored comes before what
//! others are told. [`Registry::handle_timeout`] wants to be called about every second.
//!
//! A worker's token is held by one process instance at a time:
//! - *live*: a stream is up; any other instance is refused.
//! - *broken*: the stream ended; the instance may resume until it is lost, another may take over.
//! - *held*: restored after a gateway start; the process may still run, so others are refused.
//! - *gone*: lost; only remembered for display.

mod fence;
mod types;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::keys::same_hash;
use crate::link::{Refusal, RefusalReason, WorkerId, WorkerInfo};
use crate::store::{StoredSession, WorkerRecord};

pub use types::{Accepted, CloseReason, FenceRefused, Heartbeat, HelloFacts, Now, Output};
use worker::{Health, Phase, Session, Worker};

/// How long a worker may be silent or away before its process counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(60);

/// A stream silent for this long when it breaks was dead before: heartbeats come every 10 s.
const SILENT: Duration = Duration::from_secs(20);

/// All workers of the gateway.
#[derive(Debug, Default)]
pub struct Registry {
    workers: HashMap<WorkerId, Worker>,
    outputs: VecDeque<Output>,
}

impl Registry {
    /// The state after a gateway start: every 60 s count begins again, and what was connected
    /// keeps its token for that long, so that a restart never lets two in.
    pub fn restore(now: Now, records: Vec<WorkerRecord>, sessions: Vec<StoredSession>) -> Self {
        let mut registry = Self::default();
        let mut sessions: HashMap<_, _> = sessions.into_iter().map(|s| (s.worker, s)).collect();
        let lost_at = now.instant + LOST_AFTER;
        for record in records {
            let id = record.id;
            let mut worker = Worker::new(record);
            if let Some(stored) = sessions.remove(&id) {
                let phase = if stored.connected {
                    Phase::Held { lost_at }
                } else {
                    Phase::Broken { lost_at }
                };
                worker.session = Some(Session::restored(stored, phase));
            }
            if let Some(fence) = worker.fence() {
                registry.outputs.push_back(Output::Fenced {
                    worker: id,
                    seq: fence.seq,
                });
            }
            registry.workers.insert(id, worker);
        }
        registry
    }

    /// The next thing to carry out.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A worker as others see it.
    pub fn info(&self, id: WorkerId) -> Option<Arc<WorkerInfo>> {
        self.workers.get(&id).map(|worker| Arc::new(worker.info()))
    }

    /// All workers as others see them.
    pub fn infos(&self) -> Vec<Arc<WorkerInfo>> {
        self.workers
            .values()
            .map(|worker| Arc::new(worker.info()))
            .collect()
    }

    /// The record of a worker.
    pub fn record(&self, id: WorkerId) -> Option<&WorkerRecord> {
        self.workers.get(&id).map(|worker| &worker.record)
    }

    /// A record was made.
    pub fn insert(&mut self, record: WorkerRecord) {
        let id = record.id;
        self.workers.insert(id, Worker::new(record));
        self.changed(id);
    }

    /// Capacity and labels of a record were set.
    pub fn update(&mut self, id: WorkerId, capacity: u32, labels: BTreeMap<String, String>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.record.capacity = capacity;
            worker.record.labels = labels;
            self.changed(id);
        }
    }

    /// The token of a record was replaced: its live stream ends, and the old process, which can
    /// never come back, keeps nobody out (R65, R66).
    pub fn token_replaced(&mut self, now: Now, id: WorkerId, token_hash: [u8; 32]) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.record.token_hash = token_hash;
            if let Some(Session {
                phase: phase @ Phase::Held { .. },
                ..
            }) = &mut worker.session
            {
                *phase = Phase::Broken {
                    lost_at: now.instant + LOST_AFTER,
                };
            }
            self.close(now, id, CloseReason::TokenReplaced);
            self.changed(id);
        }
    }

    /// A record was disabled or enabled (R72).
    pub fn set_disabled(&mut self, now: Now, id: WorkerId, disabled: bool) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.record.disabled = disabled;
            if disabled {
                self.close(now, id, CloseReason::Disabled);
            }
            self.changed(id);
        }
    }

    /// A record was deleted: its stream ends and its process is lost.
    pub fn remove(&mut self, now: Now, id: WorkerId) {
        self.close(now, id, CloseReason::Deleted);
        if let Some(session) = self.workers.remove(&id).and_then(|worker| worker.session)
            && session.phase != Phase::Gone
        {
            self.outputs.push_back(Output::Lost {
                worker: id,
                instance: session.instance,
            });
        }
        self.outputs.push_back(Output::Removed { worker: id });
    }

    /// A process presented a worker's token.
    pub fn hello(
        &mut self,
        now: Now,
        id: WorkerId,
        hello: HelloFacts,
    ) -> Result<Accepted, RefusalReason> {
        let Some(worker) = self.workers.get_mut(&id) else {
            return Err(RefusalReason::InvalidToken);
        };
        let refused = if !same_hash(&worker.record.token_hash, &hello.token_hash) {
            Some(RefusalReason::InvalidToken)
        } else if worker.record.disabled {
            Some(RefusalReason::WorkerDisabled)
        } else if worker
            .session
            .as_ref()
            .is_some_and(|s| s.keeps_out(hello.instance))
        {
            Some(RefusalReason::DuplicateConnection)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.refused(now, id, reason, &hello.host.pod_uid);
            return Err(reason);
        }
        let before = worker.session.take();
        let mut session = Session::accepted(now, hello, before.as_ref());
        match before {
            Some(old) if old.instance == session.instance => {
                session.health = old.health;
                if old.is_live() {
                    let (epoch, reason) = (old.epoch, CloseReason::Replaced);
                    self.outputs.push_back(Output::Close {
                        worker: id,
                        epoch,
                        reason,
                    });
                }
            }
            Some(old) if old.phase != Phase::Gone => {
                self.outputs.push_back(Output::Lost {
                    worker: id,
                    instance: old.instance,
                });
            }
            _ => {}
        }
        if worker
            .record
            .fence
            .as_ref()
            .is_some_and(|fence| fence.instance != session.instance)
        {
            worker.record.fence = None;
            let seq = worker.record.fence_seq;
            self.outputs.push_back(Output::StoreFence {
                worker: id,
                seq,
                fence: None,
            });
        }
        self.outputs
            .push_back(Output::StoreSession(session.stored(id)));
        let epoch = session.epoch;
        worker.session = Some(session);
        Ok(Accepted {
            epoch,
            info: Arc::new(worker.info()),
        })
    }

    /// A connection under a record's token was refused.
    pub fn refused(&mut self, now: Now, id: WorkerId, reason: RefusalReason, pod_uid: &str) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let refusal = Refusal {
                reason,
                pod_uid: pod_uid.to_owned(),
                at_unix_ms: now.unix_ms,
            };
            worker.record.last_refusal = Some(refusal.clone());
            self.outputs.push_back(Output::StoreRefusal {
                worker: id,
                refusal,
            });
            self.updated(id);
        }
    }

    /// A heartbeat arrived on the stream of `epoch`; others are void.
    pub fn heartbeat(&mut self, now: Now, id: WorkerId, epoch: u64, heartbeat: Heartbeat) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let before = worker.status();
        let Some(session) = worker.session.as_mut().filter(|s| s.epoch == epoch) else {
            return;
        };
        let Phase::Live {
            last_heartbeat,
            heard,
        } = &mut session.phase
        else {
            return;
        };
        *last_heartbeat = now.instant;
        *heard = true;
        session.last_seen_ms = now.unix_ms;
        session.health = session.health.after(heartbeat.healthy);
        let reason = std::mem::take(&mut session.vitals)
            .map(|v| v.unhealthy_reason)
            .unwrap_or_default();
        let told = reason != heartbeat.vitals.unhealthy_reason;
        session.vitals = Some(heartbeat.vitals);
        if before != worker.status() || told {
            self.changed(id);
        } else {
            self.updated(id);
        }
    }

    /// The stream of `epoch` ended.
    pub fn disconnected(&mut self, now: Now, id: WorkerId, epoch: u64) {
        let live = |worker: &Worker| {
            worker
                .session
                .as_ref()
                .is_some_and(|s| s.epoch == epoch && s.is_live())
        };
        if self.workers.get(&id).is_some_and(live) {
            self.end_stream(now, id);
            self.changed(id);
        }
    }

    /// Ends what was silent or away for too long.
    pub fn handle_timeout(&mut self, now: Now) {
        let due = |(id, worker): (&WorkerId, &Worker)| {
            let session = worker.session.as_ref()?;
            let at = match session.phase {
                Phase::Live { last_heartbeat, .. } => last_heartbeat + LOST_AFTER,
                Phase::Broken { lost_at } | Phase::Held { lost_at } => lost_at,
                Phase::Gone => return None,
            };
            (at <= now.instant).then_some((*id, session.instance, session.is_live()))
        };
        let lost: Vec<_> = self.workers.iter().filter_map(due).collect();
        for (id, instance, live) in lost {
            if live {
                self.close(now, id, CloseReason::Silent);
            }
            if let Some(session) = self
                .workers
                .get_mut(&id)
                .and_then(|worker| worker.session.as_mut())
            {
                session.phase = Phase::Gone;
            }
            self.changed(id);
            self.outputs.push_back(Output::Lost {
                worker: id,
                instance,
            });
        }
    }

    fn live_epoch(&self, id: WorkerId) -> Option<u64> {
        let session = self.workers.get(&id)?.session.as_ref()?;
        session.is_live().then_some(session.epoch)
    }

    fn close(&mut self, now: Now, id: WorkerId, reason: CloseReason) {
        if let Some(epoch) = self.live_epoch(id) {
            self.end_stream(now, id);
            self.outputs.push_back(Output::Close {
                worker: id,
                epoch,
                reason,
            });
        }
    }

    fn end_stream(&mut self, now: Now, id: WorkerId) {
        if let Some(session) = self
            .workers
            .get_mut(&id)
            .and_then(|worker| worker.session.as_mut())
            && let Phase::Live { last_heartbeat, .. } = session.phase
        {
            let silent = now.instant.saturating_duration_since(last_heartbeat) >= SILENT;
            let since = if silent { last_heartbeat } else { now.instant };
            session.phase = Phase::Broken {
                lost_at: since + LOST_AFTER,
            };
            let (epoch, last_seen_ms) = (session.epoch, session.last_seen_ms);
            self.outputs.push_back(Output::EndSession {
                worker: id,
                epoch,
                last_seen_ms,
            });
        }
    }

    fn changed(&mut self, id: WorkerId) {
        if let Some(info) = self.info(id) {
            self.outputs.push_back(Output::Changed(info));
        }
    }

    fn updated(&mut self, id: WorkerId) {
        if let Some(info) = self.info(id) {
            self.outputs.push_back(Output::Updated(info));
        }
    }
}

impl Health {
    /// ERROR ends after two healthy heartbeats in a row (R125, R128).
    fn after(self, healthy: bool) -> Self {
        match (self, healthy) {
            (_, false) => Self::Bad,
            (Self::Good | Self::Recovering, true) => Self::Good,
            (Self::Bad, true) => Self::Recovering,
        }
    }
}
