//! The rules in virtual time: tables of what happens when, and what must follow.

mod fences;
mod sessions;

use std::time::Instant;

use super::*;
use crate::link::{HostInfo, InstanceId, Vitals, WorkerStatus};
use crate::store::Licence;

const HASH: [u8; 32] = [1; 32];
const A: InstanceId = InstanceId([0xa; 16]);
const B: InstanceId = InstanceId([0xb; 16]);

/// A registry with one worker and a clock that only moves by hand.
struct World {
    registry: Registry,
    id: WorkerId,
    start: Instant,
    ms: u64,
    outputs: Vec<Output>,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let record = record();
        let id = record.id;
        let mut world = Self {
            registry: Registry::default(),
            id,
            start,
            ms: 0,
            outputs: Vec::new(),
        };
        world.registry.insert(record);
        world.drain();
        world
    }

    fn now(&self) -> Now {
        Now {
            instant: self.start + Duration::from_millis(self.ms),
            unix_ms: 1_000_000 + self.ms as i64,
        }
    }

    fn drain(&mut self) -> Vec<Output> {
        let drained: Vec<_> = std::iter::from_fn(|| self.registry.poll_output()).collect();
        self.outputs.extend(drained.iter().cloned());
        drained
    }

    /// Moves the clock in steps of a second, as the task does.
    fn pass(&mut self, seconds: u64) -> Vec<Output> {
        let mut all = Vec::new();
        for _ in 0..seconds {
            self.ms += 1000;
            self.registry.handle_timeout(self.now());
            all.extend(self.drain());
        }
        all
    }

    fn hello(&mut self, instance: InstanceId) -> Result<u64, RefusalReason> {
        self.hello_with(instance, HASH)
    }

    fn hello_with(
        &mut self,
        instance: InstanceId,
        token_hash: [u8; 32],
    ) -> Result<u64, RefusalReason> {
        let host = HostInfo {
            pod_uid: format!("pod-{instance}"),
            ..HostInfo::default()
        };
        let hello = HelloFacts {
            token_hash,
            instance,
            name: String::new(),
            capacity: 0,
            host,
            labels: BTreeMap::new(),
        };
        let now = self.now();
        self.registry
            .hello(now, self.id, hello)
            .map(|accepted| accepted.epoch)
    }

    fn beat(&mut self, epoch: u64, healthy: bool) -> WorkerStatus {
        let heartbeat = Heartbeat {
            healthy,
            vitals: Vitals::default(),
        };
        self.registry
            .heartbeat(self.now(), self.id, epoch, heartbeat);
        self.status()
    }

    fn online(&mut self, instance: InstanceId) -> u64 {
        let epoch = self.hello(instance).unwrap();
        assert_eq!(self.beat(epoch, true), WorkerStatus::Online);
        self.drain();
        epoch
    }

    fn info(&self) -> Arc<WorkerInfo> {
        self.registry.info(self.id).unwrap()
    }

    fn status(&self) -> WorkerStatus {
        self.info().status
    }

    fn disconnect(&mut self, epoch: u64) -> Vec<Output> {
        self.registry.disconnected(self.now(), self.id, epoch);
        self.drain()
    }

    /// Stops the gateway and starts another one with what was stored.
    fn restart(&mut self) {
        let mut record = self.registry.record(self.id).unwrap().clone();
        let mut session = None;
        for output in &self.outputs {
            match output {
                Output::StoreSession(stored) => session = Some(stored.clone()),
                Output::EndSession {
                    epoch,
                    last_seen_ms,
                    ..
                } => {
                    if let Some(stored) = session.as_mut().filter(|stored| stored.epoch == *epoch) {
                        stored.connected = false;
                        stored.last_seen_ms = *last_seen_ms;
                    }
                }
                Output::StoreFence { seq, fence, .. } => {
                    record.fence_seq = *seq;
                    record.fence.clone_from(fence);
                }
                _ => {}
            }
        }
        self.registry = Registry::restore(self.now(), vec![record], session.into_iter().collect());
    }
}

fn record() -> WorkerRecord {
    WorkerRecord {
        id: WorkerId::random(),
        organisation: "default".into(),
        project: "default".into(),
        key: String::new(),
        name: "w".into(),
        capacity: 100,
        licence: Licence::Enterprise,
        labels: BTreeMap::new(),
        token_hash: HASH,
        disabled: false,
        created_by: "test".into(),
        created_ms: 0,
        fence_seq: 0,
        fence: None,
        last_refusal: None,
    }
}

fn lost(outputs: &[Output]) -> Vec<InstanceId> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Lost { instance, .. } => Some(*instance),
            _ => None,
        })
        .collect()
}

fn closed(outputs: &[Output]) -> Vec<(u64, CloseReason)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Close { epoch, reason, .. } => Some((*epoch, *reason)),
            _ => None,
        })
        .collect()
}
