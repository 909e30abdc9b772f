//! Registration, names, and calls through a proxy.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../common/mod.rs"]
mod common;
mod first;
mod lost;

use std::net::{IpAddr, SocketAddr};

use callmeter_engine::{
    Account, Assign, Listener, Outcome, Password, Phase, Registrar, Role, ShareId, Transport, What,
};
use callmeter_metrics::id;
use common::proxy::Proxy;
use common::{World, ms, secs};

const PBX: &str = "192.0.2.100:5060";

fn account(user: &str) -> Account {
    Account {
        user: user.to_owned(),
        password: Password::new("hunter2"),
        auth_user: String::new(),
        realm: String::new(),
    }
}

/// A share that registers `users` at a registrar known by name.
fn registering(world: &World, site: usize, role: Role, users: &[&str]) -> Assign {
    let mut plan = world.plan(site, 1, role, users.len() as u32);
    plan.registrar.domain = "pbx.example".into();
    plan.registrar.register = true;
    plan.accounts = users.iter().map(|user| account(user)).collect();
    plan
}

fn with_proxy(seed: u64) -> World {
    let mut world = World::new(2, seed);
    world.proxy = Some(Proxy::new(PBX));
    world
        .names
        .insert("pbx.example".to_owned(), IpAddr::from([192, 0, 2, 100]));
    world
}

/// `bob` of site 1 takes calls for 300 s, and registers for 60 s each time.
fn bob(seed: u64, change: impl FnOnce(&mut Assign)) -> World {
    let mut world = with_proxy(seed);
    world.proxy.as_mut().unwrap().granted_s = 60;
    let mut plan = registering(&world, 1, Role::Callee, &["bob"]);
    plan.duration = secs(300);
    change(&mut plan);
    world.assign(1, plan);
    world
}

/// R99: registered with digest, called by address of record, un-registered at the end; nothing of
/// the password shows anywhere.
#[test]
fn calls_through_a_registrar() {
    let mut world = with_proxy(1);
    world.proxy.as_mut().unwrap().granted_s = 300;
    let callees = registering(&world, 1, Role::Callee, &["bob", "bill"]);
    world.assign(1, callees);
    let callers = registering(&world, 0, Role::Caller, &["ann", "amy"]);
    assert!(!format!("{callers:?}").contains("hunter2"));
    world.assign(0, callers);
    world.run_until("all to register", secs(5), |world| {
        world.sites.iter().all(|site| site.contacts(1).len() == 2)
    });
    assert_eq!(
        world.sites[1].aors(1),
        ["sip:bob@pbx.example", "sip:bill@pbx.example"]
    );
    assert_eq!(world.sites[1].contacts(1)[0], "sip:bob@192.0.2.2:5061");
    let peers = world.sites[1].aors(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));

    let caller = &world.sites[0];
    assert_eq!(
        caller.totals(1).calls,
        [(Outcome::Success, 2)],
        "{:?}",
        caller.calls(1)
    );
    let own = caller.phases(1, 0, 0);
    assert_eq!(own, [Phase::Initializing, Phase::Registered, Phase::Closed]);
    for site in &world.sites {
        // A REGISTER, its challenged retry and the un-REGISTER.
        assert_eq!(site.sum(1, id::REG_ATTEMPTS), 4.0);
        assert_eq!(site.sum(1, id::REG_SUCCESS), 4.0);
        assert_eq!(site.sum(1, id::REG_FAILED), 0.0);
        assert!(site.sum(1, id::AUTH_CHALLENGES) >= 2.0);
        assert_eq!(site.values(1, id::REG_EXPIRES_S), [300.0; 2]);
        for (metric, expected) in [
            (id::REGISTRATION_TIME_MS, 20.0),
            (id::REGISTRATION_AUTH_TIME_MS, 10.0),
        ] {
            let found = site.values(1, metric);
            assert!(
                found.len() == 2 && found.iter().all(|v| (v - expected).abs() < 1.0),
                "{found:?}"
            );
        }
        let dns = site.values(1, id::DNS_TIME_MS);
        assert!(dns.len() == 1 && (dns[0] - 3.0).abs() < 0.1, "{dns:?}");
        site.assert_rows_add_up(1);
        assert!(site.engine.active_endpoints() == 0);
    }
    assert!(
        world.proxy.as_ref().unwrap().bindings.is_empty(),
        "un-registered"
    );
    assert!(!format!("{:?}", world.sites[0].engine).contains("hunter2"));
    world.run_for(secs(40));
    assert!(world.sites.iter().all(|site| site.engine.is_empty()));
}

