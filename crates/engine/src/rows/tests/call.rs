//! Rows of calls and registrations.

use std::time::{Duration, Instant};

use callmeter_metrics::{RowDirection, id};
use callmeter_sip::sdp::{Codec, Direction, Negotiated};
use callmeter_sip::{CallEnd, CallTimes, EndReason, EndpointKey, Registered};

use super::{assert_catalogued, busy_second, map, origin};
use crate::rows::{call_values, codec_values, judge_audio, registration_values};
use crate::share::SetUp;

#[expect(clippy::unnecessary_wraps, reason = "the fields it fills are optional")]
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
        mid: None,
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
    let set_up = SetUp {
        dns: Some(Duration::from_millis(7)),
        connect: Some(Duration::from_millis(3)),
        tls: Some(Duration::from_micros(1500)),
    };
    let found = map(&call_values(
        &end(true, Some(200), times),
        ended,
        at(t, 2021),
        set_up,
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
        (id::TCP_CONNECT_MS, 3.0),
        (id::TLS_HANDSHAKE_MS, 1.5),
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
        SetUp::default(),
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
    let found = map(&call_values(
        &end(true, Some(486), busy),
        t,
        None,
        SetUp::default(),
    ));
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
        SetUp::default(),
    ));
    assert!((found[&id::CANCEL_DELAY_MS] - 40.0).abs() < 1e-6);
    assert_eq!(found[&id::CALL_RESULT], 4.0);

    // Never answered at all: a timeout without a status.
    let silent = CallTimes {
        invite: at(t, 0),
        ..Default::default()
    };
    let found = map(&call_values(
        &end(true, None, silent),
        t,
        None,
        SetUp::default(),
    ));
    assert_eq!(found[&id::CALL_RESULT], 3.0);
    assert!(!found.contains_key(&id::FINAL_STATUS_CODE));

    // Its connection was refused or broke: as if answered 503 (RFC 3261 §8.1.3.1), with no status.
    let broken = CallEnd {
        reason: EndReason::FlowFailed,
        ..end(true, None, silent)
    };
    let found = map(&call_values(&broken, t, None, SetUp::default()));
    assert_eq!(found[&id::CALL_RESULT], 6.0);
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
    let found = map(&registration_values(&registered, SetUp::default()));
    assert!((found[&id::REGISTRATION_TIME_MS] - 90.0).abs() < 1e-6);
    assert!((found[&id::REGISTRATION_AUTH_TIME_MS] - 30.0).abs() < 1e-6);
    assert_eq!(found[&id::REG_EXPIRES_S], 300.0);
    for absent in [id::DNS_TIME_MS, id::TCP_CONNECT_MS, id::TLS_HANDSHAKE_MS] {
        assert!(!found.contains_key(&absent));
    }
    registered.authenticated = None;
    let found = map(&registration_values(&registered, SetUp::default()));
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
        telephone_events: None,
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
