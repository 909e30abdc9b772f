//! A stream with known impairments is reported as what it is (Q7), and a clean one as clean.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test with exact expectations"
)]

use std::net::SocketAddr;

use callmeter_rtp::{Datagram, RtpHeader, RtpStream, StreamConfig, StreamSnapshot, Time};

const PACKETS: u32 = 500;
const PACKET_MS: i64 = 20;
const DELAY_MS: i64 = 40;

/// What happens to packet `n` on the way.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Clean,
    Lost,
    Twice,
    /// Arrives 55 ms late, after the two packets that follow.
    Late,
}

fn impaired(n: u32) -> Fate {
    match n % 100 {
        _ if (200..203).contains(&n) => Fate::Lost,
        25 | 75 => Fate::Lost,
        10 => Fate::Twice,
        60 => Fate::Late,
        _ => Fate::Clean,
    }
}

/// Plays ten seconds of 20 ms packets; gives the snapshot of each second and the arrivals.
fn play(fate: impl Fn(u32) -> Fate) -> (Vec<StreamSnapshot>, Vec<(i64, u32)>) {
    let mut arrivals = Vec::new();
    for n in 0..PACKETS {
        let at = i64::from(n) * PACKET_MS + DELAY_MS;
        match fate(n) {
            Fate::Clean => arrivals.push((at, n)),
            Fate::Lost => {}
            Fate::Twice => arrivals.extend([(at, n), (at + 1, n)]),
            Fate::Late => arrivals.push((at + 55, n)),
        }
    }
    arrivals.sort_unstable();

    let from: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let config = StreamConfig {
        seed: 1,
        clock_rate: 8000,
        ptime_ms: 20,
        payload_type: 8,
        receive_payload_type: 8,
        events: None,
        payload_len: 160,
        remote: from,
        rtcp_interval: StreamConfig::RTCP_INTERVAL,
    };
    let mut stream = RtpStream::new(&config, Time::ZERO);
    let (mut seconds, mut next_second) = (Vec::new(), 1000);
    for (at, n) in &arrivals {
        while *at >= next_second {
            seconds.push(stream.second(Time::from_millis(next_second)));
            next_second += 1000;
        }
        let header = RtpHeader {
            marker: *n == 0,
            payload_type: 8,
            sequence: 65_400_u16.wrapping_add(*n as u16),
            timestamp: (u32::MAX - 9_999).wrapping_add(n * 160),
            ssrc: 7,
        };
        let wire = [header.to_bytes().as_slice(), &[0xd5; 160]].concat();
        let datagram = Datagram {
            at: Time::from_millis(*at),
            from,
            dscp: None,
            ttl: None,
        };
        stream.receive(&datagram, &wire);
    }
    stream.finish();
    seconds.push(stream.second(Time::from_millis(next_second)));
    (seconds, arrivals)
}

