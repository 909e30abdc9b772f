//! The rules in virtual time: tables of what happens when, and what must follow.

use std::time::Instant;

use super::*;
use crate::link::{HostInfo, Vitals, WorkerStatus};
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

/// R92, R93, R122, R123
#[test]
fn a_worker_is_online_from_its_first_heartbeat() {
    let mut world = World::new();
    assert_eq!(world.status(), WorkerStatus::Offline);
    let epoch = world.hello(A).unwrap();
    assert_eq!(
        world.status(),
        WorkerStatus::Offline,
        "accepted, not yet heard"
    );
    assert!(world.info().connected);
    assert_eq!(world.beat(epoch, true), WorkerStatus::Online);
    assert!(world.info().takes_work());
}

/// R62, R63, R71
#[test]
fn another_process_is_refused_while_one_lives() {
    let mut world = World::new();
    let epoch = world.online(A);
    for _ in 0..20 {
        world.pass(10);
        assert_eq!(world.beat(epoch, true), WorkerStatus::Online);
        assert_eq!(world.hello(B), Err(RefusalReason::DuplicateConnection));
    }
    let refusal = world.info().last_refusal.clone().unwrap();
    assert_eq!(refusal.reason, RefusalReason::DuplicateConnection);
    assert_eq!(refusal.pod_uid, format!("pod-{B}"));
    assert_eq!(refusal.at_unix_ms, world.now().unix_ms);
    assert!(closed(&world.outputs).is_empty() && lost(&world.outputs).is_empty());
}

/// R94
#[test]
fn the_same_process_replaces_its_own_stream() {
    let mut world = World::new();
    let first = world.online(A);
    let second = world.hello(A).unwrap();
    assert_eq!(second, first + 1);
    let outputs = world.drain();
    assert_eq!(closed(&outputs), [(first, CloseReason::Replaced)]);
    assert!(lost(&outputs).is_empty());
    // What the old stream still reports is void.
    world.disconnect(first);
    assert!(world.info().connected);
    assert_eq!(
        world.beat(first, true),
        WorkerStatus::Offline,
        "the new stream was not heard yet"
    );
    assert_eq!(world.beat(second, true), WorkerStatus::Online);
}

/// R63, R73
#[test]
fn a_broken_connection_frees_the_token_at_once() {
    let mut world = World::new();
    let epoch = world.online(A);
    world.disconnect(epoch);
    assert_eq!(world.status(), WorkerStatus::Offline);
    let next = world.hello(B).unwrap();
    assert_eq!(next, epoch + 1);
    assert_eq!(lost(&world.drain()), [A]);
    // Now the first one is the second process.
    assert_eq!(world.hello(A), Err(RefusalReason::DuplicateConnection));
}

/// R73, R123, R128
#[test]
fn silence_for_60_s_ends_a_connection_and_59_do_not() {
    let mut world = World::new();
    let epoch = world.online(A);
    assert!(lost(&world.pass(59)).is_empty());
    assert_eq!(world.status(), WorkerStatus::Online);
    assert_eq!(world.hello(B), Err(RefusalReason::DuplicateConnection));
    world.drain();
    let outputs = world.pass(1);
    assert_eq!(
        (closed(&outputs), lost(&outputs)),
        (vec![(epoch, CloseReason::Silent)], vec![A])
    );
    assert_eq!(world.status(), WorkerStatus::Offline);
    assert!(world.hello(B).is_ok());
    assert!(lost(&world.drain()).is_empty(), "lost is told once");
}

#[test]
fn a_process_away_for_less_than_60_s_resumes_and_is_lost_after() {
    let mut world = World::new();
    let epoch = world.online(A);
    world.pass(9);
    world.disconnect(epoch);
    assert!(lost(&world.pass(59)).is_empty());
    let epoch = world.hello(A).unwrap();
    assert!(lost(&world.drain()).is_empty());
    world.beat(epoch, true);
    world.disconnect(epoch);
    assert_eq!(lost(&world.pass(60)), [A]);
    assert!(lost(&world.pass(120)).is_empty());
}

