//! Registration and calls through Kamailio with digest challenges, MD5 and SHA-256.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use callmeter_metrics::by_key;
use callmeter_proto::worker::{Account, Direction, Outcome, Registrar, Role, endpoint_event::What};
use support::{
    calm::calm,
    certificates::{Certificates, certificates},
    gateway::TestGateway,
    kamailio::{Kamailio, edge, secure},
    ports,
    process::{Worker, environment},
    registrar,
    run::{Group, Told, assert_complete, begin, finish, ready, start},
};

const ENDPOINTS: u32 = 10;
const PASSWORD: &str = "planted-sip-password";
const PATIENCE: Duration = Duration::from_secs(60);
const CALL_MS: u32 = 3000;
/// Two calls fit, with nearly a third one's time for what is slow; a third never does.
const RUN_MS: u32 = 3 * CALL_MS - 100;
/// With it an INVITE has more than 1,300 bytes.
const FILL: usize = 14;

fn accounts(prefix: &str, password: &str) -> Vec<Account> {
    let account = |n: u32| Account {
        user: format!("{prefix}{n}"),
        password: password.into(),
        ..Account::default()
    };
    (0..ENDPOINTS).map(account).collect()
}

fn registrar(port: u16, transport: &str, own: &Certificates) -> Registrar {
    Registrar {
        domain: "pbx.test".into(),
        outbound_proxy: format!("127.0.0.1:{port}"),
        transport: transport.into(),
        ws_path: if transport.starts_with("ws") {
            "/sip".into()
        } else {
            String::new()
        },
        tls: secure(transport).then(|| own.trusted()),
        register: true,
        expires_s: 60,
        // The second is asked before the run ends, a third 3 s after.
        options_interval_ms: 6000,
        ..Registrar::default()
    }
}

fn groups(port: u16, transport: &str, own: &Certificates, caller_password: &str) -> [Group; 2] {
    let callees = Group {
        accounts: accounts("b", PASSWORD),
        registrar: Some(registrar(port, transport, own)),
        run_ms: RUN_MS,
        ..Group::new("callees", Role::Callee, ENDPOINTS)
    };
    let callers = Group {
        accounts: accounts("a", caller_password),
        registrar: Some(registrar(port, transport, own)),
        peers: (0..ENDPOINTS)
            .map(|n| format!("sip:b{n}@pbx.test"))
            .collect(),
        call_ms: CALL_MS,
        repeat: true,
        run_ms: RUN_MS,
        ..Group::new("callers", Role::Caller, ENDPOINTS)
    };
    [callees, callers]
}

/// A worker that logs everything, at an address of loopback.
fn worker(gateway: &TestGateway, ip: &str) -> Worker {
    let mut variables = environment(gateway, ports::block());
    for (name, value) in &mut variables {
        match name.as_str() {
            "LOG_LEVEL" => "trace".clone_into(value),
            "SIP_IP" => ip.clone_into(value),
            _ => {}
        }
    }
    Worker::spawn(&variables)
}

fn pbx<'a>(algorithm: &'a str, transport: &'a str, own: &'a Certificates) -> Kamailio<'a> {
    Kamailio {
        algorithm,
        transport,
        own,
        password: PASSWORD,
        outbound: false,
        path: false,
    }
}

async fn run(algorithm: &str, transport: &str, caller_password: &str) -> Option<(Told, String)> {
    run_as(algorithm, transport, caller_password, false, |callers| {
        callers
    })
    .await
}

/// The same with a registrar that keeps the flows of registrations or not, and callers that are
/// changed.
async fn run_as(
    algorithm: &str,
    transport: &str,
    caller_password: &str,
    outbound: bool,
    change: impl FnOnce(Group) -> Group,
) -> Option<(Told, String)> {
    let own = certificates(&["pbx.test"], false);
    let kamailio = Kamailio {
        outbound,
        ..pbx(algorithm, transport, &own)
    };
    let (_kamailio, port) = kamailio.start().await?;
    Some(run_at(port, transport, &own, caller_password, change).await)
}

/// The same at a server that is there.
async fn run_at(
    port: u16,
    transport: &str,
    own: &Certificates,
    caller_password: &str,
    change: impl FnOnce(Group) -> Group,
) -> (Told, String) {
    let mut gateway = TestGateway::start().await;
    let worker = worker(&gateway, "127.0.0.1");
    let mut peer = gateway.welcome().await;
    let [callees, callers] = groups(port, transport, own, caller_password);
    let groups = [callees, change(callers)];
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    let log = worker.log();
    assert!(!log.contains(PASSWORD), "SIP password in the log");
    (told, log)
}

