//! What a worker is told of every field of a definition.

use callmeter_proto::Secret;
use callmeter_proto::worker::{ScenarioDo as Do, ScenarioEvent as Event};

use super::*;
use crate::run::secrets::{Pair, TlsMaterial};

const TEST: &str = "
duration: 60s
groups:
  - name: answerers
    endpoints: 2
    role: callee
    registrar: {register: false, transport: tls, tls: {verify: skip, serverCertRef: {name: s}}}
    answer: {code: 486}
    call: {ringFor: 2s}
  - name: callers
    endpoints: 3
    role: caller
    target: {group: answerers}
    registrar:
      domain: pbx
      port: 443
      transport: wss
      wsPath: /ws
      connection: perEndpoint
      keepAlive: 30s
      optionsInterval: 90s
      outboundProxy: edge:443
      tls: {verify: custom, caRef: {name: ca}, clientCertRef: {name: c}}
    accounts: {secretRef: {name: sip}}
    load: LOAD
    sessionTimer: {mode: required, expires: 90s, refresher: uas}
    reliable: supported
    headers: [{name: X-Test, value: a}]
    dtmf: info
    authInDialog: true
    acceptTransfers: false
    scenario:
      - {when: {at: 5s}, do: sendDtmf, digits: '12#'}
      - {when: {event: dtmf, digits: '1'}, do: transfer, to: 'sip:9@pbx', attended: true}
      - {when: {event: hold}, do: hold}
      - {when: {event: resume}, do: resume}
      - {when: {event: info}, do: mediaUpdate}
      - {when: {event: sessionRefresh}, do: reRegister}
      - {when: {event: dtmf}, do: hangUp}
";

/// The assignments of both groups, callers with the second of two shares.
fn told(text: &str) -> (worker::Assign, worker::Assign) {
    let (test, ..) = definition::parse(text, Format::Yaml, "demo").unwrap();
    let secrets = GroupSecrets {
        accounts: Vec::new(),
        tls: Some(TlsMaterial {
            ca_pem: "CA".into(),
            client: Pair {
                certificates_pem: "CLIENT".into(),
                key_pem: Secret::new("hunter2"),
            },
            server: Pair {
                certificates_pem: "SERVER".into(),
                key_pem: Secret::new("hunter3"),
            },
        }),
    };
    let placed = |group, first, count| PlacedShare {
        group,
        worker: id(1),
        worker_name: "w".into(),
        first,
        count,
    };
    let shares = [placed(0, 0, 2), placed(1, 0, 1), placed(1, 1, 2)];
    let parts = assign::part::parts(&test, &shares);
    let told = |n: usize| assign::assign("run", &test, (&shares[n], parts[n].as_ref()), &secrets);
    (told(0), told(2))
}

fn with_load(load: &str) -> (worker::Load, worker::Call) {
    let (_, callers) = told(&TEST.replace("LOAD", load));
    (callers.load.unwrap(), callers.call.unwrap())
}

