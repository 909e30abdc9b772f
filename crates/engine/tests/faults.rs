//! What goes wrong around the engine: ports, threads, audio, the generator itself, bad input.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use callmeter_engine::{
    Account, Action, ArrivalPoint, Arrivals, Assign, EngineError, Flow, Header, HostFigures, Load,
    MetricId, Outcome, Password, Reliable, Role, RowDirection, Scenario, ShareId, Step, Transport,
    When,
};
use callmeter_metrics::{Aggregation, CATALOGUE, by_id, id};
use common::proxy::Proxy;
use common::{World, ms, secs};

type Spoil<'a> = (&'a str, Box<dyn Fn(&mut Assign) + 'a>);

fn account(user: &str) -> Account {
    Account {
        user: user.to_owned(),
        password: Password::new("hunter2"),
        auth_user: String::new(),
        realm: String::new(),
    }
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: value.to_owned(),
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

fn ask_every(assign: &mut Assign, domain: &str, interval: Duration) {
    assign.registrar.domain = domain.into();
    assign.registrar.options_interval = Some(interval);
}

/// Wrong assignments are refused by field, value and what is accepted; secrets never show.
#[test]
fn wrong_assignments_are_refused_by_name() {
    let mut world = World::new(1, 8);
    let mut good = world.plan(0, 1, Role::Caller, 2);
    good.headers = vec![header("X-A", &"ü".repeat(1024))];
    let cases: Vec<Spoil> = vec![
        (r#"count is "0""#, Box::new(|a| a.count = 0)),
        (
            r#"accounts is "1""#,
            Box::new(|a| a.accounts = vec![account("a")]),
        ),
        (
            r#"accounts[1].user is "a b""#,
            Box::new(|a| a.accounts = vec![account("a"), account("a b")]),
        ),
        (
            r#"accounts[1].user is "a""#,
            Box::new(|a| a.accounts = vec![account("a"), account("a")]),
        ),
        (
            r#"peers is "1""#,
            Box::new(|a| a.peers = vec![String::new()]),
        ),
        (
            r#"load.start_offsets_ms is "3""#,
            Box::new(|a| a.start_offsets = vec![ms(0); 3]),
        ),
        (
            r#"audio.ptime_ms is "25""#,
            Box::new(|a| a.audio.ptime_ms = 25),
        ),
        (r#"audio.dscp is "64""#, Box::new(|a| a.audio.dscp = 64)),
        (
            r#"session_timer.expires_s is "89""#,
            Box::new(|a| a.session_timer.expires = secs(89)),
        ),
        (
            r#"session_timer.expires_s is "7201""#,
            Box::new(|a| a.session_timer.expires = secs(7201)),
        ),
        (
            r#"registrar.options_interval_ms is "4999""#,
            Box::new(|a| ask_every(a, "192.0.2.100", ms(4999))),
        ),
        (
            r#"registrar.options_interval_ms is "3600001""#,
            Box::new(|a| ask_every(a, "192.0.2.100", ms(3_600_001))),
        ),
        (
            r#"registrar.options_interval_ms is "5000""#,
            Box::new(|a| ask_every(a, "", secs(5))),
        ),
        (
            r#"headers is "33""#,
            Box::new(|a| a.headers = vec![header("X-A", "1"); 33]),
        ),
        (
            r#"headers[1].name is "X A""#,
            Box::new(|a| a.headers = vec![header("X-A", "1"), header("X A", "1")]),
        ),
        (
            r#"headers[0].name is "call-id""#,
            Box::new(|a| a.headers = vec![header("call-id", "1")]),
        ),
        (
            r#"headers[0].name is "V""#,
            Box::new(|a| a.headers = vec![header("V", "1")]),
        ),
        (
            r#"headers[0].value is "a\\r\\nb: c""#,
            Box::new(|a| a.headers = vec![header("X-A", "a\r\nb: c")]),
        ),
        (
            r#"headers[0].value is "üü"#,
            Box::new(|a| a.headers = vec![header("X-A", &"ü".repeat(1025))]),
        ),
        (
            r#"scenario[0].do is "re-register""#,
            Box::new(|a| {
                let step = Step {
                    when: When::InfoReceived,
                    action: Action::ReRegister,
                };
                a.scenario = Scenario::new(vec![step]).unwrap();
            }),
        ),
        (
            r#"call.answer_code is "299""#,
            Box::new(|a| a.call.answer_code = 299),
        ),
        (
            r#"call.answer_code is "700""#,
            Box::new(|a| a.call.answer_code = 700),
        ),
        (
            "registrar.domain is",
            Box::new(|a| a.registrar.register = true),
        ),
        (
            r#"registrar.domain is "a b""#,
            Box::new(|a| a.registrar.domain = "a b".into()),
        ),
        (
            r#"registrar.outbound_proxy is "a@b""#,
            Box::new(|a| a.registrar.outbound_proxy = "a@b".into()),
        ),
        (
            r#"listeners is "3""#,
            Box::new(|a| a.listeners = vec![a.listener.clone(); 3]),
        ),
        (
            r#"listener.id is "4294967296""#,
            Box::new(|a| a.share = ShareId(2)),
        ),
    ];
    for (expected, spoil) in cases {
        let mut bad = good.clone();
        spoil(&mut bad);
        let refused = world
            .with(0, |engine, now| engine.assign(now, bad))
            .unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with(expected) && text.contains("accepted: "),
            "{text}"
        );
        assert!(!text.contains("hunter2"));
        assert!(
            world.sites[0].engine.is_empty(),
            "{expected}: nothing is left of it"
        );
    }
    world.assign(0, good.clone());
    let again = world
        .with(0, |engine, now| engine.assign(now, good))
        .unwrap_err();
    assert_eq!(again, EngineError::ShareExists(ShareId(1)));
    let start = |world: &mut World, share, peers: usize| {
        let peers = vec![String::new(); peers];
        world
            .with(0, |engine, now| engine.start(now, ShareId(share), peers))
            .unwrap_err()
    };
    assert_eq!(
        start(&mut world, 9, 0),
        EngineError::UnknownShare(ShareId(9))
    );
    assert_eq!(
        start(&mut world, 1, 1),
        EngineError::Peers {
            given: 1,
            endpoints: 2
        }
    );
    world.start(0, 1, &[]);
    assert_eq!(
        start(&mut world, 1, 0),
        EngineError::AlreadyStarted(ShareId(1))
    );
}

/// R102: exactly the metrics declared as measured are emitted: the ones a stream's snapshot alone
/// can show are checked beside the rows, all the others here, over runs that show each.
#[test]
fn declared_and_emitted_metrics_are_the_same() {
    let mut emitted: HashSet<MetricId> = HashSet::new();
    let mut collect = |world: &World| {
        for (_, _, row) in world.sites.iter().flat_map(|site| &site.rows) {
            emitted.extend(row.values.iter().map(|value| value.metric));
        }
    };
    // Registered at a named registrar that is asked with OPTIONS, called, the second call refused, with the host's figures.
    let mut world = World::new(2, 9);
    world.proxy = Some(Proxy::new("192.0.2.100:5060"));
    world
        .names
        .insert("pbx.example".to_owned(), [192, 0, 2, 100].into());
    for (site, role) in [(1, Role::Callee), (0, Role::Caller)] {
        let mut plan = world.plan(site, 1, role, 1);
        plan.registrar.domain = "pbx.example".into();
        plan.registrar.register = true;
        plan.registrar.options_interval = Some(secs(5));
        plan.accounts = vec![account(["ann", "bob"][site])];
        world.assign(site, plan);
    }
    world.run_for(secs(1));
    let peers = world.sites[1].aors(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    let host = HostFigures {
        cpu_percent: Some(1.0),
        memory_mb: Some(1.0),
        udp_rcvbuf_errors: Some(0),
        throttled_ms: Some(0.0),
        steal_percent: Some(0.0),
        ring_overflows: Some(0),
        clock_stepped: Some(false),
    };
    world.with(0, |engine, _| engine.handle_host(host));
    world.run_until_ended(secs(90));
    collect(&world);
    // Refused, cancelled, and media before the answer has come in.
    let mut world = World::new(2, 10);
    world.delay = ms(50);
    world.media.delay = ms(1);
    one_call(&mut world);
    world.run_for(ms(400));
    world.with(0, |engine, now| engine.stop(now, ShareId(1), "test"));
    world.run_until("the caller to end", secs(9), |world| {
        !world.sites[0].ended.is_empty()
    });
    collect(&world);

    // A call by a rate, with a reliable 180, a hold and a transfer in it.
    let mut world = World::new(2, 11);
    let mut callee = world.plan(1, 1, Role::Callee, 1);
    callee.reliable = Reliable::Supported;
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.reliable = Reliable::Supported;
    let point = ArrivalPoint {
        at: ms(0),
        per_second: 1.0,
        ramp: false,
    };
    caller.load = Load::Arrivals(Arrivals::new(&[point], 1).unwrap());
    let step = |s, action| Step {
        when: When::At(secs(s)),
        action,
    };
    let to = "sip:nobody@192.0.2.2:5061".parse().unwrap();
    let attended = false;
    let steps = vec![
        step(1, Action::Hold),
        step(2, Action::Resume),
        step(3, Action::Transfer { to, attended }),
    ];
    caller.scenario = Scenario::new(steps).unwrap();
    let flow = Flow {
        local: caller.share.local(),
        transport: Transport::Tls,
        remote: "192.0.2.2:5061".parse().unwrap(),
    };
    world.assign(0, caller);
    world.with(0, |engine, _| {
        engine.handle_connected(flow, ms(2), Some(ms(3)));
    });
    let peers = world.sites[1].contacts(1);
    world.start(1, 1, &[]);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    collect(&world);

    let shown_beside_the_rows = |metric: &callmeter_metrics::Metric| {
        use callmeter_metrics::Category::{Buffer, Quality, Rtp};
        matches!(metric.category, Rtp | Buffer | Quality) || metric.id == id::EARLY_MEDIA_MS
    };
    let missing: Vec<_> = CATALOGUE
        .iter()
        .filter(|metric| metric.measured && metric.aggregation != Aggregation::Derived)
        .filter(|metric| !shown_beside_the_rows(metric) && !emitted.contains(&metric.id))
        .map(|metric| metric.key)
        .collect();
    assert!(
        missing.is_empty(),
        "declared but never emitted: {missing:?}"
    );
    let undeclared: Vec<_> = emitted
        .iter()
        .filter_map(|metric| by_id(*metric))
        .filter(|metric| !metric.measured)
        .map(|metric| metric.key)
        .collect();
    assert!(
        undeclared.is_empty(),
        "emitted but not declared: {undeclared:?}"
    );
}
