//! Groups that use UDP: requests above 1,300 bytes (RFC 3261 §18.1.1), and keep-alives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{collections::BTreeSet, net::UdpSocket, time::Duration};

use callmeter_proto::worker::{Account, Direction, Registrar, Role};
use support::{
    calm::calm,
    eventually,
    gateway::{Peer, TestGateway},
    peer_process::{Sipp, program},
    ports::{self, Ports},
    process::{Worker, environment, get},
    run::{Group, Told, assert_complete, begin, finish},
};

const PATIENCE: Duration = Duration::from_secs(60);
const CALLERS: u32 = 4;
/// With it an INVITE has more than 1,300 bytes, and fits into a datagram of the loopback.
const FILL: usize = 14;
const OVERSIZED: &str = "sip_oversized_total";

fn by_udp(always: bool) -> Registrar {
    Registrar {
        transport: "udp".into(),
        sip_over_udp_always: always,
        ..Registrar::default()
    }
}

async fn traced(gateway: &mut TestGateway, ports: Ports) -> (Worker, Peer) {
    let mut variables = environment(gateway, ports);
    variables.retain(|(name, _)| name != "LOG_LEVEL");
    variables.push(("LOG_LEVEL".into(), "trace".into()));
    let worker = Worker::spawn(&variables);
    let peer = gateway.welcome().await;
    (worker, peer)
}

/// Waits until a counter of the worker's own metrics has a value.
async fn counted(health: u16, name: &str, wanted: usize) {
    eventually("a counter", async || {
        let metrics = get(health, "/metrics").await?.1;
        let name = format!("callmeter_worker_{name} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name))?;
        (line == wanted.to_string()).then_some(())
    })
    .await;
}

fn assert_called(told: &Told) {
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_complete(told);
    assert_eq!(told.calls("callers").len(), CALLERS as usize);
    assert_eq!(told.retransmissions(), 0);
    assert_eq!(told.sum("callers", "transport_errors", Direction::Send), 0);
}

/// How many INVITEs the worker has sent, by the transport in Via. What is sent again is the same
/// octets, and one of them.
fn invites(log: &str, transport: &str) -> usize {
    let sent = log.lines().filter_map(|line| line.split_once("SIP sent"));
    let invites: BTreeSet<_> = sent
        .map(|(_, message)| message)
        .filter(|message| {
            let head = &message[..message.len().min(400)];
            head.contains("INVITE sip:") && head.contains(&format!("Via: SIP/2.0/{transport} "))
        })
        .collect();
    invites.len()
}

/// Callers and callees of one worker. The INVITEs go by TCP, what follows by UDP, as the callees'
/// Contact says; or everything goes by UDP.
#[test]
fn large_invites_go_by_tcp_unless_told_otherwise() {
    calm(large_invites);
}

async fn large_invites() {
    for always in [false, true] {
        let mut gateway = TestGateway::start().await;
        let ports = ports::block();
        let (worker, mut peer) = traced(&mut gateway, ports).await;
        let groups = [
            Group {
                registrar: Some(by_udp(always)),
                ..Group::new("callees", Role::Callee, CALLERS)
            },
            Group {
                registrar: Some(by_udp(always)),
                fill: FILL,
                ..Group::new("callers", Role::Caller, CALLERS)
            },
        ];
        let mut told = begin(&mut peer, "run-1", &groups).await;
        finish(&mut peer, &mut told, PATIENCE).await;
        assert_called(&told);
        let calls = CALLERS as usize;
        let (by_tcp, by_udp) = if always { (0, calls) } else { (calls, 0) };
        let log = worker.log();
        assert_eq!(invites(&log, "TCP"), by_tcp, "always: {always}");
        assert_eq!(invites(&log, "UDP"), by_udp, "always: {always}");
        counted(ports.health, OVERSIZED, by_udp).await;
        for contact in told.contacts("callees").values() {
            assert!(!contact.contains("transport"), "{contact}");
        }
    }
}

/// SIPp listens on UDP alone: the first INVITEs find no TCP, and none is lost by that.
#[test]
fn a_peer_without_tcp_gets_large_invites_by_udp() {
    calm(without_tcp);
}

async fn without_tcp() {
    let Some(path) = program("sipp") else { return };
    let peer_ports = ports::block();
    let folder = tempfile::tempdir().unwrap();
    let mut sipp = Sipp::spawn(&path, folder, peer_ports, &["-sn", "uas"]);
    sipp.listens(peer_ports.sip_first).await;
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let (worker, mut peer) = traced(&mut gateway, ports).await;
    let group = Group {
        codec: "pcmu",
        fill: FILL,
        peers: vec![format!("sip:echo@127.0.0.1:{}", peer_ports.sip_first); CALLERS as usize],
        ..Group::new("callers", Role::Caller, CALLERS)
    };
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    assert_called(&told);
    let log = worker.log();
    assert!(invites(&log, "TCP") >= 1, "TCP was tried");
    assert_eq!(invites(&log, "UDP"), CALLERS as usize);
    counted(ports.health, OVERSIZED, CALLERS as usize).await;
    let totals = sipp.stop().await;
    assert_eq!((totals.successful, totals.failed), (CALLERS.into(), 0));
}

/// A registrar that takes every REGISTER, until so many keep-alives have come: the requests that
/// came besides, those that were sent again as well.
fn serve(socket: &UdpSocket, wanted: usize) -> Vec<String> {
    let (mut pings, mut requests) = (0, Vec::new());
    let mut buffer = [0; 2048];
    while pings < wanted {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        if buffer[..length] == *b"\r\n\r\n" {
            pings += 1;
            // A server may ask the same of us, in more than one way.
            let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
            stun.extend([7; 12]);
            for keep_alive in [&stun[..], b"\r\n\r\n", b"\r\n", &[0; 4]] {
                socket.send_to(keep_alive, from).unwrap();
            }
            continue;
        }
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        requests.push(text.to_owned());
        let head = text.split("\r\n\r\n").next().unwrap();
        let copied = ["Via", "From", "To", "Call-ID", "CSeq", "Contact", "Expires"];
        let lines = head.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            copied.contains(&name)
        });
        let lines: Vec<_> = lines.collect();
        let answer = format!(
            "SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n",
            lines.join("\r\n")
        );
        socket.send_to(answer.as_bytes(), from).unwrap();
    }
    requests
}

