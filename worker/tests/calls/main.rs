//! Real calls on loopback: the worker binary, real SIP and RTP, a gateway peer in charge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod ends;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use callmeter_proto::worker::{Account, Direction, Outcome, Registrar, Role, RunEnded};
use rustix::process::Signal;
use support::calm::calm;
use support::eventually;
use support::gateway::{Peer, TestGateway};
use support::inspect::{
    idle_descriptors, messages, open_descriptors, udp_addresses, udp_ports, udp_sockets,
};
use support::ports::{self, Ports};
use support::process::{TOKEN_BODY, Worker, environment, get};
use support::run::{Group, Told, assert_complete, begin, finish};

const RUN_PATIENCE: Duration = Duration::from_secs(60);

async fn start(more: &[(&str, &str)]) -> (TestGateway, Worker, Peer, Ports) {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let mut variables = environment(&gateway, ports);
    variables.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let worker = Worker::spawn(&variables);
    let peer = gateway.welcome().await;
    (gateway, worker, peer, ports)
}

fn pair(count: u32) -> [Group; 2] {
    [
        Group::new("callees", Role::Callee, count),
        Group::new("callers", Role::Caller, count),
    ]
}

fn total(ended: &RunEnded, group: &str, outcome: Outcome) -> u64 {
    let share = ended
        .shares
        .iter()
        .find(|share| share.group == group)
        .unwrap();
    let counts = share
        .calls
        .iter()
        .filter(|count| count.outcome() == outcome);
    counts.map(|count| count.calls).sum()
}

/// R91, R93, R96, R100, R101, R104: every call answered, packets received = packets sent at the
/// other end, totals equal to what was sent.
#[test]
fn two_groups_on_one_worker_call_each_other() {
    calm(two_groups);
}

