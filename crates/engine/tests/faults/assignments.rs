//! Assignments that cannot be carried out are refused, each by the name of its field.

use std::time::Duration;

use callmeter_engine::{
    Action, Assign, EngineError, Header, Load, Role, Scenario, ShareId, Step, When,
};

use crate::account;
use crate::common::{World, ms, secs};

type Spoil<'a> = (&'a str, Box<dyn Fn(&mut Assign) + 'a>);

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
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
            r#"load.at_once is "0""#,
            Box::new(|a| a.load = Load::AtOnce(0)),
        ),
        (
            r#"load.at_once is "3""#,
            Box::new(|a| a.load = Load::AtOnce(3)),
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
