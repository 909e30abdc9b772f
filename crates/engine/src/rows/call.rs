//! Figures that a call, a registration or an OPTIONS has once.

use std::time::{Duration, Instant};

use callmeter_metrics::id;
use callmeter_metrics::labels::CallResult;
use callmeter_sip::sdp::{Codec, Negotiated};
use callmeter_sip::{CallEnd, EndReason, OptionsAnswered, Registered};

use super::Values;
use crate::call::Script;
use crate::media::StreamSnapshot;
use crate::share::SetUp;

/// A call must have stood this long before lack of RTP is held against it.
const SHORTEST_JUDGED: Duration = Duration::from_secs(1);

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Milliseconds between two points in time that both happened, in this order.
fn between(from: Option<Instant>, to: Option<Instant>) -> Option<f64> {
    to?.checked_duration_since(from?).map(ms)
}

/// Times of a registration that was accepted (RFC 6076 §4.1: both readings of its delay).
pub(crate) fn registration_values(registered: &Registered, set_up: SetUp) -> Values {
    let mut values = Values::default();
    let authenticated = registered.authenticated.unwrap_or(registered.sent);
    values.put_some(
        id::REGISTRATION_TIME_MS,
        between(Some(registered.sent), Some(registered.at)),
    );
    values.put_some(
        id::REGISTRATION_AUTH_TIME_MS,
        between(Some(authenticated), Some(registered.at)),
    );
    values.put(id::REG_EXPIRES_S, registered.granted.as_secs_f64());
    put_set_up(&mut values, set_up);
    values
}

/// What a connection took that was made anew for a registration.
pub(crate) fn connection_values(set_up: SetUp) -> Values {
    let mut values = Values::default();
    put_set_up(&mut values, set_up);
    values
}

/// How long the answer to an OPTIONS took (RFC 3261 §11).
pub(crate) fn options_values(answered: &OptionsAnswered) -> Values {
    let mut values = Values::default();
    values.put_some(
        id::OPTIONS_RTT_MS,
        between(Some(answered.sent), Some(answered.at)),
    );
    values
}

/// Times and result of a call whose signalling ended at `ended`.
pub(crate) fn call_values(
    end: &CallEnd,
    ended: Instant,
    first_packet: Option<Instant>,
    set_up: SetUp,
) -> Values {
    let mut values = Values::default();
    let times = &end.times;
    if end.caller {
        put_placed(&mut values, end);
    } else {
        values.put_some(id::ACK_DELAY_MS, between(times.answered, times.ack));
    }
    if let Some(mid) = &end.mid {
        values.put_some(id::PRACK_DELAY_MS, between(mid.reliable, mid.pracked));
        values.put_some(
            id::TRANSFER_DELAY_MS,
            between(mid.refer_sent, mid.refer_ended),
        );
    }
    values.put_some(id::RING_DURATION_MS, between(times.ringing, times.answered));
    if times.answered.is_some() {
        values.put_some(
            id::TIME_TO_FIRST_MEDIA_MS,
            between(times.answered, first_packet),
        );
        let early = first_packet.filter(|first| Some(*first) < times.answered);
        values.put_some(id::EARLY_MEDIA_MS, between(early, times.answered));
        let bye = match (times.bye_sent, times.bye_received) {
            (Some(sent), Some(received)) => Some(sent.min(received)),
            (sent, received) => sent.or(received),
        };
        values.put_some(id::CALL_DURATION_MS, between(times.answered, bye));
        let bye_over = times.bye_answered.unwrap_or(ended);
        values.put_some(
            id::DISCONNECT_DELAY_MS,
            between(times.bye_sent, Some(bye_over)),
        );
    }
    put_set_up(&mut values, set_up);
    values
}

/// How long the steps of its scenario took, of the first of each kind.
pub(crate) fn put_script(values: &mut Values, script: &Script) {
    values.put_some(id::HOLD_DELAY_MS, script.hold_delay.map(ms));
    values.put_some(id::RESUME_DELAY_MS, script.resume_delay.map(ms));
}