async fn two_groups() {
    let (_gateway, worker, mut peer, ports) = start(&[]).await;
    // Two calls fit, with nearly a third one's time for what is slow; a third never does.
    let groups = pair(4).map(|group| Group {
        call_ms: 2000,
        repeat: true,
        run_ms: 5900,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    for contact in told.contacts("callees").values() {
        assert!(contact.contains("127.0.0.1"), "{contact}");
    }
    let ended = finish(&mut peer, &mut told, RUN_PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    assert!(!ended.forced);
    assert_complete(&told);
    let calls = total(&ended, "callers", Outcome::Success);
    assert_eq!(calls, 8);
    assert_eq!(total(&ended, "callees", Outcome::Success), calls);
    for (from, to) in [("callers", "callees"), ("callees", "callers")] {
        let sent = told.sum(from, "packets_sent", Direction::Send);
        let received = told.sum(to, "packets_received", Direction::Recv);
        assert_eq!(sent, received, "{from} to {to}");
        // 50 packets a second for each second of call, less one at each end.
        assert!(sent >= 96 * calls as i64, "{sent} packets in {calls} calls");
    }
    let log = worker.log();
    assert!(
        !log.contains("RTP packet") && !log.contains("INVITE "),
        "trace below trace"
    );
    assert!(
        told.metrics().len() >= 40,
        "{} metrics",
        told.metrics().len()
    );
    let metrics = get(ports.health, "/metrics").await.unwrap().1;
    assert!(
        metrics.contains("callmeter_worker_endpoints_active 0"),
        "{metrics}"
    );
}

/// R18, R24: no socket outside the two ranges; R105: 32 s later none of the run is left.
#[tokio::test]
async fn sockets_stay_in_their_ranges_and_go_with_the_run() {
    let (_gateway, worker, mut peer, ports) = start(&[]).await;
    let before = idle_descriptors(&worker, ports.sip_first).await;
    // Long enough for several looks at the ports: one with each message.
    let groups = pair(3).map(|group| Group {
        call_ms: 5000,
        run_ms: 8000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    let mut most = 0;
    let mut seen = Vec::new();
    while told.ended.is_none() {
        let message = peer.next().await.unwrap();
        told.take(&message);
        let bound = udp_ports(&worker);
        most = most.max(bound.len());
        seen.extend(bound);
    }
    // R25: two ports per endpoint; two groups with a SIP port each.
    assert_eq!(most, 2 + 6 * 2, "{seen:?}");
    for port in seen {
        let sip = (ports.sip_first..=ports.sip_last).contains(&port);
        let rtp = (ports.rtp_first..=ports.rtp_last).contains(&port);
        assert!(sip || rtp, "{port}");
    }
    tokio::time::timeout(Duration::from_secs(45), async {
        // The group that has the idle port may be the last to leave it, with its port of TCP.
        while udp_ports(&worker) != [ports.sip_first] || open_descriptors(&worker) != before {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("32 s after the run only the idle SIP port is open, no descriptor more");
    let metrics = get(ports.health, "/metrics").await.unwrap().1;
    for zero in [
        "endpoints_active 0",
        "runs_active 0",
        "sample_rows_buffered 0",
    ] {
        assert!(
            metrics.contains(&format!("callmeter_worker_{zero}")),
            "{metrics}"
        );
    }
}

/// R33: the addresses of a worker behind a NAT, on one INVITE; R40: it is in the log at trace;
/// R7: secrets are not, at any level.
#[tokio::test]
async fn trace_shows_messages_and_never_secrets() {
    let (_gateway, worker, mut peer, ports) = start(&[
        ("LOG_LEVEL", "trace"),
        ("SDP_IP", "203.0.113.10"),
        ("EXTERNAL_IP", "203.0.113.10"),
        ("DRAIN_TIMEOUT", "0s"),
    ])
    .await;
    let accounts = |prefix: &str| {
        let account = |n: u32| Account {
            user: format!("{prefix}{n}"),
            password: "planted-sip-password".into(),
            ..Account::default()
        };
        (0..1).map(account).collect::<Vec<_>>()
    };
    let mut groups = pair(1);
    groups[0].accounts = accounts("b");
    groups[1].accounts = accounts("a");
    // The worker shows an address nobody routes; the INVITE is dialled to the real one.
    let callee_port = ports.sip_first;
    groups[1].peers = vec![format!("sip:b0@127.0.0.1:{callee_port}")];
    let mut told = begin(&mut peer, "run-1", &groups).await;
    let contact = &told.contacts("callees")[&0];
    assert!(contact.contains("203.0.113.10"), "{contact}");
    worker.logs("INVITE sip:b0@127.0.0.1").await;
    assert_eq!(
        udp_addresses(&worker),
        [std::net::IpAddr::from([127, 0, 0, 1])]
    );
    // Nothing comes back from that address; the deadline ends what waits for it.
    worker.signal(Signal::TERM);
    finish(&mut peer, &mut told, RUN_PATIENCE).await;
    let log = worker.log();
    let invite = messages(&log, "INVITE sip:b0@127.0.0.1")
        .next()
        .expect("an INVITE");
    let line = |start: &str| {
        invite
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
    };
    assert!(
        line("Via:").contains("203.0.113.10") || line("v:").contains("203.0.113.10"),
        "{invite}"
    );
    assert!(
        line("Contact:").contains("203.0.113.10") || line("m:").contains("203.0.113.10"),
        "{invite}"
    );
    assert!(line("c=").contains("203.0.113.10"), "{invite}");
    assert!(!log.contains(TOKEN_BODY), "token in the log");
    assert!(
        !log.contains("planted-sip-password"),
        "SIP password in the log"
    );
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

/// R14, R15: RTP is bound to MEDIA_IP, SIP to SIP_IP, and SDP says MEDIA_IP unless told otherwise.
#[test]
fn media_has_an_address_of_its_own() {
    calm(media_address);
}

async fn media_address() {
    let variables = [("LOG_LEVEL", "trace"), ("MEDIA_IP", "127.0.0.2")];
    let (_gateway, worker, mut peer, ports) = start(&variables).await;
    let mut told = begin(&mut peer, "run-1", &pair(1)).await;
    until_in_call(&mut peer, &mut told).await;
    for socket in udp_sockets(&worker) {
        let sip = (ports.sip_first..=ports.sip_last).contains(&socket.port());
        let wanted = if sip { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
        assert_eq!(socket.ip().octets(), wanted, "{socket}");
    }
    finish(&mut peer, &mut told, RUN_PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    let log = worker.log();
    let invite = messages(&log, "INVITE ").next().expect("an INVITE");
    assert!(invite.contains("c=IN IP4 127.0.0.2"), "{invite}");
    // R40: each packet both ways, at trace only.
    for (way, key, direction) in [
        ("sent", "packets_sent", Direction::Send),
        ("received", "packets_received", Direction::Recv),
    ] {
        let packet = format!("\"message\":\"RTP packet\",\"direction\":\"{way}\"");
        let logged = log.matches(&packet).count() as i64;
        let packets = ["callees", "callers"].map(|group| told.sum(group, key, direction));
        let all: i64 = packets.iter().sum();
        assert!(
            all > 0 && logged >= all,
            "{way}: {logged} logged of {packets:?}"
        );
    }
}

/// A group that finds no SIP port is refused by name, and the run says so.
#[tokio::test]
async fn a_group_without_a_sip_port_is_refused_by_name() {
    let (_gateway, _worker, mut peer, _) = start(&[]).await;
    let groups: Vec<_> = (0..13)
        .map(|n| {
            let name = Box::leak(format!("group-{n}").into_boxed_str());
            Group {
                run_ms: 500,
                ..Group::new(name, Role::Callee, 1)
            }
        })
        .collect();
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, RUN_PATIENCE).await;
    assert_complete(&told);
    let refused: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match &event.what {
            Some(callmeter_proto::worker::endpoint_event::What::Ended(end)) => {
                (end.outcome() == Outcome::Oserror).then(|| end.detail.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].contains("group group-12 refused: no SIP port is free"),
        "{}",
        refused[0]
    );
}

/// An assignment that cannot be read is refused with field and accepted form.
#[tokio::test]
async fn a_wrong_assignment_is_refused_by_field() {
    let (_gateway, worker, mut peer, _) = start(&[]).await;
    let mut group = Group::new("callers", Role::Caller, 2);
    group.codec = "opus";
    group.registrar = Some(Registrar::default());
    group.peers = vec!["sip:x@127.0.0.1".into(); 2];
    let mut told = begin(&mut peer, "run-1", &[group]).await;
    finish(&mut peer, &mut told, RUN_PATIENCE).await;
    worker
        .logs("audio.codec is \\\"opus\\\"; accepted: pcma or pcmu")
        .await;
    assert_complete(&told);
}

/// While nothing runs the first SIP port answers OPTIONS, and 405 to what it does not serve.
#[tokio::test]
async fn the_idle_port_answers_options() {
    let (_gateway, _worker, _peer, ports) = start(&[]).await;
    for (method, wanted) in [("OPTIONS", "SIP/2.0 200"), ("SUBSCRIBE", "SIP/2.0 405")] {
        // Its own, to which no second answer to the other method comes.
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let own = socket.local_addr().unwrap();
        let request = format!(
            "{method} sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:t@127.0.0.1>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\n\
             Call-ID: {method}@test\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let mut buffer = [0; 2048];
        let to = ("127.0.0.1", ports.sip_first);
        let answer = eventually("an answer", async || {
            socket.send_to(request.as_bytes(), to).await.unwrap();
            let wait = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut buffer));
            wait.await
                .ok()?
                .ok()
                .map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
        .await;
        assert!(answer.starts_with(wanted), "{answer}");
    }
}

async fn until_in_call(peer: &mut Peer, told: &mut Told) {
    use callmeter_proto::worker::{Phase, endpoint_event::What};
    let in_call = Some(What::Phase(Phase::Incall.into()));
    peer.until("a call is up", |message| {
        told.take(message);
        told.events
            .iter()
            .any(|e| e.group == "callers" && e.what == in_call)
            .then_some(())
    })
    .await;
}
