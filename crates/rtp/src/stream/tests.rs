use std::net::SocketAddr;

use super::*;
use proptest::prelude::*;

const NEAR: SocketAddr = addr(1);
const FAR: SocketAddr = addr(2);

const fn addr(last: u8) -> SocketAddr {
    SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)),
        4000,
    )
}

fn config(seed: u64, remote: SocketAddr) -> StreamConfig {
    StreamConfig {
        seed,
        clock_rate: 8000,
        ptime_ms: 20,
        payload_type: 8,
        receive_payload_type: 8,
        events: None,
        payload_len: 160,
        remote,
        rtcp_interval: StreamConfig::RTCP_INTERVAL,
    }
}

fn ntp(at: Time) -> NtpTime {
    NtpTime::from_unix_nanos(1_790_000_000_000_000_000 + at.as_nanos())
}

/// Packets of a far end that speaks PCMA in 20 ms: `wire(number)` for any number.
struct Far {
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
}

impl Far {
    const PAYLOAD: [u8; 160] = [0xd5; 160];

    fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            payload_type: 8,
            sequence: 0xfff0,
            timestamp: u32::MAX - 1000,
        }
    }

    fn wire(&self, number: u32) -> Vec<u8> {
        let header = RtpHeader {
            marker: false,
            payload_type: self.payload_type,
            sequence: self.sequence.wrapping_add(number as u16),
            timestamp: self.timestamp.wrapping_add(number.wrapping_mul(160)),
            ssrc: self.ssrc,
        };
        [header.to_bytes().as_slice(), &Self::PAYLOAD].concat()
    }
}

fn from(source: SocketAddr, at_ms: i64) -> Datagram {
    Datagram {
        at: Time::from_millis(at_ms),
        from: source,
        dscp: Some(46),
        ttl: Some(64),
    }
}

fn listening() -> RtpStream {
    RtpStream::new(&config(1, FAR), Time::ZERO)
}

#[test]
fn all_packets_of_a_clean_second_count_the_first_one_too() {
    let (mut stream, far) = (listening(), Far::new(5));
    for n in 0..50 {
        let first = stream.receive(&from(FAR, 20 * i64::from(n)), &far.wire(n));
        assert_eq!(first, (n == 1).then_some(Time::ZERO));
    }
    let seen = stream.second(Time::from_millis(1000));
    let total = seen.receive.total;
    assert_eq!((total.packets, total.expected, total.lost), (50, 50, 0));
    assert_eq!(
        (total.bytes, total.invalid, total.unexpected_source),
        (8000, 0, 0)
    );
    assert_eq!(seen.receive.fraction_lost_pct, Some(0.0));
    assert_eq!(seen.receive.jitter_ms, Some(0.0));
    assert_eq!(
        (seen.receive.dscp, seen.receive.ttl, seen.receive.ssrc),
        (Some(46), Some(64), Some(5))
    );
    let spacing = seen.receive.spacing.unwrap();
    assert_eq!(
        (spacing.min_ms, spacing.max_ms, spacing.avg_ms),
        (20.0, 20.0, 20.0)
    );
    assert_eq!(
        (seen.receive.pdv_p95_ms, seen.receive.pdv_p99_ms),
        (Some(0.0), Some(0.0))
    );
    assert_eq!(seen.quality.packet_ms, Some(20.0));
    assert_eq!((seen.second, seen.window_ms), (0, 1000));
    assert!(!seen.quality.mixed_payload_types && !seen.quality.silent_over_2s);
}

#[test]
fn what_was_not_measured_is_absent() {
    let seen = listening().second(Time::from_millis(1000));
    assert_eq!(seen.receive.fraction_lost_pct, None);
    assert_eq!(
        (seen.receive.jitter_ms, seen.receive.pdv_p95_ms),
        (None, None)
    );
    assert!(seen.receive.spacing.is_none() && seen.receive.burst_gap.is_none());
    assert_eq!((seen.playout.delay_ms, seen.playout.depth_ms), (None, None));
    assert_eq!((seen.quality.ppl_pct, seen.rtcp.rtt_ms), (None, None));
    assert!(seen.generator.lateness.is_none() && seen.receive.ssrc.is_none());
}

#[test]
fn rubbish_strangers_and_foreign_payload_types_touch_no_figure() {
    let (mut stream, far) = (listening(), Far::new(5));
    let stranger = Far {
        payload_type: 0,
        ..Far::new(6)
    };
    stream.receive(&from(FAR, 0), b"not RTP");
    stream.receive(&from(FAR, 0), &stranger.wire(0));
    for n in 0..10 {
        stream.receive(&from(FAR, 20 * i64::from(n)), &far.wire(n));
        if n > 1 {
            stream.receive(&from(NEAR, 20 * i64::from(n)), &stranger.wire(n));
        }
    }
    let total = stream.second(Time::from_millis(200)).receive.total;
    assert_eq!((total.packets, total.lost), (10, 0));
    assert_eq!((total.invalid, total.unexpected_source), (2, 8));
}

