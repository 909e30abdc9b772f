//! Rows of streams.

use std::collections::HashSet;

use callmeter_metrics::{CATALOGUE, Category, MetricId, RowDirection, id};
use callmeter_rtp::RemoteReport;

use super::{assert_catalogued, busy_second, keys, map};
use crate::media::StreamSnapshot;
use crate::rows::stream_values;

/// R102: each figure of the snapshot arrives under its own metric, at its own value.
#[test]
fn every_stream_metric_has_its_value() {
    let values = stream_values(&busy_second(), None);
    let (send, recv) = (map(&values.send), map(&values.recv));
    for (metric, expected) in [
        (id::PACKETS_SENT, 250.0),
        (id::BYTES_SENT, 40_000.0),
        (id::PACKETS_SENT_RATE_PS, 250.0),
        (id::BYTES_SENT_RATE_BPS, 320_000.0),
        (id::RTCP_SENT, 2.0),
        (id::REMOTE_FRACTION_LOST, 1.5),
        (id::REMOTE_JITTER_MS, 2.25),
        (id::REMOTE_PACKETS_LOST, 17.0),
        (id::TX_LATENESS_P50_MS, 0.1),
        (id::TX_LATENESS_P99_MS, 0.4),
        (id::TX_LATENESS_MAX_MS, 0.9),
    ] {
        assert_eq!(send.get(&metric), Some(&expected), "{metric}");
    }
    for (metric, expected) in [
        (id::PACKETS_RECEIVED, 240.0),
        (id::BYTES_RECEIVED, 38_400.0),
        (id::PACKETS_RECV_RATE_PS, 240.0),
        (id::BYTES_RECV_RATE_BPS, 307_200.0),
        (id::PACKETS_LOST, 10.0),
        (id::FRACTION_LOST, 4.0),
        (id::DUPLICATE_PACKETS, 1.0),
        (id::OUT_OF_ORDER_PACKETS, 2.0),
        (id::SEQUENCE_NUMBER_JUMPS, 3.0),
        (id::SEQUENCE_NUMBER_RESETS, 4.0),
        (id::TIMESTAMP_JUMPS, 5.0),
        (id::SSRC_SWITCHES, 6.0),
        (id::PAYLOAD_TYPE_CHANGES, 7.0),
        (id::UNEXPECTED_SOURCE_PACKETS, 8.0),
        (id::SEQUENCE_NUMBER_GAPS, 9.0),
        (id::MIN_PACKET_SPACING, 18.0),
        (id::MAX_PACKET_SPACING, 25.0),
        (id::AVG_PACKET_SPACING, 20.1),
        (id::JITTER_MS, 1.25),
        (id::PDV_P95_MS, 3.5),
        (id::PDV_P99_MS, 4.5),
        (id::BURST_DENSITY, 0.5),
        (id::GAP_DENSITY, 0.01),
        (id::BURST_DURATION, 80.0),
        (id::GAP_DURATION, 900.0),
        (id::DSCP_RECEIVED, 46.0),
        (id::TTL_RECEIVED, 63.0),
        (id::JB_PACKETS_PUSHED, 231.0),
        (id::JB_PACKETS_LOST, 11.0),
        (id::JB_LATE_PACKETS, 12.0),
        (id::JB_DUPLICATES, 13.0),
        (id::JB_UNDERRUNS, 14.0),
        (id::JB_OVERRUNS, 15.0),
        (id::DISCARD_RATE, 2.5),
        (id::JB_DELAY_MS, 40.0),
        (id::JB_MAX_DELAY_MS, 120.0),
        (id::JB_AVERAGE_JITTER_MS, 0.75),
        (id::RTCP_RECEIVED, 3.0),
        (id::RTCP_SR_RR_INTERVAL_MS, 5100.0),
        (id::RTT_MS, 80.0),
        (id::END_SYSTEM_DELAY_MS, 60.0),
        (id::ONE_WAY_DELAY_MS, 100.0),
    ] {
        assert_eq!(recv.get(&metric), Some(&expected), "{metric}");
    }
    assert_eq!(
        map(&values.undirected).get(&id::RX_SOCKET_DROPS),
        Some(&0.0)
    );
    assert!(!values.limited && !values.delay_partial);
    assert_catalogued(&send, RowDirection::Send);
    assert_catalogued(&recv, RowDirection::Recv);
    assert_catalogued(&map(&values.undirected), RowDirection::None);
}

/// The scores are those of the formula for 100 ms and 2 % loss (worked out elsewhere).
#[test]
fn scores_are_the_formulas() {
    let recv = map(&stream_values(&busy_second(), None).recv);
    for (metric, expected) in [
        (id::R_FACTOR, 83.653),
        (id::MOS, 4.1543),
        (id::MOS_CQ, 4.1543),
        (id::MOS_LQ, 4.2395),
    ] {
        assert!(
            (recv[&metric] - expected).abs() < 0.001,
            "{metric}: {}",
            recv[&metric]
        );
    }
    let shares = [
        id::MOS_DEGRADATION_CODEC,
        id::MOS_DEGRADATION_LOSS,
        id::MOS_DEGRADATION_DELAY,
    ];
    let sum: f64 = shares.iter().map(|share| recv[share]).sum();
    assert!((sum - 100.0).abs() < 1e-9 && recv[&shares[1]] > recv[&shares[2]]);
}

