//! Scenarios over whole calls: what steps do at both ends, and what becomes of those that fail.
#![expect(clippy::float_cmp, reason = "counts are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use callmeter_engine::media::MediaCommand;
use callmeter_engine::{
    Account, Action, Assign, Dtmf, Header, MetricId, Outcome, Password, Phase, Refresher, Reliable,
    Role, RowDirection, Scenario, SessionTimer, SessionTimerMode, Step, When,
};
use callmeter_metrics::id;
use common::proxy::Proxy;
use common::{World, ms, secs};

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

fn lines(world: &World, method: &str) -> usize {
    let of_method = |line: &str| line.starts_with(method);
    world
        .wire
        .iter()
        .filter(|(.., line)| of_method(line))
        .count()
}

/// Hold stops what the far end sends, resume starts it again; both ends count, the delays are the
/// link's, and the phases of the call go nowhere else.
#[test]
fn hold_and_resume() {
    use Phase::{Calling, Closed, Disconnecting, InCall, Negotiating, Ringing};
    let mut world = scripted(1, vec![at(2, Action::Hold), at(6, Action::Resume)], vec![]);
    world.run_until_ended(secs(90));
    assert_eq!(steps(&world, 0), [(2.0, 0.0), (0.0, 0.0)]);
    assert_eq!(sending(&world, 1), [true, false, true]);
    assert_eq!(
        sending(&world, 0),
        [true, true, true],
        "sendonly still sends"
    );
    for (metric, expected) in [
        (id::HOLD_COUNT, (1.0, 1.0)),
        (id::REINVITE_COUNT, (2.0, 2.0)),
    ] {
        let sent = count(&world, 0, RowDirection::Send, metric);
        let received = count(&world, 1, RowDirection::Recv, metric);
        assert_eq!((sent, received), expected, "{metric}");
        assert_eq!(count(&world, 0, RowDirection::Recv, metric), 0.0);
        assert_eq!(count(&world, 1, RowDirection::Send, metric), 0.0);
    }
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    for metric in [id::HOLD_DELAY_MS, id::RESUME_DELAY_MS] {
        let delay = caller.values(1, metric);
        assert!(
            delay.len() == 1 && (delay[0] - 10.0).abs() < 1.0,
            "{delay:?}"
        );
        assert_eq!(callee.values(1, metric), []);
    }
    // The callee was silent for 4 of 20 s.
    let sent = callee.sum(1, id::PACKETS_SENT);
    assert!((sent - 800.0).abs() < 15.0, "{sent}");
    assert_eq!(caller.sum(1, id::PACKETS_RECEIVED), sent);
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 1)]);
        site.assert_rows_add_up(1);
    }
    assert_eq!(
        caller.phases(1, 0, 1),
        [Calling, Ringing, Negotiating, InCall, Disconnecting, Closed]
    );
    // The offers: sendonly, then sendrecv, each with the next version of one session.
    let offers: Vec<_> = world
        .raw
        .iter()
        .filter(|(_, text)| text.starts_with("INVITE"))
        .map(|(_, text)| {
            let origin = text.lines().find(|line| line.starts_with("o=")).unwrap();
            let version = origin.split(' ').nth(2).unwrap().to_owned();
            (version, text.contains("a=sendonly"))
        })
        .collect();
    let expected = [("0", false), ("1", true), ("2", false)].map(|(v, d)| (v.to_owned(), d));
    assert_eq!(offers, expected);
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
    // 40 digits of 100 ms with pauses of 100 ms, from 1 s on.
    let lasted = world.sites[0].values(1, id::CALL_DURATION_MS)[0];
    assert!((8500.0..9500.0).contains(&lasted), "{lasted}");

    let caller = vec![at(1, Action::Hold)];
    let callee = vec![on(When::HoldReceived, Action::SendDtmf("1".into()))];
    let world = by_rtp(caller, callee);
    assert_eq!(steps(&world, 0), [(1.0, 0.0), (0.0, 0.0)]);
    assert_eq!(steps(&world, 1), [(0.0, 0.0), (0.0, 1.0)]);
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

