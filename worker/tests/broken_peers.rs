//! SIPp as a peer that behaves badly: what the worker does about it, and how it counts the call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_proto::worker::{Account, Direction, Outcome, Registrar, Role, endpoint_event::What};
use support::{
    gateway::TestGateway,
    peer_process::{Sipp, program},
    ports::{self, Ports},
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};

/// Timers B, F and H and the waits around them.
const PATIENCE: Duration = Duration::from_secs(80);
const PASSWORD: &str = "planted-sip-password";

/// SIPp with a scenario of `peers/`, as it is or changed.
fn sipp(scenario: &str, ports: Ports, more: &[&str]) -> Option<Sipp> {
    let path = program("sipp")?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scenario.xml"), scenario).unwrap();
    let arguments = [&["-sf", "scenario.xml"], more].concat();
    Some(Sipp::spawn(&path, folder, ports, &arguments))
}

/// One call of the worker to a SIPp that plays `scenario`.
async fn call_to(scenario: &str) -> Option<(Told, Sipp)> {
    calls_to(scenario, false, 40_000).await
}

/// One call, or one after the other, of the worker to a SIPp that plays `scenario`.
async fn calls_to(scenario: &str, repeat: bool, run_ms: u32) -> Option<(Told, Sipp)> {
    let peer_ports = ports::block();
    let sipp = sipp(scenario, peer_ports, &[])?;
    sipp.listens(peer_ports.sip_first).await;
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        codec: "pcmu",
        call_ms: 500,
        repeat,
        run_ms,
        peers: vec![format!("sip:far@127.0.0.1:{}", peer_ports.sip_first)],
        ..Group::new("callers", Role::Caller, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    Some((told, sipp))
}

/// One call of a SIPp that plays `scenario` to the worker.
async fn call_from(scenario: &str, run_ms: u32) -> Option<(Told, Sipp)> {
    program("sipp")?;
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        codec: "pcmu",
        run_ms,
        accounts: vec![Account {
            user: "u0".into(),
            ..Account::default()
        }],
        ..Group::new("callees", Role::Callee, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    let contact = told.contacts("callees")[&0].clone();
    let port = contact.rsplit(':').next().unwrap();
    let remote = format!("127.0.0.1:{port}");
    let arguments = ["-m", "1", "-s", "u0", &remote];
    let mut sipp = sipp(scenario, ports::block(), &arguments)?;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    assert_eq!(sipp.0.exit_code().await, Some(0), "{}", sipp.0.output());
    Some((told, sipp))
}

fn only_call(told: &Told, group: &str) -> (Outcome, String) {
    let [call] = &told.calls(group)[..] else {
        panic!("one call: {:?}", told.calls(group));
    };
    call.clone()
}

#[tokio::test]
async fn a_busy_callee_is_a_failed_call_with_its_status() {
    let Some((told, _)) = call_to(include_str!("peers/busy.xml")).await else {
        return;
    };
    let (outcome, detail) = only_call(&told, "callers");
    assert_eq!(outcome, Outcome::CallFailed);
    assert_eq!(detail, "486 refused: 486 Busy Here");
    assert_eq!(told.sum("callers", "sip_4xx", Direction::Recv), 1);
}

/// In 9.4 s there are calls of half a second at 0, 3 and 6 s or later, none after 9: `Retry-After: 3`
/// holds the endpoint back, which would else call again after 1 s.
#[tokio::test]
async fn an_overloaded_server_is_called_again_when_it_said() {
    let scenario = include_str!("peers/overloaded.xml");
    let Some((told, _)) = calls_to(scenario, true, 9400).await else {
        return;
    };
    let refused = (
        Outcome::CallFailed,
        "503 refused: 503 Service Unavailable".to_owned(),
    );
    assert_eq!(told.calls("callers"), vec![refused; 3]);
    assert_eq!(told.sum("callers", "sip_5xx", Direction::Recv), 3);
}

/// RFC 3261 §13.3.1.4: the 2xx is sent again for 64·T1, then the session is ended by BYE.
#[tokio::test]
async fn a_caller_that_never_acknowledges_is_ended() {
    let scenario = include_str!("peers/no_ack.xml");
    let Some((told, _)) = call_from(scenario, 40_000).await else {
        return;
    };
    let (outcome, detail) = only_call(&told, "callees");
    assert_eq!(outcome, Outcome::Timeout);
    assert_eq!(detail, "200 no ACK to the answer");
    assert_eq!(told.sum("callees", "sip_timeouts", Direction::None), 1);
    // At 0.5, 1.5, 3.5, 7.5, then every 4 s up to 32 s. The tenth is due at 31.5 s, and each is as
    // late as those before it together; without the longest interval there would be six.
    let again = told.sum("callees", "sip_retransmissions", Direction::Send);
    assert!((8..=10).contains(&again), "{again}");
}

/// RFC 3261 §9.2: a CANCEL after the final response has no effect.
#[tokio::test]
async fn a_cancel_after_the_answer_has_no_effect() {
    let scenario = include_str!("peers/late_cancel.xml");
    let Some((told, _)) = call_from(scenario, 4000).await else {
        return;
    };
    assert_eq!(only_call(&told, "callees").0, Outcome::Success);
}

/// Nothing answers the BYE: Timer F.
#[tokio::test]
async fn a_bye_without_an_answer_is_an_error_of_the_end() {
    let Some((told, _)) = call_to(include_str!("peers/no_bye.xml")).await else {
        return;
    };
    let (outcome, detail) = only_call(&told, "callers");
    assert_eq!(outcome, Outcome::TeardownError);
    assert_eq!(detail, "200 no answer to BYE");
    assert_eq!(told.sum("callers", "sip_timeouts", Direction::None), 1);
}

/// A registrar that refuses a nonce it gave, saying so or not.
async fn registration_at(stale: &str, accept: &str) -> Option<Told> {
    let peer_ports = ports::block();
    let scenario = include_str!("peers/stale_nonce.xml")
        .replace("@STALE@", stale)
        .replace("@ACCEPT@", accept);
    let sipp = sipp(&scenario, peer_ports, &[])?;
    sipp.listens(peer_ports.sip_first).await;
    let mut gateway = TestGateway::start().await;
    let worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        run_ms: 1000,
        registrar: Some(Registrar {
            domain: "pbx.test".into(),
            outbound_proxy: format!("127.0.0.1:{}", peer_ports.sip_first),
            register: true,
            expires_s: 600,
            ..Registrar::default()
        }),
        accounts: vec![Account {
            user: "a".into(),
            password: PASSWORD.into(),
            ..Account::default()
        }],
        ..Group::new("callees", Role::Callee, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert!(!worker.log().contains(PASSWORD), "SIP password in the log");
    Some(told)
}

/// RFC 7616 §3.3: `stale=true` says that the credentials are right and only the nonce is old.
#[tokio::test]
async fn a_stale_nonce_is_answered_with_the_new_one() {
    const ACCEPT: &str = r#"  <recv request="REGISTER">
    <action>
      <ereg regexp="nonce=.new." search_in="hdr" header="Authorization:" check_it="true" assign_to="old"/>
    </action>
  </recv>
  <send>
    <![CDATA[

      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:];tag=[pid]-[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      [last_Contact:];expires=600
      Content-Length: 0

    ]]>
  </send>
"#;
    let Some(told) = registration_at(", stale=true", ACCEPT).await else {
        return;
    };
    assert_eq!(told.contacts("callees").len(), 1);
    assert_eq!(told.sum("callees", "auth_challenges", Direction::None), 2);
    assert_eq!(told.sum("callees", "reg_success", Direction::None), 1);
}

/// The same refusal without `stale=true` means that the credentials are wrong: no third try.
#[tokio::test]
async fn a_second_challenge_that_is_not_stale_ends_the_registration() {
    let Some(told) = registration_at("", "").await else {
        return;
    };
    assert_eq!(told.contacts("callees").len(), 0);
    assert_eq!(told.sum("callees", "auth_challenges", Direction::None), 2);
    let failed = told.events.iter().any(|event| match &event.what {
        Some(What::Ended(end)) => end.outcome() == Outcome::RegistrationFailed,
        _ => false,
    });
    assert!(failed, "{:?}", told.events);
}
