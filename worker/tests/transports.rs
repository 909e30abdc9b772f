//! Calls over TCP and TLS on real sockets, and what is said of connections that fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use callmeter_proto::worker::{Direction, Outcome, Registrar, Role, Tls, TlsVerify};
use support::{
    answer,
    calm::calm,
    certificates::certificates,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish, id_of},
    soon,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn registrar(transport: &str, tls: Option<Tls>) -> Registrar {
    Registrar {
        transport: transport.into(),
        tls,
        ..Registrar::default()
    }
}

/// Runs callers and callees of one worker at `ip` against each other.
async fn run(ip: &str, callers: Registrar, callees: Registrar) -> (Told, String) {
    let mut gateway = TestGateway::start().await;
    let mut variables = environment(&gateway, ports::block());
    for (name, value) in &mut variables {
        if name == "SIP_IP" {
            ip.clone_into(value);
        }
    }
    let worker = Worker::spawn(&variables);
    let mut peer = gateway.welcome().await;
    let groups = [
        Group {
            registrar: Some(callees),
            ..Group::new("callees", Role::Callee, 4)
        },
        Group {
            registrar: Some(callers),
            ..Group::new("callers", Role::Caller, 4)
        },
    ];
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    (told, worker.log())
}

fn assert_called(told: &Told, transport: &str) {
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(told.calls("callers").len(), 4);
    assert_eq!(told.calls("callees").len(), 4);
    for (from, to) in [("callers", "callees"), ("callees", "callers")] {
        let sent = told.sum(from, "packets_sent", Direction::Send);
        assert_eq!(sent, told.sum(to, "packets_received", Direction::Recv));
        assert!(sent > 100, "{sent} packets");
    }
    for contact in told.contacts("callees").values() {
        assert!(
            contact.ends_with(&format!(";transport={transport}")),
            "{contact}"
        );
    }
    assert_eq!(told.retransmissions(), 0);
}

#[test]
fn calls_over_tcp() {
    calm(call_over_tcp);
}

async fn call_over_tcp() {
    for ip in ["127.0.0.1", "::1"] {
        let (told, _) = run(ip, registrar("tcp", None), registrar("tcp", None)).await;
        assert_called(&told, "tcp");
        // One connection for all four callers, and one of the callees back for their BYEs or none.
        let connect = told.values("callers", "tcp_connect_ms");
        assert_eq!(connect.len(), 1, "{connect:?}");
        assert!((0.0..1000.0).contains(&connect[0]), "{connect:?}");
        assert!(told.values("callers", "tls_handshake_ms").is_empty());
    }
}

/// The control: UDP has no connection to measure.
#[tokio::test]
async fn calls_over_udp_measure_no_connection() {
    let (told, _) = run("127.0.0.1", registrar("udp", None), registrar("udp", None)).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    assert!(told.values("callers", "tcp_connect_ms").is_empty());
    assert!(told.values("callers", "tls_handshake_ms").is_empty());
}

#[test]
fn calls_over_tls() {
    calm(call_over_tls);
}

async fn call_over_tls() {
    let own = certificates(&["127.0.0.1", "::1"], false);
    for ip in ["127.0.0.1", "::1"] {
        let callers = registrar("tls", Some(own.trusted()));
        let (told, log) = run(ip, callers, registrar("tls", Some(own.shown()))).await;
        assert_called(&told, "tls");
        assert_eq!(told.values("callers", "tcp_connect_ms").len(), 1);
        let handshake = told.values("callers", "tls_handshake_ms");
        assert_eq!(handshake.len(), 1, "{handshake:?}");
        assert!((0.01..5000.0).contains(&handshake[0]), "{handshake:?}");
        let secret = own.key.lines().nth(1).unwrap();
        assert!(!log.contains(secret), "the key is in the log");
    }
}

#[test]
fn calls_over_web_socket() {
    calm(call_over_web_socket);
}

async fn call_over_web_socket() {
    for ip in ["127.0.0.1", "::1"] {
        let (told, _) = run(ip, registrar("ws", None), registrar("ws", None)).await;
        assert_called(&told, "ws");
        assert_eq!(told.values("callers", "tcp_connect_ms").len(), 1);
        assert!(told.values("callers", "tls_handshake_ms").is_empty());
    }
}

#[test]
fn calls_over_secure_web_socket() {
    calm(call_over_secure_web_socket);
}

async fn call_over_secure_web_socket() {
    let own = certificates(&["127.0.0.1", "::1"], false);
    for ip in ["127.0.0.1", "::1"] {
        let callers = registrar("wss", Some(own.trusted()));
        let (told, _) = run(ip, callers, registrar("wss", Some(own.shown()))).await;
        // RFC 7118 §5.2: there is one name for both.
        assert_called(&told, "ws");
        assert_eq!(told.values("callers", "tls_handshake_ms").len(), 1);
    }
}