/// Both hold at about the same moment: one waits for the other, or the offers cross and are sent
/// again (RFC 3261 §14.1); both hold in the end.
#[test]
fn holds_that_meet_are_both_executed() {
    for (callees_ms, crosses) in [(1998, true), (2000, false)] {
        meet(callees_ms, crosses);
    }
}

fn meet(callees_ms: u64, crosses: bool) {
    let callee = Step {
        when: When::At(ms(callees_ms)),
        action: Action::Hold,
    };
    let mut world = scripted(6, vec![at(2, Action::Hold)], vec![callee]);
    world.run_until_ended(secs(90));
    for site in 0..2 {
        assert_eq!(steps(&world, site), [(1.0, 0.0), (0.0, 0.0)], "site {site}");
        let delay = world.sites[site].values(1, id::HOLD_DELAY_MS);
        assert_eq!(delay.len(), 1);
    }
    let glare = |line: &str| line.starts_with("SIP/2.0 491");
    assert_eq!(world.wire.iter().any(|(.., line)| glare(line)), crosses);
    assert_eq!(sending(&world, 0).last(), Some(&false), "both are held");
    assert_eq!(sending(&world, 1).last(), Some(&false));
}

/// Who holds a party that holds it already offers that nobody sends (RFC 3264 §8.4); alone, that
/// it sends only.
#[test]
fn a_hold_of_who_holds_offers_inactive() {
    let offers = |world: &World, direction: &str| {
        let offer = |text: &String| text.starts_with("INVITE") && text.contains(direction);
        world.raw.iter().filter(|(_, text)| offer(text)).count()
    };
    let hold = || vec![at(4, Action::Hold)];
    let mut world = scripted(9, vec![at(2, Action::Hold)], hold());
    world.run_until_ended(secs(90));
    let found = ["a=sendonly", "a=inactive"].map(|direction| offers(&world, direction));
    assert_eq!(found, [1, 1]);
    let mut world = scripted(9, vec![], hold());
    world.run_until_ended(secs(90));
    let found = ["a=sendonly", "a=inactive"].map(|direction| offers(&world, direction));
    assert_eq!(found, [1, 0]);
}

/// Registering again in a call: another REGISTER, answered, while the call goes on.
#[test]
fn registering_again_within_a_call() {
    for (refuse, expected) in [(false, (1.0, 0.0)), (true, (0.0, 1.0))] {
        let mut world = World::new(2, 7);
        world.proxy = Some(Proxy::new("192.0.2.100:5060"));
        let registered = |mut plan: Assign, user: &str| {
            plan.registrar.domain = "192.0.2.100".into();
            plan.registrar.register = true;
            plan.accounts = vec![Account {
                user: user.to_owned(),
                password: Password::new("secret"),
                auth_user: String::new(),
                realm: String::new(),
            }];
            plan
        };
        let callee = registered(world.plan(1, 1, Role::Callee, 1), "bob");
        world.assign(1, callee);
        let mut caller = registered(world.plan(0, 1, Role::Caller, 1), "ann");
        caller.scenario = Scenario::new(vec![at(3, Action::ReRegister)]).unwrap();
        world.assign(0, caller);
        world.run_for(secs(1));
        let peers = world.sites[1].aors(1);
        world.start(1, 1, &[]);
        world.start(0, 1, &peers);
        world.run_for(secs(2));
        let before = lines(&world, "REGISTER");
        if refuse {
            world.proxy.as_mut().unwrap().banned.push("ann".to_owned());
        }
        world.run_for(secs(4));
        assert!(lines(&world, "REGISTER") > before);
        world.run_until_ended(secs(120));
        assert_eq!(steps(&world, 0)[0], expected);
        assert_eq!(world.sites[0].calls(1)[0].0, Outcome::Success);
    }
}

