//! Fences and drain requests.

use super::*;

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