/// The values of a metric, by endpoint and call.
fn values(told: &Told, group: &str, key: &str) -> Vec<((u32, u32), f64)> {
    let id = by_key(key).unwrap().id.0;
    let rows = told.rows.iter().filter(|row| row.group == group);
    rows.flat_map(|row| row.values.iter().map(move |value| (row, value)))
        .filter(|(_, value)| value.metric == id)
        .map(|(row, value)| ((row.endpoint, row.call), value.value))
        .collect()
}

/// The time of each answer to OPTIONS, by the endpoint that asked.
fn options_rtts(told: &Told, group: &str) -> Vec<(u32, f64)> {
    let all = values(told, group, "options_rtt_ms").into_iter();
    all.map(|((endpoint, _), rtt)| (endpoint, rtt)).collect()
}

/// The same with the callees on one worker and the callers on another, each at its own address.
async fn run_apart(port: u16, transport: &str, own: &Certificates) -> (Told, String) {
    let mut gateway = TestGateway::start().await;
    let first = worker(&gateway, "127.0.0.2");
    let mut one = gateway.welcome().await;
    let second = worker(&gateway, "127.0.0.3");
    let mut other = gateway.welcome().await;
    let [callees, callers] = groups(port, transport, own, PASSWORD).map(|group| [group]);
    let (mut called, mut calling) = tokio::join!(
        ready(&mut one, "run-1", &callees),
        ready(&mut other, "run-1", &callers),
    );
    start(&mut one, &called, "run-1", &callees).await;
    start(&mut other, &calling, "run-1", &callers).await;
    tokio::join!(
        finish(&mut one, &mut called, PATIENCE),
        finish(&mut other, &mut calling, PATIENCE),
    );
    for told in [&called, &calling] {
        assert_complete(told);
    }
    let logs = [first.log(), second.log()];
    assert!(logs.iter().all(|log| !log.contains(PASSWORD)));
    (called.with(calling), logs.concat())
}

fn calls_apart(transport: &str) {
    calm(async || {
        let own = certificates(&["pbx.test"], false);
        if let Some((_kamailio, port)) = pbx("MD5", transport, &own).start().await {
            let (told, log) = run_apart(port, transport, &own).await;
            assert_apart("MD5", &told, &log);
        }
    });
}

fn assert_apart(algorithm: &str, told: &Told, log: &str) {
    assert_called(algorithm, told, log);
    let contacts = told.contacts("callees");
    assert!(
        contacts.values().all(|uri| uri.contains("@127.0.0.2:")),
        "{contacts:?}"
    );
    // What both ends say of the same calls: caller i calls callee i.
    let calls = told.calls("callers").len() as i64;
    let placed = told.sum("callers", "invite_sent", Direction::None);
    let taken = told.sum("callees", "invite_received", Direction::None);
    assert_eq!([placed, taken], [calls; 2]);
    let durations = ["callers", "callees"].map(|group| -> BTreeMap<_, _> {
        let all = values(told, group, "call_duration_ms");
        all.into_iter().collect()
    });
    assert_eq!(durations[0].len() as i64, calls);
    for (call, by_caller) in &durations[0] {
        let by_callee = durations[1][call];
        assert!(
            (by_caller - by_callee).abs() < 250.0,
            "{call:?}: {by_caller} ms and {by_callee} ms"
        );
    }
}

fn calls_through(algorithm: &str, transport: &str) {
    calm(async || {
        if let Some((told, log)) = run(algorithm, transport, PASSWORD).await {
            assert_called(algorithm, &told, &log);
        }
    });
}