#[test]
fn registrar_and_certificates_are_told() {
    let (callees, callers) = told(&TEST.replace("LOAD", "{arrivalRate: 1/s}"));
    assert!(!format!("{callers:?}").contains("hunter"));
    let tls = worker::Tls {
        verify: worker::TlsVerify::Custom.into(),
        ca_pem: "CA".into(),
        client_certificate_pem: "CLIENT".into(),
        client_key_pem: "hunter2".into(),
        server_certificate_pem: "SERVER".into(),
        server_key_pem: "hunter3".into(),
    };
    let expected = worker::Registrar {
        domain: "pbx".into(),
        port: 443,
        transport: "wss".into(),
        outbound_proxy: "edge:443".into(),
        register: true,
        expires_s: 600,
        ws_path: "/ws".into(),
        connection_per_endpoint: true,
        keep_alive_ms: 30_000,
        options_interval_ms: 90_000,
        sip_over_udp_always: false,
        tls: Some(tls.clone()),
    };
    assert_eq!(callers.registrar, Some(expected));
    let direct = callees.registrar.unwrap();
    assert_eq!(
        (
            direct.domain.as_str(),
            direct.transport.as_str(),
            direct.register
        ),
        ("", "tls", false)
    );
    assert_eq!(direct.tls.unwrap().verify(), worker::TlsVerify::Skip);
    let call = callees.call.unwrap();
    assert_eq!((call.answer_code, call.ring_ms), (486, 2000));
    // What callers call rings for so long.
    assert_eq!(callers.call.unwrap().ring_ms, 2000);

    let plain = "duration: 5s\ngroups: [{name: a, endpoints: 2, role: callee}, {name: b, endpoints: 3, role: callee, registrar: {register: false, domain: pbx, sipOverUdp: always}}]";
    let (bare, udp) = told(plain);
    let expected = worker::Registrar {
        transport: "udp".into(),
        expires_s: 600,
        ..worker::Registrar::default()
    };
    assert_eq!(bare.registrar, Some(expected));
    let udp = udp.registrar.unwrap();
    assert!(udp.sip_over_udp_always && udp.tls.is_none() && udp.keep_alive_ms == 0);
    // Defaults are told as what they are.
    assert_eq!(bare.session_timer, None);
    assert_eq!(
        (bare.reliable(), bare.dtmf()),
        (worker::Reliable::Off, worker::Dtmf::Rfc4733)
    );
    assert_eq!(bare.call.unwrap().answer_code, 200);
}

/// Whom a group dials without a registrar says how.
#[test]
fn the_transport_of_what_is_dialled_is_told() {
    for (target, transport, keep_alive_ms) in [
        ("uri: 'sip:1@pbx'", "udp", 0),
        ("uri: 'sip:1@pbx;transport=tcp'", "tcp", 60_000),
        ("uri: 'sips:1@pbx'", "tls", 60_000),
        ("uri: 'sips:1@pbx;transport=ws'", "wss", 60_000),
        ("group: a", "ws", 60_000),
    ] {
        let (_, callers) = told(&format!(
            "duration: 5s\ngroups: [{{name: a, endpoints: 2, role: callee, registrar: {{register: false, transport: ws}}}}, \
             {{name: b, endpoints: 3, role: caller, target: {{{target}}}}}]"
        ));
        let registrar = callers.registrar.unwrap();
        let told = (registrar.transport.as_str(), registrar.keep_alive_ms);
        assert_eq!(told, (transport, keep_alive_ms), "{target}");
        assert!(registrar.domain.is_empty() && !registrar.register && registrar.tls.is_none());
    }
}

#[test]
fn dialogs_and_scenarios_are_told() {
    let (_, callers) = told(&TEST.replace("LOAD", "{arrivalRate: 1/s}"));
    let timer = worker::SessionTimer {
        mode: worker::SessionTimerMode::Required.into(),
        expires_s: 90,
        refresher: worker::Refresher::Uas.into(),
    };
    assert_eq!(callers.session_timer, Some(timer));
    assert_eq!(
        (callers.reliable(), callers.dtmf(), callers.auth_in_dialog),
        (worker::Reliable::Supported, worker::Dtmf::Info, true)
    );
    assert!(!callers.accept_transfers);
    let header = worker::Header {
        name: "X-Test".into(),
        value: "a".into(),
    };
    assert_eq!(callers.headers, [header]);
    let action = |when, event_digits: &str, done: Do| worker::ScenarioAction {
        when: Some(when),
        event_digits: event_digits.into(),
        r#do: done.into(),
        ..worker::ScenarioAction::default()
    };
    let at = worker::scenario_action::When::AtMs;
    let event = |e: Event| worker::scenario_action::When::Event(e.into());
    let expected = [
        worker::ScenarioAction {
            digits: "12#".into(),
            ..action(at(5000), "", Do::SendDtmf)
        },
        worker::ScenarioAction {
            transfer_to: "sip:9@pbx".into(),
            attended: true,
            ..action(event(Event::DtmfReceived), "1", Do::Transfer)
        },
        action(event(Event::HoldReceived), "", Do::Hold),
        action(event(Event::ResumeReceived), "", Do::Resume),
        action(event(Event::InfoReceived), "", Do::MediaUpdate),
        action(event(Event::SessionRefreshed), "", Do::ReRegister),
        action(event(Event::DtmfReceived), "", Do::HangUp),
    ];
    assert_eq!(callers.scenario, expected);
}

