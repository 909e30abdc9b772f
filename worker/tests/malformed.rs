//! Rubbish on a worker's sockets while calls run: every datagram is counted, no call notices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use callmeter_proto::worker::{Direction, Outcome, Phase, Role, endpoint_event::What};
use support::{
    calm::calm,
    eventually,
    gateway::TestGateway,
    inspect::udp_sockets,
    ports,
    process::{Worker, environment, get},
    run::{Group, assert_complete, begin, finish},
};

/// A request with everything RFC 3261 §8.1.1 wants.
const INVITE: &str = "INVITE sip:callees-0@127.0.0.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKrubbish\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:t@127.0.0.1>;tag=1\r\n\
    To: <sip:x@127.0.0.1>\r\n\
    Call-ID: rubbish@test\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:t@127.0.0.1:9>\r\n\
    Content-Length: 0\r\n\r\n";

/// Twenty SIP datagrams none of which can be read.
fn sip() -> Vec<(&'static str, Vec<u8>)> {
    let without = |name: &str| {
        let lines = INVITE.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with(name))
            .collect::<String>()
    };
    let with = |from: &str, to: &str| {
        assert!(INVITE.contains(from), "{from}");
        INVITE.replace(from, to)
    };
    let many = format!("X-Many: y\r\n{}", "X-Many: y\r\n".repeat(600));
    let texts = [
        ("binary", "\u{0}\u{1}\u{7f}\u{fffd}".repeat(40)),
        ("a word", "INVITE".into()),
        ("no version", "INVITE sip:x@y\r\n\r\n".into()),
        ("another version", with("SIP/2.0\r\nVia", "SIP/3.0\r\nVia")),
        (
            "a status that is no number",
            "SIP/2.0 abc OK\r\n\r\n".into(),
        ),
        ("a status out of range", "SIP/2.0 99 Low\r\n\r\n".into()),
        (
            "no headers at all",
            "OPTIONS sip:x@y SIP/2.0\r\n\r\n".into(),
        ),
        ("no Via", without("Via")),
        ("no Call-ID", without("Call-ID")),
        ("no CSeq", without("CSeq")),
        ("no From", without("From")),
        ("a CSeq that is no number", with("CSeq: 1", "CSeq: one")),
        (
            "a CSeq of another method",
            with("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        ),
        ("a CSeq out of range", with("CSeq: 1", "CSeq: 4294967296")),
        (
            "a body that is cut off",
            with("Content-Length: 0", "Content-Length: 999"),
        ),
        (
            "a negative length",
            with("Content-Length: 0", "Content-Length: -1"),
        ),
        (
            "a line without colon",
            with("Max-Forwards: 70", "Max-Forwards 70"),
        ),
        ("no end of the headers", INVITE.trim_end().to_owned()),
        ("an open quote", with("From: <sip:t", "From: \"open <sip:t")),
        ("too many headers", with("Max-Forwards: 70\r\n", &many)),
    ];
    texts.map(|(name, text)| (name, text.into_bytes())).into()
}

/// The header of RFC 3550 §5.1, and so many octets behind it.
fn rtp(first: u8, second: u8, rest: usize) -> Vec<u8> {
    let mut packet = vec![
        first, second, 0x7f, 0xff, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef,
    ];
    packet.resize(12 + rest, 0xd5);
    packet
}

/// Twenty datagrams that are no RTP packet of a call.
fn rtp_rubbish() -> Vec<(&'static str, Vec<u8>)> {
    let long_extension = [rtp(0x90, 8, 0), vec![0xbe, 0xde, 0xff, 0xff]].concat();
    let padded = |count: u8| [rtp(0xa0, 8, 4), vec![count]].concat();
    vec![
        ("nothing", Vec::new()),
        ("one octet", vec![0x80]),
        ("half a header", rtp(0x80, 8, 0)[..11].to_vec()),
        ("version 0", rtp(0x00, 8, 160)),
        ("version 1", rtp(0x40, 8, 160)),
        ("version 3", rtp(0xc0, 8, 160)),
        ("fifteen sources and no room", rtp(0x8f, 8, 8)),
        ("an extension that is not there", rtp(0x90, 8, 0)),
        ("an extension without end", long_extension),
        ("padding of nothing", padded(0)),
        ("padding beyond the packet", padded(255)),
        ("padding without a packet", rtp(0xa0, 8, 0)),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("SIP", INVITE.as_bytes().to_vec()),
        (
            "STUN",
            [vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], vec![7; 12]].concat(),
        ),
        ("DTLS", [vec![22, 0xfe, 0xfd], vec![0; 60]].concat()),
        ("zeros", vec![0; 1500]),
        ("ones", vec![0xff; 1500]),
        ("sixty kilobytes", vec![0xc0; 60_000]),
        // Valid, but nobody in the call sends it.
        ("another source", rtp(0x80, 8, 160)),
    ]
}