fn assert_called(algorithm: &str, told: &Told, log: &str) {
    assert_eq!(told.failed(), Vec::<String>::new());
    for group in ["callees", "callers"] {
        let aors = told.events.iter().filter_map(|event| match &event.what {
            Some(What::Ready(ready)) if event.group == group => Some(ready.aor.clone()),
            _ => None,
        });
        assert_eq!(
            aors.filter(|aor| aor.contains("@pbx.test")).count() as u32,
            ENDPOINTS,
            "{:?}",
            told.events.last()
        );
        // 405 of a proxy that takes no OPTIONS is an answer, too.
        let rtts = options_rtts(told, group);
        for endpoint in 0..ENDPOINTS {
            let own = rtts.iter().filter(|(of, _)| *of == endpoint);
            let times: Vec<f64> = own.map(|(_, rtt)| *rtt).collect();
            assert!((1..=2).contains(&times.len()), "{group} {rtts:?}");
            assert!(
                times.iter().all(|rtt| (0.0..2000.0).contains(rtt)),
                "{group} {rtts:?}"
            );
        }
        assert_eq!(told.sum(group, "options_failed", Direction::None), 0);
        let accepted = told.sum(group, "reg_success", Direction::None);
        assert_eq!(accepted, told.sum(group, "reg_attempts", Direction::None));
        assert!(accepted >= i64::from(ENDPOINTS), "{accepted} registrations");
        // One for REGISTER, one for the first INVITE: refreshes and the second call use the nonce
        // again.
        let rounds = if group == "callers" { 2 } else { 1 };
        assert_eq!(
            told.sum(group, "auth_challenges", Direction::None),
            i64::from(rounds * ENDPOINTS),
            "{group}"
        );
    }
    let calls = told.calls("callers").len();
    assert_eq!(calls, 2 * ENDPOINTS as usize);
    assert_eq!(told.calls("callees").len(), calls);
    for (from, to) in [("callers", "callees"), ("callees", "callers")] {
        let sent = told.sum(from, "packets_sent", Direction::Send);
        assert_eq!(
            sent,
            told.sum(to, "packets_received", Direction::Recv),
            "{from} to {to}"
        );
        assert!(sent > 140 * calls as i64);
    }
    // Registrations are removed at the end (R105), and answers to challenges do not show.
    let unregistered = log.matches("Expires: 0").count() + log.matches("expires=0").count();
    assert!(
        unregistered >= 2 * ENDPOINTS as usize,
        "{unregistered} un-REGISTERs"
    );
    assert!(log.contains("response=<redacted>") && log.contains("cnonce=<redacted>"));
    assert!(
        log.contains(&format!("algorithm={algorithm}")),
        "no {algorithm} challenge"
    );
}

/// R99
#[test]
fn registers_and_calls_with_md5() {
    calls_through("MD5", "udp");
}

/// R99
#[test]
fn registers_and_calls_with_sha_256() {
    calls_through("SHA-256", "udp");
}

#[test]
fn registers_and_calls_over_tcp_with_md5() {
    calls_through("MD5", "tcp");
}

#[test]
fn registers_and_calls_over_tcp_with_sha_256() {
    calls_through("SHA-256", "tcp");
}

#[test]
fn registers_and_calls_over_tls_with_md5() {
    calls_through("MD5", "tls");
}

#[test]
fn registers_and_calls_over_tls_with_sha_256() {
    calls_through("SHA-256", "tls");
}

#[test]
fn registers_and_calls_over_web_socket_with_md5() {
    calls_through("MD5", "ws");
}

#[test]
fn registers_and_calls_over_web_socket_with_sha_256() {
    calls_through("SHA-256", "ws");
}

#[test]
fn registers_and_calls_over_secure_web_socket_with_md5() {
    calls_through("MD5", "wss");
}

#[test]
fn registers_and_calls_over_secure_web_socket_with_sha_256() {
    calls_through("SHA-256", "wss");
}

/// A wrong password ends as REGISTRATION_FAILED, nothing is dialled and nobody is asked.
#[tokio::test]
async fn a_wrong_password_is_a_failed_registration() {
    let Some((told, _)) = run("MD5", "udp", "not-the-password").await else {
        return;
    };
    assert_eq!(told.calls("callers").len(), 0);
    assert_eq!(options_rtts(&told, "callers"), []);
    assert!(options_rtts(&told, "callees").len() >= ENDPOINTS as usize);
    let failed = told.events.iter().filter(|event| match &event.what {
        Some(What::Ended(end)) => {
            event.group == "callers" && end.outcome() == Outcome::RegistrationFailed
        }
        _ => false,
    });
    assert_eq!(failed.count() as u32, ENDPOINTS);
}

/// Callers and callees on two workers, each a process at an address of its own.
#[test]
fn two_workers_call_each_other() {
    calls_apart("udp");
}

#[test]
fn two_workers_call_each_other_over_tls() {
    calls_apart("tls");
}

/// RFC 7616 with SHA-512-256, which Kamailio does not have.
#[test]
fn two_workers_call_each_other_with_sha_512_256() {
    calm(sha_512_256);
}

async fn sha_512_256() {
    const ALGORITHM: &str = "SHA-512-256";
    let own = certificates(&["pbx.test"], false);
    let registrar = registrar::Registrar::start("pbx.test", ALGORITHM, PASSWORD);
    let (told, log) = run_apart(registrar.port, "udp", &own).await;
    assert_apart(ALGORITHM, &told, &log);
}