/// A share is told the load of the whole group, and which endpoints of it are its own.
#[test]
fn load_over_time_is_told_for_the_whole_group() {
    let point = |at_ms, per_second, ramp| worker::ArrivalPoint {
        at_ms,
        per_second,
        ramp,
    };
    let (ramp, call) = with_load("{ramp: [{at: 0s, rate: 1/s}, {at: 30s, rate: 30/m}]}");
    assert_eq!(
        ramp.arrivals,
        [point(0, 1.0, true), point(30_000, 0.5, false)]
    );
    assert_eq!((ramp.group_endpoints, ramp.start_offsets_ms.len()), (3, 0));
    assert!(call.repeat && ramp.concurrency.is_empty());

    let (steps, _) = with_load("{steps: [{at: 0s, rate: 1/s}, {at: 30s, rate: 0/s}]}");
    assert_eq!(
        steps.arrivals,
        [point(0, 1.0, false), point(30_000, 0.0, false)]
    );

    let (steps, call) = with_load("{steps: [{at: 0s, concurrency: 1}, {at: 30s, concurrency: 3}]}");
    let points: Vec<(u32, u32)> = steps
        .concurrency
        .iter()
        .map(|p| (p.at_ms, p.calls))
        .collect();
    assert_eq!(points, [(0, 1), (30_000, 3)]);
    assert!(call.repeat && steps.arrivals.is_empty() && steps.start_offsets_ms.is_empty());

    let (bounded, call) = with_load("{concurrency: 3}");
    // Two callees: one call at a time for each worker.
    assert_eq!((bounded.at_once, call.repeat_pause_ms), (1, 500));
    assert!(bounded.start_offsets_ms.is_empty() && bounded.concurrency.is_empty());
    assert!(!call.repeat && steps.at_once == 0);

    let (rate, call) = with_load("{arrivalRate: 1/s}");
    assert_eq!(rate.start_offsets_ms, [1000, 2000]);
    assert!(!call.repeat && rate.arrivals.is_empty() && rate.concurrency.is_empty());
    let text = TEST.replace("LOAD", "{arrivalRate: 30/m}\n    call: {repeat: true}");
    let held = told(&text).1.load.unwrap();
    assert_eq!(held.arrivals, [point(0, 0.5, false)]);
    assert!(held.start_offsets_ms.is_empty());
}

/// What is to be said of a run is in its state and survives a restart of the gateway.
#[test]
fn warnings_are_kept() {
    let text = "
duration: 60s
groups:
  - {name: answerers, endpoints: 2, role: callee}
  - {name: callers, endpoints: 3, role: caller, target: {group: answerers}, load: {ramp: [{at: 0s, rate: 9/s}]}}
";
    let mut bench = Bench::placed(text, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
    let load = "group callers: 9 new calls per second of 60.0 s each take 540 endpoints, it has 3; calls that find none free are not placed";
    assert_eq!(bench.run.warnings, [load]);
    bench.secrets.warnings = vec!["a certificate ends soon".into()];
    bench.dispatch();
    let kept = [load, "a certificate ends soon"];
    let state = bench.run.state(
        &crate::results::RunResults::new([
            (2, definition::Role::Callee),
            (3, definition::Role::Caller),
        ]),
        &[],
        "",
    );
    assert_eq!(state.warnings, kept);
    assert_eq!(bench.run.context("").warnings, kept);

    let mut bench = Bench::placed(super::TEST, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
    bench.secrets.warnings = vec!["a certificate ends soon".into()];
    bench.dispatch();
    assert_eq!(bench.restarted().warnings, ["a certificate ends soon"]);
}
