//! Transfers over three endpoints: the caller (site 0) sends the callee (site 1) to a third party
//! (site 2), blind and attended, and what becomes of it.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use callmeter_engine::{Action, MetricId, Outcome, Role, RowDirection, Scenario, Step, When};
use callmeter_metrics::id;
use common::{World, ms, secs};

/// A call of 20 s that is transferred after 2 s; the third party answers with a code.
fn transferred(seed: u64, attended: bool, code: u16) -> World {
    planned(seed, attended, code, secs(20))
}

/// The same of another duration.
fn planned(seed: u64, attended: bool, code: u16, duration: Duration) -> World {
    asked_of(true, seed, attended, code, duration)
}

/// The same; the callee accepts transfers or not.
fn asked_of(accepts: bool, seed: u64, attended: bool, code: u16, duration: Duration) -> World {
    let mut world = World::new(3, seed);
    plans(&mut world, accepts, attended, code, duration);
    world
}

fn plans(world: &mut World, accepts: bool, attended: bool, code: u16, duration: Duration) {
    let mut third = world.plan(2, 1, Role::Callee, 1);
    third.call.answer_code = code;
    world.assign(2, third);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.call.duration = secs(5);
    callee.accept_transfers = accepts;
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.call.duration = duration;
    let to = world.sites[2].contacts(1).remove(0).parse().unwrap();
    let step = Step {
        when: When::At(secs(2)),
        action: Action::Transfer { to, attended },
    };
    caller.scenario = Scenario::new(vec![step]).unwrap();
    // Who asks for transfers need not accept any.
    caller.accept_transfers = false;
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(2, 1, &[]);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
}

fn count(world: &World, site: usize, direction: RowDirection, metric: MetricId) -> f64 {
    world.sites[site]
        .rows_of(1)
        .filter(|row| row.direction == direction)
        .flat_map(|row| row.values.iter())
        .filter(|value| value.metric == metric)
        .map(|value| value.value)
        .sum()
}

fn steps(world: &World) -> (f64, f64) {
    let count = |metric| count(world, 0, RowDirection::Send, metric);
    (
        count(id::SCENARIO_ACTIONS_EXECUTED),
        count(id::SCENARIO_ACTIONS_FAILED),
    )
}

fn invites(world: &World, from: usize, to: usize) -> usize {
    let ip = |site: usize| world.sites[site].ip;
    let sent = world.wire.iter().filter(|(f, t, line)| {
        f.ip() == ip(from) && t.ip() == ip(to) && line.starts_with("INVITE")
    });
    sent.count()
}

fn assert_all_ends_well(world: &mut World, calls: [u64; 3]) {
    world.run_until_ended(secs(120));
    for (site, calls) in world.sites.iter().zip(calls) {
        let well = (calls > 0).then_some((Outcome::Success, calls));
        assert_eq!(
            site.totals(1).calls,
            Vec::from_iter(well),
            "{:?}",
            site.calls(1)
        );
        site.assert_rows_add_up(1);
    }
    assert_eq!(world.media.open_streams(), 0);
    world.run_for(secs(40));
    assert!(world.sites.iter().all(|site| site.engine.is_empty()));
}

/// Blind: the callee calls the third party, tells of its ringing and its answer, and the caller
/// hangs up. The delay is the third party's ringing and the ways between.
#[test]
fn a_blind_transfer() {
    let mut world = transferred(1, false, 200);
    assert_all_ends_well(&mut world, [1, 2, 1]);
    assert_eq!(steps(&world), (1.0, 0.0));
    assert_eq!((invites(&world, 1, 2), invites(&world, 0, 2)), (1, 0));
    assert_eq!(count(&world, 0, RowDirection::Send, id::REFER_COUNT), 1.0);
    assert_eq!(count(&world, 1, RowDirection::Recv, id::REFER_COUNT), 1.0);
    assert_eq!(count(&world, 1, RowDirection::Send, id::REFER_COUNT), 0.0);
    let delay = world.sites[0].values(1, id::TRANSFER_DELAY_MS);
    // REFER 5, a port 1, INVITE 5, ringing 1000, answer 5, NOTIFY 5.
    assert!(
        delay.len() == 1 && (delay[0] - 1021.0).abs() < 3.0,
        "{delay:?}"
    );
    assert_eq!(world.sites[1].values(1, id::TRANSFER_DELAY_MS), []);
    // The caller's call ended by the transfer, the new one lasts as the callee's plan says.
    let first = world.sites[0].values(1, id::CALL_DURATION_MS)[0];
    assert!((2000.0..4000.0).contains(&first), "{first}");
    let second = world.sites[2].values(1, id::CALL_DURATION_MS)[0];
    assert!((second - 5000.0).abs() < 50.0, "{second}");
}

/// Attended: the caller calls the third party first; the callee's call takes that one's place
/// without ringing.
#[test]
fn an_attended_transfer() {
    let mut world = transferred(2, true, 200);
    assert_all_ends_well(&mut world, [2, 2, 2]);
    assert_eq!(steps(&world), (1.0, 0.0));
    assert_eq!((invites(&world, 1, 2), invites(&world, 0, 2)), (1, 1));
    let replaces = |text: &str| text.starts_with("INVITE") && text.contains("\r\nReplaces: ");
    assert_eq!(
        world.raw.iter().filter(|(_, text)| replaces(text)).count(),
        1
    );
    let delay = world.sites[0].values(1, id::TRANSFER_DELAY_MS);
    assert!(
        delay.len() == 1 && delay[0] < 100.0,
        "it does not ring again: {delay:?}"
    );
}

