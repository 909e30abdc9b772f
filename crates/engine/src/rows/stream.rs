//! A stream's snapshot as two rows: what it sent and what it received.

use callmeter_metrics::id;

use super::Values;
use super::quality::put_quality;
use crate::media::StreamSnapshot;

/// Send lateness above this marks a second (milliseconds, 99th percentile).
const LATENESS_LIMIT_MS: f64 = 2.0;
/// Shorter windows have counters but neither rates nor scores: too few packets to mean anything.
const SHORTEST_WINDOW_MS: u32 = 500;

/// Values of a stream's second by direction.
#[derive(Debug, Default)]
pub(crate) struct StreamValues {
    pub(crate) undirected: Values,
    pub(crate) send: Values,
    pub(crate) recv: Values,
    /// The delay of the scores holds our own parts only.
    pub(crate) delay_partial: bool,
    /// The second broke a validity limit.
    pub(crate) limited: bool,
}

/// What a stream measured since the snapshot `before` (its previous one; `None`: its first).
pub(crate) fn stream_values(now: &StreamSnapshot, before: Option<&StreamSnapshot>) -> StreamValues {
    let first = before.is_none();
    let zero = StreamSnapshot::default();
    let before = before.unwrap_or(&zero);
    let mut values = StreamValues::default();
    put_sent(&mut values.send, now, before, first);
    put_received(&mut values.recv, now, before, first);
    put_playout(&mut values.recv, now, before, first);
    put_digits(&mut values, now, before);
    values.undirected.count(
        id::RX_SOCKET_DROPS,
        gained(now.generator.socket_drops, before.generator.socket_drops),
        first,
    );
    if now.window_ms >= SHORTEST_WINDOW_MS {
        put_rates(&mut values, now, before);
        values.delay_partial = put_quality(&mut values.recv, now);
    }
    let late = now
        .generator
        .lateness
        .is_some_and(|l| l.p99_ms > LATENESS_LIMIT_MS);
    let lost = |s: &StreamSnapshot| {
        s.generator.socket_drops + s.generator.send_errors + s.generator.send_skipped
    };
    values.limited = late || lost(now) > lost(before);
    values
}

fn gained(now: u64, before: u64) -> i64 {
    now.saturating_sub(before) as i64
}

fn put_sent(send: &mut Values, now: &StreamSnapshot, before: &StreamSnapshot, first: bool) {
    let (total, earlier) = (&now.send.total, &before.send.total);
    send.put(
        id::PACKETS_SENT,
        gained(total.packets, earlier.packets) as f64,
    );
    send.put(id::BYTES_SENT, gained(total.bytes, earlier.bytes) as f64);
    send.count(
        id::RTCP_SENT,
        gained(now.rtcp.sent, before.rtcp.sent),
        first,
    );
    if let Some(report) = now.rtcp.remote.filter(|report| report.fresh) {
        send.put(id::REMOTE_FRACTION_LOST, report.fraction_lost_pct);
        send.put(id::REMOTE_JITTER_MS, report.jitter_ms);
        send.put(id::REMOTE_PACKETS_LOST, f64::from(report.cumulative_lost));
    }
    if let Some(lateness) = now.generator.lateness {
        send.put(id::TX_LATENESS_P50_MS, lateness.p50_ms);
        send.put(id::TX_LATENESS_P99_MS, lateness.p99_ms);
        send.put(id::TX_LATENESS_MAX_MS, lateness.max_ms);
    }
}

