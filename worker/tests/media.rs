//! The media threads on the loopback: real sockets, kernel stamps and timers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use callmeter_engine::media::{Codec, MediaCommand, MediaEvent, StreamId, StreamSnapshot};
use callmeter_rtp::{Compound, Packet, RtpHeader};
use callmeter_worker::media::{MediaClient, MediaConfig, MediaPool};

const DEADLINE: Duration = Duration::from_secs(20);

#[allow(
    dead_code,
    unreachable_pub,
    reason = "other test binaries use more of it"
)]
#[path = "support/calm.rs"]
mod calm;

/// A pool with one client; each test has a loopback address of its own, so that tests do not take
/// each other's ports.
struct Bench {
    pool: MediaPool,
    client: MediaClient,
    woken: Receiver<()>,
}

impl Bench {
    fn new(ip: [u8; 4], ports: (u16, u16)) -> Self {
        let config = MediaConfig {
            threads: 1,
            rtcp_interval: Duration::from_millis(200),
            real_time: false,
            ..MediaConfig::new(ip.into(), ports, 7)
        };
        let (wake, woken) = sync_channel(1);
        let wake = Arc::new(move || {
            let _ = wake.try_send(());
        });
        let (pool, clients) = MediaPool::start(&config, &[wake]).unwrap();
        let client = clients.into_iter().next().unwrap();
        Self {
            pool,
            client,
            woken,
        }
    }

    /// The first event `pick` accepts; earlier ones are passed over.
    fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(&MediaEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while let Some(event) = self.client.poll() {
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                self.woken.recv_timeout(left).is_ok(),
                "no event within 20 s: {what}"
            );
        }
    }

    fn open(&mut self, id: u64) -> SocketAddr {
        let stream = StreamId(id);
        self.client.send(MediaCommand::Open { stream });
        self.wait_for("opened", |event| match event {
            MediaEvent::Opened { stream: s, local } if *s == stream => Some(*local),
            MediaEvent::OpenFailed { reason, .. } => panic!("{reason}"),
            _ => None,
        })
    }

    fn start(&mut self, id: u64, remote: SocketAddr, start_sending: bool) {
        let mut remote_rtcp = remote;
        remote_rtcp.set_port(remote.port() + 1);
        self.client.send(MediaCommand::Start {
            stream: StreamId(id),
            remote,
            remote_rtcp,
            codec: Codec::Pcma,
            payload_type: 8,
            receive_payload_type: 8,
            telephone_events: None,
            ptime_ms: 20,
            dscp: 46,
            start_sending,
        });
    }

    /// The first second of a stream that fulfils a condition.
    fn second(
        &mut self,
        id: u64,
        what: &str,
        accept: impl Fn(&StreamSnapshot) -> bool,
    ) -> StreamSnapshot {
        self.wait_for(what, |event| match event {
            MediaEvent::Second { stream, snapshot } if stream.0 == id && accept(snapshot) => {
                Some(*snapshot)
            }
            _ => None,
        })
    }

    fn remove(&mut self, id: u64) -> StreamSnapshot {
        self.client.send(MediaCommand::Remove {
            stream: StreamId(id),
        });
        self.wait_for("removed", |event| match event {
            MediaEvent::Removed { stream, last } if stream.0 == id => Some(*last),
            _ => None,
        })
    }

    fn stop_sending(&mut self, id: u64) {
        self.client.send(MediaCommand::StopSending {
            stream: StreamId(id),
        });
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type: 8,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 99,
    };
    [header.to_bytes().as_slice(), &[0xd5; 160]].concat()
}

