//! Every metric of a stream driven to a known value, and a control that is not.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use callmeter_metrics::{Aggregate, CATALOGUE, Category, MetricId, RowDirection, by_id, id};
use callmeter_rtp::{BurstGap, Lateness, RemoteReport, Spacing};
use callmeter_sip::sdp::{Codec, Direction, Negotiated};
use callmeter_sip::{CallEnd, CallTimes, EndReason, EndpointKey, Registered, UaCounters};

use super::*;
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

fn counters() -> UaCounters {
    UaCounters {
        messages_sent: 1,
        messages_received: 2,
        responses_sent: [3, 4, 5, 6, 7, 8],
        responses_received: [9, 10, 11, 12, 13, 14],
        retransmissions_sent: 15,
        retransmissions_received: 16,
        timeouts: 17,
        unexpected: 18,
        out_of_dialog: 19,
        malformed: 20,
        auth_challenges: 21,
        transport_errors: 22,
        reg_attempts: 23,
        reg_success: 24,
        reg_failed: 25,
        invites_sent: 26,
        invites_received: 27,
    }
}

/// R103: each SIP counter arrives under its own metric and direction.
#[test]
fn every_signalling_counter_has_its_value() {
    let values = signalling_values(&counters(), &UaCounters::default(), true);
    let (none, send, recv) = (
        map(&values.undirected),
        map(&values.send),
        map(&values.recv),
    );
    for (found, metric, expected) in [
        (&none, id::REG_ATTEMPTS, 23.0),
        (&none, id::REG_SUCCESS, 24.0),
        (&none, id::REG_FAILED, 25.0),
        (&none, id::AUTH_CHALLENGES, 21.0),
        (&none, id::INVITE_SENT, 26.0),
        (&none, id::INVITE_RECEIVED, 27.0),
        (&none, id::SIP_TIMEOUTS, 17.0),
        (&send, id::SIP_MESSAGES_SENT, 1.0),
        (&send, id::SIP_RETRANSMISSIONS, 15.0),
        (&send, id::TRANSPORT_ERRORS, 22.0),
        (&send, id::SIP_1XX, 3.0),
        (&send, id::SIP_2XX, 4.0),
        (&send, id::SIP_3XX, 5.0),
        (&send, id::SIP_4XX, 6.0),
        (&send, id::SIP_5XX, 7.0),
        (&send, id::SIP_6XX, 8.0),
        (&recv, id::SIP_MESSAGES_RECEIVED, 2.0),
        (&recv, id::SIP_RETRANSMISSIONS_RECV, 16.0),
        (&recv, id::SIP_UNEXPECTED, 18.0),
        (&recv, id::SIP_OUT_OF_DIALOG, 19.0),
        (&recv, id::SIP_1XX, 9.0),
        (&recv, id::SIP_6XX, 14.0),
    ] {
        assert_eq!(found.get(&metric), Some(&expected), "{metric}");
    }
    assert_catalogued(&none, RowDirection::None);
    assert_catalogued(&send, RowDirection::Send);
    assert_catalogued(&recv, RowDirection::Recv);
    // Control: nothing moved, nothing said; a first row says that it was none.
    let still = signalling_values(&counters(), &counters(), false);
    assert!(still.undirected.is_empty() && still.send.is_empty() && still.recv.is_empty());
    let first = signalling_values(&UaCounters::default(), &UaCounters::default(), true);
    assert!(map(&first.undirected).values().all(|n| *n == 0.0) && !first.recv.is_empty());
}

fn at(start: Instant, ms: u64) -> Option<Instant> {
    Some(start + Duration::from_millis(ms))
}

fn end(caller: bool, status: Option<u16>, times: CallTimes) -> CallEnd {
    CallEnd {
        reason: EndReason::LocalBye,
        caller,
        status,
        phrase: String::new(),
        retry_after: None,
        bye_status: Some(200),
        times,
    }
}

/// A call rung at 50 ms, answered at 2 s, hung up at 12 s: each time to the millisecond.
#[test]
fn every_time_of_a_call_has_its_value() {
    let t = origin();
    let times = CallTimes {
        invite: at(t, 0),
        first_response: at(t, 10),
        ringing: at(t, 50),
        early_media: at(t, 40),
        answered: at(t, 2000),
        ack: at(t, 2001),
        bye_sent: at(t, 12_000),
        bye_answered: at(t, 12_030),
        ..Default::default()
    };
    let ended = t + Duration::from_millis(12_030);
    let dns = Some(Duration::from_millis(7));
    let found = map(&call_values(
        &end(true, Some(200), times),
        ended,
        at(t, 2021),
        dns,
    ));
    for (metric, expected) in [
        (id::FINAL_STATUS_CODE, 200.0),
        (id::CALL_RESULT, 0.0),
        (id::TIME_TO_TRYING_MS, 10.0),
        (id::TIME_TO_RINGING_MS, 50.0),
        (id::POST_DIAL_DELAY_MS, 40.0),
        (id::RING_DURATION_MS, 1950.0),
        (id::CALL_SETUP_TIME_MS, 2000.0),
        (id::TIME_TO_FIRST_MEDIA_MS, 21.0),
        (id::CALL_DURATION_MS, 10_000.0),
        (id::DISCONNECT_DELAY_MS, 30.0),
        (id::DNS_TIME_MS, 7.0),
    ] {
        assert!(
            (found[&metric] - expected).abs() < 1e-6,
            "{metric}: {}",
            found[&metric]
        );
    }
    for absent in [
        id::FAILED_SRD_MS,
        id::CANCEL_DELAY_MS,
        id::ACK_DELAY_MS,
        id::EARLY_MEDIA_MS,
    ] {
        assert!(!found.contains_key(&absent), "{absent}");
    }
    assert_catalogued(&found, RowDirection::None);

    // The callee of the same call knows its own times only; media came before the answer.
    let found = map(&call_values(
        &end(false, Some(200), times),
        ended,
        at(t, 1990),
        None,
    ));
    assert!((found[&id::ACK_DELAY_MS] - 1.0).abs() < 1e-6);
    assert!((found[&id::EARLY_MEDIA_MS] - 10.0).abs() < 1e-6);
    for absent in [
        id::CALL_SETUP_TIME_MS,
        id::CALL_RESULT,
        id::TIME_TO_FIRST_MEDIA_MS,
    ] {
        assert!(!found.contains_key(&absent), "{absent}");
    }
}