#[test]
fn a_connection_that_was_silent_before_it_broke_is_lost_60_s_after_its_last_heartbeat() {
    let mut world = World::new();
    let epoch = world.online(A);
    world.pass(30);
    world.disconnect(epoch);
    assert!(lost(&world.pass(29)).is_empty());
    assert_eq!(lost(&world.pass(1)), [A]);
}

/// R63
#[test]
fn a_gateway_restart_never_lets_two_in() {
    let mut world = World::new();
    world.online(A);
    world.pass(20);
    world.restart();
    for _ in 0..59 {
        assert_eq!(world.hello(B), Err(RefusalReason::DuplicateConnection));
        assert!(lost(&world.pass(1)).is_empty());
    }
    assert_eq!(lost(&world.pass(1)), [A]);
    assert!(world.hello(B).is_ok());
}

#[test]
fn after_a_restart_the_same_process_comes_back_and_the_count_begins_again() {
    let mut world = World::new();
    let before = world.online(A);
    world.pass(50);
    world.restart();
    world.pass(55);
    let epoch = world.hello(A).unwrap();
    assert_eq!(epoch, before + 1);
    assert!(lost(&world.pass(59)).is_empty());
    assert_eq!(world.beat(epoch, true), WorkerStatus::Online);
}

#[test]
fn after_a_restart_a_token_that_was_free_is_free() {
    let mut world = World::new();
    let epoch = world.online(A);
    world.disconnect(epoch);
    world.restart();
    assert!(world.hello(B).is_ok());
    assert_eq!(lost(&world.drain()), [A]);
}

/// R69, R65, R66
#[test]
fn regeneration_ends_the_live_stream_and_the_old_token() {
    let mut world = World::new();
    let epoch = world.online(A);
    world
        .registry
        .token_replaced(world.now(), world.id, [2; 32]);
    assert_eq!(
        closed(&world.drain()),
        [(epoch, CloseReason::TokenReplaced)]
    );
    assert_eq!(world.status(), WorkerStatus::Offline);
    assert_eq!(world.hello(A), Err(RefusalReason::InvalidToken));
    assert_eq!(world.hello(B), Err(RefusalReason::InvalidToken));
    assert!(world.hello_with(B, [2; 32]).is_ok());
}

#[test]
fn regeneration_after_a_restart_keeps_nobody_out() {
    let mut world = World::new();
    world.online(A);
    world.restart();
    world
        .registry
        .token_replaced(world.now(), world.id, [2; 32]);
    assert!(world.hello_with(B, [2; 32]).is_ok());
}

/// R70, R72
#[test]
fn a_disabled_worker_is_offline_and_refused_until_enabled() {
    let mut world = World::new();
    let epoch = world.online(A);
    world.registry.set_disabled(world.now(), world.id, true);
    assert_eq!(closed(&world.drain()), [(epoch, CloseReason::Disabled)]);
    let info = world.info();
    assert!(info.disabled && !info.connected && info.status == WorkerStatus::Offline);
    assert_eq!(world.hello(A), Err(RefusalReason::WorkerDisabled));
    assert_eq!(
        world.info().last_refusal.clone().unwrap().reason,
        RefusalReason::WorkerDisabled
    );
    world.registry.set_disabled(world.now(), world.id, false);
    world.online(A);
}

/// R125, R127, R128
#[test]
fn an_unhealthy_worker_is_in_error_until_two_healthy_heartbeats() {
    use WorkerStatus::{Error, Online};
    let mut world = World::new();
    let epoch = world.hello(A).unwrap();
    let table = [
        (true, Online),
        (false, Error),
        (true, Error),
        (true, Online),
        (false, Error),
        (true, Error),
        (false, Error),
        (true, Error),
        (true, Online),
        (true, Online),
    ];
    for (i, (healthy, expected)) in table.into_iter().enumerate() {
        assert_eq!(world.beat(epoch, healthy), expected, "heartbeat {i}");
        assert_eq!(world.info().takes_work(), expected == Online);
    }
    // A reconnect is no recovery.
    world.beat(epoch, false);
    let epoch = world.hello(A).unwrap();
    assert_eq!(world.beat(epoch, true), Error);
    assert_eq!(world.beat(epoch, true), Online);
    // The next process begins afresh.
    world.beat(epoch, false);
    world.disconnect(epoch);
    let epoch = world.hello(B).unwrap();
    assert_eq!(world.beat(epoch, true), Online);
}

