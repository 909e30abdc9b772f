//! The end of a call: hanging up, the far end's BYE, stray packets, the last figures.

use std::time::{Duration, Instant};

use callmeter_metrics::{RowDirection, id};
use callmeter_sip::sdp::Direction;
use callmeter_sip::{CallEnd, EndReason};

use super::{AFTER_FAILURE, Engine, LINGER, PATIENCE};
use crate::assign::ShareId;
use crate::call::{Call, Purpose, Stage as CallStage};
use crate::endpoint::Life;
use crate::event::{Outcome, Phase, What};
use crate::load::Load;
use crate::media::StreamId;
use crate::rows::{Values, call_values, codec_values, judge_audio, put_script};
use crate::share::SetUp;

impl Engine {
    /// The one timer of a call; what it means is the stage's.
    pub(super) fn call_due(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        call.timer = None;
        match call.stage {
            CallStage::Preparing => {
                call.verdict
                    .raise(Outcome::OsError, "no media port in time");
                self.abandon(now, stream);
            }
            CallStage::Ringing if call.ring_over => {
                call.verdict
                    .raise(Outcome::OsError, "no media port in time");
                self.hang_up(now, stream);
            }
            CallStage::Ringing => {
                call.ring_over = true;
                self.set_call_timer(stream, Some(now + PATIENCE));
                self.try_answer(now, stream);
            }
            CallStage::Established => self.hang_up(now, stream),
            CallStage::Lingering => self.remove_stream(now, stream),
            CallStage::Removing => {
                call.verdict.raise(
                    Outcome::CompletedWithWarnings,
                    "no last figures of its media",
                );
                self.stream_gone(now, stream);
            }
            CallStage::Inviting | CallStage::Disconnecting => {}
        }
    }

    /// Ends a call in whatever state; who hangs up stops sending before its BYE.
    pub(super) fn hang_up(&mut self, now: Instant, stream: StreamId) {
        self.stop_sending(stream);
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if matches!(
            call.stage,
            CallStage::Disconnecting | CallStage::Lingering | CallStage::Removing
        ) {
            return;
        }
        let Some(key) = call.key else {
            self.abandon(now, stream);
            return;
        };
        call.stage = CallStage::Disconnecting;
        self.set_call_timer(stream, None);
        self.enter(now, stream, Phase::Disconnecting);
        // Refused only if its end is being reported already.
        let _ = self.ua.hang_up(now, key);
    }

    pub(super) fn bye_received(&mut self, now: Instant, stream: StreamId) {
        self.stop_sending(stream);
        self.enter(now, stream, Phase::Disconnecting);
        // No step starts any more, but one may wait to hear of its transfer.
        if let Some(call) = self.calls.get_mut(&stream) {
            call.stage = CallStage::Disconnecting;
        }
        self.set_call_timer(stream, None);
    }

    /// Signalling is over; what was answered still receives for a moment.
    pub(super) fn call_ended(&mut self, now: Instant, stream: StreamId, at: Instant, end: CallEnd) {
        self.stop_sending(stream);
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if let Some(key) = call.key.take() {
            self.by_key.remove(&key);
        }
        if !(call.refuses && end.reason == EndReason::Rejected) {
            let (outcome, detail) = judge_end(&end);
            call.verdict.raise(outcome, detail);
        }
        call.drop_digits();
        let dropped = end.reason == EndReason::Dropped;
        let linger = end.times.answered.is_some() && call.negotiated.is_some() && !dropped;
        // A call may wait for what is said of its transfer: the session ended with its BYE.
        let times = &end.times;
        let bye = match times.bye_sent {
            Some(_) => times.bye_answered,
            None => times.bye_received,
        };
        call.ended_at = Some(bye.unwrap_or(at));
        call.end = Some(end);
        self.release(now, stream);
        if linger {
            if let Some(call) = self.calls.get_mut(&stream) {
                call.stage = CallStage::Lingering;
            }
            self.set_call_timer(stream, Some(now + LINGER));
        } else {
            self.remove_stream(now, stream);
        }
    }

