//! Only so many calls of a share at a time: its endpoints wait in line, whatever the far end does.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../common/mod.rs"]
mod common;
mod itself;

use std::collections::HashSet;
use std::net::IpAddr;

use callmeter_engine::{
    Account, Action, Assign, Load, Outcome, Password, Role, Scenario, ShareId, Step, When,
};
use common::proxy::Proxy;
use common::{World, ms, secs};

/// Callers of calls of 2 s on site 0, as many callees on site 1.
fn in_line(world: &mut World, count: u32, at_once: u32, change: impl Fn(&mut Assign, &mut Assign)) {
    let mut callers = world.plan(0, 1, Role::Caller, count);
    callers.load = Load::AtOnce(at_once);
    callers.call.duration = secs(2);
    callers.call.ring = ms(0);
    callers.call.pause = ms(500);
    let mut callees = world.plan(1, 1, Role::Callee, count);
    change(&mut callers, &mut callees);
    callees.duration = callers.duration;
    world.assign(1, callees);
    world.assign(0, callers);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
}

/// The most calls that stood at a time: from the INVITE to the answer to the BYE, or a refusal.
fn most_at_once(world: &World) -> usize {
    let (mut standing, mut most) = (HashSet::new(), 0);
    for (_, text) in &world.raw {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let call = field("Call-ID: ").unwrap();
        let of = |method: &str| field("CSeq: ").unwrap().ends_with(method);
        let status = text.strip_prefix("SIP/2.0 ");
        if text.starts_with("INVITE") {
            standing.insert(call);
        } else if status.is_some_and(|code| of("BYE") || (of("INVITE") && code >= "300")) {
            standing.remove(call);
        }
        most = most.max(standing.len());
    }
    most
}

fn order(world: &World) -> Vec<u32> {
    let invites = world.sites[0].invites(1);
    invites.into_iter().map(|(endpoint, _)| endpoint).collect()
}

fn assert_nothing_is_left(world: &mut World) {
    world.run_for(secs(33));
    for site in &world.sites {
        assert!(site.engine.is_empty(), "{:?}", site.engine.held());
    }
}

/// The plan says that nothing rings; it rings for 5 s. Each call ends by the answer to its BYE, and
/// the next one is placed at that moment.
#[test]
fn a_far_end_that_rings_longer_holds_the_others_up() {
    let mut world = World::new(2, 1);
    in_line(&mut world, 6, 2, |_, callees| callees.call.ring = secs(5));
    world.run_until_ended(secs(90));
    assert_eq!(
        world.sites[0].invites(1),
        [
            (0, 0),
            (1, 0),
            (2, 7021),
            (3, 7021),
            (4, 14_042),
            (5, 14_042)
        ]
    );
    assert_eq!(most_at_once(&world), 2);
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, 6)]);
    assert_nothing_is_left(&mut world);
}

/// An INVITE that nobody answers stands until timer B, 32 s (RFC 3261 §17.1.1.2).
#[test]
fn a_far_end_that_never_answers_holds_the_others_up() {
    for (repeat, expected) in [
        (false, vec![(0, 0), (1, 0), (2, 32_001), (3, 32_001)]),
        (
            true,
            vec![
                (0, 0),
                (1, 0),
                (2, 32_001),
                (3, 32_001),
                (0, 64_002),
                (1, 64_002),
                (2, 96_003),
                (3, 96_003),
            ],
        ),
    ] {
        let mut world = World::new(2, 2);
        let mut callers = world.plan(0, 1, Role::Caller, 4);
        callers.load = Load::AtOnce(2);
        callers.call.repeat = repeat;
        callers.call.duration = secs(2);
        callers.duration = secs(128);
        world.assign(0, callers);
        world.start(0, 1, &vec!["sip:nobody@192.0.2.99:5060".to_owned(); 4]);
        world.run_until_ended(secs(200));
        assert_eq!(world.sites[0].invites(1), expected, "repeat: {repeat}");
        let calls = expected.len() as u64;
        assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Timeout, calls)]);
        assert_nothing_is_left(&mut world);
    }
}