/// Each way the handshake of a WebSocket can fail, by name; the request is what RFC 7118 §4.1 asks.
#[tokio::test]
async fn failed_web_sockets_are_named() {
    for (answer, wanted) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP 404"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: @ACCEPT@\r\n\r\n",
            "does not speak the subprotocol sip",
        ),
        ("SIP/2.0 400 Bad Request\r\n\r\n", "sent no WebSocket"),
        ("", "closed by the peer"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = read_head(&mut stream);
            let key = asked
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
                .unwrap();
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let answer = answer.replace("@ACCEPT@", &accept);
            stream.write_all(answer.as_bytes()).unwrap();
            asked
        });
        let registrar = Registrar {
            ws_path: "/sip?tenant=1".into(),
            ..registrar("ws", None)
        };
        let told = callers_against(address, registrar, 1).await;
        let calls = told.calls("callers");
        assert_eq!(calls[0].0, Outcome::CallFailed);
        assert!(calls[0].1.contains(wanted), "{wanted}: {calls:?}");
        let asked = peer.join().unwrap();
        assert!(
            asked.starts_with("GET /sip?tenant=1 HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("Sec-WebSocket-Protocol: sip\r\n"), "{asked}");
        assert!(asked.contains(&format!("Host: {address}\r\n")), "{asked}");
    }
}

/// Who offers no SIP gets no WebSocket.
#[tokio::test]
async fn a_web_socket_for_something_else_is_refused() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let at = SocketAddr::from(([127, 0, 0, 1], ports.sip_first));
    let _worker = Worker::spawn(&environment(&gateway, ports));
    let mut peer = gateway.welcome().await;
    let group = Group {
        registrar: Some(registrar("ws", None)),
        ..Group::new("callees", Role::Callee, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    let ask = |protocol: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: callee\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        read_head(&mut stream)
    };
    let refused = ask("chat");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let accepted = ask("chat, sip");
    assert!(accepted.starts_with("HTTP/1.1 101"), "{accepted}");
    assert!(
        accepted
            .to_lowercase()
            .contains("sec-websocket-protocol: sip")
    );
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
}

/// Each way a certificate can be wrong, by the name users search for; `skip` takes them all.
#[tokio::test]
async fn wrong_certificates_are_named() {
    let other = certificates(&["127.0.0.1"], false);
    let foreign = certificates(&["pbx.example"], false);
    let expired = certificates(&["127.0.0.1"], true);
    let skip = Some(Tls {
        verify: TlsVerify::Skip.into(),
        ..Tls::default()
    });
    for (shown, checked, wanted) in [
        (
            &expired,
            Some(expired.trusted()),
            Some("TLS handshake failure: certificate has expired"),
        ),
        (
            &other,
            Some(foreign.trusted()),
            Some("TLS handshake failure: certificate signed by unknown authority"),
        ),
        (
            &other,
            None,
            Some("TLS handshake failure: certificate signed by unknown authority"),
        ),
        (
            &foreign,
            Some(foreign.trusted()),
            Some("TLS handshake failure: certificate is valid for"),
        ),
        (&expired, skip, None),
    ] {
        let callees = registrar("tls", Some(shown.shown()));
        let (told, _) = run("127.0.0.1", registrar("tls", checked), callees).await;
        let calls = told.calls("callers");
        assert_eq!(calls.len(), 4);
        let Some(wanted) = wanted else {
            assert_called(&told, "tls");
            continue;
        };
        for (outcome, detail) in calls {
            assert_eq!(outcome, Outcome::CallFailed);
            assert!(detail.contains(wanted), "{detail}");
        }
        let errors = told.sum("callers", "transport_errors", Direction::Send);
        assert!(errors >= 4, "{errors} transport errors");
    }
}

/// Who is called by name without a registrar shows a certificate for that name.
#[tokio::test]
async fn the_name_called_is_checked() {
    let own = certificates(&["localhost"], false);
    let other = certificates(&["pbx.example"], false);
    for (transport, domain, shown, wanted) in [
        ("tls", "", &own, None),
        ("wss", "", &own, None),
        ("tls", "", &other, Some("not localhost")),
        // Not through the domain's server.
        ("tls", "127.0.0.9", &own, None),
    ] {
        let mut gateway = TestGateway::start().await;
        let ports = ports::block();
        let _worker = Worker::spawn(&environment(&gateway, ports));
        let mut peer = gateway.welcome().await;
        let groups = [
            Group {
                registrar: Some(registrar(transport, Some(shown.shown()))),
                ..Group::new("callees", Role::Callee, 1)
            },
            Group {
                registrar: Some(Registrar {
                    domain: domain.into(),
                    ..registrar(transport, Some(shown.trusted()))
                }),
                peers: vec![format!("sips:callees-0@localhost:{}", ports.sip_first)],
                ..Group::new("callers", Role::Caller, 1)
            },
        ];
        let mut told = begin(&mut peer, "run-1", &groups).await;
        finish(&mut peer, &mut told, PATIENCE).await;
        assert_complete(&told);
        let calls = told.calls("callers");
        match wanted {
            None => assert_eq!(calls[0].0, Outcome::Success, "{transport}: {calls:?}"),
            Some(wanted) => assert!(calls[0].1.contains(wanted), "{calls:?}"),
        }
    }
}

