//! Names of servers that have to prove them (RFC 5922 §7.2).
#![expect(clippy::float_cmp, reason = "counts are exact")]

mod common;

use std::net::IpAddr;

use callmeter_engine::{Outcome, Role, ShareId};
use callmeter_metrics::id;
use common::{World, ms, secs};

const SERVER: &str = "site-b.example";

/// Callers of these hosts at site 0, with a second between their calls; callees at site 1.
fn calling(hosts: &[&str], repeat: bool) -> World {
    let mut world = World::new(2, 7);
    let at = IpAddr::from([192, 0, 2, 2]);
    world.names.insert(SERVER.to_owned(), at);
    let count = hosts.len() as u32;
    let callees = world.plan(1, 1, Role::Callee, count);
    world.assign(1, callees);
    let mut callers = world.plan(0, 1, Role::Caller, count);
    callers.duration = secs(20);
    callers.start_offsets = vec![ms(100); hosts.len()];
    callers.call.duration = secs(2);
    callers.call.pause = ms(1000);
    callers.call.repeat = repeat;
    world.assign(0, callers);
    world.start(1, 1, &[]);
    let peers: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(n, host)| format!("sip:group-1-{n}@{host}:5061"))
        .collect();
    world.start(0, 1, &peers);
    world
}

#[test]
fn a_server_with_a_certificate_for_other_names_fails_the_calls_to_it() {
    let reason = "TLS handshake failure: certificate is valid for a.example, not b.example";
    let mut world = calling(&[SERVER, "b.example"], false);
    world.misnamed.insert("b.example".to_owned(), reason);
    world.run_until_ended(secs(90));
    let caller = &world.sites[0];
    assert_eq!(
        caller.totals(1).calls,
        [(Outcome::Success, 1), (Outcome::CallFailed, 1)]
    );
    let calls = caller.calls(1);
    let failed = calls.iter().find(|call| call.0 == Outcome::CallFailed);
    assert_eq!(failed.unwrap().2, reason);
    assert_eq!(caller.sum(1, id::TRANSPORT_ERRORS), 1.0);
}

/// Who turned out to be another one is asked for again, and nobody else.
#[test]
fn an_address_that_is_forgotten_is_resolved_again() {
    for (forgotten, asked) in [([192, 0, 2, 2], 2), ([192, 0, 2, 3], 1)] {
        let mut world = calling(&[SERVER], true);
        world.run_for(secs(5));
        let (now, engine) = (world.now, &mut world.sites[0].engine);
        engine.forget_address(now, ShareId(1), IpAddr::from(forgotten));
        world.run_until_ended(secs(90));
        let caller = &world.sites[0];
        assert!(caller.calls(1).len() > 3);
        assert_eq!(caller.values(1, id::DNS_TIME_MS).len(), asked);
    }
}

/// A call that has its address, and waits for the ports of its media, asks again.
#[test]
fn a_call_that_is_about_to_go_to_a_forgotten_address_waits() {
    for forgotten in [true, false] {
        let mut world = calling(&[SERVER], false);
        // The name is answered, the media thread is not.
        world.media.opens_within = secs(1);
        world.run_for(ms(500));
        let (now, engine) = (world.now, &mut world.sites[0].engine);
        if forgotten {
            let address = IpAddr::from([192, 0, 2, 2]);
            engine.forget_address(now, ShareId(1), address);
        }
        world.misnamed.insert(SERVER.to_owned(), "another one");
        world.run_until_ended(secs(90));
        let outcome = world.sites[0].calls(1)[0].0;
        let wanted = if forgotten {
            Outcome::CallFailed
        } else {
            Outcome::Success
        };
        assert_eq!(outcome, wanted);
    }
}

/// The same without an answer: the call fails for that, not for its ports, which came in time.
#[test]
fn a_call_to_a_forgotten_address_waits_as_long_as_its_name() {
    let mut world = calling(&[SERVER], false);
    world.media.opens_within = secs(1);
    world.run_for(ms(500));
    world.dns = false;
    let (now, engine) = (world.now, &mut world.sites[0].engine);
    engine.forget_address(now, ShareId(1), IpAddr::from([192, 0, 2, 2]));
    world.run_until_ended(secs(90));
    let reason = format!("cannot resolve {SERVER}: no answer within 5 s");
    let calls = world.sites[0].calls(1);
    assert_eq!(calls, [(Outcome::OsError, None, reason)]);
}