/// Calls of different lengths; with `repeat` who has called goes to the end of the line.
#[test]
fn endpoints_take_turns() {
    let mut world = World::new(2, 3);
    in_line(&mut world, 5, 2, |callers, callees| {
        callers.call.repeat = true;
        callees.call.ring = ms(1300);
    });
    world.run_until_ended(secs(90));
    let order = order(&world);
    let expected: Vec<_> = (0..order.len() as u32).map(|call| call % 5).collect();
    assert_eq!(order, expected);
    assert_eq!(most_at_once(&world), 2);
    // 3.321 s each, two at a time, the last ones as long as a whole call as planned, 2 s, fits in:
    // those of 56.457 s.
    let calls = order.len() as u64;
    assert_eq!(calls, 36);
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, calls)]);
    assert_nothing_is_left(&mut world);
}

/// Eight callers of four callees, one of which rings long: nobody finds a callee busy.
#[test]
fn callees_are_called_by_one_at_a_time() {
    let mut world = World::new(2, 15);
    let mut callees = world.plan(1, 1, Role::Callee, 3);
    callees.scenario = Scenario::new(vec![Step {
        when: When::At(secs(1)),
        action: Action::HangUp,
    }])
    .unwrap();
    world.assign(1, callees);
    let mut slow = world.plan(1, 2, Role::Callee, 1);
    slow.call.ring = secs(4);
    world.assign(1, slow);
    let mut callers = world.plan(0, 1, Role::Caller, 8);
    callers.load = Load::AtOnce(4);
    callers.call.repeat = true;
    callers.call.duration = secs(2);
    callers.call.ring = ms(0);
    callers.call.pause = ms(500);
    world.assign(0, callers);
    let mut peers = world.sites[1].contacts(1);
    peers.insert(0, world.sites[1].contacts(2).remove(0));
    peers.extend(peers.clone());
    world.start(1, 1, &[]);
    world.start(1, 2, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    let [(outcome, calls)] = world.sites[0].totals(1).calls[..] else {
        panic!("{:?}", world.sites[0].calls(1));
    };
    assert_eq!(outcome, Outcome::Success);
    assert!(calls > 80, "{calls}: nearly four at a time");
    assert_eq!(most_at_once(&world), 4);
}

/// As many at a time as there are endpoints: nobody waits for another.
#[test]
fn without_a_line_only_the_pause_counts() {
    let mut world = World::new(2, 4);
    in_line(&mut world, 2, 2, |callers, _| {
        callers.call.repeat = true;
        callers.duration = secs(8);
    });
    world.run_until_ended(secs(30));
    // Ringing for 1 s, 2 s of talk, a pause of 500 ms.
    let expected = [(0, 0), (1, 0), (0, 3521), (1, 3521)];
    assert_eq!(world.sites[0].invites(1), expected);
}

/// A call whose BYE is lost stands until that has timed out.
#[test]
fn a_call_stands_until_its_bye_is_answered() {
    let mut world = World::new(2, 5);
    in_line(&mut world, 2, 1, |callers, _| callers.duration = secs(90));
    world.run_for(secs(2));
    world.loss = 1.0;
    world.run_for(secs(20));
    world.loss = 0.0;
    world.sites[1].ports.clear();
    world.run_for(secs(60));
    // BYE at 3.011 s; who would answer it has gone.
    assert_eq!(world.sites[0].invites(1), [(0, 0), (1, 35_011)]);
}

/// Who is not dialled, or cannot be, holds nobody up.
#[test]
fn a_call_that_is_not_placed_gives_its_turn_on() {
    let mut world = World::new(2, 6);
    let callees = world.plan(1, 1, Role::Callee, 2);
    world.assign(1, callees);
    let mut callers = world.plan(0, 1, Role::Caller, 6);
    callers.load = Load::AtOnce(1);
    callers.call.duration = secs(2);
    world.assign(0, callers);
    let found = world.sites[1].contacts(1);
    let nowhere = "sip:a@nowhere.example".to_owned();
    let mut peers = vec![String::new(), "nobody".into(), nowhere.clone(), nowhere];
    peers.extend(found);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    // Each question for the name takes 3 ms.
    assert_eq!(world.sites[0].invites(1), [(4, 6), (5, 3027)]);
    assert_eq!(
        world.sites[0].totals(1).calls,
        [
            (Outcome::Success, 2),
            (Outcome::CallFailed, 2),
            (Outcome::OsError, 2)
        ]
    );
    assert_nothing_is_left(&mut world);

    let mut world = World::new(2, 7);
    world.media.no_ports.insert(0);
    in_line(&mut world, 3, 1, |_, _| {});
    world.run_until_ended(secs(90));
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::OsError, 3)]);
    assert_nothing_is_left(&mut world);
}