/// Header fields of the test are in the INVITE that starts a call, and in no other request.
#[test]
fn headers_of_the_test_are_in_the_first_invite_only() {
    let mut world = World::new(2, 8);
    let callee = world.plan(1, 1, Role::Callee, 1);
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.headers = vec![Header {
        name: "X-Tenant".into(),
        value: "blue; q=1".into(),
    }];
    caller.scenario = Scenario::new(vec![at(2, Action::MediaUpdate)]).unwrap();
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    let with: Vec<_> = world
        .raw
        .iter()
        .filter(|(_, text)| text.contains("X-Tenant: blue; q=1\r\n"))
        .map(|(_, text)| text.lines().next().unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!(with, ["INVITE"]);
    assert_eq!(lines(&world, "INVITE"), 2);
}

/// A session of 90 s is refreshed every 45 s by who placed the call; both ends count, and a step
/// may wait for it. Without timers nothing is refreshed.
#[test]
fn refreshes_of_the_session_are_counted_and_start_steps() {
    for (mode, refreshes) in [
        (SessionTimerMode::Disabled, 0.0),
        (SessionTimerMode::Supported, 2.0),
    ] {
        let mut world = World::new(2, 9);
        let timer = SessionTimer {
            mode,
            expires: secs(90),
            refresher: Refresher::Uac,
        };
        let mut callee = world.plan(1, 1, Role::Callee, 1);
        callee.session_timer = timer;
        callee.duration = secs(200);
        callee.scenario = Scenario::new(vec![on(
            When::SessionRefreshed,
            Action::SendDtmf("1".into()),
        )])
        .unwrap();
        world.assign(1, callee);
        let mut caller = world.plan(0, 1, Role::Caller, 1);
        caller.session_timer = timer;
        caller.duration = secs(200);
        caller.call.duration = secs(100);
        world.assign(0, caller);
        let peers = world.sites[1].contacts(1);
        world.start(1, 1, &[]);
        world.start(0, 1, &peers);
        world.run_until_ended(secs(300));
        for site in &world.sites {
            assert_eq!(site.sum(1, id::SESSION_TIMER_REFRESHES), refreshes);
            assert_eq!(site.totals(1).calls, [(Outcome::Success, 1)]);
        }
        let ran = if refreshes > 0.0 {
            (1.0, 0.0)
        } else {
            (0.0, 1.0)
        };
        assert_eq!(steps(&world, 1)[1], ran);
    }
}

/// A 180 is acknowledged by PRACK where both sides want that: its delay is the link's, at both
/// ends. Where one requires it and the other lacks it there is no call.
#[test]
fn reliable_ringing_is_measured() {
    use Reliable::{Off, Required, Supported};
    for (caller_wants, callee_wants, outcome, pracks) in [
        (Off, Off, Outcome::Success, 0),
        (Off, Supported, Outcome::Success, 0),
        (Supported, Off, Outcome::Success, 0),
        (Supported, Supported, Outcome::Success, 1),
        (Required, Supported, Outcome::Success, 1),
        (Required, Off, Outcome::CallFailed, 0),
    ] {
        let mut world = World::new(2, 10);
        let mut callee = world.plan(1, 1, Role::Callee, 1);
        callee.reliable = callee_wants;
        world.assign(1, callee);
        let mut caller = world.plan(0, 1, Role::Caller, 1);
        caller.reliable = caller_wants;
        world.assign(0, caller);
        let peers = world.sites[1].contacts(1);
        world.start(1, 1, &[]);
        world.start(0, 1, &peers);
        world.run_until_ended(secs(90));
        let case = format!("{caller_wants:?} {callee_wants:?}");
        assert_eq!(lines(&world, "PRACK"), pracks, "{case}");
        assert_eq!(world.sites[0].calls(1)[0].0, outcome, "{case}");
        for site in &world.sites {
            let delays = site.values(1, id::PRACK_DELAY_MS);
            assert_eq!(delays.len(), pracks, "{case}");
            assert!(
                delays.iter().all(|ms| (ms - 10.0).abs() < 1.0),
                "{delays:?}"
            );
        }
    }
}