/// An RTCP packet with this count and type, its length field and so many octets behind it.
fn rtcp(first: u8, packet_type: u8, words: u16, rest: usize) -> Vec<u8> {
    let mut packet = vec![first, packet_type];
    packet.extend(words.to_be_bytes());
    packet.resize(4 + rest, 0x11);
    packet
}

/// Twenty datagrams that are no report of a call.
fn rtcp_rubbish() -> Vec<(&'static str, Vec<u8>)> {
    let stranger = rtcp(0x80, 200, 6, 24);
    let then = |second: Vec<u8>| [stranger.clone(), second].concat();
    vec![
        ("nothing", Vec::new()),
        ("three octets", vec![0x80, 200, 0]),
        ("version 0", rtcp(0x00, 200, 6, 24)),
        ("version 1", rtcp(0x40, 200, 6, 24)),
        ("version 3", rtcp(0xc0, 200, 6, 24)),
        ("a length beyond the end", rtcp(0x80, 200, 600, 24)),
        ("a length of nothing", rtcp(0x80, 200, 0, 24)),
        ("a sender report cut off", rtcp(0x80, 200, 6, 23)),
        ("blocks that are not there", rtcp(0x9f, 201, 1, 4)),
        ("a goodbye alone", rtcp(0x81, 203, 1, 4)),
        ("a description alone", rtcp(0x81, 202, 1, 4)),
        ("an application packet alone", rtcp(0x80, 204, 2, 8)),
        ("an unknown type", rtcp(0x80, 192, 1, 4)),
        ("padding in the first packet", rtcp(0xa0, 200, 6, 24)),
        ("RTP", rtp(0x80, 8, 160)),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("zeros", vec![0; 1500]),
        ("ones", vec![0xff; 1500]),
        // Of a source that is not in the call: its goodbye must end nothing.
        ("a stranger's goodbye", then(rtcp(0x81, 203, 1, 4))),
        ("a second packet cut off", then(rtcp(0x81, 203, 9, 4))),
    ]
}

