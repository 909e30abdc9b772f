//! Digits of a scenario, by INFO one after the other or in RTP in rows (RFC 4733).

use std::time::Instant;

use bytes::Bytes;

use super::Engine;
use crate::assign::Dtmf;
use crate::call::Script;
use crate::event::Output;
use crate::media::{DIGIT_GAP_MS, DIGIT_MS, Digit, Digits, MediaCommand, StreamId};
use crate::relay;
use crate::scenario::{Action, Event};

impl Engine {
    /// Sends what comes next of the step's digits. True when all have been sent, false when they
    /// cannot be: telephone events are not agreed on, or signalling is over.
    pub(super) fn send_digits(&mut self, now: Instant, stream: StreamId) -> Option<bool> {
        let call = self.calls.get_mut(&stream)?;
        let dtmf = self.shares.get(&call.share)?.assign.dtmf;
        let script = call.script.as_deref_mut()?;
        if script.digits.is_empty() {
            return Some(true);
        }
        match dtmf {
            Dtmf::Info => {
                let (Some(key), Some(digit)) = (call.key, script.digits.last()) else {
                    return Some(false);
                };
                let body = relay::body(*digit);
                let sent = self.ua.info(now, key, relay::CONTENT_TYPE, body);
                sent.is_err().then_some(false)
            }
            Dtmf::Rfc4733 => {
                let agreed = call.negotiated.and_then(|agreed| agreed.telephone_events);
                if agreed.is_none() {
                    return Some(false);
                }
                let Ok(digits) = script.next_row().parse::<Digits>() else {
                    return Some(false);
                };
                script.rows_sent += 1;
                let command = MediaCommand::SendDigits {
                    stream,
                    digits,
                    digit_ms: DIGIT_MS,
                    gap_ms: DIGIT_GAP_MS,
                };
                self.outputs.push_back(Output::Media(command));
                None
            }
        }
    }

    /// A row of digits is over in RTP.
    pub(super) fn digits_sent(&mut self, now: Instant, stream: StreamId, dropped: u8) {
        let script = self
            .calls
            .get_mut(&stream)
            .and_then(|c| c.script.as_deref_mut());
        if script.is_some_and(Script::take_row) {
            self.sent(now, stream, dropped == 0);
        }
    }

    /// The far end answered an INFO of ours, or did not.
    pub(super) fn info_answered(&mut self, now: Instant, stream: StreamId, code: Option<u16>) {
        let taken = code.is_some_and(|code| (200..300).contains(&code));
        if let Some(call) = self.calls.get_mut(&stream).filter(|_| taken) {
            call.digit_taken();
        }
        self.sent(now, stream, taken);
    }

    /// Some digits of the step in progress have gone out, or were not taken.
    fn sent(&mut self, now: Instant, stream: StreamId, taken: bool) {
        let sends = |action: &Action| matches!(action, Action::SendDtmf(_));
        if !self.running(stream).is_some_and(sends) {
            return;
        }
        let over = if taken {
            self.send_digits(now, stream)
        } else {
            Some(false)
        };
        if let Some(executed) = over {
            self.step_over(now, stream, executed);
        }
    }

    /// An INFO of the far end; it may carry a digit.
    pub(super) fn info_received(
        &mut self,
        now: Instant,
        stream: StreamId,
        content_type: &str,
        body: &Bytes,
    ) {
        if let Some(digit) = relay::digit(content_type, body) {
            if let Some(call) = self.calls.get_mut(&stream) {
                call.digits.received += 1;
            }
            self.script_event(now, stream, Event::DtmfReceived(digit));
        }
        self.script_event(now, stream, Event::InfoReceived);
    }

    /// A digit of the far end has ended in RTP.
    pub(super) fn digit_received(&mut self, now: Instant, stream: StreamId, digit: Digit) {
        self.script_event(now, stream, Event::DtmfReceived(digit.as_char()));
    }
}
