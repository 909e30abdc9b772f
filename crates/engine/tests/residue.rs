//! Nothing of a run remains: the engine's own counts of shares, calls, registrations, transactions
//! and timers are zero when its late requests are over, 32 s after its end.

mod common;

use std::time::Duration;

use callmeter_engine::{Assign, Held, Registrar, Role, ShareId, Transport};
use common::proxy::Proxy;
use common::{World, secs};

/// Late requests are answered for 32 s; a second for what is on the wire then.
const QUIET: Duration = Duration::from_secs(33);

fn registered(mut assign: Assign, user: &str) -> Assign {
    assign.registrar = Registrar {
        domain: "192.0.2.100".into(),
        port: 5060,
        transport: Transport::Udp,
        outbound_proxy: String::new(),
        register: true,
        expires: secs(120),
        options_interval: Some(secs(5)),
        located: None,
    };
    let account = |n: u32| callmeter_engine::Account {
        user: format!("{user}{n}"),
        password: callmeter_engine::Password::new("hunter2"),
        auth_user: String::new(),
        realm: String::new(),
    };
    assign.accounts = (0..assign.count).map(account).collect();
    assign
}

/// Callers on site 0, callees on site 1, four of each, under share `share`.
fn begin(world: &mut World, share: u32, with_registrar: bool) {
    for (site, role, user) in [(1, Role::Callee, "b"), (0, Role::Caller, "a")] {
        let mut assign = world.plan(site, share, role, 4);
        assign.call.repeat = true;
        assign.call.duration = secs(3);
        assign.duration = secs(20);
        if with_registrar {
            assign = registered(assign, &format!("{user}{share}-"));
        }
        world.assign(site, assign);
    }
    let sites = if with_registrar { [0, 1] } else { [1, 1] };
    world.run_until("endpoints to be ready", secs(60), |world| {
        sites
            .iter()
            .all(|site| world.sites[*site].contacts(share).len() == 4)
    });
    let peers = if with_registrar {
        world.sites[1].aors(share)
    } else {
        world.sites[1].contacts(share)
    };
    world.start(1, share, &[]);
    world.start(0, share, &peers);
}

fn held(world: &World) -> Vec<Held> {
    world.sites.iter().map(|site| site.engine.held()).collect()
}

fn assert_nothing_is_left(world: &World, what: &str) {
    for (site, held) in held(world).into_iter().enumerate() {
        assert_eq!(held, Held::default(), "{what}: site {site}");
        assert!(world.sites[site].engine.is_empty(), "{what}: site {site}");
        assert_eq!(world.sites[site].engine.next_timeout(), None, "{what}");
    }
}

/// R105: however a run ends.
#[test]
fn nothing_of_a_run_is_left_when_its_late_requests_are_over() {
    type End = fn(&mut World);
    let ends: [(&str, End); 4] = [
        ("by its time", |_| {}),
        ("by a stop", |world| {
            world.run_for(secs(5));
            for site in 0..2 {
                world.with(site, |engine, now| engine.stop(now, ShareId(1), "enough"));
            }
        }),
        ("by a deadline", |world| {
            world.run_for(secs(5));
            for site in 0..2 {
                world.with(site, |engine, now| engine.force_end(now, ShareId(1)));
            }
        }),
        ("with a dead far end", |world| {
            world.run_for(secs(5));
            world.loss = 1.0;
        }),
    ];
    for with_registrar in [false, true] {
        for (what, end) in ends {
            let mut world = World::new(2, 21);
            world.loss = 0.05;
            if with_registrar {
                world.proxy = Some(Proxy::new("192.0.2.100:5060"));
            }
            begin(&mut world, 1, with_registrar);
            world.run_for(secs(2));
            let during = held(&world);
            for held in &during {
                assert!(
                    held.shares == 1 && held.calls > 0 && held.timers > 0,
                    "{what}: {held:?}"
                );
                assert_eq!((held.sip.endpoints, held.sip.listeners), (4, 1), "{what}");
                assert!(held.sip.transactions > 0 && held.sip.timers > 0, "{what}");
                let registered = if with_registrar { 4 } else { 0 };
                assert_eq!(held.sip.registrations, registered, "{what}");
            }
            end(&mut world);
            world.run_until_ended(secs(200));
            world.run_for(QUIET);
            assert_nothing_is_left(&world, what);
        }
    }
}

/// R105: a hundred runs, ten at a time, leave what one leaves: nothing; and no state of an earlier
/// run is in a later one.
#[test]
fn a_hundred_runs_leave_nothing() {
    let mut world = World::new(2, 22);
    world.proxy = Some(Proxy::new("192.0.2.100:5060"));
    for round in 0..10 {
        for n in 1..=10 {
            begin(&mut world, round * 10 + n, true);
        }
        world.run_until_ended(secs(300));
    }
    world.run_for(QUIET);
    assert_nothing_is_left(&world, "a hundred runs");
    for share in [1, 100] {
        for site in &world.sites {
            site.assert_rows_add_up(share);
        }
        let calls = |site: usize| &world.sites[site].totals(share).calls;
        assert_eq!(calls(0), &world.sites[0].totals(1).calls.clone(), "{share}");
        assert_eq!(calls(1), &world.sites[1].totals(1).calls.clone(), "{share}");
    }
    let bindings = &world.proxy.as_ref().unwrap().bindings;
    assert!(bindings.is_empty(), "registrations: {bindings:?}");
}