/// A far end that is not ours: RTP and RTCP sockets side by side.
fn far(ip: [u8; 4], port: u16) -> (UdpSocket, UdpSocket) {
    let bind = |port| {
        let socket = UdpSocket::bind((std::net::IpAddr::from(ip), port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    };
    (bind(port), bind(port + 1))
}

/// Two streams talk to each other: what one sent the other received, reports flow, the round trip
/// is measured, and lateness is told.
#[test]
fn two_streams_agree_on_counts_round_trip_and_lateness() {
    calm::calm(async || two_streams());
}

fn two_streams() {
    let mut bench = Bench::new([127, 9, 0, 1], (20_000, 20_099));
    let (a, b) = (bench.open(1), bench.open(2));
    assert_eq!((a.port(), b.port()), (20_000, 20_002));
    bench.start(1, b, true);
    bench.start(2, a, true);
    let first = bench.wait_for("first packet", |event| match event {
        MediaEvent::FirstPacket { at, .. } => Some(*at),
        _ => None,
    });
    let age = Instant::now().checked_duration_since(first);
    assert!(age.is_some_and(|age| age < DEADLINE), "{age:?}");
    let seen = bench.second(1, "two seconds and a round trip", |s| {
        s.second >= 1 && s.rtcp.rtt_ms.is_some()
    });
    assert!(
        seen.rtcp.rtt_ms.is_some_and(|rtt| rtt < 1000.0),
        "{:?}",
        seen.rtcp
    );
    assert!(seen.rtcp.received > 0 && seen.rtcp.sent > 0 && seen.rtcp.invalid == 0);
    let remote = seen.rtcp.remote.unwrap();
    assert_eq!(remote.cumulative_lost, 0);
    let late = seen.generator.lateness.unwrap();
    assert!(late.packets > 0 && late.p50_ms <= late.p99_ms && late.p99_ms <= late.max_ms);
    assert_eq!((seen.receive.dscp, seen.receive.ttl), (Some(46), Some(64)));
    assert!(seen.receive.jitter_ms.is_some() && seen.quality.ppl_pct.is_some());
    assert_eq!(seen.quality.packet_ms, Some(20.0));

    // Both stop; a second later nothing is on its way any more.
    bench.stop_sending(1);
    bench.stop_sending(2);
    let quiet = bench.second(2, "a second without a packet", |s| {
        !s.send.active && s.send.second.packets == 0 && s.receive.second.packets == 0
    });
    let (last_a, last_b) = (bench.remove(1), bench.remove(2));
    assert_eq!(
        last_b.send.total, quiet.send.total,
        "no packet after StopSending"
    );
    for (sent, received) in [(&last_a, &last_b), (&last_b, &last_a)] {
        // Of two seconds, but for what a stalled machine leaves out.
        assert!(sent.send.total.packets >= 50);
        assert_eq!(sent.send.total.packets, received.receive.total.packets);
        assert_eq!(sent.send.total.bytes, received.receive.total.bytes);
        let total = received.receive.total;
        assert_eq!(
            (total.lost, total.unexpected_source, total.invalid),
            (0, 0, 0)
        );
        let played = received.playout.total;
        assert_eq!(played.pushed + played.late + played.overruns, total.packets);
    }
    assert!(
        last_b.rtcp.bye_received,
        "the stream removed first said goodbye"
    );
    let stats = bench.pool.local_stats();
    assert_eq!(
        stats.packets_sent,
        last_a.send.total.packets + last_b.send.total.packets
    );
    assert_eq!(
        (
            stats.streams_open,
            stats.streams_started,
            stats.ring_overflows
        ),
        (0, 0, 0)
    );
    assert_eq!(stats.lateness.packets(), stats.packets_sent);
}

#[test]
fn packets_before_start_count_and_foreign_sources_do_not() {
    let mut bench = Bench::new([127, 9, 0, 2], (20_000, 20_099));
    let local = bench.open(1);
    let (peer, _peer_rtcp) = far([127, 9, 0, 2], 21_000);
    let (stranger, _) = far([127, 9, 0, 2], 21_010);
    for n in 0..10 {
        peer.send_to(&rtp(n), local).unwrap();
    }
    bench.start(1, peer.local_addr().unwrap(), false);
    bench.second(1, "early packets", |s| s.receive.total.packets == 10);
    for n in 0..5 {
        stranger.send_to(&rtp(500 + n), local).unwrap();
    }
    peer.send_to(b"no RTP", local).unwrap();
    let seen = bench.second(1, "strangers", |s| {
        (s.receive.total.unexpected_source, s.receive.total.invalid) == (5, 1)
    });
    assert_eq!(seen.receive.total.packets, 10);
    assert_eq!((seen.send.active, seen.send.total.packets), (false, 0));
    assert_eq!(seen.generator.lateness, None);
}

/// R30: a port another process holds is skipped and reported; R24: nothing outside the range.
#[test]
fn occupied_ports_are_skipped_and_a_full_range_is_named() {
    let ip = [127, 9, 0, 3];
    let mut bench = Bench::new(ip, (20_000, 20_005));
    let _held = UdpSocket::bind((std::net::IpAddr::from(ip), 20_001)).unwrap();
    assert_eq!(bench.open(1).port(), 20_002);
    assert_eq!(bench.pool.local_stats().port_clashes, 1);
    assert_eq!(bench.open(2).port(), 20_004);
    bench.client.send(MediaCommand::Open {
        stream: StreamId(3),
    });
    let reason = bench.wait_for("refusal", |event| match event {
        MediaEvent::OpenFailed {
            stream: StreamId(3),
            reason,
        } => Some(reason.clone()),
        _ => None,
    });
    let expected = "bind an RTP port pair of 20000-20005 on 127.9.0.3: \
                    none free, 1 held by other processes";
    assert_eq!(reason, expected);
    // An ended stream makes room, also one that never started.
    assert_eq!(bench.remove(1), StreamSnapshot::default());
    assert_eq!(bench.open(4).port(), 20_002);
}

/// What still arrives for an ended stream does not reach the next one.
#[test]
fn late_packets_of_an_ended_stream_meet_nobody() {
    let ip = [127, 9, 0, 4];
    let mut bench = Bench::new(ip, (20_000, 20_003));
    let old = bench.open(1);
    let (peer, peer_rtcp) = far(ip, 21_000);
    bench.start(1, peer.local_addr().unwrap(), true);
    bench.second(1, "running", |s| s.send.total.packets > 0);
    bench.remove(1);
    let mut wire = [0; 256];
    let goodbye = loop {
        let (len, _) = peer_rtcp.recv_from(&mut wire).unwrap();
        let compound = Compound::parse(&wire[..len]).unwrap();
        if let Some(Packet::Bye { ssrc }) = compound.packets().last() {
            break ssrc;
        }
    };
    let (len, _) = peer.recv_from(&mut wire).unwrap();
    assert_eq!(
        goodbye,
        Some(RtpHeader::parse(&wire[..len]).unwrap().0.ssrc)
    );

    let new = bench.open(2);
    assert_ne!(new, old, "the pair that was free longer comes first");
    let (next, _) = far(ip, 21_010);
    bench.start(2, next.local_addr().unwrap(), false);
    for n in 0..5 {
        peer.send_to(&rtp(n), old).unwrap();
        next.send_to(&rtp(n), new).unwrap();
    }
    let seen = bench.second(2, "the next stream's packets", |s| {
        s.receive.total.packets == 5
    });
    assert_eq!(seen.receive.total.unexpected_source, 0);
}

/// Opens streams until one has the port of one that has ended, whose sockets are kept for a moment:
/// it gets its own packets alone. False if that moment was over before, as it is on a busy machine.
fn is_used_again(
    bench: &mut Bench,
    id: &mut u64,
    (peer, next): (&UdpSocket, &UdpSocket),
    late: bool,
) -> bool {
    let is_bound = |at: SocketAddr| UdpSocket::bind(at).is_err();
    *id += 1;
    let old = bench.open(*id);
    bench.start(*id, peer.local_addr().unwrap(), true);
    bench.second(*id, "running", |s| s.send.total.packets > 0);
    bench.remove(*id);
    let ended = Instant::now();
    if !is_bound(old) {
        return false;
    }
    if late {
        for n in 0..5 {
            peer.send_to(&rtp(n), old).unwrap();
        }
    }
    loop {
        *id += 1;
        if bench.open(*id) == old {
            break;
        }
        bench.remove(*id);
        let tried = ended.elapsed();
        assert!(tried < Duration::from_secs(10), "{old} is not used");
    }
    // In its turn among those that are closed it would come much later.
    if ended.elapsed() >= Duration::from_millis(900) {
        bench.remove(*id);
        return false;
    }
    bench.start(*id, next.local_addr().unwrap(), true);
    for n in 0..5 {
        next.send_to(&rtp(n), old).unwrap();
    }
    let seen = bench.second(*id, "its own packets", |s| s.receive.total.packets == 5);
    assert_eq!(seen.receive.total.unexpected_source, 0);
    bench.remove(*id);
    let ended = Instant::now();
    while is_bound(old) {
        assert!(ended.elapsed() < Duration::from_secs(10), "{old} is kept");
        std::thread::yield_now();
    }
    true
}

/// The sockets of an ended stream are kept for a moment and used again, but for those that something
/// still came to: it does not reach the next stream.
#[test]
fn sockets_used_again_bring_nothing_of_the_stream_before() {
    let ip = [127, 9, 0, 6];
    let mut bench = Bench::new(ip, (20_000, 20_199));
    let (peer, _peer_rtcp) = far(ip, 21_000);
    let (next, _next_rtcp) = far(ip, 21_010);
    let mut id = 0;
    for late in [false, true] {
        let used = (0..5).any(|_| is_used_again(&mut bench, &mut id, (&peer, &next), late));
        assert!(used, "sockets are closed at once; late packets: {late}");
    }
}

#[test]
fn threads_tick_and_end_with_the_pool_saying_goodbye() {
    let ip = [127, 9, 0, 5];
    let mut bench = Bench::new(ip, (20_000, 20_099));
    let before = bench.pool.ticks();
    let (_peer, peer_rtcp) = far(ip, 21_000);
    let local = bench.open(1);
    bench.start(1, peer_rtcp.local_addr().unwrap(), true);
    let mut remote = peer_rtcp.local_addr().unwrap();
    remote.set_port(remote.port() - 1);
    bench.start(1, remote, true); // a new answer: the stream goes on there
    bench.second(1, "running", |s| s.send.second.packets == 50);
    let after = bench.pool.ticks();
    assert!(after.len() == 1 && after[0] > before[0] && !bench.pool.has_failed());
    bench.pool.shutdown();
    let mut wire = [0; 2048];
    let byes = loop {
        let (len, from) = peer_rtcp.recv_from(&mut wire).unwrap();
        let Ok(compound) = Compound::parse(&wire[..len]) else {
            continue;
        };
        if compound
            .packets()
            .any(|packet| matches!(packet, Packet::Bye { .. }))
        {
            break from;
        }
    };
    assert_eq!(byes.port(), local.port() + 1);
    // All ports are free again.
    drop(UdpSocket::bind(local).unwrap());
}

#[test]
fn a_range_without_a_pair_is_refused_by_name() {
    let config = MediaConfig::new([127, 0, 0, 1].into(), (20_001, 20_002), 1);
    let error = MediaPool::start(&config, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "RTP ports 20001-20002 hold no even port with the one after it"
    );
}
