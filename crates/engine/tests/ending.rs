//! How runs end: by time, by stop, by a deadline, or without ever starting.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]

mod common;

use std::time::Duration;

use callmeter_engine::media::MediaCommand;
use callmeter_engine::{Outcome, Phase, Role, ShareId};
use callmeter_metrics::id;
use common::{World, ms, secs};

/// One caller on site 0, one callee on site 1, calls longer than the run.
fn long_call(world: &mut World) {
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.call.duration = secs(600);
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.call.duration = secs(600);
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
}

fn byes(world: &World, site: usize) -> usize {
    let from = world.sites[site].ports[&ShareId(1)];
    world
        .wire
        .iter()
        .filter(|(f, _, line)| *f == from && line.starts_with("BYE"))
        .count()
}

/// Who hangs up stops sending before its BYE, receives until 200 ms after the answer to it; the
/// other side likewise.
#[test]
fn the_end_of_the_run_ends_calls_by_the_callers_bye() {
    let mut world = World::new(2, 1);
    let started = world.now;
    long_call(&mut world);
    world.run_until_ended(secs(70));
    assert_eq!(
        (byes(&world, 0), byes(&world, 1)),
        (1, 0),
        "the callee leaves it to the caller"
    );
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 1)]);
        site.assert_rows_add_up(1);
    }
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    assert_eq!(
        callee.sum(1, id::PACKETS_RECEIVED),
        caller.sum(1, id::PACKETS_SENT)
    );
    assert_eq!(
        caller.sum(1, id::PACKETS_RECEIVED),
        callee.sum(1, id::PACKETS_SENT)
    );
    let at = |site: usize, wanted: fn(&MediaCommand) -> bool| {
        let found = world
            .media
            .commands
            .iter()
            .find(|(_, s, c)| *s == site && wanted(c));
        found.unwrap().0 - started
    };
    let stop = |c: &MediaCommand| matches!(c, MediaCommand::StopSending { .. });
    let remove = |c: &MediaCommand| matches!(c, MediaCommand::Remove { .. });
    assert_eq!(at(0, stop), secs(60));
    assert_eq!(at(0, remove), secs(60) + ms(210));
    assert_eq!(at(1, stop), secs(60) + ms(5));
    assert_eq!(at(1, remove), secs(60) + ms(205));
}

/// Stop ends calls by BYE and says nothing bad about them; an unanswered one is cancelled.
#[test]
fn stop_hangs_up_what_runs() {
    let mut world = World::new(2, 2);
    long_call(&mut world);
    world.run_for(secs(20));
    for site in 0..2 {
        world.with(site, |engine, now| {
            engine.stop(now, ShareId(1), "asked for");
        });
    }
    world.run_until_ended(secs(5));
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 1)]);
        assert!(!site.totals(1).forced);
    }
    assert_eq!(byes(&world, 0) + byes(&world, 1), 1);
    let talked = world.sites[0].values(1, id::CALL_DURATION_MS);
    assert!((talked[0] - 18_989.0).abs() < 1.0, "{talked:?}");
}

#[test]
fn stop_cancels_what_rings() {
    let mut world = World::new(2, 3);
    long_call(&mut world);
    world.run_for(ms(500));
    world.with(0, |engine, now| engine.stop(now, ShareId(1), "asked for"));
    world.run_until("the caller to end", secs(5), |world| {
        !world.sites[0].ended.is_empty()
    });
    let (outcome, status, detail) = world.sites[0].calls(1).remove(0);
    assert_eq!(
        (outcome, status),
        (Outcome::CompletedWithWarnings, Some(487))
    );
    assert!(detail.contains("asked for"), "{detail}");
    let delay = world.sites[0].values(1, id::CANCEL_DELAY_MS);
    assert!(
        delay.len() == 1 && (delay[0] - 10.0).abs() < 1.0,
        "{delay:?}"
    );
    assert_eq!(world.sites[0].values(1, id::CALL_RESULT), [4.0]);
    assert_eq!(world.sites[1].calls(1)[0].0, Outcome::CallFailed);
    let phases = world.sites[0].phases(1, 0, 1);
    assert_eq!(
        phases,
        [
            Phase::Calling,
            Phase::Ringing,
            Phase::Disconnecting,
            Phase::Closed
        ]
    );
}