    /// Everything of the call is known: reports it and forgets it.
    pub(super) fn finish_call(&mut self, now: Instant, stream: StreamId) {
        self.enter(now, stream, Phase::Closed);
        self.end_script(stream);
        self.set_call_timer(stream, None);
        let Some(mut call) = self.calls.remove(&stream) else {
            return;
        };
        let (id, index) = (call.share, call.endpoint);
        self.write_call_rows(&mut call);
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let outcome = call.verdict.outcome().unwrap_or(Outcome::CallFailed);
        share.outcomes[outcome.index()] += 1;
        let detail = call.verdict.detail().to_owned();
        if let Some(endpoint) = share.endpoint(index) {
            endpoint.open_calls -= 1;
            endpoint.verdict.raise(outcome, detail.clone());
        }
        let sip_status = call.end.as_ref().and_then(|end| end.status);
        let outgoing = call.outgoing;
        let ended = What::CallEnded {
            outcome,
            sip_status,
            detail,
            outgoing,
            completed: call.end.as_ref().is_some_and(is_completed),
        };
        self.emit(now, id, index, call.number, ended);
        if outgoing && call.purpose == Purpose::Plan {
            let asked = call.end.as_ref().and_then(|end| end.retry_after);
            let ended = call.ended_at.unwrap_or(now);
            self.plan_next((ended, outcome, asked), id, index);
        }
        self.after_call(now, id, index);
    }

    fn write_call_rows(&mut self, call: &mut Call) {
        let Some(share) = self.shares.get_mut(&call.share) else {
            return;
        };
        let (Some(end), Some(ended)) = (&call.end, call.ended_at) else {
            return;
        };
        let set_up = if call.outgoing {
            share.take_set_up(call.endpoint)
        } else {
            SetUp::default()
        };
        let mut values = call_values(end, ended, call.first_packet, set_up);
        if let Some(script) = &call.script {
            put_script(&mut values, script);
        }
        let answered = call.was_answered();
        let both_send = call
            .negotiated
            .is_some_and(|agreed| agreed.direction == Direction::SendRecv);
        let stood = end
            .times
            .answered
            .map_or(Duration::ZERO, |from| ended.duration_since(from));
        let judged = call
            .reported
            .filter(|_| answered && both_send)
            .and_then(|last| judge_audio(stood, &last));
        if let Some(audio) = judged {
            values.put(id::ONE_WAY_AUDIO, f64::from(u8::from(audio.one_way)));
            values.put(id::MISSING_AUDIO, f64::from(u8::from(audio.missing)));
            if audio.one_way || audio.missing {
                let detail = if audio.one_way {
                    "one-way audio"
                } else {
                    "no audio"
                };
                call.verdict.raise(Outcome::CompletedWithWarnings, detail);
            }
        }
        let second = share.rows.current();
        let mut put = |direction, values: Values| {
            if !values.is_empty() {
                share.rows.add(
                    second,
                    (call.endpoint, call.number, direction, true),
                    values,
                );
            }
        };
        put(RowDirection::None, values);
        if let Some(agreed) = call.negotiated.filter(|_| answered) {
            let (send, recv) = codec_values(&agreed, call.reported.as_ref());
            put(RowDirection::Send, send);
            put(RowDirection::Recv, recv);
        }
    }

