//! Who is let in, who is lost, and what status follows.

use super::*;

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

/// R9
#[test]
fn a_process_with_a_name_is_shown_by_it_and_without_by_the_records() {
    let mut world = World::new();
    let mut hello_as = |instance, name: &str| {
        let hello = HelloFacts {
            token_hash: HASH,
            instance,
            name: name.to_owned(),
            capacity: 0,
            host: HostInfo::default(),
            labels: BTreeMap::new(),
        };
        let accepted = world.registry.hello(world.now(), world.id, hello).unwrap();
        world.disconnect(accepted.epoch);
        world.info().name.clone()
    };
    assert_eq!(hello_as(A, "dc-frankfurt-01"), "dc-frankfurt-01");
    assert_eq!(hello_as(B, ""), "w");
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
            name: String::new(),
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
        name: String::new(),
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