/// Two endpoints share a port, so their way to the registrar is one. What keeps it open on the other
/// side is no malformed message.
#[tokio::test]
async fn the_way_to_a_registrar_is_kept_open() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let registrar = Registrar {
        domain: "pbx.test".into(),
        outbound_proxy: socket.local_addr().unwrap().to_string(),
        transport: "udp".into(),
        register: true,
        expires_s: 60,
        keep_alive_ms: 1000,
        ..Registrar::default()
    };
    let account = |user: &str| Account {
        user: user.into(),
        ..Account::default()
    };
    let server = std::thread::spawn(move || {
        let requests = serve(&socket, 3);
        (requests, socket)
    });
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let _worker = Worker::spawn(&environment(&gateway, ports));
    let mut peer = gateway.welcome().await;
    let group = Group {
        accounts: vec![account("a"), account("b")],
        registrar: Some(registrar),
        // Longer than the test, so that nothing is taken back.
        run_ms: 30_000,
        ..Group::new("callees", Role::Callee, 2)
    };
    begin(&mut peer, "run-1", &[group]).await;
    let (requests, _socket) = tokio::task::spawn_blocking(|| server.join().unwrap())
        .await
        .unwrap();
    assert!(
        requests.iter().all(|it| it.starts_with("REGISTER ")),
        "{requests:?}"
    );
    assert_eq!(BTreeSet::from_iter(&requests).len(), 2, "{requests:?}");
    let name = "sip_messages_total{direction=\"sent\"}";
    counted(ports.health, name, requests.len()).await;
    counted(ports.health, "datagrams_refused_total{protocol=\"sip\"}", 0).await;
}
