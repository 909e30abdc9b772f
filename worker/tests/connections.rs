//! Connections of the worker to peers of the test's own: who they have to be, who we are, signs of
//! life, and how many there can be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use callmeter_proto::worker::{Account, Outcome, Registrar, Role, Tls, endpoint_event::What};
use callmeter_sip::PING;
use rustix::{
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, prlimit},
};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use support::{
    answer,
    certificates::{Certificates, certificates},
    eventually,
    gateway::TestGateway,
    ports,
    process::{Worker, environment, get},
    run::{Group, Told, assert_complete, begin, finish, ready},
    soon,
};
use tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// One caller against a peer of the test's own: its worker, whose connections stay, and how the
/// call ended.
async fn call(peer_at: SocketAddr, registrar: Registrar) -> (Worker, Outcome, String) {
    let mut gateway = TestGateway::start().await;
    let worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        registrar: Some(registrar),
        peers: vec![format!("sip:far@{peer_at}")],
        ..Group::new("callers", Role::Caller, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    let (outcome, detail) = told.calls("callers").swap_remove(0);
    (worker, outcome, detail)
}

/// A listener whose accept does not wait for ever.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let patience = Some(support::PATIENCE);
    sockopt::set_socket_timeout(&listener, sockopt::Timeout::Recv, patience).unwrap();
    (listener, address)
}

/// A peer on one connection, which it hands to `of_one`.
fn peer<T: Send + 'static>(
    of_one: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let (listener, address) = listener();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let patience = Some(support::PATIENCE);
        stream.set_read_timeout(patience).unwrap();
        of_one(stream)
    });
    (address, thread)
}

/// What a peer's thread comes to.
async fn end_of<T: Send + 'static>(peer: JoinHandle<T>) -> T {
    let ended = tokio::task::spawn_blocking(move || peer.join().unwrap());
    soon("the peer ends", ended).await.unwrap()
}

/// RFC 5922 §7.3: a server is who the requests are sent to, which is the proxy.
#[tokio::test]
async fn a_named_proxy_shows_its_own_certificate() {
    for (name, wanted) in [
        ("localhost", None),
        (
            "pbx.test",
            Some("certificate is valid for pbx.test, not localhost"),
        ),
    ] {
        let told = call_by_proxy(&certificates(&[name], false), "localhost").await;
        assert_named(&told, wanted);
    }
}

/// An address is no name: the certificate is the domain's, as without a proxy.
#[tokio::test]
async fn a_proxy_given_by_its_address_shows_the_certificate_of_the_domain() {
    let told = call_by_proxy(&certificates(&["pbx.test"], false), "127.0.0.1").await;
    assert_named(&told, None);
}

fn assert_named(told: &Told, wanted: Option<&str>) {
    let calls = told.calls("callers");
    assert_eq!(calls.len(), 1);
    let Some(wanted) = wanted else {
        assert_eq!(told.failed(), Vec::<String>::new());
        return;
    };
    assert_eq!(calls[0].0, Outcome::CallFailed);
    assert!(calls[0].1.contains(wanted), "{calls:?}");
}

/// A call in the domain pbx.test by a proxy at `host`, which is a callee with that certificate.
async fn call_by_proxy(own: &Certificates, host: &str) -> Told {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let proxy = format!("{host}:{}", ports.sip_first);
    let _worker = Worker::spawn(&environment(&gateway, ports));
    let mut peer = gateway.welcome().await;
    let callees = Group {
        registrar: Some(Registrar {
            transport: "tls".into(),
            tls: Some(own.shown()),
            ..Registrar::default()
        }),
        ..Group::new("callees", Role::Callee, 1)
    };
    let callers = Group {
        registrar: Some(Registrar {
            transport: "tls".into(),
            domain: "pbx.test".into(),
            outbound_proxy: proxy,
            tls: Some(own.trusted()),
            ..Registrar::default()
        }),
        peers: vec!["sip:callees-0@pbx.test".into()],
        ..Group::new("callers", Role::Caller, 1)
    };
    let mut told = begin(&mut peer, "run-1", &[callees, callers]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_complete(&told);
    told
}

/// A server that wants a certificate of whom connects to it, of one of these authorities.
fn wants_certificates(
    own: &Certificates,
    authorities: &[&Certificates],
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let authority = CertificateDer::from_pem_slice(authority.ca.as_bytes());
        roots.add(authority.unwrap()).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
    let config = ServerConfig::builder_with_protocol_versions(&[version])
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        );
    Arc::new(config.unwrap())
}

