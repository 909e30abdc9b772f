//! Interoperation with baresip 1.0, a user agent for people, both ways, with echoed audio; digits,
//! hold and transfers, with baresip's own words as the judge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_proto::worker::{
    Account, Assign, Direction, Outcome, Registrar, Role, ScenarioAction, ScenarioDo,
    ScenarioEvent, Tls, scenario_action::When,
};
use support::{
    baresip::Baresip,
    calm::calm,
    certificates::{Certificates, certificates},
    eventually,
    gateway::TestGateway,
    peer_process::{Sipp, program},
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn registrar(transport: &str, tls: Option<Tls>) -> Registrar {
    Registrar {
        transport: transport.into(),
        tls,
        ..Registrar::default()
    }
}

/// What both ends need for a transport: for TLS, a certificate for the address they are called at.
fn own(transport: &str) -> Option<Certificates> {
    (transport == "tls").then(|| certificates(&["127.0.0.1"], false))
}

/// baresip sends by its own clock: what comes back is what was sent, but for the packets it holds
/// at the ends and for a clock that is a little slower.
fn assert_echoed(told: &Told, group: &str, least: i64) {
    let sent = told.sum(group, "packets_sent", Direction::Send);
    let received = told.sum(group, "packets_received", Direction::Recv);
    assert!(sent >= least, "{sent} packets sent");
    assert!(
        received * 10 >= sent * 9 && received <= sent + 10,
        "{received} packets of {sent} came back"
    );
    assert_eq!(told.sum(group, "packets_lost", Direction::Recv), 0);
}

#[test]
fn baresip_answers() {
    calm(|| answers("udp"));
}

#[test]
fn baresip_answers_over_tcp() {
    calm(|| answers("tcp"));
}

#[test]
fn baresip_answers_over_tls() {
    calm(|| answers("tls"));
}

async fn answers(transport: &str) {
    let own = own(transport);
    let Some(baresip) = Baresip::spawn(ports::block(), transport, own.as_ref()).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        codec: "pcmu",
        // Two calls fit, with nearly a third one's time for what is slow; a third never does.
        call_ms: 2000,
        repeat: true,
        run_ms: 5900,
        registrar: Some(registrar(
            transport,
            own.as_ref().map(Certificates::trusted),
        )),
        peers: vec![baresip.uri()],
        ..Group::new("callers", Role::Caller, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(told.calls("callers").len(), 2);
    assert_echoed(&told, "callers", 190);
}

#[test]
fn baresip_calls() {
    calm(|| calls("udp"));
}

#[test]
fn baresip_calls_over_tcp() {
    calm(|| calls("tcp"));
}

#[test]
fn baresip_calls_over_tls() {
    calm(|| calls("tls"));
}

async fn calls(transport: &str) {
    let own = own(transport);
    let Some(baresip) = Baresip::spawn(ports::block(), transport, own.as_ref()).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        registrar: Some(registrar(transport, own.as_ref().map(Certificates::shown))),
        ring_ms: 300,
        run_ms: 6000,
        ..callee(Vec::new())
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    let contact = told.contacts("callees")[&0].clone();
    let answer = baresip.command("dial", &contact);
    assert!(answer.contains(r#""ok":true"#), "{answer}");
    baresip.says("Call established").await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_only_call(&told, "callees");
    assert_echoed(&told, "callees", 200);
}

fn callee(scenario: Vec<ScenarioAction>) -> Group {
    Group {
        accounts: vec![Account {
            user: "u0".into(),
            ..Account::default()
        }],
        more: Assign {
            scenario,
            ..Assign::default()
        },
        ..Group::new("callees", Role::Callee, 1)
    }
}

fn assert_only_call(told: &Told, group: &str) {
    let calls = told.calls(group);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].0, Outcome::Success, "{calls:?}");
}

fn at(ms: u32, what: ScenarioDo) -> ScenarioAction {
    ScenarioAction {
        when: Some(When::AtMs(ms)),
        r#do: what.into(),
        ..ScenarioAction::default()
    }
}

/// A step for the time a digit comes.
fn on_digit(digit: &str, what: ScenarioDo, digits: &str) -> ScenarioAction {
    ScenarioAction {
        when: Some(When::Event(ScenarioEvent::DtmfReceived.into())),
        event_digits: digit.into(),
        r#do: what.into(),
        digits: digits.into(),
        ..ScenarioAction::default()
    }
}

/// Telephone events (RFC 4733) both ways: baresip's 7 is answered with three digits, which it says
/// it heard, its 5 with one, and its 9 ends the call.
#[test]
fn digits_go_both_ways() {
    calm(digits);
}

async fn digits() {
    let Some(baresip) = Baresip::spawn(ports::block(), "udp", None).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        run_ms: 20_000,
        ..callee(vec![
            on_digit("7", ScenarioDo::SendDtmf, "1*#"),
            on_digit("5", ScenarioDo::SendDtmf, "8"),
            on_digit("9", ScenarioDo::HangUp, ""),
        ])
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    baresip.command("dial", &told.contacts("callees")[&0]);
    baresip.says("Call established").await;
    for (digit, answers) in [("7", "1*#"), ("5", "8")] {
        baresip.command("sndcode", digit);
        for answer in answers.chars() {
            for end in [0, 1] {
                let words = format!("received event: '{answer}' (end={end})");
                baresip.says(&words).await;
            }
        }
    }
    baresip.command("sndcode", "9");
    baresip.says("session closed").await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_only_call(&told, "callees");
    let sum = |key, direction| told.sum("callees", key, direction);
    assert_eq!(sum("dtmf_sent", Direction::Send), 4);
    assert_eq!(sum("dtmf_received", Direction::Recv), 3);
    assert_eq!(sum("dtmf_errors", Direction::Recv), 0);
    assert_eq!(sum("scenario_actions_executed", Direction::Recv), 3);
    // A beginning and an end of each digit, and none of any other.
    assert_eq!(baresip.output().matches("received event").count(), 8);
}

/// Holds by either side: baresip names the re-INVITEs it gets, and its own are seen.
#[tokio::test]
async fn either_side_holds_and_resumes() {
    let Some(baresip) = Baresip::spawn(ports::block(), "udp", None).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let resumed = ScenarioAction {
        when: Some(When::Event(ScenarioEvent::ResumeReceived.into())),
        ..at(0, ScenarioDo::HangUp)
    };
    let group = Group {
        run_ms: 20_000,
        ..callee(vec![
            at(500, ScenarioDo::Hold),
            at(1000, ScenarioDo::Resume),
            resumed,
        ])
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    baresip.command("dial", &told.contacts("callees")[&0]);
    eventually("both re-INVITEs have come", async || {
        let offers = baresip
            .output()
            .matches("got re-INVITE (SDP Offer)")
            .count();
        (offers == 2).then_some(())
    })
    .await;
    baresip.command("hold", "");
    baresip.command("resume", "");
    baresip.says("session closed").await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_only_call(&told, "callees");
    let sum = |key, direction| told.sum("callees", key, direction);
    for (key, count) in [("hold_count", 1), ("reinvite_count", 2)] {
        assert_eq!(sum(key, Direction::Send), count, "{key}");
        assert_eq!(sum(key, Direction::Recv), count, "{key}");
    }
    assert_eq!(sum("scenario_actions_executed", Direction::Send), 2);
    assert_eq!(sum("scenario_actions_executed", Direction::Recv), 1);
}

/// A caller sends baresip to `target` after half a second of a call of three.
async fn transferred(baresip: &Baresip, target: &str) -> Told {
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let transfer = ScenarioAction {
        transfer_to: target.into(),
        ..at(500, ScenarioDo::Transfer)
    };
    let group = Group {
        call_ms: 3000,
        run_ms: 6000,
        peers: vec![baresip.uri()],
        more: Assign {
            scenario: vec![transfer],
            ..Assign::default()
        },
        ..Group::new("callers", Role::Caller, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_only_call(&told, "callers");
    assert!(
        baresip.output().contains(&format!("to '<{target}>'")),
        "it was sent to {target}"
    );
    assert_eq!(told.sum("callers", "refer_count", Direction::Send), 1);
    told
}

/// Executed and failed steps.
fn steps(told: &Told) -> [i64; 2] {
    ["scenario_actions_executed", "scenario_actions_failed"]
        .map(|key| told.sum("callers", key, Direction::Send))
}

/// A blind transfer (RFC 3515) from one baresip to another, which answers.
#[test]
fn baresip_is_transferred_to_another() {
    calm(transfer_to_another);
}

async fn transfer_to_another() {
    let Some(first) = Baresip::spawn(ports::block(), "udp", None).await else {
        return;
    };
    let Some(second) = Baresip::spawn(ports::block(), "udp", None).await else {
        return;
    };
    let told = transferred(&first, &second.uri()).await;
    assert!(second.output().contains("Call established"));
    assert_eq!(steps(&told), [1, 0]);
}

/// The control: to one who is busy; the call goes on, and the step has failed.
#[test]
fn baresip_is_transferred_to_nobody() {
    calm(transfer_to_nobody);
}

async fn transfer_to_nobody() {
    let Some(baresip) = Baresip::spawn(ports::block(), "udp", None).await else {
        return;
    };
    let Some(path) = program("sipp") else { return };
    let busy_ports = ports::block();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/busy.xml");
    let folder = tempfile::tempdir().unwrap();
    let busy = Sipp::spawn(&path, folder, busy_ports, &["-sf", scenario]);
    busy.listens(busy_ports.sip_first).await;
    let target = format!("sip:busy@127.0.0.1:{}", busy_ports.sip_first);
    let told = transferred(&baresip, &target).await;
    assert_eq!(steps(&told), [0, 1]);
}
