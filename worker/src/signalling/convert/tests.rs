use std::net::{Ipv4Addr, SocketAddr};

use super::*;

fn message() -> proto::Assign {
    proto::Assign {
        group: "callers".into(),
        first: 4,
        count: 2,
        role: proto::Role::Caller.into(),
        registrar: Some(proto::Registrar {
            transport: "udp".into(),
            ..Default::default()
        }),
        audio: Some(proto::Audio {
            codec: "pcma".into(),
            payload_type: 8,
            ptime_ms: 20,
            dscp: 46,
        }),
        load: Some(proto::Load {
            start_offsets_ms: vec![0, 500],
            ..Default::default()
        }),
        call: Some(proto::Call {
            duration_ms: 30_000,
            ring_ms: 2000,
            ..Default::default()
        }),
        duration_ms: 60_000,
        ..Default::default()
    }
}

fn read(message: proto::Assign) -> Result<engine::Assign, engine::Invalid> {
    let share = engine::ShareId(3);
    let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 5060));
    let listener = Listener::udp(share.local(), bound, None);
    assign(message, share, listener, Ipv4Addr::LOCALHOST.into())
}

#[test]
fn an_assignment_is_read_in_full() {
    let assign = read(message()).unwrap();
    assert_eq!(
        (assign.first, assign.count, assign.role),
        (4, 2, engine::Role::Caller)
    );
    assert_eq!(
        assign.audio,
        engine::Audio {
            codec: Codec::Pcma,
            ptime_ms: 20,
            dscp: 46
        }
    );
    assert_eq!(
        assign.start_offsets,
        [Duration::ZERO, Duration::from_millis(500)]
    );
    assert_eq!(assign.call.duration, Duration::from_secs(30));
    assert_eq!(assign.duration, Duration::from_secs(60));
    assert_eq!(assign.start_within, DEFAULT_START_WITHIN);
    assert_eq!(assign.registrar.expires, DEFAULT_EXPIRES);
    assert_eq!(assign.registrar.options_interval, None);
    let mut asking = message();
    asking.registrar.as_mut().unwrap().options_interval_ms = 7500;
    assert_eq!(
        read(asking).unwrap().registrar.options_interval,
        Some(Duration::from_millis(7500))
    );
}

#[test]
fn load_shapes_are_read() {
    let at = |ms| Duration::from_millis(ms);
    let mut rate = message();
    rate.load = Some(proto::Load {
        arrivals: vec![
            proto::ArrivalPoint {
                at_ms: 0,
                per_second: 2.5,
                ramp: true,
            },
            proto::ArrivalPoint {
                at_ms: 60_000,
                per_second: 5.0,
                ramp: false,
            },
        ],
        group_endpoints: 7,
        ..Default::default()
    });
    let point = |ms, per_second, ramp| engine::ArrivalPoint {
        at: at(ms),
        per_second,
        ramp,
    };
    let expected = [point(0, 2.5, true), point(60_000, 5.0, false)];
    let expected = engine::Arrivals::new(&expected, 7).unwrap();
    assert_eq!(read(rate).unwrap().load, engine::Load::Arrivals(expected));

    let mut level = message();
    let point = |at_ms, calls| proto::ConcurrencyPoint { at_ms, calls };
    level.load.as_mut().unwrap().concurrency = vec![point(0, 2), point(500, 9)];
    let point = |ms, calls| engine::ConcurrencyPoint { at: at(ms), calls };
    let expected = engine::Levels::new(vec![point(0, 2), point(500, 9)]).unwrap();
    assert_eq!(
        read(level).unwrap().load,
        engine::Load::Concurrency(expected)
    );
    assert_eq!(read(message()).unwrap().load, engine::Load::Offsets);
    let mut bounded = message();
    bounded.load.as_mut().unwrap().at_once = 2;
    assert_eq!(read(bounded).unwrap().load, engine::Load::AtOnce(2));
}