/// What it took until the first message could be sent.
fn put_set_up(values: &mut Values, set_up: SetUp) {
    values.put_some(id::DNS_TIME_MS, set_up.dns.map(ms));
    values.put_some(id::TCP_CONNECT_MS, set_up.connect.map(ms));
    values.put_some(id::TLS_HANDSHAKE_MS, set_up.tls.map(ms));
}

/// What only who placed the call can tell.
fn put_placed(values: &mut Values, end: &CallEnd) {
    let times = &end.times;
    if times.invite.is_none() {
        return;
    }
    values.put_some(id::FINAL_STATUS_CODE, end.status.map(f64::from));
    // RFC 3261 §8.1.3.1: an error of the transport is treated as a 503.
    let result = match end.reason {
        EndReason::FlowFailed => CallResult::Unavailable,
        _ => CallResult::from_status(end.status),
    };
    values.put(id::CALL_RESULT, f64::from(result.code()));
    values.put_some(
        id::TIME_TO_TRYING_MS,
        between(times.invite, times.first_response),
    );
    values.put_some(id::TIME_TO_RINGING_MS, between(times.invite, times.ringing));
    let ringback = match (times.ringing, times.early_media) {
        (Some(ringing), Some(early)) => Some(ringing.min(early)),
        (ringing, early) => ringing.or(early),
    };
    values.put_some(id::POST_DIAL_DELAY_MS, between(times.invite, ringback));
    values.put_some(id::FAILED_SRD_MS, between(times.invite, times.failed));
    values.put_some(
        id::CALL_SETUP_TIME_MS,
        between(times.invite, times.answered),
    );
    if times.cancel.is_some() && end.status == Some(487) {
        values.put_some(id::CANCEL_DELAY_MS, between(times.cancel, times.failed));
    }
}

/// Codec and packet time, as agreed on (sent) and as seen (received), of an answered call.
pub(crate) fn codec_values(
    negotiated: &Negotiated,
    last: Option<&StreamSnapshot>,
) -> (Values, Values) {
    let (mut send, mut recv) = (Values::default(), Values::default());
    // The static payload type names the codec, whatever number the far end uses for it.
    let codec = match negotiated.codec {
        Codec::Pcmu => 0.0,
        Codec::Pcma => 8.0,
    };
    send.put(id::AUDIO_CODEC, codec);
    send.put(id::AUDIO_PACKETIZATION_MS, f64::from(negotiated.ptime_ms));
    if last.is_some_and(|last| last.receive.total.packets > 0) {
        recv.put(id::AUDIO_CODEC, codec);
        recv.put_some(
            id::AUDIO_PACKETIZATION_MS,
            last.and_then(|last| last.quality.packet_ms),
        );
    }
    (send, recv)
}

/// Which directions of an answered call had RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AudioVerdict {
    /// Exactly one direction lacks RTP.
    pub(crate) one_way: bool,
    /// Both directions lack RTP, or nothing at all came from the far end.
    pub(crate) missing: bool,
}

/// Judges a call that stood for `stood` with both sides meant to send; `None` if it was too short
/// or we sent nothing ourselves.
///
/// That the far end hears us is shown by its report about our stream. That it does not is taken
/// only from two reports in which it has none: the first may come before our first packet.
pub(crate) fn judge_audio(stood: Duration, last: &StreamSnapshot) -> Option<AudioVerdict> {
    if stood < SHORTEST_JUDGED || last.send.total.packets == 0 {
        return None;
    }
    let heard_by_us = last.receive.total.packets > 0;
    let hears_us = last.rtcp.remote.is_some();
    let deaf = !hears_us && last.rtcp.received >= 2;
    Some(AudioVerdict {
        one_way: (heard_by_us && deaf) || (!heard_by_us && hears_us),
        missing: !heard_by_us && !hears_us,
    })
}
