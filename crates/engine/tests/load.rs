//! Load shapes over whole runs: rates and levels of calls, refusals that are asked for, paced
//! registrations.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use callmeter_engine::{
    ArrivalPoint, Arrivals, Assign, ConcurrencyPoint, Levels, Load, Outcome, Role,
};
use callmeter_metrics::id;
use common::{World, secs};

/// Callers of a shape on site 0, callees enough on site 1.
fn shaped(world: &mut World, change: impl FnOnce(&mut Assign)) {
    let mut callers = world.plan(0, 1, Role::Caller, 3);
    callers.call.duration = secs(4);
    change(&mut callers);
    let mut callees = world.plan(1, 1, Role::Callee, callers.count);
    callees.duration = callers.duration;
    world.assign(1, callees);
    world.assign(0, callers);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
}

fn rate(points: &[(u64, f64, bool)], group: u32) -> Load {
    let points: Vec<_> = points
        .iter()
        .map(|(at, per_second, ramp)| ArrivalPoint {
            at: secs(*at),
            per_second: *per_second,
            ramp: *ramp,
        })
        .collect();
    Load::Arrivals(Arrivals::new(&points, group).unwrap())
}

/// One call every 2 s over three endpoints: each calls every 6 s, in turn. The last ones are those
/// that can be answered before the run ends; it cuts them, and they count as successes.
#[test]
fn a_rate_places_calls_in_turn() {
    let mut world = World::new(2, 1);
    shaped(&mut world, |callers| {
        callers.load = rate(&[(0, 0.5, false)], 3);
        callers.duration = secs(30);
    });
    world.run_until_ended(secs(60));
    let expected: Vec<_> = (0..15).map(|k| (k % 3, u64::from(k) * 2000)).collect();
    assert_eq!(world.sites[0].invites(1), expected);
    let caller = &world.sites[0];
    assert_eq!(caller.totals(1).calls, [(Outcome::Success, 15)]);
    assert_eq!(
        caller.values(1, id::ARRIVALS_MISSED),
        [0.0; 3],
        "said once each"
    );
    caller.assert_rows_add_up(1);
    world.run_for(secs(40));
    assert!(caller_is_empty(&world));
}

fn caller_is_empty(world: &World) -> bool {
    world.sites[0].engine.is_empty()
}

/// Two shares of one group keep its rate between them: each works out its own part.
#[test]
fn shares_of_a_group_keep_one_rate() {
    let mut world = World::new(2, 2);
    let mut callees = world.plan(1, 1, Role::Callee, 4);
    callees.duration = secs(20);
    world.assign(1, callees);
    let peers = world.sites[1].contacts(1);
    for (share, first, count) in [(1, 0, 3), (2, 3, 1)] {
        let mut callers = world.plan(0, share, Role::Caller, count);
        callers.first = first;
        callers.call.duration = secs(1);
        callers.duration = secs(20);
        callers.load = rate(&[(0, 1.0, false)], 4);
        world.assign(0, callers);
    }
    world.start(1, 1, &[]);
    world.start(0, 1, &peers[..3]);
    world.start(0, 2, &peers[3..]);
    world.run_until_ended(secs(60));
    let mut all = world.sites[0].invites(1);
    all.extend(world.sites[0].invites(2));
    all.sort_by_key(|(_, at)| *at);
    let expected: Vec<_> = (0..19).map(|k| (k % 4, u64::from(k) * 1000)).collect();
    assert_eq!(all, expected);
}

/// A ramp from 0 to 2 calls a second within 9 s: call k at 3·√k s.
#[test]
fn a_ramp_brings_calls_faster_and_faster() {
    let mut world = World::new(2, 3);
    shaped(&mut world, |callers| {
        callers.count = 9;
        callers.load = rate(&[(0, 0.0, true), (9, 2.0, false), (10, 0.0, false)], 9);
    });
    world.run_until_ended(secs(90));
    let found = world.sites[0].invites(1);
    assert_eq!(
        found.len(),
        12,
        "9 within the ramp, 2 in the second after it, one at its start"
    );
    for (k, (endpoint, at)) in found.iter().take(10).enumerate() {
        let expected = 3000.0 * (k as f64).sqrt();
        assert_eq!(*endpoint as usize, k % 9);
        assert!((*at as f64 - expected).abs() <= 1.0, "{k}: {at} {expected}");
    }
}