#[test]
fn what_is_left_out_has_its_default() {
    let mut plain = read(message()).unwrap();
    assert_eq!((plain.call.answer_code, plain.auth_in_dialog), (200, false));
    assert!(!plain.accept_transfers);
    let mut set = message();
    set.call.as_mut().unwrap().answer_code = 603;
    set.auth_in_dialog = true;
    set.accept_transfers = true;
    plain = read(set).unwrap();
    assert_eq!((plain.call.answer_code, plain.auth_in_dialog), (603, true));
    assert!(plain.accept_transfers);
}

fn action(when: proto::scenario_action::When, what: proto::ScenarioDo) -> proto::ScenarioAction {
    proto::ScenarioAction {
        when: Some(when),
        r#do: what.into(),
        ..Default::default()
    }
}

#[test]
fn scenarios_are_read_step_by_step() {
    use proto::ScenarioDo as Do;
    use proto::ScenarioEvent as Of;
    use proto::scenario_action::When;
    let on = |event: Of| When::Event(event.into());
    let mut told = message();
    told.dtmf = proto::Dtmf::Info.into();
    told.registrar.as_mut().unwrap().register = true;
    let mut digits = action(When::AtMs(1500), Do::SendDtmf);
    digits.digits = "12#".into();
    let mut filtered = action(on(Of::DtmfReceived), Do::HangUp);
    filtered.event_digits = "9*".into();
    let mut transfer = action(When::AtMs(9000), Do::Transfer);
    transfer.transfer_to = "sip:c@example.org".into();
    transfer.attended = true;
    told.scenario = vec![
        digits,
        filtered,
        action(on(Of::HoldReceived), Do::Hold),
        action(on(Of::ResumeReceived), Do::Resume),
        action(on(Of::InfoReceived), Do::MediaUpdate),
        action(on(Of::SessionRefreshed), Do::ReRegister),
        transfer,
    ];
    let step = |when, action| engine::Step { when, action };
    let read = read(told).unwrap();
    assert_eq!(read.dtmf, engine::Dtmf::Info);
    assert_eq!(
        read.scenario.steps(),
        [
            step(
                engine::When::At(Duration::from_millis(1500)),
                engine::Action::SendDtmf("12#".into())
            ),
            step(
                engine::When::DtmfReceived("9*".into()),
                engine::Action::HangUp
            ),
            step(engine::When::HoldReceived, engine::Action::Hold),
            step(engine::When::ResumeReceived, engine::Action::Resume),
            step(engine::When::InfoReceived, engine::Action::MediaUpdate),
            step(engine::When::SessionRefreshed, engine::Action::ReRegister),
            step(
                engine::When::At(Duration::from_secs(9)),
                engine::Action::Transfer {
                    to: "sip:c@example.org".parse().unwrap(),
                    attended: true
                }
            ),
        ]
    );
}

#[test]
fn timers_and_headers_are_read() {
    let mut told = message();
    told.session_timer = Some(proto::SessionTimer {
        mode: proto::SessionTimerMode::Required.into(),
        expires_s: 90,
        refresher: proto::Refresher::Uas.into(),
    });
    told.headers = vec![proto::Header {
        name: "X-A".into(),
        value: "b".into(),
    }];
    let read_of = read(told.clone()).unwrap();
    assert_eq!(
        read_of.session_timer,
        engine::SessionTimer {
            mode: engine::SessionTimerMode::Required,
            expires: Duration::from_secs(90),
            refresher: engine::Refresher::Uas,
        }
    );
    assert_eq!(read_of.headers[0].name, "X-A");
    for (sent, expected) in [
        (proto::Reliable::Unspecified, engine::Reliable::Off),
        (proto::Reliable::Off, engine::Reliable::Off),
        (proto::Reliable::Supported, engine::Reliable::Supported),
        (proto::Reliable::Required, engine::Reliable::Required),
    ] {
        told.reliable = sent.into();
        assert_eq!(read(told.clone()).unwrap().reliable, expected);
    }
    // Off, whatever else is said of it.
    told.session_timer.as_mut().unwrap().mode = proto::SessionTimerMode::Disabled.into();
    told.session_timer.as_mut().unwrap().expires_s = 0;
    let off = read(told).unwrap().session_timer;
    assert_eq!(off, engine::SessionTimer::default());
}