#[test]
fn another_ssrc_needs_two_packets_and_takes_the_counters_along() {
    let (mut stream, far, next) = (listening(), Far::new(5), Far::new(6));
    for n in 0..10 {
        stream.receive(&from(FAR, 20 * i64::from(n)), &far.wire(n));
    }
    stream.receive(&from(FAR, 200), &next.wire(500)); // a stray one
    stream.receive(&from(FAR, 200), &far.wire(10));
    for n in 11..20 {
        stream.receive(&from(FAR, 20 * i64::from(n)), &next.wire(n));
    }
    let seen = stream.second(Time::from_millis(400)).receive;
    assert_eq!(
        (seen.total.ssrc_switches, seen.total.invalid, seen.ssrc),
        (1, 1, Some(6))
    );
    assert_eq!(
        (seen.total.packets, seen.total.expected, seen.total.lost),
        (20, 20, 0)
    );
}

#[test]
fn jumps_resets_and_payload_type_changes_are_told_apart() {
    let (mut stream, far) = (listening(), Far::new(5));
    let mut at = 0;
    let mut feed = |stream: &mut RtpStream, far: &Far, numbers: std::ops::Range<u32>| {
        for n in numbers {
            stream.receive(&from(FAR, at), &far.wire(n));
            at += 20;
        }
    };
    feed(&mut stream, &far, 0..10);
    feed(&mut stream, &far, 20_000..20_010); // far ahead, timestamps too
    feed(&mut stream, &far, 10..20); // and back
    let other = Far {
        payload_type: 0,
        ..Far::new(5)
    };
    feed(&mut stream, &other, 20..25);
    let seen = stream.second(Time::from_millis(700));
    let total = seen.receive.total;
    assert_eq!(
        (total.jumps, total.resets, total.payload_type_changes),
        (1, 1, 1)
    );
    assert_eq!((total.packets, total.lost, total.invalid), (35, 0, 0));
    assert!(seen.quality.mixed_payload_types);
    assert_eq!(
        total.timestamp_jumps, 0,
        "a restart explains the timestamps"
    );
    assert_eq!(seen.receive.jitter_ms, Some(0.0));
}

#[test]
fn a_timestamp_that_fits_neither_count_nor_clock_is_a_jump_silence_is_none() {
    let (mut stream, far) = (listening(), Far::new(5));
    for n in 0..10 {
        stream.receive(&from(FAR, 20 * i64::from(n)), &far.wire(n));
    }
    // Silence suppression: 1 s without packets, timestamps run on with the clock.
    let after = Far {
        timestamp: far.timestamp.wrapping_add(8000),
        ..Far::new(5)
    };
    for n in 10..20 {
        stream.receive(&from(FAR, 1000 + 20 * i64::from(n)), &after.wire(n));
    }
    assert_eq!(
        stream
            .second(Time::from_millis(1400))
            .receive
            .total
            .timestamp_jumps,
        0
    );
    let jumped = Far {
        timestamp: far.timestamp.wrapping_add(800_000),
        ..Far::new(5)
    };
    for n in 20..30 {
        stream.receive(&from(FAR, 1000 + 20 * i64::from(n)), &jumped.wire(n));
    }
    let seen = stream.second(Time::from_millis(2400));
    assert_eq!(seen.receive.total.timestamp_jumps, 1);
    assert_eq!(seen.receive.jitter_ms, Some(0.0), "a jump is no jitter");
    assert_eq!(seen.playout.total.late, 0);
}

#[test]
fn silence_over_two_seconds_forbids_a_score_for_ten() {
    let (mut stream, far) = (listening(), Far::new(5));
    stream.receive(&from(FAR, 0), &far.wire(0));
    stream.receive(&from(FAR, 20), &far.wire(1));
    let silent: Vec<bool> = (1..=13)
        .map(|second| {
            if second == 4 {
                stream.receive(&from(FAR, 3500), &far.wire(2));
                stream.receive(&from(FAR, 3520), &far.wire(3));
            }
            if second > 4 {
                let n = u32::try_from(second).unwrap();
                stream.receive(&from(FAR, 1000 * second - 500), &far.wire(n));
            }
            stream
                .second(Time::from_millis(1000 * second))
                .quality
                .silent_over_2s
        })
        .collect();
    assert_eq!(
        silent.iter().position(|s| *s),
        Some(2),
        "from the third second on"
    );
    assert_eq!(
        silent.iter().rposition(|s| *s),
        Some(12),
        "ten seconds after the fourth"
    );
}