#[tokio::test]
async fn a_server_that_asks_is_shown_the_clients_certificate() {
    let own = certificates(&["127.0.0.1"], false);
    let good = certificates(&["caller"], false);
    let expired = certificates(&["caller"], true);
    let shown = |client: &Certificates| Tls {
        client_certificate_pem: client.certificate.clone(),
        client_key_pem: client.key.clone(),
        ..own.trusted()
    };
    for version in [&TLS12, &TLS13] {
        for (tls, wanted) in [
            (shown(&good), "486"),
            (own.trusted(), "TLS handshake failure: bad certificate"),
            (shown(&expired), "TLS handshake failure: bad certificate"),
        ] {
            let config = wants_certificates(&own, &[&good, &expired], version);
            let (at, server) = peer(move |stream| {
                let session = ServerConnection::new(config).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                while stream.conn.is_handshaking() {
                    if stream.conn.complete_io(&mut stream.sock).is_err() {
                        // Its alert must not be lost with a reset.
                        let _ = stream.sock.read_to_end(&mut Vec::new());
                        return;
                    }
                }
                assert!(stream.conn.peer_certificates().is_some());
                answer::be_busy(&mut stream);
                let _ = stream.read_to_end(&mut Vec::new());
            });
            let registrar = Registrar {
                transport: "tls".into(),
                tls: Some(tls),
                ..Registrar::default()
            };
            let (worker, outcome, detail) = call(at, registrar).await;
            assert_eq!(outcome, Outcome::CallFailed);
            assert!(detail.contains(wanted), "{version:?} {wanted}: {detail}");
            drop(worker);
            end_of(server).await;
        }
    }
}

/// Answers a call with 486 and counts three signs of life after it.
fn counts_stream_pings(mut stream: TcpStream) {
    answer::be_busy(&mut stream);
    // A sign of life may be due before the answer has come.
    let ack = loop {
        let head = answer::read_head(&mut stream);
        if head.as_bytes() != PING {
            break head;
        }
    };
    assert!(ack.starts_with("ACK "), "{ack}");
    for _ in 0..3 {
        let mut bytes = vec![0; PING.len()];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, PING);
    }
}

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the signature is the library's"
)]
fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let sip = "sip".parse().unwrap();
    response.headers_mut().insert("Sec-WebSocket-Protocol", sip);
    Ok(response)
}