#[test]
fn what_cannot_be_read_is_refused_by_field() {
    type Change = fn(&mut proto::Assign);
    let cases: [(Change, &str); 18] = [
        (
            |m| m.role = 0,
            "role is \"0\"; accepted: caller, callee or both",
        ),
        (|m| m.audio = None, "audio is"),
        (|m| m.call = None, "call is"),
        (
            |m| m.audio.as_mut().unwrap().codec = "opus".into(),
            "audio.codec is \"opus\"",
        ),
        (
            |m| m.audio.as_mut().unwrap().payload_type = 9,
            "audio.payload_type is \"9\"",
        ),
        (
            |m| m.registrar.as_mut().unwrap().transport = "sctp".into(),
            "registrar.transport",
        ),
        (
            |m| m.registrar.as_mut().unwrap().port = 70_000,
            "registrar.port is \"70000\"",
        ),
        (
            |m| m.call.as_mut().unwrap().answer_code = 1 << 16,
            "call.answer_code is \"65536\"; accepted: 200, or 300 to 699",
        ),
        (
            |m| m.load.as_mut().unwrap().arrivals = vec![proto::ArrivalPoint::default()],
            "load.group_endpoints is \"0\"",
        ),
        (
            |m| {
                let load = m.load.as_mut().unwrap();
                load.arrivals = vec![proto::ArrivalPoint::default()];
                load.concurrency = vec![proto::ConcurrencyPoint::default()];
            },
            "load.concurrency is \"1 points\"; accepted: none beside load.arrivals",
        ),
        (
            |m| {
                let load = m.load.as_mut().unwrap();
                load.concurrency = vec![proto::ConcurrencyPoint::default()];
                load.at_once = 1;
            },
            "load.at_once is \"1\"; accepted: 0 beside load.arrivals or load.concurrency",
        ),
        (
            |m| {
                let when = proto::scenario_action::When::AtMs(1);
                let mut transfer = action(when, proto::ScenarioDo::Transfer);
                transfer.transfer_to = "nobody".into();
                m.scenario = vec![transfer];
            },
            "scenario[0].transfer_to is \"nobody\"; accepted: a SIP URI",
        ),
        (|m| m.reliable = 9, "reliable is \"9\""),
        (
            |m| m.scenario = vec![proto::ScenarioAction::default()],
            "scenario[0].when is \"\"; accepted: a time or an event",
        ),
        (
            |m| {
                let when = proto::scenario_action::When::Event(99);
                m.scenario = vec![action(when, proto::ScenarioDo::Hold)];
            },
            "scenario[0].event is \"99\"",
        ),
        (
            |m| {
                let when = proto::scenario_action::When::AtMs(1);
                m.scenario = vec![action(when, proto::ScenarioDo::Unspecified)];
            },
            "scenario[0].do is \"0\"",
        ),
        (
            |m| {
                m.session_timer = Some(proto::SessionTimer {
                    mode: 9,
                    ..Default::default()
                });
            },
            "session_timer.mode is \"9\"",
        ),
        (
            |m| {
                m.session_timer = Some(proto::SessionTimer {
                    mode: 3,
                    refresher: 9,
                    ..Default::default()
                });
            },
            "session_timer.refresher is \"9\"",
        ),
    ];
    for (change, wanted) in cases {
        let mut changed = message();
        change(&mut changed);
        let error = read(changed).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// R7
#[test]
fn a_password_shows_in_no_debug_output() {
    let mut message = message();
    let password = "hunter2".to_owned();
    message.accounts = vec![
        proto::Account {
            user: "u".into(),
            password,
            ..Default::default()
        };
        2
    ];
    let shown = format!("{message:?} {:?}", read(message.clone()).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}
