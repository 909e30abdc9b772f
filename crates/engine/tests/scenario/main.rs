//! Scenarios over whole calls: what steps do at both ends, and what becomes of those that fail.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../common/mod.rs"]
mod common;
mod holds;
mod signalling;

use callmeter_engine::media::MediaCommand;
use callmeter_engine::{Action, Dtmf, MetricId, Role, RowDirection, Scenario, Step, When};
use callmeter_metrics::id;
use common::{World, secs};

fn at(s: u64, action: Action) -> Step {
    Step {
        when: When::At(secs(s)),
        action,
    }
}

fn on(when: When, action: Action) -> Step {
    Step { when, action }
}

/// One caller on site 0, one callee on site 1, each with its steps.
fn scripted(seed: u64, caller: Vec<Step>, callee: Vec<Step>) -> World {
    let mut world = World::new(2, seed);
    let mut plan = world.plan(1, 1, Role::Callee, 1);
    plan.scenario = Scenario::new(callee).unwrap();
    world.assign(1, plan);
    let mut plan = world.plan(0, 1, Role::Caller, 1);
    plan.call.duration = secs(20);
    plan.scenario = Scenario::new(caller).unwrap();
    world.assign(0, plan);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world
}

/// The sum of a metric over the rows of one direction.
fn count(world: &World, site: usize, direction: RowDirection, metric: MetricId) -> f64 {
    world.sites[site]
        .rows_of(1)
        .filter(|row| row.direction == direction)
        .flat_map(|row| row.values.iter())
        .filter(|value| value.metric == metric)
        .map(|value| value.value)
        .sum()
}

/// Steps of a time and of an event, each as executed and failed.
fn steps(world: &World, site: usize) -> [(f64, f64); 2] {
    [RowDirection::Send, RowDirection::Recv].map(|direction| {
        let count = |metric| count(world, site, direction, metric);
        (
            count(id::SCENARIO_ACTIONS_EXECUTED),
            count(id::SCENARIO_ACTIONS_FAILED),
        )
    })
}

/// What a site's media was told about sending, in order.
fn sending(world: &World, site: usize) -> Vec<bool> {
    let of_site = world.media.commands.iter().filter(|(_, s, _)| *s == site);
    of_site
        .filter_map(|(_, _, command)| match command {
            MediaCommand::Start { start_sending, .. } => Some(*start_sending),
            _ => None,
        })
        .collect()
}

/// Digits a site sent, failed to send, received, and received without their end.
fn dtmf(world: &World, site: usize) -> [f64; 4] {
    use RowDirection::{Recv, Send};
    [
        count(world, site, Send, id::DTMF_SENT),
        count(world, site, Send, id::DTMF_ERRORS),
        count(world, site, Recv, id::DTMF_RECEIVED),
        count(world, site, Recv, id::DTMF_ERRORS),
    ]
}

fn lines(world: &World, method: &str) -> usize {
    let of_method = |line: &str| line.starts_with(method);
    world
        .wire
        .iter()
        .filter(|(.., line)| of_method(line))
        .count()
}

/// A call without steps says nothing of steps, delays of holds or of anything held.
#[test]
fn a_call_without_a_scenario_has_no_figures_of_one() {
    let mut world = scripted(2, vec![], vec![]);
    world.run_until_ended(secs(90));
    for site in &world.sites {
        for metric in [
            id::SCENARIO_ACTIONS_EXECUTED,
            id::SCENARIO_ACTIONS_FAILED,
            id::HOLD_DELAY_MS,
            id::RESUME_DELAY_MS,
        ] {
            assert_eq!(site.values(1, metric), [], "{metric}");
        }
        assert_eq!(site.sum(1, id::HOLD_COUNT), 0.0);
        assert_eq!(site.sum(1, id::REINVITE_COUNT), 0.0);
    }
}