/// An account the registrar refuses ends `REGISTRATION_FAILED`; the others go on.
#[test]
fn a_refused_registration_ends_its_endpoint_only() {
    let mut world = with_proxy(2);
    world.proxy.as_mut().unwrap().banned.push("bill".to_owned());
    let callees = registering(&world, 1, Role::Callee, &["bob", "bill"]);
    world.assign(1, callees);
    world.run_for(secs(1));
    let callee = &world.sites[1];
    assert_eq!(callee.aors(1), ["sip:bob@pbx.example"]);
    assert_eq!(
        callee.endpoints(1).get(&1),
        Some(&Some(Outcome::RegistrationFailed))
    );
    let detail = callee.events.iter().find_map(|event| match &event.what {
        What::Ended { detail, .. } => Some(detail.as_str()),
        _ => None,
    });
    assert_eq!(detail, Some("registration refused: 403 Forbidden"));
    world.start(1, 1, &[]);
    world.run_until("the share to end", secs(90), |world| {
        !world.sites[1].ended.is_empty()
    });
    assert_eq!(world.sites[1].sum(1, id::REG_FAILED), 1.0);
    assert_eq!(world.sites[1].endpoints(1)[&0], None);
}

/// A registrar that never answers: `REGISTRATION_FAILED` after the transaction's time.
#[test]
fn a_silent_registrar_is_given_up() {
    let mut world = World::new(1, 3);
    let mut plan = registering(&world, 0, Role::Callee, &["bob"]);
    plan.registrar.domain = "192.0.2.77".into();
    world.assign(0, plan);
    world.run_until_ended(secs(40));
    assert_eq!(
        world.sites[0].endpoints(1)[&0],
        Some(Outcome::RegistrationFailed)
    );
    assert_eq!(world.sites[0].sum(1, id::SIP_TIMEOUTS), 1.0);
    assert_eq!(world.sites[0].values(1, id::REGISTRATION_TIME_MS), []);
}

