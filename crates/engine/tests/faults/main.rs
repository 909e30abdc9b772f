//! What goes wrong around the engine: ports, threads, audio, the generator itself, bad input.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]

mod assignments;
mod catalogue;
#[path = "../common/mod.rs"]
mod common;

use callmeter_engine::{
    Account, Flow, HostFigures, Outcome, Password, Role, RowDirection, Transport,
};
use callmeter_metrics::id;
use common::{World, ms, secs};

fn account(user: &str) -> Account {
    Account {
        user: user.to_owned(),
        password: Password::new("hunter2"),
        auth_user: String::new(),
        realm: String::new(),
    }
}

fn one_call(world: &mut World) {
    let callee = world.plan(1, 1, Role::Callee, 1);
    world.assign(1, callee);
    let caller = world.plan(0, 1, Role::Caller, 1);
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
}

/// Audio blocked in one direction is found at both ends, and called by its name.
#[test]
fn one_way_audio_is_found() {
    let mut world = World::new(2, 1);
    world.media.deaf_to.insert(0);
    one_call(&mut world);
    world.run_until_ended(secs(90));
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    assert_eq!(caller.values(1, id::ONE_WAY_AUDIO), [1.0]);
    assert_eq!(caller.values(1, id::MISSING_AUDIO), [0.0]);
    assert_eq!(callee.values(1, id::MISSING_AUDIO), [1.0]);
    assert_eq!(callee.sum(1, id::PACKETS_RECEIVED), 0.0);
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::CompletedWithWarnings, 1)]);
    }
    assert_eq!(
        callee.values(1, id::MOS),
        [],
        "nothing heard, nothing scored"
    );
    assert_eq!(callee.values(1, id::TIME_TO_FIRST_MEDIA_MS), []);
}

/// Without a free port the caller never dials; a callee refuses.
#[test]
fn no_free_port_is_an_oserror() {
    for (site, dials) in [(0, false), (1, true)] {
        let mut world = World::new(2, 2);
        world.media.no_ports.insert(site);
        one_call(&mut world);
        world.run_until_ended(secs(90));
        let (outcome, _, detail) = world.sites[site].calls(1).remove(0);
        assert_eq!(outcome, Outcome::OsError);
        assert_eq!(detail, "no free RTP port in 10000-10001");
        assert_eq!(
            world
                .wire
                .iter()
                .any(|(.., line)| line.starts_with("INVITE")),
            dials
        );
        if dials {
            assert_eq!(world.sites[0].calls(1)[0].0, Outcome::CallFailed);
        }
    }
}

/// A media thread that says nothing holds up no call for longer than its patience.
#[test]
fn a_stalled_media_thread_is_not_waited_for() {
    let mut world = World::new(2, 3);
    world.media.stalled.insert(0);
    one_call(&mut world);
    world.run_until_ended(secs(90));
    let (outcome, _, detail) = world.sites[0].calls(1).remove(0);
    assert_eq!(
        (outcome, detail.as_str()),
        (Outcome::OsError, "no media port in time")
    );
    world.run_for(secs(40));
    assert!(world.sites[0].engine.is_empty());
}

/// A late generator marks the seconds it spoiled, and their rows; a sound one marks none.
#[test]
fn a_limited_generator_is_marked() {
    for (lateness, marked) in [(0.2, false), (3.5, true)] {
        let mut world = World::new(2, 4);
        world.media.lateness_ms = lateness;
        one_call(&mut world);
        world.run_until_ended(secs(90));
        let caller = &world.sites[0];
        let flags = caller.values(1, id::GENERATOR_LIMITED);
        assert_eq!(flags.contains(&1.0), marked);
        let scored = |row: &&callmeter_engine::SampleRow| {
            row.values.iter().any(|value| value.metric == id::MOS)
        };
        assert!(
            caller
                .rows_of(1)
                .filter(scored)
                .all(|row| row.generator_limited == marked)
        );
        assert!(
            caller
                .rows_of(1)
                .filter(|row| row.per_call)
                .all(|row| !row.generator_limited)
        );
        let late = caller
            .aggregate(1)
            .summary(id::TX_LATENESS_P99_MS, RowDirection::Send)
            .unwrap();
        assert_eq!(late.max, Some(lateness));
    }
}