/// RFC 3327, RFC 5658: the clients know an edge proxy alone, by TLS; it and the registrar speak UDP.
#[test]
fn registers_and_calls_through_an_edge_proxy() {
    calm(edge_proxy);
}

async fn edge_proxy() {
    let own = certificates(&["pbx.test"], false);
    let inner = Kamailio {
        path: true,
        ..pbx("SHA-256", "udp", &own)
    };
    let Some((_registrar, registrar)) = inner.start().await else {
        return;
    };
    let (_edge, edge) = edge(registrar, "tls", &own).await.unwrap();
    let (told, log) = run_at(edge, "tls", &own, PASSWORD, |callers| callers).await;
    assert_called("SHA-256", &told, &log);
    let path = format!("Path: <sip:127.0.0.1:{registrar}");
    assert!(!log.contains(&path), "the registrar's own way");
    // Every INVITE that came has passed the edge twice, and each side of it counts.
    let received = messages(&log, "received");
    let invites: BTreeSet<_> = received.filter(|m| m.contains("INVITE sip:b")).collect();
    assert_eq!(invites.len(), told.calls("callers").len());
    for invite in invites {
        assert_eq!(invite.matches(";r2=on").count(), 4, "{invite}");
    }
}

/// The messages that the worker has sent, or received.
fn messages<'a>(log: &'a str, way: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("SIP {way}");
    let of_line = move |line: &'a str| line.split_once(&begin).map(|(_, message)| message);
    log.lines().filter_map(of_line)
}

/// How many requests of a method the worker has sent in calls, by the transport in Via. What is sent
/// again is the same octets, and one of them.
fn sent(log: &str, method: &str, transport: &str) -> usize {
    let request = format!("{method} sip:b");
    let via = format!("Via: SIP/2.0/{transport} ");
    let mine = |sent: &&str| {
        let head = &sent[..sent.len().min(300)];
        head.contains(&request) && head.contains(&via)
    };
    let all: BTreeSet<_> = messages(log, "sent").filter(mine).collect();
    all.len()
}

/// RFC 3261 §18.1.1. Kamailio's Record-Route asks for the rest of the call by TCP as well.
#[test]
fn large_invites_of_udp_groups_go_by_tcp_unless_told_otherwise() {
    for always in [false, true] {
        calm(|| large_invites(always));
    }
}

async fn large_invites(always: bool) {
    let large = |callers: Group| Group {
        fill: FILL,
        registrar: callers.registrar.map(|registrar| Registrar {
            sip_over_udp_always: always,
            ..registrar
        }),
        ..callers
    };
    let Some((told, log)) = run_as("MD5", "udp", PASSWORD, false, large).await else {
        return;
    };
    assert_eq!(told.failed(), Vec::<String>::new());
    let calls = told.calls("callers").len();
    assert_eq!(calls, 2 * ENDPOINTS as usize);
    let (by, other) = if always {
        ("UDP", "TCP")
    } else {
        ("TCP", "UDP")
    };
    // Of each caller the first one is challenged.
    let invites = calls + ENDPOINTS as usize;
    for (method, count) in [("INVITE", invites), ("ACK", invites), ("BYE", calls)] {
        assert_eq!(sent(&log, method, by), count, "{method} by {by}");
        assert_eq!(sent(&log, method, other), 0, "{method} by {other}");
    }
}

/// RFC 5626: the registrar keeps the connection, so that calls come by it and stay on it.
#[test]
fn registrations_over_tcp_keep_their_flow() {
    for outbound in [true, false] {
        calm(|| flows(outbound));
    }
}

async fn flows(outbound: bool) {
    let unchanged = |callers| callers;
    let Some((told, log)) = run_as("MD5", "tcp", PASSWORD, outbound, unchanged).await else {
        return;
    };
    assert_called("MD5", &told, &log);
    let with = |way: &str, all: &[&str]| {
        let has = |message: &&str| all.iter().all(|part| message.contains(part));
        messages(&log, way).filter(has).count()
    };
    let twice = 2 * ENDPOINTS as usize;
    let named = with(
        "sent",
        &["REGISTER sip:pbx.test", ";reg-id=1;+sip.instance="],
    );
    assert!(named >= twice, "{named}");
    let promises = ["200 OK", "Require: outbound", "Flow-Timer: 25"];
    let kept = with("received", &promises);
    let kept_calls = with("sent", &["INVITE sip:b", ";ob>"]);
    if outbound {
        assert!(kept >= twice && kept_calls >= twice, "{kept} {kept_calls}");
    } else {
        assert_eq!((kept, kept_calls), (0, 0));
    }
}