/// Registrations are kept: refreshed before they run out, for as long as the run lasts.
#[test]
fn registrations_are_refreshed() {
    let mut world = bob(4, |_| {});
    world.run_for(secs(1));
    world.start(1, 1, &[]);
    world.run_for(secs(290));
    assert!(world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
    let attempts = world.sites[1].sum(1, id::REG_ATTEMPTS);
    assert!((5.0..=12.0).contains(&attempts), "{attempts}");
    assert_eq!(world.sites[1].contacts(1).len(), 1, "READY is said once");
    assert_eq!(world.sites[1].values(1, id::REG_EXPIRES_S).len(), 1);
}

/// Names that do not resolve, or whose answer never comes, fail by name.
#[test]
fn unknown_names_fail_the_endpoints() {
    for (dns, expected) in [(true, "no such name"), (false, "no answer within 5 s")] {
        let mut world = World::new(1, 6);
        world.dns = dns;
        let plan = registering(&world, 0, Role::Callee, &["bob"]);
        world.assign(0, plan);
        world.run_until_ended(secs(6));
        let ended = world.sites[0]
            .events
            .iter()
            .find_map(|event| match &event.what {
                What::Ended { outcome, detail } => Some((*outcome, detail.clone())),
                _ => None,
            });
        let detail = format!("cannot resolve pbx.example: {expected}");
        assert_eq!(ended, Some((Some(Outcome::OsError), detail)));
    }
}

/// Direct calls to a name resolve it once; a name nobody knows fails its call only.
#[test]
fn peers_are_resolved_by_name() {
    let mut world = World::new(2, 7);
    world
        .names
        .insert("site-b.example".to_owned(), IpAddr::from([192, 0, 2, 2]));
    let callees = world.plan(1, 1, Role::Callee, 2);
    world.assign(1, callees);
    let callers = world.plan(0, 1, Role::Caller, 3);
    world.assign(0, callers);
    world.start(1, 1, &[]);
    let peer = |user: &str, host: &str| format!("sip:{user}@{host}:5061");
    world.start(
        0,
        1,
        &[
            peer("group-1-0", "site-b.example"),
            peer("group-1-1", "site-b.example"),
            peer("group-1-1", "nowhere.example"),
        ],
    );
    world.run_until_ended(secs(90));
    let caller = &world.sites[0];
    assert_eq!(
        caller.totals(1).calls,
        [(Outcome::Success, 2), (Outcome::OsError, 1)]
    );
    let failed = caller
        .calls(1)
        .into_iter()
        .find(|call| call.0 == Outcome::OsError)
        .unwrap();
    assert_eq!(failed.2, "cannot resolve nowhere.example: no such name");
    assert_eq!(caller.values(1, id::DNS_TIME_MS).len(), 1);
}

/// G13: registrations are paced, never all at once, and 1,000 are done within 1 s.
#[test]
fn a_thousand_registrations_are_paced() {
    let mut world = with_proxy(8);
    world.proxy.as_mut().unwrap().challenge = false;
    let users: Vec<String> = (0..1000).map(|n| format!("user{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let plan = registering(&world, 1, Role::Callee, &users);
    world.assign(1, plan);
    world.run_for(ms(100));
    let early = world.wire.len();
    assert!(
        (160..=440).contains(&early),
        "{early} messages in the first 100 ms"
    );
    world.run_until("all to register", ms(900), |world| {
        world.sites[1].contacts(1).len() == 1000
    });
}

/// R105: a stop during registration takes back what was registered.
#[test]
fn a_stop_while_registering_leaves_no_binding() {
    let mut world = with_proxy(9);
    let plan = registering(&world, 1, Role::Callee, &["bob", "bill", "ben"]);
    world.assign(1, plan);
    world.run_for(ms(14));
    world.with(1, |engine, now| engine.stop(now, ShareId(1), "asked for"));
    world.run_until("the share to end", secs(5), |world| {
        !world.sites[1].ended.is_empty()
    });
    assert!(world.proxy.as_ref().unwrap().bindings.is_empty());
}

/// What an endpoint counted is told when it is dropped in a share that never started, too.
#[test]
fn a_deadline_before_the_start_loses_no_counts() {
    let mut world = with_proxy(10);
    let plan = registering(&world, 1, Role::Callee, &["bob"]);
    world.assign(1, plan);
    world.run_for(secs(1));
    world.loss = 1.0;
    world.with(1, |engine, now| engine.force_end(now, ShareId(1)));
    world.run_until("the share to end", secs(9), |world| {
        !world.sites[1].ended.is_empty()
    });
    assert_eq!(world.sites[1].sum(1, id::REG_ATTEMPTS), 2.0);
    assert_eq!(world.sites[1].sum(1, id::REG_SUCCESS), 1.0);
}

/// The same by another transport; over connections, by those it makes alone.
fn by(transport: Transport, plan: Assign) -> Assign {
    let (local, bound) = (plan.share.local(), (plan.sdp_address, 5061).into());
    let listener = match transport {
        Transport::Udp => plan.listener,
        _ => Listener::stream(local, transport, bound, None, false),
    };
    let registrar = Registrar {
        transport,
        ..plan.registrar
    };
    Assign {
        listener,
        registrar,
        ..plan
    }
}

/// RFC 3261 §19.1.2, RFC 7118 §5: where neither the registrar nor the URI names a port.
#[test]
fn each_transport_has_its_port() {
    for (transport, port) in [
        (Transport::Udp, 5060),
        (Transport::Tcp, 5060),
        (Transport::Tls, 5061),
        (Transport::Ws, 80),
        (Transport::Wss, 443),
    ] {
        let mut world = World::new(2, 9);
        let mut registering = registering(&world, 0, Role::Callee, &["bob"]);
        registering.registrar.domain = "192.0.2.77".into();
        let straight = world.plan(1, 1, Role::Caller, 2);
        world.assign(0, by(transport, registering));
        world.assign(1, by(transport, straight));
        let peers = ["sip:far@192.0.2.78", "sip:far@192.0.2.79:5099"].map(String::from);
        world.start(1, 1, &peers);
        world.run_for(secs(1));
        let reached = |ip: [u8; 4]| {
            let mut sent = world.wire.iter().map(|(_, to, _)| to);
            let to = sent.find(|to| to.ip() == IpAddr::from(ip));
            to.map(SocketAddr::port)
        };
        assert_eq!(reached([192, 0, 2, 77]), Some(port), "{transport}");
        assert_eq!(reached([192, 0, 2, 78]), Some(port), "{transport}");
        assert_eq!(reached([192, 0, 2, 79]), Some(5099), "{transport}");
    }
}

/// An address has more than one spelling.
#[test]
fn a_call_to_the_domain_goes_to_its_server() {
    for (domain, host) in [
        ("PBX.example", "pbx.EXAMPLE"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ] {
        let mut world = World::new(1, 9);
        let pbx = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        world.names.insert("PBX.example".to_owned(), pbx);
        let mut plan = world.plan(0, 1, Role::Caller, 1);
        plan.registrar.domain = domain.into();
        plan.registrar.port = 5090;
        world.assign(0, plan);
        world.run_for(secs(1));
        world.start(0, 1, &[format!("sip:far@{host}")]);
        world.run_for(secs(1));
        let sent: Vec<_> = world.wire.iter().map(|(_, to, _)| *to).collect();
        assert_eq!(sent.first(), Some(&SocketAddr::new(pbx, 5090)), "{domain}");
    }
}

/// Names are resolved to addresses of the right IP version; one that is written out is named.
#[test]
fn an_address_of_the_other_ip_version_is_not_dialled() {
    let mut world = World::new(1, 9);
    let plan = world.plan(0, 1, Role::Caller, 1);
    world.assign(0, plan);
    world.start(0, 1, &["sip:far@[2001:db8::1]".to_owned()]);
    world.run_until_ended(secs(90));
    let reason = "not dialled: 2001:db8::1 is not of the IP version of SIP_IP";
    assert_eq!(
        world.sites[0].calls(1),
        [(Outcome::CallFailed, None, reason.to_owned())]
    );
    assert!(world.wire.is_empty(), "{:?}", world.wire);
}

/// Straight to its host a `sips:` URI goes by TLS or not at all; what a server makes of it is the
/// server's affair.
#[test]
fn sips_is_not_dialled_in_the_clear() {
    let uri = "sips:far@192.0.2.78";
    for transport in Transport::ALL {
        for domain in ["", "192.0.2.78"] {
            let mut world = World::new(1, 9);
            let mut plan = by(transport, world.plan(0, 1, Role::Caller, 1));
            plan.registrar.domain = domain.into();
            world.assign(0, plan);
            world.start(0, 1, &[uri.to_owned()]);
            world.run_until_ended(secs(90));
            let secure = matches!(transport, Transport::Tls | Transport::Wss);
            let refused = domain.is_empty() && !secure;
            let (outcome, _, detail) = world.sites[0].calls(1).remove(0);
            let reason = format!("not dialled: {uri} goes by TLS or WSS, not by {transport}");
            let told = (outcome, detail) == (Outcome::CallFailed, reason);
            assert_eq!(told, refused, "{transport}");
            assert_eq!(world.wire.is_empty(), refused, "{transport}");
        }
    }
}
