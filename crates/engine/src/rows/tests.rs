//! Every metric driven to a known value, and controls that are not.
#![expect(clippy::float_cmp, reason = "counts and copied figures are exact")]

mod call;
mod signalling;
mod stream;

use std::collections::BTreeMap;
use std::time::Instant;

use callmeter_metrics::{Aggregate, MetricId, RowDirection, by_id};
use callmeter_rtp::{BurstGap, Lateness, RemoteReport, Spacing};

use super::Values;
use crate::media::StreamSnapshot;

type Found = BTreeMap<MetricId, f64>;

#[expect(clippy::disallowed_methods, reason = "any point in time will do")]
fn origin() -> Instant {
    Instant::now()
}

fn map(values: &Values) -> Found {
    let found: Found = values.0.iter().map(|v| (v.metric, v.value)).collect();
    assert_eq!(found.len(), values.0.len(), "a metric twice in one row");
    found
}

fn keys(found: &Found) -> Vec<&'static str> {
    found.keys().map(|id| by_id(*id).unwrap().key).collect()
}

/// All the metrics of `found` may stand in a row of the direction, and are declared measured.
fn assert_catalogued(found: &Found, direction: RowDirection) {
    for (metric, value) in found {
        let known = by_id(*metric).unwrap();
        assert!(known.measured, "{} is emitted but not declared", known.key);
        Aggregate::new().add(0, direction, *metric, *value).unwrap();
    }
}

/// A second in which every figure has a value of its own.
fn busy_second() -> StreamSnapshot {
    let mut s = StreamSnapshot {
        second: 3,
        window_ms: 1000,
        ..Default::default()
    };
    s.send.total.packets = 250;
    s.send.total.bytes = 40_000;
    let r = &mut s.receive;
    r.total.packets = 240;
    r.total.bytes = 38_400;
    r.total.expected = 250;
    r.total.lost = 10;
    r.total.duplicates = 1;
    r.total.out_of_order = 2;
    r.total.jumps = 3;
    r.total.resets = 4;
    r.total.timestamp_jumps = 5;
    r.total.ssrc_switches = 6;
    r.total.payload_type_changes = 7;
    r.total.unexpected_source = 8;
    r.fraction_lost_pct = Some(4.0);
    r.largest_gap = 9;
    r.spacing = Some(Spacing {
        min_ms: 18.0,
        max_ms: 25.0,
        avg_ms: 20.1,
    });
    r.jitter_ms = Some(1.25);
    r.pdv_p95_ms = Some(3.5);
    r.pdv_p99_ms = Some(4.5);
    r.burst_gap = Some(BurstGap {
        burst_density: 0.5,
        gap_density: 0.01,
        burst_duration_ms: 80.0,
        gap_duration_ms: 900.0,
        bursts: 2,
    });
    r.dscp = Some(46);
    r.ttl = Some(63);
    let p = &mut s.playout;
    p.total.pushed = 231;
    p.total.lost = 11;
    p.total.late = 12;
    p.total.duplicates = 13;
    p.total.underruns = 14;
    p.total.overruns = 15;
    p.discard_rate_pct = Some(2.5);
    p.delay_ms = Some(40.0);
    p.max_delay_ms = Some(120.0);
    p.average_jitter_ms = Some(0.75);
    s.rtcp.sent = 2;
    s.rtcp.received = 3;
    s.rtcp.interval_ms = Some(5100.0);
    s.rtcp.rtt_ms = Some(80.0);
    s.rtcp.remote = Some(RemoteReport {
        fraction_lost_pct: 1.5,
        cumulative_lost: 17,
        jitter_ms: 2.25,
        highest_sequence: 99,
        fresh: true,
    });
    s.quality.ppl_pct = Some(2.0);
    s.quality.burst_ratio = 1.0;
    s.quality.packet_ms = Some(20.0);
    s.generator.lateness = Some(Lateness {
        p50_ms: 0.1,
        p99_ms: 0.4,
        max_ms: 0.9,
        over_1ms: 0,
        packets: 50,
    });
    s.generator.socket_drops = 0;
    s
}