/// Events start steps at the other end: held, it sends digits; the right one ends the call.
#[test]
fn events_of_the_far_end_start_steps() {
    let caller = vec![
        at(2, Action::Hold),
        on(When::DtmfReceived("9".into()), Action::HangUp),
        on(When::DtmfReceived("3".into()), Action::Resume),
        on(When::InfoReceived, Action::MediaUpdate),
    ];
    let callee = vec![
        on(When::HoldReceived, Action::SendDtmf("1234".into())),
        on(When::ResumeReceived, Action::SendDtmf("59".into())),
    ];
    let mut world = scripted(3, caller, callee);
    world.run_until_ended(secs(90));
    assert_eq!(steps(&world, 0), [(1.0, 0.0), (3.0, 0.0)]);
    assert_eq!(steps(&world, 1), [(0.0, 0.0), (2.0, 0.0)]);
    assert_eq!(lines(&world, "INFO"), 6);
    let digits: Vec<_> = world
        .raw
        .iter()
        .filter_map(|(_, text)| text.split_once("Signal=")?.1.chars().next())
        .collect();
    assert_eq!(digits, ['1', '2', '3', '4', '5', '9']);
    assert_eq!(dtmf(&world, 0), [0.0, 0.0, 6.0, 0.0]);
    assert_eq!(dtmf(&world, 1), [6.0, 0.0, 0.0, 0.0]);
    let lasted = world.sites[0].values(1, id::CALL_DURATION_MS)[0];
    assert!(
        (2000.0..2500.0).contains(&lasted),
        "the 9 ended it: {lasted}"
    );
}

/// Digits by RTP, more than one row of them, start the far end's steps; who is held cannot send.
#[test]
fn digits_in_rtp_start_steps() {
    let by_rtp = |caller: Vec<Step>, callee: Vec<Step>| {
        let mut world = World::new(2, 8);
        let mut plan = world.plan(1, 1, Role::Callee, 1);
        plan.dtmf = Dtmf::Rfc4733;
        plan.scenario = Scenario::new(callee).unwrap();
        world.assign(1, plan);
        let mut plan = world.plan(0, 1, Role::Caller, 1);
        plan.dtmf = Dtmf::Rfc4733;
        plan.call.duration = secs(20);
        plan.scenario = Scenario::new(caller).unwrap();
        world.assign(0, plan);
        let peers = world.sites[1].contacts(1);
        world.start(1, 1, &[]);
        world.start(0, 1, &peers);
        world.run_until_ended(secs(90));
        world
    };
    let digits = format!("{}#", "1".repeat(39));
    let caller = vec![at(1, Action::SendDtmf(digits))];
    let callee = vec![
        on(When::DtmfReceived("#".into()), Action::HangUp),
        on(When::DtmfReceived("5".into()), Action::Hold),
    ];
    let world = by_rtp(caller, callee);
    assert_eq!(steps(&world, 0), [(1.0, 0.0), (0.0, 0.0)]);
    assert_eq!(steps(&world, 1), [(0.0, 0.0), (1.0, 1.0)]);
    assert_eq!(lines(&world, "INFO"), 0);
    assert_eq!(dtmf(&world, 0), [40.0, 0.0, 0.0, 0.0]);
    assert_eq!(dtmf(&world, 1), [0.0, 0.0, 40.0, 0.0]);
    // 40 digits of 100 ms with pauses of 100 ms, from 1 s on.
    let lasted = world.sites[0].values(1, id::CALL_DURATION_MS)[0];
    assert!((8500.0..9500.0).contains(&lasted), "{lasted}");

    let caller = vec![at(1, Action::Hold)];
    let callee = vec![on(When::HoldReceived, Action::SendDtmf("1".into()))];
    let world = by_rtp(caller, callee);
    assert_eq!(steps(&world, 0), [(1.0, 0.0), (0.0, 0.0)]);
    assert_eq!(steps(&world, 1), [(0.0, 0.0), (0.0, 1.0)]);
    assert_eq!(dtmf(&world, 1), [0.0, 1.0, 0.0, 0.0]);
}

/// What never ran has failed: later than the call, on an event that never came, and everything of
/// a call that was never established.
#[test]
fn steps_that_never_ran_have_failed() {
    let steps_of_both = || {
        vec![
            at(1, Action::Hold),
            at(60, Action::Resume),
            on(When::HoldReceived, Action::HangUp),
        ]
    };
    let mut world = scripted(4, steps_of_both(), vec![]);
    world.run_until_ended(secs(90));
    assert_eq!(steps(&world, 0), [(1.0, 1.0), (0.0, 1.0)]);

    let mut world = World::new(2, 5);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.call.answer_code = 486;
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.scenario = Scenario::new(steps_of_both()).unwrap();
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    assert_eq!(steps(&world, 0), [(0.0, 2.0), (0.0, 1.0)]);
}