#[test]
fn the_send_side_counts_its_own_failures() {
    let mut stream = listening();
    stream.set_sending(true);
    for n in 0..50_i64 {
        let due = Time::from_millis(20 * n);
        let header = stream.next_header(due);
        assert_eq!(RtpHeader::parse(&header).unwrap().0.ssrc, stream.ssrc());
        if n == 7 {
            stream.send_failed();
        } else {
            stream.sent(due, due.plus_nanos(n * 100_000), 160);
        }
    }
    stream.skipped(3);
    stream.set_socket_drops(2);
    stream.clock_stepped();
    let seen = stream.second(Time::from_millis(1000));
    assert_eq!(
        (seen.send.total.packets, seen.send.second.bytes),
        (49, 49 * 160)
    );
    assert!(seen.send.active && seen.generator.clock_stepped);
    let generator = seen.generator;
    assert_eq!(
        (
            generator.send_errors,
            generator.send_skipped,
            generator.socket_drops
        ),
        (1, 3, 2)
    );
    assert_eq!(generator.drops_second, 6);
    let late = generator.lateness.unwrap();
    assert_eq!((late.max_ms, late.packets, late.over_1ms), (4.9, 49, 39));
    let next = stream.second(Time::from_millis(2000)).generator;
    assert_eq!((next.drops_second, next.clock_stepped), (0, false));
}

/// Two streams over a wire of 30 ms: both ends agree on counts, loss and round trip.
#[test]
fn a_pair_agrees_on_what_was_sent_lost_and_how_long_it_takes() {
    let (mut a, mut b) = (RtpStream::new(&config(1, FAR), Time::ZERO), listening());
    b.renegotiate(&config(2, NEAR));
    let (mut wire, mut sent_rtcp) = (Vec::new(), 0);
    let mut flying: Vec<(i64, bool, bool, Vec<u8>)> = Vec::new(); // arrival, to B, RTCP, octets
    for ms in 0..20_000_i64 {
        let now = Time::from_millis(ms);
        for to_b in [true, false] {
            let stream = if to_b { &mut a } else { &mut b };
            // A sends all the time, B only listens; every 25th packet of A is lost.
            if to_b && ms % 20 == 0 {
                let packet = [stream.next_header(now).as_slice(), &Far::PAYLOAD].concat();
                stream.sent(now, now, 160);
                if ms % 500 != 480 {
                    flying.push((ms + 30, true, false, packet));
                }
            }
            if stream.rtcp_due() <= now {
                stream.write_rtcp(now, ntp(now), false, &mut wire);
                flying.push((ms + 30, to_b, true, wire.clone()));
                sent_rtcp += 1;
            }
        }
        for (_, to_b, rtcp, octets) in flying.extract_if(.., |(at, ..)| *at == ms) {
            let stream = if to_b { &mut b } else { &mut a };
            if rtcp {
                stream.receive_rtcp(now, ntp(now), &octets);
            } else {
                stream.receive(&from(if to_b { NEAR } else { FAR }, ms), &octets);
            }
        }
        if ms % 1000 == 999 && ms < 19_000 {
            a.second(now);
            b.second(now);
        }
    }
    a.finish();
    b.finish();
    let end = Time::from_millis(20_000);
    let (a, b) = (a.second(end), b.second(end));
    assert_eq!(a.send.total.packets, 1000);
    // 40 are lost, but nothing after the last one tells of it.
    assert_eq!(b.receive.total.expected, 999);
    assert_eq!((b.receive.total.lost, b.receive.total.packets), (39, 960));
    assert_eq!(b.quality.ppl_pct.map(f64::round), Some(4.0));
    assert_eq!(b.receive.loss_runs[0], 39);
    assert!(sent_rtcp >= 6, "{sent_rtcp}");
    assert!(a.rtcp.received > 0 && b.rtcp.received > 0 && a.rtcp.invalid + b.rtcp.invalid == 0);
    assert!(
        (a.rtcp.rtt_ms.unwrap() - 60.0).abs() < 0.1,
        "{:?}",
        a.rtcp.rtt_ms
    );
    assert_eq!(b.rtcp.rtt_ms, None, "only who sends can measure");
    let remote = a.rtcp.remote.unwrap();
    assert!(
        remote.cumulative_lost > 0 && remote.fraction_lost_pct > 2.0,
        "{remote:?}"
    );
    assert!(remote.jitter_ms < 0.01);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any octets from anyone, in any order: no panic, and the counters stay consistent.
    #[test]
    fn survives_anything(packets in proptest::collection::vec(
        (any::<u32>(), any::<u16>(), 0..3_u32, 0..3_u8, 0..120_i64), 1..300
    )) {
        let mut stream = listening();
        let mut at = 0;
        let mut before = stream.second(Time::ZERO).receive.total;
        for (timestamp, sequence, ssrc, kind, gap) in packets {
            at += gap;
            let header = RtpHeader { marker: false, payload_type: 8, sequence, timestamp, ssrc };
            let wire = header.to_bytes();
            let end = if kind == 2 { 7 } else { 12 };
            let source = if kind == 1 { NEAR } else { FAR };
            stream.receive(&from(source, at), &wire[..end]);
            if at % 7 == 0 {
                let seen = stream.second(Time::from_millis(at)).receive;
                prop_assert!(seen.total.packets >= before.packets);
                prop_assert_eq!(
                    seen.total.lost,
                    seen.total.expected as i64 - seen.total.packets as i64
                );
                before = seen.total;
            }
        }
    }
}
