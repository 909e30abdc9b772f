//! Registrations that are lost and taken up again.

use std::net::SocketAddr;
use std::time::Duration;

use callmeter_engine::{
    Action, Assign, Outcome, Phase, Role, Scenario, ShareId, Step, Transport, What, When,
};
use callmeter_metrics::id;

use crate::common::proxy::Proxy;
use crate::common::{World, ms, secs};
use crate::{bob, registering, with_proxy};

const FORBIDDEN: (&str, &str) = ("403 Forbidden", "");

/// When the first refresh of 60 s is due in a run that starts 1 s after the registration.
const REFRESH: Duration = Duration::from_secs(29);

/// The next refresh of a user is refused; later ones are not.
fn lose(world: &mut World, user: &str, refusal: (&'static str, &'static str)) {
    let proxy = world.proxy.as_mut().unwrap();
    proxy.refusal = refusal;
    proxy.banned.push(user.to_owned());
    let line = format!("SIP/2.0 {}", refusal.0);
    world.run_until("the refresh to fail", secs(70), |world| {
        world.wire.iter().any(|(.., said)| *said == line)
    });
    let proxy = world.proxy.as_mut().unwrap();
    proxy.banned.clear();
    proxy.bindings.remove(user);
    world.run_for(world.delay);
}

/// A refresh that fails leaves a warning and is made up for.
#[test]
fn a_lost_registration_is_taken_up_again() {
    let mut world = bob(5, |_| {});
    world.run_for(secs(1));
    world.start(1, 1, &[]);
    lose(&mut world, "bob", FORBIDDEN);
    world.run_for(secs(10));
    assert!(world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
    world.run_until("the share to end", secs(300), |world| {
        !world.sites[1].ended.is_empty()
    });
    let outcome = world.sites[1].endpoints(1)[&0];
    assert_eq!(outcome, Some(Outcome::CompletedWithWarnings));
}

/// RFC 5626 §4.5: over a connection a registrar that is silent for ten minutes is asked three times
/// more; over UDP, the control, as soon as an attempt has failed.
#[test]
fn a_silent_registrar_is_asked_ever_less_often() {
    for (transport, attempts) in [(Transport::Tcp, 5..=5), (Transport::Udp, 14..=18)] {
        let mut world = with_proxy(6);
        world.proxy.as_mut().unwrap().granted_s = 60;
        let mut plan = registering(&world, 1, Role::Callee, &["bob"]);
        plan.duration = secs(700);
        plan.registrar.transport = transport;
        if transport == Transport::Tcp {
            plan.listener.transport = transport;
            plan.listener.accepts = false;
        }
        world.assign(1, plan);
        world.run_for(secs(1));
        world.start(1, 1, &[]);
        assert_eq!(world.sites[1].contacts(1).len(), 1, "{transport}");
        world.proxy = None;
        world.run_for(secs(599));
        let sum = world.sites[1].sum(1, id::REG_ATTEMPTS) as u32;
        assert!(attempts.contains(&sum), "{sum} attempts by {transport}");
    }
}

/// Two callees that take calls of anybody, one of which lost its registration: still one call to
/// each, and a third one finds both busy.
#[test]
fn who_is_registered_again_is_idle_once() {
    let mut world = with_proxy(11);
    world.proxy.as_mut().unwrap().granted_s = 60;
    let mut plan = registering(&world, 1, Role::Callee, &["bob", "bill"]);
    plan.duration = secs(300);
    plan.accept_external = true;
    world.assign(1, plan);
    world.run_for(secs(1));
    world.start(1, 1, &[]);
    lose(&mut world, "bob", FORBIDDEN);
    world.run_for(secs(10));
    assert!(world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
    let far: SocketAddr = "192.0.2.9:5060".parse().unwrap();
    let at = world.sites[1].ports[&ShareId(1)];
    for call in 1..=3 {
        let invite = format!(
            "INVITE sip:anybody@{at} SIP/2.0\nVia: SIP/2.0/UDP {far};branch=z9hG4bK{call}\n\
             From: <sip:far@{far}>;tag=f{call}\nTo: <sip:anybody@{at}>\nCall-ID: {call}@{far}\n\
             CSeq: 1 INVITE\nMax-Forwards: 70\nContact: <sip:far@{far}>\nContent-Length: 0\n\n"
        );
        world.inject(far, at, &invite);
    }
    world.run_for(ms(100));
    let said = |line: &str| {
        let to_far = world.wire.iter().filter(|(_, to, _)| *to == far);
        to_far.filter(|(.., said)| said == line).count()
    };
    assert_eq!(
        (said("SIP/2.0 180 Ringing"), said("SIP/2.0 486 Busy Here")),
        (2, 1)
    );
    for endpoint in 0..2 {
        assert_eq!(world.sites[1].phases(1, endpoint, 1), [Phase::Ringing]);
        assert_eq!(world.sites[1].phases(1, endpoint, 2), []);
    }
}

/// Who asks in vain for its registration takes calls of anybody all the while, and is idle after
/// each.
#[test]
fn who_registers_again_takes_calls() {
    let mut world = bob(15, |plan| {
        plan.accept_external = true;
    });
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.start_offsets = vec![secs(25)];
    caller.call.repeat = true;
    caller.call.pause = secs(2);
    caller.duration = secs(80);
    world.assign(0, caller);
    world.run_for(secs(1));
    world.start(1, 1, &[]);
    let at = world.sites[1].ports[&ShareId(1)];
    world.start(0, 1, &[format!("sip:anybody@{at}")]);
    lose(&mut world, "bob", FORBIDDEN);
    world.proxy = None;
    world.run_until("the caller to end", secs(100), |world| {
        !world.sites[0].ended.is_empty()
    });
    assert_eq!(world.sites[0].totals(1).calls, [(Outcome::Success, 4)]);
}

/// A registration is taken up again when that is due, whatever call is planned: neither with a
/// call that is far off nor, against what the registrar asked for (RFC 3261 §21.5.4), with one
/// that is near. That one is placed after it.
#[test]
fn a_planned_call_does_not_move_the_next_attempt() {
    let busy = ("503 Service Unavailable", "Retry-After: 120\r\n");
    for (refusal, dial_after, again_after) in [(FORBIDDEN, 600, 5), (busy, 2, 120)] {
        let mut world = with_proxy(12);
        world.proxy.as_mut().unwrap().granted_s = 60;
        let mut plan = registering(&world, 1, Role::Both, &["bob"]);
        plan.duration = secs(900);
        plan.start_offsets = vec![REFRESH + secs(dial_after)];
        world.assign(1, plan);
        world.run_for(secs(1));
        let started = world.now;
        world.start(1, 1, &["sip:nobody@pbx.example".to_owned()]);
        lose(&mut world, "bob", refusal);
        let lost = world.now;
        world.run_until("to be registered again", secs(200), |world| {
            world.proxy.as_ref().unwrap().bindings.contains_key("bob")
        });
        let took = world.now - lost;
        let expected = secs(again_after)..secs(again_after) + ms(100);
        assert!(expected.contains(&took), "{refusal:?}: {took:?}");
        world.run_until("the call", secs(700), |world| {
            !world.sites[1].invites(1).is_empty()
        });
        let due = (started + REFRESH + secs(dial_after)).max(lost + took);
        let late = world.now - due;
        assert!(late < ms(100), "{refusal:?}: {late:?}");
    }
}

/// A call of `bob` that stands from 22 s on for a while, with another one 5 min after it, in which
/// he loses his registration.
fn lost_in_a_call(seed: u64, scenario: Scenario, duration: Duration) -> World {
    lost_beside(seed, &["bob"], |plan| {
        plan.scenario = scenario;
        plan.call.duration = duration;
        plan.call.repeat = true;
    })
}

/// The same beside others, who call ever 60 s later.
fn lost_beside(seed: u64, users: &[&str], change: impl FnOnce(&mut Assign)) -> World {
    let mut world = with_proxy(seed);
    world.proxy.as_mut().unwrap().granted_s = 60;
    let callees = &["ann", "amy"][..users.len()];
    let mut callee = registering(&world, 0, Role::Callee, callees);
    callee.duration = secs(900);
    world.assign(0, callee);
    let mut plan = registering(&world, 1, Role::Caller, users);
    plan.duration = secs(900);
    plan.start_offsets = (0..).map(|n| secs(21 + 60 * n)).take(users.len()).collect();
    plan.call.pause = secs(300);
    change(&mut plan);
    world.assign(1, plan);
    world.run_for(secs(1));
    world.start(0, 1, &[]);
    let peers = world.sites[0].aors(1);
    world.start(1, 1, &peers);
    lose(&mut world, "bob", FORBIDDEN);
    assert_eq!(world.sites[1].phases(1, 0, 1).last(), Some(&Phase::InCall));
    world
}

/// The same when it is lost in a call, at whose end the next one is planned.
#[test]
fn a_registration_lost_in_a_call_does_not_wait_for_the_next() {
    let mut world = lost_in_a_call(13, Scenario::default(), secs(10));
    world.run_for(secs(6));
    assert!(world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
    world.run_until("the next call", secs(310), |world| {
        world.sites[1].invites(1).len() == 2
    });
}

/// The call in which it is lost ends while a REGISTER of its scenario has no answer, which comes then.
fn lost_at_the_end(users: &[&str], repeat: bool, refused: bool) -> World {
    let again = Step {
        when: When::At(secs(10)),
        action: Action::ReRegister,
    };
    let mut world = lost_beside(16, users, |plan| {
        plan.scenario = Scenario::new(vec![again]).unwrap();
        plan.call.duration = secs(12);
        plan.call.repeat = repeat;
    });
    let mut proxy = world.proxy.take().unwrap();
    world.run_until("the call to end", secs(6), |world| {
        world.sites[1].calls(1).len() == 1
    });
    if refused {
        proxy.refusal = FORBIDDEN;
        proxy.banned.push("bob".to_owned());
    }
    world.proxy = Some(proxy);
    world
}

/// Who is registered by then calls on.
#[test]
fn a_registration_that_outlasts_its_call_is_followed_by_the_next_one() {
    let mut world = lost_at_the_end(&["bob"], true, false);
    world.run_until("the next call", secs(320), |world| {
        world.sites[1].invites(1).len() == 2
    });
}

/// Who is done is not so before that, leaves nothing at the registrar, and is done once.
#[test]
fn a_registration_that_outlasts_all_calls_is_removed() {
    for refused in [false, true] {
        let mut world = lost_at_the_end(&["bob", "tim"], false, refused);
        world.run_until_ended(secs(900));
        let caller = &world.sites[1];
        let ended = caller.events.iter();
        let ended = ended.filter(|event| matches!(event.what, What::Ended { .. }));
        let mut ended: Vec<_> = ended.map(|event| event.endpoint).collect();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1], "{refused}");
        assert_eq!(caller.totals(1).calls, [(Outcome::Success, 2)], "{refused}");
        let bindings = &world.proxy.as_ref().unwrap().bindings;
        assert!(!bindings.contains_key("bob"), "{refused}");
    }
}

/// The scenario of that call registers anew, which is under way when the next attempt is due.
#[test]
fn a_step_may_take_a_lost_registration_up_again() {
    let again = Step {
        when: When::At(secs(10)),
        action: Action::ReRegister,
    };
    let scenario = Scenario::new(vec![again]).unwrap();
    let mut world = lost_in_a_call(14, scenario, secs(20));
    world.run_for(secs(2));
    world.loss = 1.0;
    world.run_for(secs(4));
    world.loss = 0.0;
    world.run_for(secs(1));
    assert!(world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
    assert_eq!(world.sites[1].endpoints(1).get(&0), None, "not ended");
    world.run_until("the next call", secs(320), |world| {
        world.sites[1].invites(1).len() == 2
    });
    world.run_until_ended(secs(900));
    let outcome = world.sites[1].endpoints(1)[&0];
    assert_eq!(outcome, Some(Outcome::CompletedWithWarnings));
}

/// Two steps that are due at once, the first of which is refused; nobody answers the second one,
/// which begins then, until the registrar that is given back is there again.
fn refused_and_unanswered(duration: u64, repeat: bool) -> (World, Proxy) {
    let again = || Step {
        when: When::At(secs(10)),
        action: Action::ReRegister,
    };
    let mut world = lost_beside(21, &["bob", "tim"], |plan| {
        plan.scenario = Scenario::new(vec![again(), again()]).unwrap();
        plan.call.duration = secs(duration);
        plan.call.repeat = repeat;
    });
    world.proxy.as_mut().unwrap().banned.push("bob".to_owned());
    let refusals = |world: &World| {
        let refusals = world.wire.iter();
        refusals.filter(|(.., said)| said.contains(" 403 ")).count()
    };
    let before = refusals(&world);
    world.run_until("the first step to fail", secs(20), |world| {
        refusals(world) > before
    });
    let mut proxy = world.proxy.take().unwrap();
    proxy.banned.clear();
    (world, proxy)
}

/// Who registers for a second step is doing so: it calls on when that is answered.
#[test]
fn a_step_that_begins_as_another_fails_takes_the_registration_up() {
    let (mut world, proxy) = refused_and_unanswered(60, true);
    world.run_for(secs(8));
    world.proxy = Some(proxy);
    let bobs = |world: &World| {
        let invites = world.sites[1].invites(1).into_iter();
        invites.filter(|(endpoint, _)| *endpoint == 0).count()
    };
    assert_eq!(bobs(&world), 1);
    world.run_until("the next call", secs(400), |world| bobs(world) == 2);
}

/// Who is done with its calls meanwhile is not until that is answered, and leaves nothing behind.
#[test]
fn a_step_that_begins_as_another_fails_leaves_no_binding() {
    let (mut world, proxy) = refused_and_unanswered(12, false);
    world.run_until("the call to end", secs(6), |world| {
        world.sites[1].calls(1).len() == 1
    });
    assert_eq!(world.sites[1].endpoints(1).get(&0), None, "not ended");
    world.proxy = Some(proxy);
    world.run_until_ended(secs(900));
    assert!(!world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
}

/// A repeated call that was planned for a time at which the registration is lost is not placed
/// after that, if it does not fit into the run by then.
#[test]
fn a_call_that_was_put_off_fits_into_the_run_or_is_not_placed() {
    for (duration, calls) in [(152, 1), (170, 2)] {
        let mut world = with_proxy(30);
        world.proxy.as_mut().unwrap().granted_s = 60;
        let mut callee = registering(&world, 0, Role::Callee, &["ann"]);
        callee.duration = secs(300);
        callee.call.ring = secs(5);
        world.assign(0, callee);
        let mut plan = registering(&world, 1, Role::Caller, &["bob"]);
        plan.start_offsets = vec![secs(1)];
        plan.duration = secs(duration);
        plan.call.ring = secs(5);
        plan.call.duration = secs(10);
        plan.call.pause = secs(15);
        plan.call.repeat = true;
        world.assign(1, plan);
        world.run_for(secs(1));
        world.start(0, 1, &[]);
        let peers = world.sites[0].aors(1);
        world.start(1, 1, &peers);
        let busy = ("503 Service Unavailable", "Retry-After: 120\r\n");
        lose(&mut world, "bob", busy);
        world.run_until("the share to end", secs(300), |world| {
            !world.sites[1].ended.is_empty()
        });
        let caller = &world.sites[1];
        assert_eq!(caller.invites(1).len(), calls, "{duration}");
        let calls = [(Outcome::Success, calls as u64)];
        assert_eq!(caller.totals(1).calls, calls, "{duration}");
    }
}
