//! One worker: its record, its session, and what others see of both.

use std::collections::BTreeMap;
use std::time::Instant;

use super::types::{FenceRefused, HelloFacts, Now};
use crate::link::{FenceInfo, HostInfo, InstanceId, Vitals, WorkerId, WorkerInfo, WorkerStatus};
use crate::store::{StoredSession, WorkerRecord};

/// Label that names the pool of a worker.
const POOL_LABEL: &str = "callmeter.io/pool";
/// Label that names the region of a worker.
const REGION_LABEL: &str = "callmeter.io/region";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Live {
        last_heartbeat: Instant,
        heard: bool,
    },
    Broken {
        lost_at: Instant,
    },
    Held {
        lost_at: Instant,
    },
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    Bad,
    /// One healthy heartbeat after a bad one.
    Recovering,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) instance: InstanceId,
    pub(super) epoch: u64,
    pub(super) phase: Phase,
    pub(super) health: Health,
    pub(super) last_seen_ms: i64,
    pub(super) vitals: Option<Vitals>,
    name: String,
    capacity: u32,
    host: HostInfo,
    labels: BTreeMap<String, String>,
}

impl Session {
    pub(super) fn restored(stored: StoredSession, phase: Phase) -> Self {
        let StoredSession {
            worker: _,
            instance,
            epoch,
            connected: _,
            last_seen_ms,
            name,
            capacity,
            host,
            labels,
        } = stored;
        Self {
            instance,
            epoch,
            phase,
            health: Health::Good,
            last_seen_ms,
            vitals: None,
            name,
            capacity,
            host,
            labels,
        }
    }

    pub(super) fn accepted(now: Now, hello: HelloFacts, before: Option<&Self>) -> Self {
        let HelloFacts {
            token_hash: _,
            instance,
            name,
            capacity,
            host,
            labels,
        } = hello;
        Self {
            instance,
            epoch: before.map_or(0, |session| session.epoch) + 1,
            phase: Phase::Live {
                last_heartbeat: now.instant,
                heard: false,
            },
            health: Health::Good,
            last_seen_ms: now.unix_ms,
            vitals: None,
            name,
            capacity,
            host,
            labels,
        }
    }

    pub(super) fn stored(&self, worker: WorkerId) -> StoredSession {
        StoredSession {
            worker,
            instance: self.instance,
            epoch: self.epoch,
            connected: self.is_live(),
            last_seen_ms: self.last_seen_ms,
            name: self.name.clone(),
            capacity: self.capacity,
            host: self.host.clone(),
            labels: self.labels.clone(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// Does this session keep a process of `instance` out (R63, R71)?
    pub(super) fn keeps_out(&self, instance: InstanceId) -> bool {
        self.instance != instance && matches!(self.phase, Phase::Live { .. } | Phase::Held { .. })
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) record: WorkerRecord,
    pub(super) session: Option<Session>,
    pub(super) fence_confirmed: bool,
}

impl Worker {
    pub(super) fn new(record: WorkerRecord) -> Self {
        Self {
            record,
            session: None,
            fence_confirmed: false,
        }
    }

    pub(super) fn require_instance(&self, instance: InstanceId) -> Result<(), FenceRefused> {
        let current = self.session.as_ref().map(|session| session.instance);
        if current == Some(instance) {
            Ok(())
        } else {
            Err(FenceRefused::OtherInstance { current })
        }
    }

    pub(super) fn fence(&self) -> Option<FenceInfo> {
        self.record.fence.as_ref().map(|fence| FenceInfo {
            seq: self.record.fence_seq,
            instance: fence.instance,
            reason: fence.reason.clone(),
            deadline_unix_ms: fence.deadline_unix_ms,
            confirmed: self.fence_confirmed,
        })
    }

    pub(super) fn status(&self) -> WorkerStatus {
        let Some(session) = &self.session else {
            return WorkerStatus::Offline;
        };
        match session.phase {
            _ if self.record.disabled => WorkerStatus::Offline,
            Phase::Live { heard: true, .. } if self.record.fence.is_some() => {
                WorkerStatus::Draining
            }
            Phase::Live { heard: true, .. } if session.health != Health::Good => {
                WorkerStatus::Error
            }
            Phase::Live { heard: true, .. } => WorkerStatus::Online,
            _ => WorkerStatus::Offline,
        }
    }

    /// The name the process gave itself, else the record's (R9).
    fn name(&self) -> &str {
        let own = self.session.as_ref().map(|session| session.name.as_str());
        own.filter(|name| !name.is_empty())
            .unwrap_or(&self.record.name)
    }

    /// MIN(configured, licensed, what the process can bear).
    fn effective_capacity(&self) -> u32 {
        let bears = self
            .session
            .as_ref()
            .map(|session| session.capacity)
            .filter(|capacity| *capacity > 0);
        [self.record.licence.endpoints(), bears]
            .into_iter()
            .flatten()
            .fold(self.record.capacity, u32::min)
    }

    /// Labels of the process, overlaid by those of the record, which it cannot change.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self
            .session
            .as_ref()
            .map(|session| session.labels.clone())
            .unwrap_or_default();
        labels.extend(self.record.labels.clone());
        labels
    }

    pub(super) fn info(&self) -> WorkerInfo {
        let record = &self.record;
        let session = self.session.as_ref();
        let labels = self.labels();
        let label = |name| labels.get(name).cloned().unwrap_or_default();
        WorkerInfo {
            id: record.id,
            key: record.key.clone(),
            name: self.name().to_owned(),
            organisation: record.organisation.clone(),
            project: record.project.clone(),
            region: label(REGION_LABEL),
            pool: label(POOL_LABEL),
            configured_capacity: record.capacity,
            effective_capacity: self.effective_capacity(),
            status: self.status(),
            connected: session.is_some_and(Session::is_live),
            disabled: record.disabled,
            fenced: record.fence.is_some(),
            fence: self.fence(),
            instance: session.map(|session| session.instance),
            host: session
                .map(|session| session.host.clone())
                .unwrap_or_default(),
            last_refusal: record.last_refusal.clone(),
            vitals: session.and_then(|session| session.vitals.clone()),
            last_seen_unix_ms: session.map_or(0, |session| session.last_seen_ms),
            created_unix_ms: record.created_ms,
            labels,
        }
    }
}