/// R124
#[test]
fn a_fence_survives_reconnects_restarts_and_time() {
    let mut world = World::new();
    let epoch = world.online(A);
    let seq = world
        .registry
        .fence(world.now(), world.id, A, "scale down", Some(120_000))
        .unwrap();
    assert_eq!(seq, 1);
    assert_eq!(world.status(), WorkerStatus::Draining);
    let outputs = world.drain();
    let kinds: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::StoreFence { .. } => "store",
            Output::SendFence { .. } => "send",
            Output::Changed(info) if info.fenced => "changed",
            Output::Fenced { .. } => "fenced",
            _ => "other",
        })
        .collect();
    assert_eq!(
        kinds,
        ["store", "send", "changed", "fenced"],
        "stored first, confirmed last"
    );
    world.disconnect(epoch);
    assert_eq!(world.status(), WorkerStatus::Offline);
    let epoch = world.hello(A).unwrap();
    assert_eq!(world.info().fence.as_ref().map(|fence| fence.seq), Some(1));
    assert_eq!(world.beat(epoch, true), WorkerStatus::Draining);
    world.drain();
    world.restart();
    assert!(
        matches!(world.drain()[..], [Output::Fenced { seq: 1, .. }]),
        "confirmed again after a restart"
    );
    let epoch = world.hello(A).unwrap();
    for _ in 0..60 {
        assert_eq!(
            world.beat(epoch, true),
            WorkerStatus::Draining,
            "draining never ends by itself"
        );
        world.pass(10);
    }
    world.registry.unfence(world.id, A).unwrap();
    assert_eq!(world.status(), WorkerStatus::Online);
}

#[test]
fn a_fence_ends_with_the_process_it_is_bound_to() {
    let mut world = World::new();
    let epoch = world.online(A);
    world
        .registry
        .fence(world.now(), world.id, A, "rollout", None)
        .unwrap();
    assert_eq!(
        world
            .registry
            .fence(world.now(), world.id, B, "rollout", None),
        Err(FenceRefused::OtherInstance { current: Some(A) })
    );
    assert_eq!(
        world.registry.unfence(world.id, B),
        Err(FenceRefused::OtherInstance { current: Some(A) })
    );
    world.disconnect(epoch);
    let epoch = world.hello(B).unwrap();
    let cleared = |output: &Output| matches!(output, Output::StoreFence { fence: None, .. });
    assert!(world.drain().iter().any(cleared));
    assert_eq!(world.beat(epoch, true), WorkerStatus::Online);
    assert_eq!(
        world
            .registry
            .fence(world.now(), world.id, B, "rollout", None),
        Ok(2),
        "numbers only grow"
    );
}

#[test]
fn the_number_of_a_fence_shows_only_when_confirmed() {
    let mut world = World::new();
    world.online(A);
    let seq = world
        .registry
        .fence(world.now(), world.id, A, "x", None)
        .unwrap();
    assert!(!world.info().fence.as_ref().unwrap().confirmed);
    world.registry.confirm_fence(world.id, seq + 1);
    assert!(!world.info().fence.as_ref().unwrap().confirmed);
    world.registry.confirm_fence(world.id, seq);
    assert!(world.info().fence.as_ref().unwrap().confirmed);
    // Fenced anew, it must be confirmed anew.
    world.registry.unfence(world.id, A).unwrap();
    world
        .registry
        .fence(world.now(), world.id, A, "x", None)
        .unwrap();
    assert!(!world.info().fence.as_ref().unwrap().confirmed);
}