/// While the caller of an attended transfer waits for what becomes of it, two dialogs of its stand;
/// in a blind one it never has more than one.
#[test]
fn both_calls_of_an_attended_transfer_are_active() {
    for (attended, most) in [(true, 2.0), (false, 1.0)] {
        let mut world = transferred(6, attended, 200);
        // REFER, INVITE, its answer and NOTIFY take 400 ms each: the second between is seen.
        world.delay = ms(400);
        world.run_until_ended(secs(120));
        let active = world.sites[0].values(1, id::CALLS_ACTIVE);
        let seen = active.iter().copied().fold(0.0, f64::max);
        assert_eq!(seen, most, "attended {attended}: {active:?}");
    }
}

/// A third party that refuses: the step has failed, the call goes on as if nothing was.
#[test]
fn a_refused_transfer_leaves_the_call() {
    for attended in [false, true] {
        let mut world = transferred(3, attended, 486);
        world.run_until_ended(secs(120));
        assert_eq!(steps(&world), (0.0, 1.0), "attended {attended}");
        let caller = &world.sites[0];
        let lasted = caller.values(1, id::CALL_DURATION_MS);
        assert!(
            lasted.iter().any(|ms| (ms - 20_000.0).abs() < 50.0),
            "{lasted:?}"
        );
        let well = caller
            .calls(1)
            .iter()
            .filter(|call| call.0 == Outcome::Success)
            .count();
        assert_eq!(well, 1);
        assert_eq!(invites(&world, 1, 2), usize::from(!attended));
        world.run_for(secs(40));
        assert!(world.sites.iter().all(|site| site.engine.is_empty()));
    }
}

/// A group that wants no transfers declines them, and calls nobody.
#[test]
fn a_group_may_decline_transfers() {
    let mut world = asked_of(false, 8, false, 200, secs(20));
    assert_all_ends_well(&mut world, [1, 1, 0]);
    assert_eq!(steps(&world), (0.0, 1.0));
    assert_eq!(invites(&world, 1, 2), 0);
    let declined = |text: &str| text.starts_with("SIP/2.0 603") && text.contains(" REFER\r\n");
    assert_eq!(
        world.raw.iter().filter(|(_, text)| declined(text)).count(),
        1
    );
}

/// The end of the run ends both calls of an endpoint that has two.
#[test]
fn the_end_of_the_run_ends_both_calls() {
    for attended in [false, true] {
        let mut world = transferred(4, attended, 200);
        // While the third party rings.
        world.run_for(secs(3) + secs(1) / 2);
        for site in 0..3 {
            world.with(site, |engine, now| {
                engine.stop(now, callmeter_engine::ShareId(1), "test");
            });
        }
        world.run_until_ended(secs(60));
        assert_eq!(steps(&world), (0.0, 1.0), "attended {attended}");
        world.run_for(secs(40));
        assert!(world.sites.iter().all(|site| site.engine.is_empty()));
        assert_eq!(world.media.open_streams(), 0);
    }
}

/// The caller's call is over while the third party rings: what it is told after its BYE is what
/// became of the step.
#[test]
fn a_transfer_is_told_of_after_the_bye() {
    for stopped in [false, true] {
        let mut world = planned(5, false, 200, ms(2500));
        if stopped {
            // A stop does not cut what has ended.
            world.run_for(ms(3700));
            world.with(0, |engine, now| {
                engine.stop(now, callmeter_engine::ShareId(1), "test");
            });
        }
        assert_all_ends_well(&mut world, [1, 2, 1]);
        assert_eq!(steps(&world), (1.0, 0.0));
        let caller = &world.sites[0];
        let delay = caller.values(1, id::TRANSFER_DELAY_MS);
        assert!((delay[0] - 1021.0).abs() < 3.0, "{delay:?}");
        let lasted = caller.values(1, id::CALL_DURATION_MS);
        assert!((lasted[0] - 2500.0).abs() < 50.0, "{lasted:?}");
    }
}

/// Thirty percent of all SIP messages lost: a transfer that was done counts as done, one that was
/// refused as failed, in calls that go on and in those whose caller hangs up meanwhile.
#[test]
fn transfers_survive_a_lossy_link() {
    for seed in 0..20 {
        let code = if seed % 4 < 3 { 200 } else { 486 };
        let mut world = World::new(3, seed);
        if seed % 2 == 0 {
            world.loss = 0.3;
            plans(&mut world, true, false, code, secs(100));
        } else {
            // A BYE that overtakes the REFER would end it: the loss begins between them.
            plans(&mut world, true, false, code, ms(2500));
            world.run_for(ms(3050));
            world.loss = 0.3;
        }
        world.run_until_ended(secs(300));
        let caller = &world.sites[0];
        let timeouts: f64 = world
            .sites
            .iter()
            .map(|site| site.sum(1, id::SIP_TIMEOUTS))
            .sum();
        assert_eq!(timeouts, 0.0, "seed {seed}: choose another");
        let done = if code == 200 { (1.0, 0.0) } else { (0.0, 1.0) };
        assert_eq!(steps(&world), done, "seed {seed}: {:?}", caller.calls(1));
        assert_eq!(count(&world, 1, RowDirection::Recv, id::REFER_COUNT), 1.0);
        for site in &world.sites {
            site.assert_rows_add_up(1);
        }
        world.run_for(secs(40));
        assert!(world.sites.iter().all(|site| site.engine.is_empty()));
    }
}