/// A deadline: BYE to all at once, from both sides, outcome TIMEOUT, totals forced.
#[test]
fn a_deadline_forces_the_end() {
    let mut world = World::new(2, 4);
    long_call(&mut world);
    world.run_for(secs(20));
    let forced_at = world.now;
    world.with(1, |engine, now| engine.force_end(now, ShareId(1)));
    world.run_until("the callee to end", secs(5), |world| {
        !world.sites[1].ended.is_empty()
    });
    assert!(world.now - forced_at < secs(1));
    let callee = &world.sites[1];
    assert!(callee.totals(1).forced);
    assert_eq!(callee.totals(1).calls, [(Outcome::Timeout, 1)]);
    assert_eq!(callee.endpoints(1)[&0], Some(Outcome::Timeout));
    assert_eq!(byes(&world, 1), 1);
    assert_eq!(callee.calls(1)[0].2, "ended by a deadline");
    // The other side saw an ordinary BYE.
    world.run_for(secs(1));
    assert_eq!(world.sites[0].calls(1)[0].0, Outcome::Success);
}

/// With nobody answering any more, a forced end is over within seconds all the same.
#[test]
fn a_deadline_does_not_wait_for_the_dead() {
    let mut world = World::new(2, 5);
    long_call(&mut world);
    world.run_for(secs(20));
    world.loss = 1.0;
    world.media.stalled.insert(0);
    let forced_at = world.now;
    world.with(0, |engine, now| engine.force_end(now, ShareId(1)));
    world.run_until("the caller to end", secs(20), |world| {
        !world.sites[0].ended.is_empty()
    });
    assert!(
        world.now - forced_at <= secs(9),
        "{:?}",
        world.now - forced_at
    );
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Timeout, 1)]);
    world.run_for(secs(33));
    assert!(world.sites[0].engine.is_empty());
}

/// Nor is anything lost that a dropped endpoint counted after its last whole second.
#[test]
fn a_deadline_loses_no_counts() {
    let mut world = World::new(2, 11);
    long_call(&mut world);
    world.run_for(ms(20_700));
    world.loss = 1.0;
    world.with(0, |engine, now| engine.force_end(now, ShareId(1)));
    world.run_until("the caller to end", secs(9), |world| {
        !world.sites[0].ended.is_empty()
    });
    assert_eq!(byes(&world, 0), 4);
    assert_eq!(world.sites[0].sum(1, id::SIP_RETRANSMISSIONS), 3.0);
}

/// A call whose BYE is never answered ends as `TEARDOWN_ERROR`, after the transaction's time.
#[test]
fn an_unanswered_bye_is_a_teardown_error() {
    let mut world = World::new(2, 6);
    long_call(&mut world);
    world.run_for(secs(59));
    world.loss = 1.0;
    world.run_until_ended(secs(100));
    assert_eq!(
        world.sites[0].totals(1).calls,
        [(Outcome::TeardownError, 1)]
    );
    let delay = world.sites[0].values(1, id::DISCONNECT_DELAY_MS);
    assert!((delay[0] - 32_000.0).abs() < 10.0, "{delay:?}");
    assert!(world.sites[0].sum(1, id::SIP_RETRANSMISSIONS) >= 8.0);
    assert!(world.sites[0].sum(1, id::SIP_TIMEOUTS) >= 1.0);
}

/// Without a start the share ends by itself.
#[test]
fn a_share_that_is_never_started_times_out() {
    let mut world = World::new(1, 7);
    let mut callee = world.plan(0, 1, Role::Callee, 2);
    callee.start_within = secs(30);
    world.assign(0, callee);
    world.run_for(secs(29));
    assert!(world.sites[0].ended.is_empty());
    world.run_for(secs(1));
    let outcomes: Vec<_> = world.sites[0].endpoints(1).into_values().collect();
    assert_eq!(outcomes, [Some(Outcome::Timeout); 2]);
    assert_eq!(world.sites[0].totals(1).calls, []);
    world.sites[0].assert_rows_add_up(1);
    world.run_for(secs(33));
    assert!(world.sites[0].engine.is_empty());
}

