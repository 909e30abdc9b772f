use super::*;

#[test]
fn callees_come_first_callers_when_they_are_ready_then_all_start() {
    let mut bench = Bench::dispatched(TEST);
    assert_eq!(bench.told(), ["1: assign answerers #1"]);
    assert_eq!(bench.run.status(), RunPhase::Running);
    assert_eq!(
        bench.run.reason,
        "waits at most 75 s until 2 of 2 endpoints of group answerers are ready"
    );
    bench.ready(1, "answerers", 1);
    assert!(bench.told().is_empty());
    bench.end(1, "answerers", 1, Outcome::RegistrationFailed);
    assert_eq!(bench.told(), ["2: assign callers #1"]);
    bench.ready(2, "callers", 3);
    let start = bench
        .sent
        .iter()
        .find_map(|(worker, message)| match message {
            Message::Start(start) if *worker == id(2) => Some(start.clone()),
            _ => None,
        });
    // Caller i calls callee i mod 2; the second callee failed.
    let peers = &start.unwrap().peers[0];
    assert_eq!((peers.group.as_str(), peers.first), ("callers", 0));
    assert_eq!(
        peers.peers,
        ["sip:0@10.0.0.1:5060", "", "sip:0@10.0.0.1:5060"]
    );
    assert_eq!(bench.told(), ["1: start #2", "2: start #2"]);
}

#[test]
fn registered_callees_are_called_by_their_address_of_record() {
    let mut bench = Bench::dispatched(REGISTERED);
    bench.ready(1, "answerers", 2);
    let Some((_, Message::Assign(assign))) = bench.sent.last().cloned() else {
        panic!()
    };
    assert_eq!(
        assign
            .accounts
            .iter()
            .map(|a| a.user.as_str())
            .collect::<Vec<_>>(),
        ["c1", "c2", "c3"]
    );
    assert_eq!(assign.accounts[0].password, "hunter2");
    bench.ready(2, "callers", 3);
    let Some((_, Message::Start(start))) = bench.sent.last() else {
        panic!()
    };
    assert_eq!(
        start.peers[0].peers,
        ["sip:a1@pbx", "sip:a2@pbx", "sip:a1@pbx"]
    );
}

#[test]
fn endpoints_that_are_never_ready_do_not_hold_the_run_for_ever() {
    let mut bench = Bench::dispatched(TEST);
    bench.ready(1, "answerers", 1);
    bench.told();
    bench.pass(75);
    assert_eq!(bench.told(), ["2: assign callers #1"]);
    bench.pass(75);
    assert_eq!(bench.told(), ["1: start #2", "2: start #2"]);
}

