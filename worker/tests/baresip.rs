//! Interoperation with baresip 1.0, a user agent for people, both ways, with echoed audio.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_proto::worker::{Account, Direction, Outcome, Registrar, Role};
use support::{
    baresip::Baresip,
    eventually,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn registrar(transport: &str) -> Registrar {
    Registrar {
        transport: transport.into(),
        ..Registrar::default()
    }
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

#[tokio::test]
async fn baresip_answers() {
    answers("udp").await;
}

#[tokio::test]
async fn baresip_answers_over_tcp() {
    answers("tcp").await;
}

async fn answers(transport: &str) {
    let peer_ports = ports::block();
    let Some(_baresip) = Baresip::spawn(peer_ports, transport).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        codec: "pcmu",
        call_ms: 2000,
        repeat: true,
        run_ms: 5000,
        registrar: Some(registrar(transport)),
        peers: vec![format!("sip:echo@127.0.0.1:{}", peer_ports.sip_first)],
        ..Group::new("callers", Role::Caller, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(told.calls("callers").len(), 2);
    assert_echoed(&told, "callers", 190);
}

#[tokio::test]
async fn baresip_calls() {
    calls("udp").await;
}

#[tokio::test]
async fn baresip_calls_over_tcp() {
    calls("tcp").await;
}

async fn calls(transport: &str) {
    let Some(baresip) = Baresip::spawn(ports::block(), transport).await else {
        return;
    };
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        accounts: vec![Account {
            user: "u0".into(),
            ..Account::default()
        }],
        registrar: Some(registrar(transport)),
        ring_ms: 300,
        run_ms: 6000,
        ..Group::new("callees", Role::Callee, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    let contact = told.contacts("callees")[&0].clone();
    let answer = baresip.command("dial", &contact);
    assert!(answer.contains(r#""ok":true"#), "{answer}");
    eventually("baresip says that the call stands", async || {
        baresip.output().contains("Call established").then_some(())
    })
    .await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    let calls = told.calls("callees");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].0, Outcome::Success, "{calls:?}");
    assert_echoed(&told, "callees", 200);
}