/// Callers ann, amy, bea and ben, one at a time, all registered for a minute each.
fn registered() -> World {
    let mut world = World::new(2, 8);
    let mut proxy = Proxy::new("192.0.2.100:5060");
    proxy.granted_s = 60;
    proxy.banned.push("ben".into());
    world.proxy = Some(proxy);
    let mut callees = world.plan(1, 1, Role::Callee, 4);
    callees.duration = secs(600);
    world.assign(1, callees);
    let mut callers = world.plan(0, 1, Role::Caller, 4);
    callers.load = Load::AtOnce(1);
    callers.call.duration = secs(100);
    callers.duration = secs(600);
    callers.registrar.domain = "192.0.2.100".into();
    callers.registrar.register = true;
    callers.accounts = ["ben", "ann", "amy", "bea"]
        .map(|user| Account {
            user: user.into(),
            password: Password::new("hunter2"),
            auth_user: String::new(),
            realm: String::new(),
        })
        .into();
    world.assign(0, callers);
    world
}

/// Who never registers is no one to wait for. Who loses its registration leaves the line, and goes
/// to its end with a new one, be that before its turn or after.
#[test]
fn registrations_that_fail_hold_nobody_up() {
    for regained_after in [secs(1), secs(80)] {
        let mut world = registered();
        world.run_until("all to settle", secs(5), |world| {
            let site = &world.sites[0];
            site.contacts(1).len() == 3 && site.endpoints(1).len() == 1
        });
        let callees: Vec<String> = ["ben", "ann", "amy", "bea"]
            .map(|user| format!("sip:to-{user}@192.0.2.100"))
            .into();
        let contacts = world.sites[1].contacts(1);
        let bindings = &mut world.proxy.as_mut().unwrap().bindings;
        for (user, contact) in ["ben", "ann", "amy", "bea"].iter().zip(contacts) {
            bindings.insert(format!("to-{user}"), contact);
        }
        world.start(1, 1, &[]);
        world.start(0, 1, &callees);
        world.run_for(secs(5));
        world.proxy.as_mut().unwrap().banned.push("amy".into());
        let failures = |world: &World| {
            let refused = |(to, text): &&(_, String)| {
                let to: &std::net::SocketAddr = to;
                to.ip() == IpAddr::from([192, 0, 2, 1]) && text.starts_with("SIP/2.0 403")
            };
            world.raw.iter().filter(refused).count()
        };
        let before = failures(&world);
        world.run_until("a refresh to fail", secs(60), |world| {
            failures(world) > before
        });
        world.run_for(regained_after);
        world.proxy.as_mut().unwrap().banned.clear();
        world.run_until("the callers to end", secs(600), |world| {
            !world.sites[0].ended.is_empty()
        });
        assert_eq!(order(&world), [1, 3, 2], "{regained_after:?}");
        let calls = &world.sites[0].totals(1).calls;
        assert_eq!(calls, &[(Outcome::Success, 3)], "{regained_after:?}");
    }
}