/// One caller group against a peer of the test's own.
async fn callers_against(peer_at: SocketAddr, registrar: Registrar, count: u32) -> Told {
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        registrar: Some(registrar),
        peers: vec![format!("sip:far@{peer_at}"); count as usize],
        ..Group::new("callers", Role::Caller, count)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    told
}

#[tokio::test]
async fn a_refused_connection_fails_the_call_at_once() {
    let address = ([127, 0, 0, 1], ports::block().sip_first).into();
    let told = callers_against(address, registrar("tcp", None), 1).await;
    let calls = told.calls("callers");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].0, Outcome::CallFailed);
    assert!(calls[0].1.contains("Connection refused"), "{calls:?}");
    // Unavailable, and no status that nobody sent.
    assert_eq!(told.values("callers", "call_result"), [6.0]);
    assert!(told.values("callers", "final_status_code").is_empty());
}

/// Answers the INVITE of each connection with `answer`, Via to CSeq copied, in small pieces; returns
/// the ports the connections came from.
fn scripted(
    answer: &'static str,
    connections: usize,
) -> (SocketAddr, std::thread::JoinHandle<BTreeSet<u16>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let mut from = BTreeSet::new();
        let mut open = Vec::new();
        for _ in 0..connections {
            let (mut stream, remote) = listener.accept().unwrap();
            from.insert(remote.port());
            let head = read_head(&mut stream);
            let text = answer.replace("@COPIED@", &answer::copied(&head));
            for piece in text.as_bytes().chunks(7) {
                stream.write_all(piece).unwrap();
                stream.flush().unwrap();
            }
            open.push(stream);
        }
        for mut stream in open {
            // Until the worker closes it, so that nothing is lost with a reset.
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        from
    });
    (address, peer)
}

fn read_head(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    answer::read_head(stream)
}

#[tokio::test]
async fn each_endpoint_may_have_a_connection_of_its_own() {
    const BUSY: &str = "SIP/2.0 486 Busy Here\r\n@COPIED@Content-Length: 0\r\n\r\n";
    let (address, peer) = scripted(BUSY, 3);
    let registrar = Registrar {
        transport: "tcp".into(),
        connection_per_endpoint: true,
        ..Registrar::default()
    };
    let told = callers_against(address, registrar, 3).await;
    let calls = told.calls("callers");
    assert_eq!(calls.len(), 3);
    assert!(
        calls.iter().all(|(_, detail)| detail.contains("486")),
        "{calls:?}"
    );
    // What each connection took is in the rows of its endpoint.
    let connect = id_of("tcp_connect_ms");
    let measured: Vec<_> = told
        .rows
        .iter()
        .filter(|row| row.values.iter().any(|value| value.metric == connect))
        .map(|row| (row.endpoint, row.call))
        .collect();
    let endpoints: BTreeSet<_> = measured.iter().copied().collect();
    assert_eq!(endpoints, BTreeSet::from([(0, 1), (1, 1), (2, 1)]));
    assert_eq!(measured.len(), 3, "{measured:?}");
    // Connections stay for 32 s after the run, for late requests; ending the worker closes them.
    let from = soon("the peer has seen all connections end", async {
        tokio::task::spawn_blocking(move || peer.join().unwrap())
            .await
            .unwrap()
    })
    .await;
    assert_eq!(from.len(), 3, "{from:?}");
}

/// A length that is none leaves no way to find the next message: the connection ends, the call fails.
#[tokio::test]
async fn a_peer_that_speaks_no_sip_is_hung_up_on() {
    const WRONG: &str = "SIP/2.0 486 Busy Here\r\n@COPIED@Content-Length: -1\r\n\r\n";
    let (address, _peer) = scripted(WRONG, 1);
    let told = callers_against(address, registrar("tcp", None), 1).await;
    let calls = told.calls("callers");
    assert_eq!(calls[0].0, Outcome::CallFailed);
    assert!(calls[0].1.contains("the peer sent no SIP"), "{calls:?}");
}