fn put_received(recv: &mut Values, now: &StreamSnapshot, before: &StreamSnapshot, first: bool) {
    let received = &now.receive;
    let (total, earlier) = (&received.total, &before.receive.total);
    recv.put(
        id::PACKETS_RECEIVED,
        gained(total.packets, earlier.packets) as f64,
    );
    recv.put(
        id::BYTES_RECEIVED,
        gained(total.bytes, earlier.bytes) as f64,
    );
    recv.put(id::PACKETS_LOST, (total.lost - earlier.lost) as f64);
    for (metric, now, before) in [
        (id::DUPLICATE_PACKETS, total.duplicates, earlier.duplicates),
        (
            id::OUT_OF_ORDER_PACKETS,
            total.out_of_order,
            earlier.out_of_order,
        ),
        (id::SEQUENCE_NUMBER_JUMPS, total.jumps, earlier.jumps),
        (id::SEQUENCE_NUMBER_RESETS, total.resets, earlier.resets),
        (
            id::TIMESTAMP_JUMPS,
            total.timestamp_jumps,
            earlier.timestamp_jumps,
        ),
        (
            id::SSRC_SWITCHES,
            total.ssrc_switches,
            earlier.ssrc_switches,
        ),
        (
            id::PAYLOAD_TYPE_CHANGES,
            total.payload_type_changes,
            earlier.payload_type_changes,
        ),
        (
            id::UNEXPECTED_SOURCE_PACKETS,
            total.unexpected_source,
            earlier.unexpected_source,
        ),
        (id::RTCP_RECEIVED, now.rtcp.received, before.rtcp.received),
    ] {
        recv.count(metric, gained(now, before), first);
    }
    recv.put_some(id::FRACTION_LOST, received.fraction_lost_pct);
    // Without a packet there is no run of missing numbers to speak of.
    if total.packets > 0 {
        recv.put(id::SEQUENCE_NUMBER_GAPS, f64::from(received.largest_gap));
    }
    if let Some(spacing) = received.spacing {
        recv.put(id::MAX_PACKET_SPACING, spacing.max_ms);
        recv.put(id::MIN_PACKET_SPACING, spacing.min_ms);
        recv.put(id::AVG_PACKET_SPACING, spacing.avg_ms);
    }
    recv.put_some(id::JITTER_MS, received.jitter_ms);
    recv.put_some(id::PDV_P95_MS, received.pdv_p95_ms);
    recv.put_some(id::PDV_P99_MS, received.pdv_p99_ms);
    if let Some(bursts) = received.burst_gap {
        recv.put(id::BURST_DENSITY, bursts.burst_density);
        recv.put(id::GAP_DENSITY, bursts.gap_density);
        recv.put(id::BURST_DURATION, bursts.burst_duration_ms);
        recv.put(id::GAP_DURATION, bursts.gap_duration_ms);
    }
    recv.put_some(id::RTCP_SR_RR_INTERVAL_MS, now.rtcp.interval_ms);
    recv.put_some(id::RTT_MS, now.rtcp.rtt_ms);
    recv.put_some(id::DSCP_RECEIVED, received.dscp.map(f64::from));
    recv.put_some(id::TTL_RECEIVED, received.ttl.map(f64::from));
}

fn put_playout(recv: &mut Values, now: &StreamSnapshot, before: &StreamSnapshot, first: bool) {
    let (total, earlier) = (&now.playout.total, &before.playout.total);
    for (metric, now, before) in [
        (id::JB_PACKETS_PUSHED, total.pushed, earlier.pushed),
        (id::JB_PACKETS_LOST, total.lost, earlier.lost),
        (id::JB_LATE_PACKETS, total.late, earlier.late),
        (id::JB_DUPLICATES, total.duplicates, earlier.duplicates),
        (id::JB_UNDERRUNS, total.underruns, earlier.underruns),
        (id::JB_OVERRUNS, total.overruns, earlier.overruns),
    ] {
        recv.count(metric, gained(now, before), first);
    }
    recv.put_some(id::DISCARD_RATE, now.playout.discard_rate_pct);
    recv.put_some(id::JB_AVERAGE_JITTER_MS, now.playout.average_jitter_ms);
    recv.put_some(id::JB_DELAY_MS, now.playout.delay_ms);
    recv.put_some(id::JB_MAX_DELAY_MS, now.playout.max_delay_ms);
}

/// Digits as telephone events and by INFO.
fn put_digits(values: &mut StreamValues, now: &StreamSnapshot, before: &StreamSnapshot) {
    let Some(total) = &now.events else { return };
    let first = before.events.is_none();
    let earlier = before.events.unwrap_or_default();
    let (send, recv) = (&mut values.send, &mut values.recv);
    send.count(id::DTMF_SENT, gained(total.sent, earlier.sent), first);
    send.count(
        id::DTMF_ERRORS,
        gained(total.dropped, earlier.dropped),
        first,
    );
    let (received, incomplete) = (total.received, total.incomplete);
    recv.count(id::DTMF_RECEIVED, gained(received, earlier.received), first);
    recv.count(
        id::DTMF_ERRORS,
        gained(incomplete, earlier.incomplete),
        first,
    );
}

fn put_rates(values: &mut StreamValues, now: &StreamSnapshot, before: &StreamSnapshot) {
    let per_second = |now: u64, before: u64, window_ms: u32| {
        gained(now, before) as f64 * 1000.0 / f64::from(window_ms)
    };
    let window = now.window_ms;
    let (sent, was_sent) = (&now.send.total, &before.send.total);
    let (received, was_received) = (&now.receive.total, &before.receive.total);
    for (values, packets, bits, now, before) in [
        (
            &mut values.send,
            id::PACKETS_SENT_RATE_PS,
            id::BYTES_SENT_RATE_BPS,
            (sent.packets, sent.bytes),
            (was_sent.packets, was_sent.bytes),
        ),
        (
            &mut values.recv,
            id::PACKETS_RECV_RATE_PS,
            id::BYTES_RECV_RATE_BPS,
            (received.packets, received.bytes),
            (was_received.packets, was_received.bytes),
        ),
    ] {
        values.put(packets, per_second(now.0, before.0, window));
        values.put(bits, per_second(now.1, before.1, window) * 8.0);
    }
}
