//! Registration and calls through Kamailio with digest challenges, MD5 and SHA-256.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_metrics::by_key;
use callmeter_proto::worker::{
    Account, Direction, Outcome, Registrar, Role, Tls, TlsVerify, endpoint_event::What,
};
use support::{
    certificates::{Certificates, certificates},
    eventually,
    gateway::TestGateway,
    peer_process::{PeerProcess, program},
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};

const ENDPOINTS: u32 = 10;
const PASSWORD: &str = "planted-sip-password";
const PATIENCE: Duration = Duration::from_secs(60);
/// What Kamailio needs for TLS.
const TLS: &str = r#"enable_tls=yes
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "@FOLDER@/certificate.pem")
modparam("tls", "private_key", "@FOLDER@/key.pem")"#;

/// What it needs to speak WebSocket to those who ask for the subprotocol and the right path.
const WEB_SOCKET: &str = r#"tcp_accept_no_cl=yes
loadmodule "xhttp.so"
loadmodule "websocket.so"
loadmodule "nathelper.so"
event_route[xhttp:request] {
  if ($hdr(Upgrade)=~"websocket" && $hdr(Connection)=~"Upgrade" && $hu=~"^/sip") {
    ws_handle_handshake();
    exit;
  }
  xhttp_reply("404", "Not Found", "text/plain", "no such path");
}"#;

/// Kamailio as registrar and proxy of `pbx.test` on a loopback port; none if it is not installed.
async fn kamailio(
    algorithm: &str,
    transport: &str,
    own: &Certificates,
) -> Option<(PeerProcess, u16)> {
    let path = program("kamailio")?;
    let port = ports::block().sip_first;
    let folder = tempfile::tempdir().unwrap();
    let template = include_str!("peers/kamailio.cfg");
    let config = template
        .replace("@PORT@", &port.to_string())
        .replace("@ALGORITHM@", algorithm)
        .replace("@LISTEN@", listens(transport))
        .replace("@TLS@", if secure(transport) { TLS } else { "" })
        .replace(
            "@WEB_SOCKET@",
            if transport.starts_with("ws") {
                WEB_SOCKET
            } else {
                ""
            },
        )
        .replace("@FOLDER@", folder.path().to_str().unwrap())
        .replace("@PASSWORD@", PASSWORD);
    let write = |name, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("kamailio.cfg", &config);
    write("certificate.pem", &own.certificate);
    write("key.pem", &own.key);
    let arguments = [
        "-f",
        "kamailio.cfg",
        "-DD",
        "-E",
        "-m",
        "64",
        "-M",
        "8",
        "-Y",
        ".",
    ];
    let process = PeerProcess::spawn(&path, folder, &arguments.map(str::to_owned));
    eventually("Kamailio listens", async || {
        let at = ("127.0.0.1", port);
        let taken = match transport {
            "udp" => std::net::UdpSocket::bind(at).is_err(),
            _ => std::net::TcpStream::connect(at).is_ok(),
        };
        taken.then_some(())
    })
    .await;
    Some((process, port))
}

fn secure(transport: &str) -> bool {
    ["tls", "wss"].contains(&transport)
}

/// What Kamailio calls the socket of a transport: WebSocket comes over those of TCP and TLS.
fn listens(transport: &str) -> &str {
    match transport {
        "ws" => "tcp",
        "wss" => "tls",
        other => other,
    }
}

fn accounts(prefix: &str, password: &str) -> Vec<Account> {
    let account = |n: u32| Account {
        user: format!("{prefix}{n}"),
        password: password.into(),
        ..Account::default()
    };
    (0..ENDPOINTS).map(account).collect()
}