/// Without RTT the delay holds our own parts, the row says so, and no one-way delay is claimed.
#[test]
fn an_unknown_round_trip_is_said_so() {
    let mut snapshot = busy_second();
    snapshot.rtcp.rtt_ms = None;
    let values = stream_values(&snapshot, None);
    let recv = map(&values.recv);
    assert!(values.delay_partial);
    assert!(!recv.contains_key(&id::RTT_MS) && !recv.contains_key(&id::ONE_WAY_DELAY_MS));
    assert!(
        recv[&id::MOS] > 4.17,
        "60 ms instead of 100: {}",
        recv[&id::MOS]
    );
}

/// No score over mixed payload types or a silence above 2 s; the counters stay.
#[test]
fn guard_rails_withhold_the_score() {
    for spoil in [
        (|s| s.quality.mixed_payload_types = true) as fn(&mut StreamSnapshot),
        |s| s.quality.silent_over_2s = true,
        |s| s.quality.ppl_pct = None,
        |s| s.playout.delay_ms = None,
        |s| s.window_ms = 100,
    ] {
        let mut snapshot = busy_second();
        spoil(&mut snapshot);
        let recv = map(&stream_values(&snapshot, None).recv);
        assert!(!recv.contains_key(&id::MOS), "{:?}", keys(&recv));
        assert_eq!(recv[&id::PACKETS_RECEIVED], 240.0);
    }
}

/// Negative control: a stream that heard nothing has counters of zero and no gauge at all.
#[test]
fn what_was_not_measured_is_absent() {
    let mut silent = StreamSnapshot {
        window_ms: 1000,
        ..Default::default()
    };
    let values = stream_values(&silent, None);
    let recv = map(&values.recv);
    assert!(recv.iter().all(|(_, value)| *value == 0.0), "{recv:?}");
    for gauge in [
        id::JITTER_MS,
        id::FRACTION_LOST,
        id::SEQUENCE_NUMBER_GAPS,
        id::MOS,
        id::RTT_MS,
    ] {
        assert!(!recv.contains_key(&gauge), "{gauge}");
    }
    assert_eq!(recv[&id::PACKETS_RECEIVED], 0.0);
    let send = map(&values.send);
    assert!(!send.contains_key(&id::TX_LATENESS_P99_MS));
    assert!(!send.contains_key(&id::REMOTE_FRACTION_LOST));

    // A report that is not new is not reported again.
    silent.rtcp.remote = busy_second().rtcp.remote.map(|report| RemoteReport {
        fresh: false,
        ..report
    });
    assert!(!map(&stream_values(&silent, None).send).contains_key(&id::REMOTE_FRACTION_LOST));
}

/// Counters are the increments since the last snapshot, lost snapshots included; those that did
/// not move are left out after the first.
#[test]
fn counters_are_increments() {
    let before = busy_second();
    let mut now = before;
    now.send.total.packets += 100;
    now.receive.total.packets += 101;
    now.receive.total.lost -= 1;
    now.receive.total.duplicates += 1;
    let values = stream_values(&now, Some(&before));
    let (send, recv) = (map(&values.send), map(&values.recv));
    assert_eq!(send[&id::PACKETS_SENT], 100.0);
    assert_eq!(recv[&id::PACKETS_RECEIVED], 101.0);
    assert_eq!(recv[&id::PACKETS_LOST], -1.0);
    assert_eq!(recv[&id::DUPLICATE_PACKETS], 1.0);
    assert!(!recv.contains_key(&id::SSRC_SWITCHES));
    assert!(map(&values.undirected).is_empty());
}

/// A second is the generator's own when it sent late, or dropped anything itself; not otherwise.
#[test]
fn a_limited_generator_marks_its_second() {
    let limited = |spoil: fn(&mut StreamSnapshot)| {
        let before = busy_second();
        let mut now = before;
        spoil(&mut now);
        stream_values(&now, Some(&before)).limited
    };
    let late = |s: &mut StreamSnapshot, p99_ms| {
        if let Some(lateness) = &mut s.generator.lateness {
            lateness.p99_ms = p99_ms;
        }
    };
    assert!(!limited(|_| ()));
    assert_eq!(
        [2.0, 2.01].map(|p99| {
            let mut now = busy_second();
            late(&mut now, p99);
            stream_values(&now, None).limited
        }),
        [false, true]
    );
    assert!(limited(|s| s.generator.socket_drops += 1));
    assert!(limited(|s| s.generator.send_errors += 1));
    assert!(limited(|s| s.generator.send_skipped += 1));
    // Loss on the network is not ours.
    assert!(!limited(|s| s.receive.total.lost += 50));
}

/// R102: what the rows of this module can carry covers the RTP and buffer families as declared.
#[test]
fn declared_stream_metrics_are_all_emitted() {
    let values = stream_values(&busy_second(), None);
    let emitted: HashSet<MetricId> = [&values.undirected, &values.send, &values.recv]
        .into_iter()
        .flat_map(|values| map(values).into_keys())
        .collect();
    let declared = CATALOGUE.iter().filter(|metric| {
        metric.measured
            && metric.kind != callmeter_metrics::Kind::Aggregate
            && matches!(
                metric.category,
                Category::Rtp | Category::Buffer | Category::Quality
            )
    });
    let missing: Vec<_> = declared
        .filter(|m| !emitted.contains(&m.id))
        .map(|m| m.key)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