#[test]
fn every_impairment_is_counted_exactly_and_in_its_own_place() {
    let (seconds, _) = play(impaired);
    let last = seconds[seconds.len() - 1];
    let total = last.receive.total;
    assert_eq!(
        (total.expected, total.packets),
        (500, 492),
        "13 lost, 5 twice"
    );
    assert_eq!(
        (total.lost, total.duplicates, total.out_of_order),
        (8, 5, 5)
    );
    assert_eq!(
        (
            total.jumps,
            total.resets,
            total.timestamp_jumps,
            total.invalid
        ),
        (0, 0, 0, 0)
    );
    let playout = last.playout.total;
    assert_eq!(
        (playout.pushed, playout.late, playout.duplicates),
        (482, 5, 5)
    );
    assert_eq!(
        (playout.lost, playout.underruns, playout.overruns),
        (18, 0, 0)
    );
    assert_eq!(last.receive.loss_runs, [15, 0, 1, 0, 0, 0, 0, 0, 0, 0]);

    let largest: Vec<u32> = seconds
        .iter()
        .map(|second| second.receive.largest_gap)
        .collect();
    assert_eq!(largest.iter().max(), Some(&3));
    assert_eq!(
        largest.iter().position(|gap| *gap == 3),
        Some(4),
        "packets 200 to 202"
    );

    // A late packet and a lost one 15 numbers on form a burst, so does the run of three.
    let bursts = last.receive.burst_gap.unwrap();
    assert_eq!(bursts.bursts, 6);
    assert_eq!(bursts.burst_density, 13.0 / 83.0);
    assert_eq!(bursts.burst_duration_ms, 83.0 / 6.0 * 20.0);
    assert_eq!(bursts.gap_density, 5.0 / 417.0);
    assert_eq!(bursts.gap_duration_ms, 417.0 / 7.0 * 20.0);

    assert_eq!(last.receive.pdv_buckets, [5, 0, 0, 0, 0, 0]);
    let late_second = &seconds[1].receive; // packet 60
    assert_eq!(
        (late_second.pdv_p95_ms, late_second.pdv_p99_ms),
        (Some(0.0), Some(55.0))
    );
    let late_playout = &seconds[1].playout;
    assert_eq!(late_playout.second.late, 1);
    assert_eq!(
        late_playout.discard_rate_pct,
        Some(100.0 / late_second.second.expected as f64)
    );
    assert_eq!(
        late_second.fraction_lost_pct.map(f64::round),
        Some(2.0),
        "packet 75"
    );

    // The last window holds all but the first second of playout: the E-model's inputs.
    let quality = seconds[seconds.len() - 2].quality;
    let bad = quality.lost + quality.discarded;
    assert_eq!(
        quality.ppl_pct,
        Some(bad as f64 / quality.expected as f64 * 100.0)
    );
    assert!((quality.ppl_pct.unwrap() - 3.6).abs() < 0.1, "{quality:?}");
    assert!(
        (quality.burst_ratio - 18.0 / 16.0 * 0.964).abs() < 0.01,
        "{quality:?}"
    );
}

/// RFC 3550 A.8 in its own words over the arrivals of first copies.
#[test]
fn jitter_is_that_of_the_definition() {
    let (seconds, arrivals) = play(impaired);
    let mut seen = std::collections::HashSet::new();
    let (mut jitter, mut peak, mut last) = (0.0_f64, 0.0_f64, None);
    for (at, n) in arrivals.into_iter().filter(|(_, n)| seen.insert(*n)) {
        let transit = at - i64::from(n) * PACKET_MS;
        if let Some(last) = last.replace(transit) {
            jitter += ((transit - last) as f64).abs() / 16.0 - jitter / 16.0;
            peak = peak.max(jitter);
        }
    }
    let last = seconds[seconds.len() - 1].receive;
    assert!((last.jitter_ms.unwrap() - jitter).abs() < 1e-9);
    assert!((last.jitter_max_ms.unwrap() - peak).abs() < 1e-9);
    assert!(peak > 3.0);
}

#[test]
fn a_clean_stream_shows_nothing() {
    let (seconds, _) = play(|_| Fate::Clean);
    for second in &seconds {
        let receive = &second.receive;
        assert_eq!((receive.total.lost, receive.largest_gap), (0, 0));
        assert_eq!(
            (receive.total.duplicates, receive.total.out_of_order),
            (0, 0)
        );
        assert_eq!((receive.pdv_buckets, receive.loss_runs), ([0; 6], [0; 10]));
        assert_eq!(receive.jitter_max_ms, Some(0.0));
        assert_eq!(second.playout.total.late + second.playout.total.lost, 0);
        assert_eq!(
            (second.quality.ppl_pct, second.quality.burst_ratio),
            (Some(0.0), 1.0)
        );
    }
    let last = seconds[seconds.len() - 1];
    assert_eq!(last.playout.total.pushed, 500);
    assert_eq!(last.receive.burst_gap.unwrap().bursts, 0);
}