    /// When the endpoint calls again, if it does. After a failure it waits, so that a far end that
    /// refuses at once is not stormed, and at least as long as the far end asked for (Retry-After,
    /// RFC 3261 §20.33).
    fn plan_next(
        &mut self,
        (ended, outcome, asked): (Instant, Outcome, Option<Duration>),
        id: ShareId,
        index: u32,
    ) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let failed = outcome.severity() > Outcome::CompletedWithWarnings.severity();
        let least = if failed {
            AFTER_FAILURE
        } else {
            Duration::ZERO
        };
        let least = asked.map_or(least, |asked| asked.max(least));
        let next = ended + share.assign.call.pause.max(least);
        let (again, next) = match share.assign.load {
            Load::Offsets | Load::AtOnce(_) => {
                (share.assign.call.repeat && share.fits(next), Some(next))
            }
            Load::Concurrency(_) => {
                let slot = share.slot(index, next);
                (slot.is_some(), slot)
            }
            // Its next call has a timer of its own.
            Load::Arrivals(_) => return,
        };
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        endpoint.dialled_out |= !again;
        endpoint.dial_at = next;
        endpoint.repeats = true;
    }

    /// After a call an endpoint dials again, waits for calls, or is done.
    pub(super) fn after_call(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let ending = share.is_ending();
        let only_calls = !share.assign.role.answers();
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        // Its first registration failed in the call, which may have come by one of an earlier run.
        let failed = endpoint.life == Life::Waiting;
        if ending || failed || (only_calls && endpoint.dialled_out) {
            self.end_endpoint(now, id, index);
        } else {
            self.plan_dial(now, id, index);
        }
    }
}

/// Whether a call stood and ended through BYE and its 200; one that failed for want of an answer of
/// the far end did not (RFC 6076 §4.9).
fn is_completed(end: &CallEnd) -> bool {
    let failed = matches!(
        end.reason,
        EndReason::AckTimeout | EndReason::DialogLost | EndReason::SessionExpired
    );
    let accepted = end
        .bye_status
        .is_some_and(|code| (200..300).contains(&code));
    let over = accepted || end.times.bye_received.is_some();
    end.times.answered.is_some() && over && !failed
}

/// Outcome of a call by the end of its signalling (product-facts §1.2).
fn judge_end(end: &CallEnd) -> (Outcome, String) {
    let status = end.status.unwrap_or_default();
    match end.reason {
        EndReason::LocalBye | EndReason::RemoteBye => match end.bye_status {
            Some(code) if !(200..300).contains(&code) => (
                Outcome::CompletedWithWarnings,
                format!("BYE answered {code}"),
            ),
            _ => (Outcome::Success, String::new()),
        },
        EndReason::Refused => {
            let outcome = match status {
                408 => Outcome::Timeout,
                406 | 415 | 488 | 606 => Outcome::NegotiationFailed,
                _ => Outcome::CallFailed,
            };
            (outcome, format!("refused: {status} {}", end.phrase))
        }
        EndReason::InviteTimeout => (Outcome::Timeout, "no answer to INVITE".to_owned()),
        EndReason::FlowFailed => (
            Outcome::CallFailed,
            format!("before INVITE was answered: {}", end.phrase),
        ),
        EndReason::NoAnswer => (Outcome::Timeout, "rang too long".to_owned()),
        // Why we cancelled has been said before; this is only what is left to say.
        EndReason::Cancelled => (
            Outcome::CompletedWithWarnings,
            "cancelled before the answer".to_owned(),
        ),
        EndReason::CancelledByPeer => (Outcome::CallFailed, "cancelled by the caller".to_owned()),
        EndReason::Rejected => (Outcome::CallFailed, format!("refused by us: {status}")),
        EndReason::AckTimeout => (Outcome::Timeout, "no ACK to the answer".to_owned()),
        EndReason::PrackTimeout => (Outcome::Timeout, "no PRACK".to_owned()),
        EndReason::AnswerMissing => (
            Outcome::NegotiationFailed,
            "no answer to our offer in PRACK".to_owned(),
        ),
        EndReason::SessionExpired => (
            Outcome::Timeout,
            "the session was not refreshed in time".to_owned(),
        ),
        EndReason::DialogLost => (
            Outcome::CallFailed,
            "the peer no longer knows the call".to_owned(),
        ),
        EndReason::ByeTimeout => (Outcome::TeardownError, "no answer to BYE".to_owned()),
        EndReason::Dropped => (
            Outcome::TeardownError,
            "dropped: it did not end in time".to_owned(),
        ),
    }
}