/// Endpoints of both roles: what they answer does not count, and who is called when its turn comes
/// calls after that call.
#[test]
fn calls_that_are_answered_do_not_count() {
    let mut world = World::new(2, 9);
    for site in 0..2 {
        let mut both = world.plan(site, 1, Role::Both, 2);
        both.load = Load::AtOnce(1);
        both.call.duration = secs(10 + 5 * site as u64);
        world.assign(site, both);
    }
    let mut peers: Vec<_> = world.sites.iter().map(|site| site.contacts(1)).collect();
    for peers in &mut peers {
        peers.reverse();
    }
    world.start(0, 1, &peers[1]);
    world.start(1, 1, &peers[0]);
    world.run_until_ended(secs(90));
    for site in &world.sites {
        let placed: Vec<_> = site.invites(1).into_iter().map(|call| call.0).collect();
        assert_eq!(placed, [0, 1]);
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 4)]);
    }
    assert_nothing_is_left(&mut world);
}

/// The second call of a transfer is placed although one stands, and gives up nobody's place.
#[test]
fn second_calls_of_transfers_do_not_count() {
    let mut world = World::new(3, 10);
    let third = world.plan(2, 1, Role::Callee, 2);
    world.assign(2, third);
    let to = world.sites[2].contacts(1).remove(0).parse().unwrap();
    let step = Step {
        when: When::At(secs(1)),
        action: Action::Transfer { to, attended: true },
    };
    let scenario = Scenario::new(vec![step]).unwrap();
    in_line(&mut world, 3, 1, |callers, callees| {
        callers.scenario = scenario.clone();
        callers.call.duration = secs(8);
        callees.call.duration = secs(1);
    });
    world.start(2, 1, &[]);
    world.run_until_ended(secs(90));
    let planned = |(_, to, line): &&(_, std::net::SocketAddr, String)| {
        to.ip() == world.sites[1].ip && line.starts_with("INVITE")
    };
    assert_eq!(world.wire.iter().filter(planned).count(), 3);
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, 6)]);
    assert_nothing_is_left(&mut world);
}

/// A turn that comes too late for an answer within the run is not taken; a stop takes all turns.
#[test]
fn turns_end_with_the_run() {
    let mut world = World::new(2, 11);
    in_line(&mut world, 3, 1, |callers, _| {
        callers.duration = secs(4);
    });
    world.run_until_ended(secs(30));
    assert_eq!(order(&world), [0], "the second turn is at 3.021 s");
    let none = [(0, Some(Outcome::Success)), (1, None), (2, None)];
    assert_eq!(world.sites[0].endpoints(1), none.into());
    assert_nothing_is_left(&mut world);

    // Cut by the end of the run as any first call, when there is time to answer.
    let mut world = World::new(2, 13);
    in_line(&mut world, 2, 1, |callers, _| callers.duration = secs(5));
    world.run_until_ended(secs(30));
    assert_eq!(order(&world), [0, 1]);

    // A repeated call would have fitted in at 3.521 s, not at its turn at 6.042 s.
    let mut world = World::new(2, 14);
    in_line(&mut world, 2, 1, |callers, _| {
        callers.call.repeat = true;
        callers.duration = ms(7500);
    });
    world.run_until_ended(secs(30));
    assert_eq!(order(&world), [0, 1]);

    let mut world = World::new(2, 12);
    in_line(&mut world, 3, 1, |callers, _| callers.call.repeat = true);
    world.run_for(secs(5));
    world.with(0, |engine, now| engine.stop(now, ShareId(1), "enough"));
    world.run_until_ended(secs(90));
    assert_eq!(order(&world), [0, 1]);
    assert_nothing_is_left(&mut world);
}