fn registrar(port: u16, transport: &str, ca: &str) -> Registrar {
    Registrar {
        domain: "pbx.test".into(),
        outbound_proxy: format!("127.0.0.1:{port}"),
        transport: transport.into(),
        ws_path: if transport.starts_with("ws") {
            "/sip".into()
        } else {
            String::new()
        },
        tls: secure(transport).then(|| Tls {
            verify: TlsVerify::Custom.into(),
            ca_pem: ca.into(),
            ..Tls::default()
        }),
        register: true,
        expires_s: 60,
        options_interval_ms: 5000,
        ..Registrar::default()
    }
}

async fn run(algorithm: &str, transport: &str, caller_password: &str) -> Option<(Told, String)> {
    let own = certificates(&["pbx.test"], false);
    let (_kamailio, port) = kamailio(algorithm, transport, &own).await?;
    let mut gateway = TestGateway::start().await;
    let mut variables = environment(&gateway, ports::block());
    variables.retain(|(name, _)| name != "LOG_LEVEL");
    variables.push(("LOG_LEVEL".into(), "trace".into()));
    let worker = Worker::spawn(&variables);
    let mut peer = gateway.welcome().await;
    let callees = Group {
        accounts: accounts("b", PASSWORD),
        registrar: Some(registrar(port, transport, &own.ca)),
        run_ms: 7000,
        ..Group::new("callees", Role::Callee, ENDPOINTS)
    };
    let callers = Group {
        accounts: accounts("a", caller_password),
        registrar: Some(registrar(port, transport, &own.ca)),
        peers: (0..ENDPOINTS)
            .map(|n| format!("sip:b{n}@pbx.test"))
            .collect(),
        // Two calls fit, with room for slow set-up; a third does not.
        call_ms: 3000,
        repeat: true,
        run_ms: 7000,
        ..Group::new("callers", Role::Caller, ENDPOINTS)
    };
    let mut told = begin(&mut peer, "run-1", &[callees, callers]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    let log = worker.log();
    assert!(!log.contains(PASSWORD), "SIP password in the log");
    Some((told, log))
}

/// The time of each answer to OPTIONS, by the endpoint that asked.
fn options_rtts(told: &Told, group: &str) -> Vec<(u32, f64)> {
    let rtt = by_key("options_rtt_ms").unwrap().id.0;
    let rows = told.rows.iter().filter(|row| row.group == group);
    rows.flat_map(|row| row.values.iter().map(|value| (row.endpoint, value)))
        .filter(|(_, value)| value.metric == rtt)
        .map(|(endpoint, value)| (endpoint, value.value))
        .collect()
}

async fn calls_through(algorithm: &str, transport: &str) {
    let Some((told, log)) = run(algorithm, transport, PASSWORD).await else {
        return;
    };
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
        let rtts = options_rtts(&told, group);
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
#[tokio::test]
async fn registers_and_calls_with_md5() {
    calls_through("MD5", "udp").await;
}

/// R99
#[tokio::test]
async fn registers_and_calls_with_sha_256() {
    calls_through("SHA-256", "udp").await;
}

#[tokio::test]
async fn registers_and_calls_over_tcp_with_md5() {
    calls_through("MD5", "tcp").await;
}

#[tokio::test]
async fn registers_and_calls_over_tcp_with_sha_256() {
    calls_through("SHA-256", "tcp").await;
}

#[tokio::test]
async fn registers_and_calls_over_tls_with_md5() {
    calls_through("MD5", "tls").await;
}

#[tokio::test]
async fn registers_and_calls_over_tls_with_sha_256() {
    calls_through("SHA-256", "tls").await;
}

#[tokio::test]
async fn registers_and_calls_over_web_socket_with_md5() {
    calls_through("MD5", "ws").await;
}

#[tokio::test]
async fn registers_and_calls_over_web_socket_with_sha_256() {
    calls_through("SHA-256", "ws").await;
}

#[tokio::test]
async fn registers_and_calls_over_secure_web_socket_with_md5() {
    calls_through("MD5", "wss").await;
}

#[tokio::test]
async fn registers_and_calls_over_secure_web_socket_with_sha_256() {
    calls_through("SHA-256", "wss").await;
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