/// A counter of the worker's own metrics.
async fn counter(health: u16, name: &str, label: &str) -> Option<u64> {
    let metrics = get(health, "/metrics").await?.1;
    let name = format!("callmeter_worker_{name}_total{{{label}}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name))?;
    line.parse().ok()
}

async fn refused(health: u16, protocol: &str) -> Option<u64> {
    let label = format!("protocol=\"{protocol}\"");
    counter(health, "datagrams_refused", &label).await
}

/// Twenty of each kind to every socket of four endpoints in a call: the calls end as planned, what
/// one end sent the other received, and the datagrams are counted to the last.
#[test]
fn rubbish_on_every_socket_changes_no_call() {
    calm(rubbish_in_a_call);
}

async fn rubbish_in_a_call() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let mut worker = Worker::spawn(&environment(&gateway, ports));
    let mut peer = gateway.welcome().await;
    let groups = [
        Group::new("callees", Role::Callee, 2),
        Group::new("callers", Role::Caller, 2),
    ]
    .map(|group| Group {
        call_ms: 12_000,
        run_ms: 15_000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    let in_call = Some(What::Phase(Phase::Incall.into()));
    peer.until("all are in a call", |message| {
        told.take(message);
        let up = told.events.iter().filter(|event| event.what == in_call);
        (up.count() == 4).then_some(())
    })
    .await;

    // Until a stream knows its source a report may be of anyone.
    eventually("every stream has its source", async || {
        let received = counter(ports.health, "rtp_packets", "direction=\"received\"").await;
        (received? >= 4 * 25).then_some(())
    })
    .await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = [0; 3];
    for socket in udp_sockets(&worker) {
        let is_sip = (ports.sip_first..=ports.sip_last).contains(&socket.port());
        let (kind, rubbish) = if is_sip {
            (0, sip())
        } else if socket.port() % 2 == 0 {
            (1, rtp_rubbish())
        } else {
            (2, rtcp_rubbish())
        };
        assert_eq!(rubbish.len(), 20);
        for (_, datagram) in rubbish {
            stranger.send_to(&datagram, socket).unwrap();
            sent[kind] += 1;
        }
    }
    assert_eq!(
        sent,
        [2 * 20, 4 * 20, 4 * 20],
        "two SIP ports, four streams"
    );
    for (protocol, count) in ["sip", "rtp", "rtcp"].into_iter().zip(sent) {
        let mut last = None;
        let counted = eventually("the datagrams are counted", async || {
            last = refused(ports.health, protocol).await;
            (last >= Some(count)).then_some(())
        });
        counted.await;
        assert_eq!(last, Some(count), "{protocol}");
    }

    let ended = finish(&mut peer, &mut told, Duration::from_secs(60)).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_complete(&told);
    for share in &ended.shares {
        let calls: Vec<_> = share.calls.iter().map(|c| (c.outcome(), c.calls)).collect();
        assert_eq!(calls, [(Outcome::Success, 2)], "{}", share.group);
    }
    for (from, to) in [("callers", "callees"), ("callees", "callers")] {
        let packets = told.sum(from, "packets_sent", Direction::Send);
        // 600 in each call, but for those that a stalled machine leaves out.
        assert!(packets >= 2 * 500, "{packets} packets");
        assert_eq!(told.sum(to, "packets_received", Direction::Recv), packets);
        assert_eq!(told.sum(to, "packets_lost", Direction::Recv), 0);
    }
    assert_eq!(told.retransmissions(), 0);
    assert!(worker.is_running());
    assert_eq!(get(ports.health, "/live").await.unwrap().0, 200);
}

/// The same on the port that is held while nothing runs: it goes on answering OPTIONS.
#[tokio::test]
async fn rubbish_on_the_idle_port_is_counted_and_it_still_answers() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let mut worker = Worker::spawn(&environment(&gateway, ports));
    let _peer = gateway.welcome().await;
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = ("127.0.0.1", ports.sip_first);
    eventually("the idle port is held", async || {
        (!udp_sockets(&worker).is_empty()).then_some(())
    })
    .await;
    for (_, datagram) in sip() {
        stranger.send_to(&datagram, to).await.unwrap();
    }
    eventually("the datagrams are counted", async || {
        (refused(ports.health, "sip").await == Some(20)).then_some(())
    })
    .await;
    let own = stranger.local_addr().unwrap();
    let options = INVITE
        .replace("INVITE", "OPTIONS")
        .replace("127.0.0.1:9;", &format!("{own};"));
    let mut buffer = [0; 2048];
    let answer = eventually("an answer to OPTIONS", async || {
        stranger.send_to(options.as_bytes(), to).await.unwrap();
        let wait = tokio::time::timeout(Duration::from_millis(500), stranger.recv(&mut buffer));
        let length = wait.await.ok()?.ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
    .await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(worker.is_running());
}
