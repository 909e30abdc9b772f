//! When endpoints call, and call again.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]

mod common;

use callmeter_engine::{Outcome, Role};
use callmeter_metrics::id;
use common::{World, secs};

/// An endpoint of both roles calls and is called.
#[test]
fn both_roles_at_once() {
    let mut world = World::new(2, 9);
    for site in 0..2 {
        let mut both = world.plan(site, 1, Role::Both, 1);
        both.start_offsets = vec![secs(site as u64 * 20)];
        world.assign(site, both);
    }
    let peers: Vec<_> = world
        .sites
        .iter()
        .map(|site| site.contacts(1).remove(0))
        .collect();
    world.start(0, 1, &peers[1..]);
    world.start(1, 1, &peers[..1]);
    world.run_until_ended(secs(90));
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 2)]);
        assert_eq!(site.sum(1, id::INVITE_SENT), 1.0);
        assert_eq!(site.sum(1, id::INVITE_RECEIVED), 1.0);
    }
}

/// Repeats keep their pause, and a call that would not fit into the run is not begun.
#[test]
fn repeats_fit_into_the_run() {
    let mut world = World::new(2, 10);
    let callee = world.plan(1, 1, Role::Callee, 1);
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.call.repeat = true;
    caller.call.pause = secs(7);
    caller.duration = secs(49);
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    let started = world.now;
    world.start(0, 1, &peers);
    world.run_until("the callers to end", secs(60), |world| {
        !world.sites[0].ended.is_empty()
    });
    // 11 s a call and 7 s between: at 0, 18 and 36; the fourth would end after 49 s.
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, 3)]);
    assert!(
        world.now - started < secs(49),
        "a caller that is done does not wait for the end"
    );
    let dials = world.sites[0].values(1, id::CAPS);
    assert_eq!(dials.iter().sum::<f64>(), 3.0);
    world.run_for(secs(60));
}

/// Who is called when its next call is due places that after it, if it fits into the run then.
#[test]
fn repeats_that_are_put_off_fit_into_the_run() {
    // Due at 21 s, and put off to 36 s: it ends at 47 s.
    for (duration, placed) in [(40, 1), (50, 2)] {
        let mut world = World::new(3, 12);
        let mut callee = world.plan(1, 1, Role::Callee, 1);
        callee.duration = secs(duration);
        world.assign(1, callee);
        let mut both = world.plan(0, 1, Role::Both, 1);
        both.call.repeat = true;
        both.call.pause = secs(10);
        both.duration = secs(duration);
        world.assign(0, both);
        let mut caller = world.plan(2, 1, Role::Caller, 1);
        caller.start_offsets = vec![secs(15)];
        caller.call.duration = secs(20);
        world.assign(2, caller);
        let peers: Vec<_> = world.sites[..2]
            .iter()
            .map(|site| site.contacts(1).remove(0))
            .collect();
        world.start(1, 1, &[]);
        world.start(0, 1, &peers[1..]);
        world.start(2, 1, &peers[..1]);
        world.run_until_ended(secs(90));
        let invites = world.sites[0].invites(1).len();
        assert_eq!(invites, placed, "{duration}");
        let calls = &world.sites[0].totals(1).calls;
        assert_eq!(
            *calls,
            [(Outcome::Success, placed as u64 + 1)],
            "{duration}"
        );
    }
}

/// A far end that refuses at once is called again after a second, not in a storm.
#[test]
fn refused_calls_are_repeated_with_care() {
    let mut world = World::new(2, 11);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.audio.codec = callmeter_engine::media::Codec::Pcmu;
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.call.repeat = true;
    caller.call.duration = secs(1);
    world.assign(0, caller);
    world.start(1, 1, &[]);
    world.start(0, 1, &["sip:nobody@192.0.2.2:5061".to_owned()]);
    world.run_until_ended(secs(90));
    let calls = world.sites[0].totals(1).calls[0];
    assert_eq!(calls.0, Outcome::CallFailed);
    assert!((50..=60).contains(&calls.1), "{calls:?}");
}
