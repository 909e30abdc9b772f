//! What a group asks of the signalling of its calls: REGISTER within them, header fields, session
//! timers, reliable ringing.

use callmeter_engine::{
    Account, Action, Assign, Header, Outcome, Password, Refresher, Reliable, Role, Scenario,
    SessionTimer, SessionTimerMode, When,
};
use callmeter_metrics::id;

use crate::common::proxy::Proxy;
use crate::common::{World, secs};
use crate::{at, lines, on, steps};

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