#[test]
fn failed_and_cancelled_calls_have_theirs() {
    let t = origin();
    let busy = CallTimes {
        invite: at(t, 0),
        first_response: at(t, 5),
        failed: at(t, 30),
        ..Default::default()
    };
    let found = map(&call_values(&end(true, Some(486), busy), t, None, None));
    assert_eq!(
        (found[&id::FINAL_STATUS_CODE], found[&id::CALL_RESULT]),
        (486.0, 1.0)
    );
    assert!((found[&id::FAILED_SRD_MS] - 30.0).abs() < 1e-6);
    assert!(!found.contains_key(&id::CALL_SETUP_TIME_MS));

    let cancelled = CallTimes {
        invite: at(t, 0),
        cancel: at(t, 100),
        failed: at(t, 140),
        ..Default::default()
    };
    let found = map(&call_values(
        &end(true, Some(487), cancelled),
        t,
        None,
        None,
    ));
    assert!((found[&id::CANCEL_DELAY_MS] - 40.0).abs() < 1e-6);
    assert_eq!(found[&id::CALL_RESULT], 4.0);

    // Never answered at all: a timeout without a status.
    let silent = CallTimes {
        invite: at(t, 0),
        ..Default::default()
    };
    let found = map(&call_values(&end(true, None, silent), t, None, None));
    assert_eq!(found[&id::CALL_RESULT], 3.0);
    assert!(!found.contains_key(&id::FINAL_STATUS_CODE));
}

#[test]
fn a_registration_has_both_readings_of_its_delay() {
    let t = origin();
    let mut registered = Registered {
        endpoint: EndpointKey(1),
        at: t + Duration::from_millis(90),
        granted: Duration::from_secs(300),
        sent: t,
        authenticated: at(t, 60),
        refresh: false,
    };
    let found = map(&registration_values(&registered, None));
    assert!((found[&id::REGISTRATION_TIME_MS] - 90.0).abs() < 1e-6);
    assert!((found[&id::REGISTRATION_AUTH_TIME_MS] - 30.0).abs() < 1e-6);
    assert_eq!(found[&id::REG_EXPIRES_S], 300.0);
    assert!(!found.contains_key(&id::DNS_TIME_MS));
    registered.authenticated = None;
    let found = map(&registration_values(&registered, None));
    assert_eq!(
        found[&id::REGISTRATION_AUTH_TIME_MS],
        found[&id::REGISTRATION_TIME_MS]
    );
}

#[test]
fn the_codec_is_named_by_its_static_number() {
    let agreed = Negotiated {
        codec: Codec::Pcma,
        send_payload_type: 96,
        receive_payload_type: 8,
        remote_rtp: "192.0.2.1:4000".parse().unwrap(),
        remote_rtcp: "192.0.2.1:4001".parse().unwrap(),
        ptime_ms: 30,
        direction: Direction::SendRecv,
        held: false,
    };
    let (send, recv) = codec_values(&agreed, Some(&busy_second()));
    assert_eq!(map(&send)[&id::AUDIO_CODEC], 8.0);
    assert_eq!(map(&send)[&id::AUDIO_PACKETIZATION_MS], 30.0);
    assert_eq!(map(&recv)[&id::AUDIO_PACKETIZATION_MS], 20.0);
    assert!(codec_values(&agreed, None).1.is_empty());
}

/// One-way and missing audio are told apart, and neither is claimed without proof.
#[test]
fn lack_of_audio_is_judged_from_both_sides() {
    let judge = |received: u64, reported: bool, reports: u64| {
        let mut last = busy_second();
        last.receive.total.packets = received;
        last.rtcp.received = reports;
        if !reported {
            last.rtcp.remote = None;
        }
        let verdict = judge_audio(Duration::from_secs(10), &last).unwrap();
        (verdict.one_way, verdict.missing)
    };
    assert_eq!(judge(500, true, 3), (false, false));
    assert_eq!(
        judge(500, false, 0),
        (false, false),
        "no RTCP proves nothing"
    );
    assert_eq!(
        judge(500, false, 1),
        (false, false),
        "the first report may be early"
    );
    assert_eq!(judge(500, false, 2), (true, false), "we hear, they do not");
    assert_eq!(judge(0, true, 3), (true, false), "they hear, we do not");
    assert_eq!(judge(0, false, 3), (false, true));
    assert_eq!(judge(0, false, 0), (false, true));
    assert_eq!(
        judge_audio(Duration::from_millis(900), &busy_second()),
        None,
        "too short"
    );
    let mut mute = busy_second();
    mute.send.total.packets = 0;
    assert_eq!(
        judge_audio(Duration::from_secs(10), &mute),
        None,
        "we sent nothing"
    );
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