/// Late requests within a dead call are answered 481 for 32 s, then not at all.
#[test]
fn late_requests_get_481_for_32_seconds() {
    let mut world = World::new(1, 8);
    let callee = world.plan(0, 1, Role::Callee, 1);
    world.assign(0, callee);
    world.start(0, 1, &[]);
    world.run_until_ended(secs(70));
    let port = world.sites[0].ports[&ShareId(1)];
    let bye = "BYE sip:group-1-0@192.0.2.1:5061 SIP/2.0\n\
               Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKlate\n\
               From: <sip:a@192.0.2.9>;tag=1\nTo: <sip:b@192.0.2.1>;tag=2\n\
               Call-ID: late@192.0.2.9\nCSeq: 2 BYE\nMax-Forwards: 70\nContent-Length: 0\n\n";
    world.inject("192.0.2.9:5060".parse().unwrap(), port, bye);
    world.run_for(secs(1));
    let answers = |world: &World| {
        let from_us = world.wire.iter().filter(|(from, ..)| *from == port);
        from_us.map(|(.., line)| line.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        answers(&world),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );
    world.run_for(secs(32));
    assert_eq!(world.sites[0].closed, [ShareId(1)]);
    world.inject(
        "192.0.2.9:5060".parse().unwrap(),
        port,
        &bye.replace("late", "later"),
    );
    world.run_for(secs(1));
    assert_eq!(answers(&world).len(), 1);
}

/// R105: a second run on the same engine knows nothing of the first.
#[test]
fn the_next_run_starts_from_nothing() {
    let mut world = World::new(2, 9);
    long_call(&mut world);
    world.run_until_ended(secs(70));
    world.run_for(secs(40));
    for site in &mut world.sites {
        site.events.clear();
        site.rows.clear();
        site.ended.clear();
    }
    long_call(&mut world);
    world.run_until_ended(secs(70));
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 1)]);
        assert_eq!(site.calls(1).len(), 1);
        site.assert_rows_add_up(1);
    }
    let caller = &world.sites[0];
    assert_eq!(caller.sum(1, id::INVITE_SENT), 1.0);
    let (sent, seconds) = (caller.sum(1, id::PACKETS_SENT), Duration::from_secs(59));
    assert!((sent - seconds.as_secs_f64() * 50.0).abs() < 51.0, "{sent}");
}

/// Thirty percent of all SIP messages lost: retransmission carries every call to its end.
#[test]
fn calls_survive_a_lossy_link() {
    let mut world = World::new(2, 10);
    world.loss = 0.3;
    let callees = world.plan(1, 1, Role::Callee, 4);
    world.assign(1, callees);
    let mut callers = world.plan(0, 1, Role::Caller, 4);
    callers.call.repeat = true;
    world.assign(0, callers);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(140));
    let caller = &world.sites[0];
    let calls: u64 = caller.totals(1).calls.iter().map(|(_, n)| n).sum();
    let good: u64 = caller
        .totals(1)
        .calls
        .iter()
        .filter(|(o, _)| o.severity() <= 1)
        .map(|(_, n)| n)
        .sum();
    assert!(calls >= 12, "{:?}", caller.totals(1).calls);
    assert_eq!(good, calls, "{:?}", caller.calls(1));
    assert!(caller.sum(1, id::SIP_RETRANSMISSIONS) > 5.0);
    assert!(caller.sum(1, id::SIP_RETRANSMISSIONS_RECV) > 0.0);
    for site in &world.sites {
        site.assert_rows_add_up(1);
    }
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    assert_eq!(
        callee.sum(1, id::PACKETS_RECEIVED),
        caller.sum(1, id::PACKETS_SENT)
    );
    assert_eq!(
        caller.sum(1, id::PACKETS_RECEIVED),
        callee.sum(1, id::PACKETS_SENT)
    );
}