/// A call that is due while its endpoint has one is missed and counted, and the next comes in its
/// own time.
#[test]
fn a_busy_endpoint_misses_its_call() {
    let mut world = World::new(2, 4);
    shaped(&mut world, |callers| {
        callers.count = 1;
        callers.load = rate(&[(0, 0.25, false)], 1);
        callers.call.duration = secs(5);
        callers.duration = secs(26);
    });
    world.run_until_ended(secs(60));
    // Due at 0, 4, … 24; each call lasts a little more than 6 s.
    let placed: Vec<_> = world.sites[0]
        .invites(1)
        .into_iter()
        .map(|(_, at)| at)
        .collect();
    assert_eq!(placed, [0, 8000, 16_000, 24_000]);
    assert_eq!(world.sites[0].sum(1, id::ARRIVALS_MISSED), 3.0);
}

#[test]
fn without_a_rate_nothing_is_said_of_missed_calls() {
    let mut world = World::new(2, 5);
    shaped(&mut world, |_| {});
    world.run_until_ended(secs(90));
    assert_eq!(world.sites[0].values(1, id::ARRIVALS_MISSED), []);
}

/// Levels 1, 3, 2, 0: calls are held as the level says; when it falls, calls in progress end by
/// themselves.
#[test]
fn levels_are_held() {
    let mut world = World::new(2, 6);
    let level = |at, calls| ConcurrencyPoint {
        at: secs(at),
        calls,
    };
    shaped(&mut world, |callers| {
        let points = vec![level(0, 1), level(10, 3), level(20, 2), level(30, 0)];
        callers.load = Load::Concurrency(Levels::new(points).unwrap());
        callers.call.duration = secs(20);
    });
    let mut before = 0;
    for (until, held) in [(1, 1), (9, 1), (12, 3), (20, 3), (25, 3), (35, 1), (52, 0)] {
        world.run_for(secs(until - before));
        before = until;
        assert_eq!(world.sites[0].engine.held().calls, held, "after {until} s");
    }
    world.run_until_ended(secs(90));
    // Endpoint 0 and 1 call again after 21 s, endpoint 2 does not: the level is below it.
    let placed: Vec<_> = world.sites[0]
        .invites(1)
        .into_iter()
        .map(|(endpoint, at)| (endpoint, at / 1000))
        .collect();
    assert_eq!(placed, [(0, 0), (1, 10), (2, 10), (0, 21)]);
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, 4)]);
}

/// Calls of a level are repeated until the run ends, and cut by it, not left away for being long.
#[test]
fn a_level_lasts_until_the_run_ends() {
    let mut world = World::new(2, 9);
    shaped(&mut world, |callers| {
        let point = ConcurrencyPoint {
            at: Duration::ZERO,
            calls: 1,
        };
        callers.load = Load::Concurrency(Levels::new(vec![point]).unwrap());
        callers.call.duration = secs(20);
        callers.call.pause = secs(1);
    });
    world.run_until_ended(secs(90));
    let placed = world.sites[0].invites(1).len();
    assert_eq!(placed, 3, "at 0, 22 and 44 s of 60");
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, 3)]);
}

/// What the test asks a callee to refuse is no failure of the callee, and is one of the caller.
#[test]
fn a_callee_refuses_as_asked_after_it_has_rung() {
    for (code, outcome) in [
        (486, Outcome::CallFailed),
        (302, Outcome::CallFailed),
        (603, Outcome::CallFailed),
        (408, Outcome::Timeout),
        (488, Outcome::NegotiationFailed),
    ] {
        let mut world = World::new(2, 7);
        let mut callee = world.plan(1, 1, Role::Callee, 1);
        callee.call.answer_code = code;
        callee.call.ring = secs(2);
        world.assign(1, callee);
        let caller = world.plan(0, 1, Role::Caller, 1);
        world.assign(0, caller);
        let peers = world.sites[1].contacts(1);
        world.start(1, 1, &[]);
        world.start(0, 1, &peers);
        world.run_until_ended(secs(90));
        let [caller, callee] = &world.sites[..] else {
            unreachable!()
        };
        let (told, status, _) = caller.calls(1).remove(0);
        assert_eq!((told, status), (outcome, Some(code)));
        assert_eq!(
            callee.calls(1),
            [(
                Outcome::Success,
                Some(code),
                format!("refused as asked: {code}")
            )]
        );
        let failed = caller.values(1, id::FAILED_SRD_MS);
        assert!(
            (failed[0] - 2010.0).abs() < 1.0,
            "it rang first: {failed:?}"
        );
        assert_eq!(world.media.open_streams(), 0);
    }
}

/// A refusal needs no media port.
#[test]
fn a_callee_without_ports_still_refuses_as_asked() {
    let mut world = World::new(2, 8);
    world.media.stalled.insert(1);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.call.answer_code = 600;
    world.assign(1, callee);
    let caller = world.plan(0, 1, Role::Caller, 1);
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until("the caller to end", secs(20), |world| {
        !world.sites[0].ended.is_empty()
    });
    assert_eq!(world.sites[0].calls(1)[0].1, Some(600));
}