/// R139: a slot is released when its endpoint ends.
#[test]
fn reserved_then_active_then_free_endpoint_by_endpoint() {
    let mut bench = Bench::placed(TEST, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
    assert_eq!(bench.run.status(), RunPhase::Queued);
    assert_eq!(
        (bench.load(1), bench.load(2)),
        (
            Load {
                active: 0,
                reserved: 2
            },
            Load {
                active: 0,
                reserved: 3
            }
        )
    );
    bench.dispatch();
    // Callers still wait for their callees and count all the same.
    assert_eq!((bench.load(1).active, bench.load(2).active), (2, 3));
    bench.ready(1, "answerers", 2);
    bench.ready(2, "callers", 3);
    bench.end(2, "callers", 1, Outcome::Success);
    assert_eq!((bench.load(1).active, bench.load(2).active), (2, 2));
    bench.finish();
    assert_eq!(
        (bench.load(1), bench.load(2)),
        (Load::default(), Load::default())
    );
    assert_eq!(
        (bench.run.status(), bench.reports),
        (RunPhase::Completed, 1)
    );
    assert!(bench.run.is_whole());
}

/// R124: a fence returns what is reserved to the queue, and leaves what runs.
#[test]
fn a_fence_before_the_start_sends_the_whole_run_back_to_the_queue() {
    let mut bench = Bench::placed(TEST, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
    bench.run.unplace(id(2));
    assert_eq!(
        (bench.run.status(), bench.run.loads().len()),
        (RunPhase::Queued, 0)
    );
    assert!(bench.run.demand().unwrap().accepted);
    bench.dispatch();
    assert!(
        bench.told().is_empty(),
        "accounts that were read meanwhile start nothing"
    );
    let mut running = Bench::started(TEST);
    running.run.unplace(id(2));
    assert_eq!(
        (running.run.status(), running.load(2).active),
        (RunPhase::Running, 3)
    );
}

#[test]
fn a_stop_reaches_who_was_told_of_the_run_and_nobody_else() {
    let mut bench = Bench::dispatched(TEST);
    bench.told();
    bench.run.stop("enough", bench.now);
    bench.drain();
    assert_eq!(bench.told(), ["1: stop #2"]);
    assert_eq!(
        (bench.run.status(), bench.load(2)),
        (RunPhase::Stopping, Load::default())
    );
    bench.run_ended(1, "answerers", &worker::RunEnded::default(), 0);
    assert_eq!(
        (bench.run.status(), bench.run.reason.as_str()),
        (RunPhase::Completed, "stopped: enough")
    );
    assert!(
        bench.run.partial.is_empty() && !bench.run.is_whole(),
        "it never started"
    );
}

#[test]
fn a_waiting_run_ends_at_once_when_it_is_stopped() {
    let mut bench = Bench::waiting(TEST);
    bench.run.stop("enough", bench.now);
    bench.drain();
    assert_eq!(bench.run.status(), RunPhase::CannotRunForNow);
    assert_eq!(
        (bench.run.reason.as_str(), bench.reports),
        ("stopped before it started: enough", 1)
    );
}

/// BYE and REGISTER that nobody answers take a worker 70 s: it is not lost.
#[test]
fn a_stopped_worker_has_time_for_requests_that_nobody_answers() {
    let mut bench = Bench::started(TEST);
    bench.run.stop("enough", bench.now);
    bench.drain();
    bench.run_ended(1, "answerers", &worker::RunEnded::default(), 0);
    bench.pass(75);
    bench.run_ended(2, "callers", &worker::RunEnded::default(), 0);
    assert_eq!(bench.run.status(), RunPhase::Completed);
    assert_eq!(bench.run.reason, "stopped: enough");
    assert!(bench.run.is_whole());
}

#[test]
fn a_run_that_does_not_end_is_stopped_and_then_given_up() {
    let mut bench = Bench::started(TEST);
    bench.pass(60 + 89);
    assert!(bench.told().is_empty());
    bench.pass(1);
    assert_eq!(bench.told(), ["1: stop #3", "2: stop #3"]);
    bench.run_ended(1, "answerers", &worker::RunEnded::default(), 0);
    bench.pass(89);
    assert_eq!(bench.run.status(), RunPhase::Stopping);
    bench.pass(1);
    assert_eq!(bench.run.status(), RunPhase::Failed);
    assert_eq!(bench.run.partial[0].cause, Cause::WorkerLost);
}

#[test]
fn events_of_endpoints_a_worker_does_not_carry_change_nothing() {
    let mut bench = Bench::started(TEST);
    for (worker, group, endpoint) in [
        (1, "callers", 0),
        (2, "callers", 3),
        (2, "nobody", 0),
        (9, "callers", 0),
    ] {
        let events = worker::EndpointEvents {
            events: vec![worker::EndpointEvent {
                group: group.into(),
                endpoint,
                what: Some(What::Ended(worker::EndpointEnded::default())),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(bench.run.outcomes_of(id(worker), &events).is_empty());
        assert!(
            bench
                .run
                .apply_events(id(worker), &events, bench.now)
                .is_empty()
        );
    }
    assert_eq!((bench.load(1).active, bench.load(2).active), (2, 3));
}