#[test]
fn a_fence_told_again_moves_its_deadline_and_keeps_its_number() {
    let mut world = World::new();
    world.online(A);
    let sent = |outputs: &[Output]| {
        outputs
            .iter()
            .filter(|o| matches!(o, Output::SendFence { .. }))
            .count()
    };
    assert_eq!(
        world
            .registry
            .fence(world.now(), world.id, A, "x", Some(60_000)),
        Ok(1)
    );
    assert_eq!(sent(&world.drain()), 1);
    world.pass(5);
    assert_eq!(
        world
            .registry
            .fence(world.now(), world.id, A, "x", Some(55_400)),
        Ok(1)
    );
    assert_eq!(sent(&world.drain()), 0, "the same deadline, told 5 s later");
    assert_eq!(
        world
            .registry
            .fence(world.now(), world.id, A, "x", Some(10_000)),
        Ok(1)
    );
    assert_eq!(sent(&world.drain()), 1);
    assert_eq!(
        world.registry.fence(world.now(), world.id, A, "x", None),
        Ok(1)
    );
    assert_eq!(sent(&world.drain()), 1);
    assert_eq!(world.info().fence.as_ref().unwrap().deadline_unix_ms, None);
}

#[test]
fn a_drain_request_fences_and_never_extends_an_earlier_deadline() {
    let mut world = World::new();
    let epoch = world.online(A);
    world
        .registry
        .drain_request(world.now(), world.id, epoch + 1, "SIGTERM", 1000);
    assert_eq!(world.status(), WorkerStatus::Online, "of another stream");
    let at = |world: &World| {
        world
            .info()
            .fence
            .as_ref()
            .unwrap()
            .deadline_unix_ms
            .unwrap()
            - world.now().unix_ms
    };
    world
        .registry
        .drain_request(world.now(), world.id, epoch, "SIGTERM", 60_000);
    assert_eq!(
        (world.status(), at(&world)),
        (WorkerStatus::Draining, 60_000)
    );
    world
        .registry
        .fence(world.now(), world.id, A, "operator", Some(20_000))
        .unwrap();
    world
        .registry
        .drain_request(world.now(), world.id, epoch, "SIGTERM", 60_000);
    assert_eq!(at(&world), 20_000);
}

#[test]
fn effective_capacity_is_the_least_of_configured_licensed_and_bearable() {
    let table = [
        (200, Licence::Standard, 0, 50),
        (200, Licence::Professional, 0, 200),
        (20, Licence::Standard, 0, 20),
        (200, Licence::Enterprise, 0, 200),
        (200, Licence::Enterprise, 120, 120),
        (200, Licence::Standard, 120, 50),
    ];
    for (configured, licence, bears, expected) in table {
        let mut world = World::new();
        let mut record = record();
        record.id = world.id;
        (record.capacity, record.licence) = (configured, licence);
        world.registry.insert(record);
        let hello = HelloFacts {
            token_hash: HASH,
            instance: A,
            capacity: bears,
            host: HostInfo::default(),
            labels: BTreeMap::new(),
        };
        world.registry.hello(world.now(), world.id, hello).unwrap();
        assert_eq!(
            world.info().effective_capacity,
            expected,
            "{configured} {licence:?} {bears}"
        );
    }
}

#[test]
fn labels_of_the_process_never_override_those_of_the_record() {
    let mut world = World::new();
    world.registry.update(
        world.id,
        100,
        [("callmeter.io/pool".to_owned(), "a/record".to_owned())].into(),
    );
    let labels = [
        ("callmeter.io/pool", "a/process"),
        ("callmeter.io/region", "eu"),
    ];
    let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let hello = HelloFacts {
        token_hash: HASH,
        instance: A,
        capacity: 0,
        host: HostInfo::default(),
        labels,
    };
    world.registry.hello(world.now(), world.id, hello).unwrap();
    let info = world.info();
    assert_eq!(
        (info.pool.as_str(), info.region.as_str()),
        ("a/record", "eu")
    );
}

#[test]
fn a_deleted_record_ends_everything() {
    let mut world = World::new();
    let epoch = world.online(A);
    world.registry.remove(world.now(), world.id);
    let outputs = world.drain();
    assert_eq!(
        (closed(&outputs), lost(&outputs)),
        (vec![(epoch, CloseReason::Deleted)], vec![A])
    );
    assert!(matches!(outputs.last(), Some(Output::Removed { .. })));
    assert_eq!(world.hello(A), Err(RefusalReason::InvalidToken));
    assert!(world.pass(120).is_empty());
}