/// The host's figures stand once per share and second, and throttling marks everybody's second.
#[test]
fn the_hosts_figures_are_in_the_rows() {
    let mut world = World::new(1, 5);
    let callees = world.plan(0, 1, Role::Callee, 3);
    world.assign(0, callees);
    world.start(0, 1, &[]);
    let sound = HostFigures {
        cpu_percent: Some(12.5),
        memory_mb: Some(64.0),
        udp_rcvbuf_errors: Some(2),
        throttled_ms: Some(0.0),
        steal_percent: Some(1.0),
        ring_overflows: Some(0),
        clock_stepped: Some(false),
    };
    world.run_for(ms(500));
    world.with(0, |engine, _| engine.handle_host(sound));
    world.with(0, |engine, _| engine.handle_host(sound));
    world.run_for(secs(1));
    let throttled = HostFigures {
        throttled_ms: Some(80.0),
        clock_stepped: Some(true),
        ..sound
    };
    world.with(0, |engine, _| engine.handle_host(throttled));
    world.run_for(secs(2));
    let site = &world.sites[0];
    for (metric, expected) in [
        (id::WORKER_CPU_PCT, [12.5, 12.5]),
        (id::WORKER_MEM_MB, [64.0, 64.0]),
        (id::UDP_RCVBUF_ERRORS, [4.0, 2.0]),
        (id::CPU_THROTTLED_MS, [0.0, 80.0]),
        (id::CPU_STEAL_PCT, [1.0, 1.0]),
        (id::RING_OVERFLOWS, [0.0, 0.0]),
        (id::CLOCK_STEPPED, [0.0, 1.0]),
    ] {
        assert_eq!(site.values(1, metric), expected, "{metric}");
    }
    let limited: Vec<_> = site
        .rows
        .iter()
        .filter(|(_, _, row)| row.generator_limited)
        .map(|(_, second, row)| (*second, row.endpoint))
        .collect();
    assert_eq!(limited, [(1, 0), (1, 1), (1, 2)]);
}

/// A message the socket refused is counted for its endpoint.
#[test]
fn transport_errors_are_counted() {
    let mut world = World::new(2, 6);
    one_call(&mut world);
    world.run_for(secs(3));
    let key = callmeter_sip::EndpointKey(1 << 32);
    world.with(0, |engine, _| engine.transport_error(Some(key)));
    world.run_until_ended(secs(90));
    assert_eq!(world.sites[0].sum(1, id::TRANSPORT_ERRORS), 1.0);
    assert_eq!(world.sites[1].sum(1, id::TRANSPORT_ERRORS), 0.0);
}

/// A connection that breaks before the answer ends the call at once; another one's end does not.
#[test]
fn a_broken_flow_fails_the_calls_that_wait_for_an_answer() {
    for (remote, fails) in [("192.0.2.99:5060", true), ("192.0.2.98:5060", false)] {
        let mut world = World::new(1, 9);
        let caller = world.plan(0, 1, Role::Caller, 1);
        let local = caller.share.local();
        world.assign(0, caller);
        world.start(0, 1, &["sip:x@192.0.2.99:5060".to_owned()]);
        world.run_for(secs(2));
        let flow = Flow {
            local,
            transport: Transport::Udp,
            remote: remote.parse().unwrap(),
        };
        world.with(0, |engine, now| {
            engine.flow_failed(now, flow, "connection reset");
        });
        // The end is told once its stream is gone; Timer B would take 32 s.
        world.run_for(secs(2));
        let soon = world.sites[0].calls(1);
        world.run_until_ended(secs(90));
        let (outcome, status, detail) = world.sites[0].calls(1).remove(0);
        let errors = world.sites[0].sum(1, id::TRANSPORT_ERRORS);
        if fails {
            assert_eq!(soon, [(outcome, status, detail.clone())]);
            assert_eq!((outcome, status, errors), (Outcome::CallFailed, None, 1.0));
            assert_eq!(detail, "before INVITE was answered: connection reset");
        } else {
            assert_eq!((soon, outcome, errors), (vec![], Outcome::Timeout, 0.0));
        }
    }
}

/// An offer without our codec is refused 488 and ends `NEGOTIATION_FAILED` at both ends.
#[test]
fn no_common_codec_fails_the_negotiation() {
    let mut world = World::new(2, 7);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.audio.codec = callmeter_engine::media::Codec::Pcmu;
    world.assign(1, callee);
    let caller = world.plan(0, 1, Role::Caller, 1);
    world.assign(0, caller);
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    for site in &world.sites {
        let (outcome, status, _) = site.calls(1).remove(0);
        assert_eq!((outcome, status), (Outcome::NegotiationFailed, Some(488)));
    }
    assert_eq!(world.media.open_streams(), 0);
}
