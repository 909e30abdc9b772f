//! Digits as telephone events (RFC 4733), counted by what baresip says it heard, and by INFO,
//! counted by what SIPp accepts and sends.

use std::time::Duration;

use callmeter_proto::worker::{
    Assign, Direction, Dtmf, Outcome, Role, ScenarioAction, ScenarioDo, ScenarioEvent,
    scenario_action::When,
};

use crate::proof::{Claim, Figure, View, prove};
use crate::script::{Script, run_against};
use crate::support::{
    baresip::Baresip,
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, begin, finish},
};

pub(crate) const KEYS: &[&str] = &["dtmf_sent", "dtmf_received", "dtmf_errors"];

const PATIENCE: Duration = Duration::from_secs(60);
/// More than fit in the time before the call ends.
const MANY: &str = "0123456789";

fn step(when: When, what: ScenarioDo, digits: &str) -> ScenarioAction {
    ScenarioAction {
        when: Some(when),
        r#do: what.into(),
        digits: digits.into(),
        ..ScenarioAction::default()
    }
}

/// Ends of digits a baresip has heard.
fn heard(baresip: &Baresip) -> u32 {
    baresip.output().matches("(end=1)").count() as u32
}

/// Digits are sent when the far end has heard their end and received when it sent them; what a
/// hang-up cuts off is an error.
#[test]
pub(crate) fn digits_are_those_baresip_speaks_of() {
    calm(digits_of_baresip);
}

async fn digits_of_baresip() {
    let mut peers = Vec::new();
    for _ in 0..3 {
        let Some(baresip) = Baresip::spawn(ports::block(), "udp", None).await else {
            return;
        };
        peers.push(baresip);
    }
    let [whole, cut, _] = &peers[..] else {
        unreachable!("three of them");
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let received = When::Event(ScenarioEvent::DtmfReceived.into());
    let scenarios = [
        (
            "whole",
            vec![
                step(When::AtMs(300), ScenarioDo::SendDtmf, "1A#"),
                step(received, ScenarioDo::SendDtmf, "9"),
            ],
        ),
        (
            "cut",
            vec![
                step(When::AtMs(300), ScenarioDo::SendDtmf, MANY),
                step(When::AtMs(900), ScenarioDo::HangUp, ""),
            ],
        ),
        ("control", Vec::new()),
    ];
    let groups: Vec<_> = scenarios
        .into_iter()
        .zip(&peers)
        .map(|((name, scenario), baresip)| Group {
            call_ms: 6000,
            run_ms: 9000,
            peers: vec![baresip.uri()],
            more: Assign {
                scenario,
                ..Assign::default()
            },
            ..Group::new(name, Role::Caller, 1)
        })
        .collect();
    let mut told = begin(&mut peer, "run-1", &groups).await;
    whole.says("received event: '#' (end=1)").await;
    whole.command("sndcode", "2");
    whole.says("received event: '9' (end=1)").await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());

    let (send, recv) = (Direction::Send, Direction::Recv);
    assert_eq!(heard(whole), 4, "{}", whole.output());
    let (all, before) = (MANY.len() as u32, heard(cut));
    assert!(
        (1..all).contains(&before),
        "{before} digits before the end: {}",
        cut.output()
    );
    // Of the three packets that end a digit the first one is heard, the last one ends its sending.
    let about =
        |key, least: u32| Claim::between(key, send, Figure::Sum, least.into(), (least + 1).into());
    let view = |group| View { told: &told, group };
    let claims = [
        (
            view("whole"),
            vec![
                Claim::exactly("dtmf_sent", send, Figure::Sum, 4),
                Claim::exactly("dtmf_received", recv, Figure::Sum, 1),
            ],
        ),
        (
            view("cut"),
            vec![
                about("dtmf_sent", before - 1),
                about("dtmf_errors", all - before),
            ],
        ),
    ];
    prove(&claims, view("control"), KEYS);
}

const INFO: &str = "Content-Type: application/dtmf-relay";

fn takes_digit(script: Script, digit: char, status: &str) -> Script {
    let signal = format!("Signal={digit}");
    script
        .takes_with("INFO", &[("", &signal)])
        .answers(status, "")
}

fn answers() -> Script {
    Script::callee().answers_call("200 OK", "").takes("ACK")
}

/// Digits by INFO are sent when SIPp has accepted them and received when it sent them; what it
/// refuses and what stays behind is an error.
#[test]
fn digits_by_info_are_those_sipp_took_and_sent() {
    calm(digits_by_info);
}

async fn digits_by_info() {
    let whole = ["1", "A", "#"].iter().fold(answers(), |script, digit| {
        takes_digit(script, digit.chars().next().unwrap(), "200 OK")
    });
    let whole = ["Signal=7\nDuration=160\n", "Signal=9\nDuration=160\n"]
        .iter()
        .zip(1..)
        .fold(whole, |script, (body, number)| {
            script.asks("INFO", number, INFO, body).takes_response(200)
        });
    let refused = takes_digit(answers(), '1', "200 OK");
    let refused = takes_digit(refused, '2', "415 Unsupported Media Type");
    let send = |digits| vec![step(When::AtMs(300), ScenarioDo::SendDtmf, digits)];
    let parts = [
        ("whole", whole, send("1A#")),
        ("refused", refused, send("1234")),
        ("control", answers(), Vec::new()),
    ]
    .map(|(name, script, scenario)| {
        let group = Group {
            call_ms: 2000,
            run_ms: 5000,
            more: Assign {
                dtmf: Dtmf::Info.into(),
                scenario,
                ..Assign::default()
            },
            ..Group::new(name, Role::Caller, 1)
        };
        (group, script.ends(), Outcome::Success)
    });
    let Some((told, _)) = run_against(parts, PATIENCE).await else {
        return;
    };
    let (send, recv) = (Direction::Send, Direction::Recv);
    let view = |group| View { told: &told, group };
    let claims = [
        (
            view("whole"),
            vec![
                Claim::exactly("dtmf_sent", send, Figure::Sum, 3),
                Claim::exactly("dtmf_received", recv, Figure::Sum, 2),
            ],
        ),
        (
            view("refused"),
            vec![
                Claim::exactly("dtmf_sent", send, Figure::Sum, 1),
                Claim::exactly("dtmf_errors", send, Figure::Sum, 3),
            ],
        ),
    ];
    prove(&claims, view("control"), KEYS);
}