fn counts_web_socket_pings(stream: TcpStream) {
    let mut socket = tungstenite::accept_hdr(stream, agree).unwrap();
    let mut pings = 0;
    while pings < 3 {
        match socket.read().unwrap() {
            Message::Text(text) if text.starts_with("INVITE ") => {
                let busy = answer::busy(&text);
                socket.send(Message::text(busy)).unwrap();
            }
            Message::Text(text) => assert!(text.starts_with("ACK "), "{text}"),
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn idle_connections_are_kept_alive() {
    let (tcp, streams) = peer(counts_stream_pings);
    let (ws, web_sockets) = peer(counts_web_socket_pings);
    for (at, transport, counted) in [(tcp, "tcp", streams), (ws, "ws", web_sockets)] {
        let registrar = Registrar {
            transport: transport.into(),
            keep_alive_ms: 200,
            ..Registrar::default()
        };
        let (_worker, _, detail) = call(at, registrar).await;
        assert!(detail.contains("486"), "{detail}");
        end_of(counted).await;
    }
}

/// RFC 5626 §4.4.1: who keeps the flow and answers no sign of life is gone. The next connection
/// comes from the port that contacts name, though the peer has not closed the first one.
#[tokio::test]
async fn an_endpoint_registers_again_from_its_port_when_a_registrar_falls_silent() {
    let (listener, at) = listener();
    let registrar = std::thread::spawn(move || {
        let one = || {
            let (mut stream, from) = listener.accept().unwrap();
            stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
            let request = answer::read_head(&mut stream);
            assert!(request.starts_with("REGISTER "), "{request}");
            let copied = answer::copied(&request);
            let answer = format!(
                "SIP/2.0 200 OK\r\n{copied}Require: outbound\r\nFlow-Timer: 1\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            (stream, from)
        };
        [one(), one()].map(|(_kept_open, from)| from)
    });
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = Group {
        registrar: Some(Registrar {
            transport: "tcp".into(),
            connection_per_endpoint: true,
            domain: at.ip().to_string(),
            port: at.port().into(),
            register: true,
            ..Registrar::default()
        }),
        accounts: vec![Account {
            user: "1001".into(),
            ..Account::default()
        }],
        ..Group::new("callees", Role::Callee, 1)
    };
    let _told = ready(&mut peer, "run-1", &[group]).await;
    let [first, second] = end_of(registrar).await;
    assert_eq!(first, second);
}

/// Whoever connects while there are no files for it waits, and the worker with it.
#[tokio::test]
async fn connections_wait_until_there_are_open_files_for_them() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let worker = Worker::spawn(&environment(&gateway, ports));
    let mut peer = gateway.welcome().await;
    let callees = Group {
        registrar: Some(Registrar {
            transport: "tcp".into(),
            ..Registrar::default()
        }),
        ..Group::new("callees", Role::Callee, 1)
    };
    let _told = ready(&mut peer, "run-1", &[callees]).await;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let files = |current: Option<u64>| {
        let limits = Rlimit { current, maximum };
        prlimit(Some(worker.pid()), Resource::Nofile, limits).unwrap()
    };
    let begin = Instant::now();
    // None beside those there are.
    let before = files(Some(3));
    let mut client = TcpStream::connect(("127.0.0.1", ports.sip_first)).unwrap();
    let said = "SIP connections of peers are turned away: Too many open files";
    worker.logs(said).await;
    files(before.current);
    client.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let request = "OPTIONS sip:far@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\
                   Max-Forwards: 70\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: 1\r\n\
                   CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let answer = tokio::task::spawn_blocking(move || answer::read_head(&mut client));
    let answer = soon("the worker answers", answer).await.unwrap();
    assert!(answer.starts_with("SIP/2.0 "), "{answer}");
    // It looked again every 100 ms, not all the time.
    let most = begin.elapsed().as_millis() / 100 + 1;
    let name = "callmeter_worker_sip_connections_refused_total ";
    let counted = eventually("it is counted", async || {
        let (_, metrics) = get(ports.health, "/metrics").await?;
        let counted = metrics.lines().find_map(|line| line.strip_prefix(name));
        let counted: u128 = counted?.parse().unwrap();
        (counted > 0).then_some(counted)
    });
    let counted = counted.await;
    assert!(counted <= most, "{counted} of {most}");
    assert_eq!(worker.log().matches(said).count(), 1);
}

/// Groups are refused with the numbers, the second one with those the first one leaves.
#[tokio::test]
async fn more_connections_than_open_files_are_refused_with_the_numbers() {
    let mut gateway = TestGateway::start().await;
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -n 400 && exec "$0""#]);
    let _worker = Worker::spawn_by(shell, &environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let group = |name| Group {
        registrar: Some(Registrar {
            transport: "tcp".into(),
            connection_per_endpoint: true,
            ..Registrar::default()
        }),
        peers: vec!["sip:far@127.0.0.1:9".into(); 30],
        ..Group::new(name, Role::Caller, 30)
    };
    let told = ready(&mut peer, "run-1", &[group("first"), group("second")]).await;
    let mut refused = 0;
    for event in &told.events {
        if let Some(What::Ended(ended)) = &event.what {
            assert_eq!(event.group, "second");
            let wanted = "group second refused: registrar.connection is perEndpoint for 30 \
                          endpoints; accepted: at most 17 on this worker now (local ports ";
            assert!(ended.detail.starts_with(wanted), "{}", ended.detail);
            let wanted = "400 open files, 91 of them for other groups and 256 for the process, an \
                          endpoint takes 3)";
            assert!(ended.detail.ends_with(wanted), "{}", ended.detail);
            refused += 1;
        }
    }
    assert_eq!(refused, 30);
}
