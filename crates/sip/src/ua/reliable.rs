//! Provisional responses of ours, reliable ones too (RFC 3262 §3).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Call, State};
use super::config::Reliable;
use super::event::{CallEvent, CallKey, EndReason};
use super::screen::{is_sdp, names_option};
use super::{UaError, UserAgent};
use crate::message::{HeaderName, Message, Method, scan};
use crate::transaction::{LIFETIME, ServerId, T1};

/// The option tag.
pub(super) const RELIABLE: &str = "100rel";
/// Most provisional responses of a call that wait for their turn.
const MAX_WAITING: usize = 4;

/// A reliable provisional response, sent again until its PRACK comes.
#[derive(Debug)]
pub(super) struct Unpracked {
    response: Bytes,
    /// The transaction of the INVITE, whose way it goes.
    server: ServerId,
    rseq: u32,
    /// Whether it answers or offers, so that a 2xx waits for its PRACK.
    has_sdp: bool,
    interval: Duration,
    /// `None` once a final response has been sent.
    times: Option<Repeats>,
}

#[derive(Clone, Copy, Debug)]
struct Repeats {
    resend_at: Instant,
    give_up_at: Instant,
}

/// What a callee sends before its final response, reliably.
#[derive(Debug, Default)]
pub(super) struct Provisionals {
    pub(super) unpracked: Option<Unpracked>,
    /// RSeq of the last one; 0 before the first.
    rseq: u32,
    /// Those that wait for the PRACK of the one before.
    waiting: Vec<(u16, Bytes)>,
    /// The 2xx that waits for a PRACK, or for the answer to an UPDATE of ours.
    answer: Option<Bytes>,
    /// Whether a response and its PRACK have agreed on a session, so that UPDATE may change it.
    agreed: bool,
    /// Whether an UPDATE, or the offer of a PRACK, changed it.
    changed: bool,
}

impl Provisionals {
    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let times = self.unpracked.as_ref()?.times?;
        Some(times.resend_at.min(times.give_up_at))
    }

    /// A final response has been sent: nothing is sent again, a late PRACK is still answered.
    pub(super) fn close(&mut self) {
        self.waiting.clear();
        self.answer = None;
        if let Some(unpracked) = &mut self.unpracked {
            unpracked.times = None;
        }
    }
}

impl Call {
    fn provisionals(&self) -> Option<&Provisionals> {
        self.mid.as_ref()?.provisionals.as_ref()
    }

    /// Callee: whether the call rings with a session that was agreed on, and none is being agreed
    /// on, so that an UPDATE may change it (RFC 3311 §5.1).
    pub(super) fn is_agreed_early(&self) -> bool {
        matches!(self.state, State::Ringing(_))
            && self.provisionals().is_some_and(|waits| {
                let offers = waits.waiting.iter().any(|(_, body)| !body.is_empty())
                    || waits.unpracked.as_ref().is_some_and(|sent| sent.has_sdp);
                waits.agreed && waits.answer.is_none() && !offers
            })
    }

    /// Callee: whether the INVITE had no offer, so that ours comes first.
    fn offers_first(&self) -> bool {
        matches!(&self.state, State::Ringing(invite) if invite.request.body().is_empty())
    }

    /// Callee: whether a reliable response of ours, sent or waiting, has SDP.
    fn has_early_sdp(&self) -> bool {
        self.provisionals().is_some_and(|waits| {
            waits.agreed
                || waits.waiting.iter().any(|(_, body)| !body.is_empty())
                || waits.unpracked.as_ref().is_some_and(|sent| sent.has_sdp)
        })
    }

    /// Callee: the code of a PRACK, and whether it is for the reliable response that waits for it,
    /// which it is whatever becomes of its body; `None` for an offer (RFC 3262 §5), which comes once
    /// an exchange is over (RFC 3264 §4).
    pub(super) fn prack_code(&self, prack: &Message) -> (bool, Option<u16>) {
        let waits = self.provisionals();
        let Some(sent) = waits.and_then(|waits| waits.unpracked.as_ref()) else {
            return (false, Some(481));
        };
        if !self.pracks(sent, prack) {
            return (false, Some(481));
        }
        let agreed = sent.has_sdp || waits.is_some_and(|waits| waits.agreed);
        let open = matches!(self.state, State::Ringing(_)) && agreed && self.offer.is_none();
        let code = if prack.body().is_empty() || self.is_answered_by_prack() {
            Some(200)
        } else if !is_sdp(prack) {
            Some(415)
        } else if self.is_offering() {
            Some(491)
        } else if open {
            None
        } else {
            Some(488)
        };
        (true, code)
    }

    /// Callee: whether the response that waits for its PRACK offers, so that the PRACK answers.
    fn is_answered_by_prack(&self) -> bool {
        let waits = self.provisionals();
        let sent = waits.and_then(|waits| waits.unpracked.as_ref());
        self.offers_first() && sent.is_some_and(|sent| sent.has_sdp)
    }

    /// Whether a PRACK is for this response: RAck holds its RSeq and the CSeq of the INVITE.
    fn pracks(&self, sent: &Unpracked, prack: &Message) -> bool {
        let Some(rack) = prack.value(HeaderName::RAck) else {
            return false;
        };
        let mut parts = rack
            .split(u8::is_ascii_whitespace)
            .filter(|part| !part.is_empty());
        let mut number = || parts.next().and_then(scan::number::<u32>);
        let (rseq, cseq) = (number(), number());
        rseq == Some(sent.rseq)
            && cseq == self.invite_cseq
            && parts.next() == Some(Method::Invite.as_str().as_bytes())
            && parts.next().is_none()
    }

    /// An UPDATE or the offer of a PRACK has changed the session, before the final response if the
    /// call rings.
    pub(super) fn note_early_change(&mut self) {
        if matches!(self.state, State::Ringing(_))
            && let Some(mid) = &mut self.mid
        {
            mid.provisionals_mut().changed = true;
        }
    }

    /// Whether the final response brings no SDP: the session was changed before it, or our offer in
    /// a provisional response has its answer (RFC 3261 §13.2.1).
    pub(super) fn is_settled_early(&self) -> bool {
        let first = self.offers_first();
        self.provisionals()
            .is_some_and(|waits| waits.changed || (first && waits.agreed))
    }
}

impl UserAgent {
    pub(super) fn send_progress(
        &mut self,
        now: Instant,
        key: CallKey,
        code: u16,
        body: Bytes,
    ) -> Result<(), UaError> {
        if !(101..200).contains(&code) {
            return Err(UaError::StatusCode(code));
        }
        let call = self.calls.get(&key).ok_or(UaError::UnknownCall(key))?;
        let State::Ringing(offered) = &call.state else {
            return Err(UaError::WrongState(key));
        };
        if !self.is_reliable(call, &offered.request) {
            let server = offered.server;
            let response = self.dialog_response(call, offered, code, &body, None);
            let sent = self
                .transactions
                .respond(&mut self.core, now, server, code, response);
            if sent {
                self.note_progress(now, key, code, !body.is_empty());
            }
            return Ok(());
        }
        if self.must_offer_early(key) && body.is_empty() {
            return Err(UaError::NoOffer(key));
        }
        if call.offers_first() && call.has_early_sdp() && !body.is_empty() {
            // Only UPDATE may offer once more.
            return Err(UaError::WrongState(key));
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return Ok(());
        };
        let waits = call.mid.get_or_insert_default().provisionals_mut();
        if waits.answer.is_some() || waits.waiting.len() >= MAX_WAITING {
            return Err(UaError::WrongState(key));
        }
        waits.waiting.push((code, body));
        self.next_provisional(now, key);
        Ok(())
    }

    /// Whether the next provisional response to an incoming call has to bring our offer, as its
    /// INVITE has none and it is sent reliably (RFC 3262 §5).
    pub fn must_offer_early(&self, call: CallKey) -> bool {
        self.calls.get(&call).is_some_and(|call| {
            matches!(&call.state, State::Ringing(offered)
                if self.is_reliable(call, &offered.request))
                && call.offers_first()
                && !call.has_early_sdp()
        })
    }

    /// Whether provisional responses to an INVITE are sent reliably: both sides want it.
    fn is_reliable(&self, call: &Call, invite: &Message) -> bool {
        let endpoint = call.endpoint.and_then(|key| self.endpoints.get(&key));
        endpoint.is_some_and(|endpoint| endpoint.config.reliable != Reliable::Off)
            && (names_option(invite, HeaderName::Supported, RELIABLE)
                || names_option(invite, HeaderName::Require, RELIABLE))
    }

    fn note_progress(&mut self, now: Instant, key: CallKey, code: u16, has_sdp: bool) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.times.first_response.get_or_insert(now);
            if code == 180 {
                call.times.ringing.get_or_insert(now);
            }
            if code == 183 && has_sdp {
                call.times.early_media.get_or_insert(now);
            }
        }
    }

    /// Sends what waits, unless the PRACK of the one before is still to come; at last the 2xx.
    fn next_provisional(&mut self, now: Instant, key: CallKey) {
        let start = self.core.token();
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let offering = call.is_offering() || call.offer.is_some();
        let mid = call.mid.as_mut();
        let Some(waits) = mid.and_then(|mid| mid.provisionals.as_mut()) else {
            return;
        };
        if waits.unpracked.is_some() {
            return;
        }
        if waits.waiting.is_empty() {
            let ready = waits.answer.take_if(|_| !offering);
            if let Some(body) = ready {
                self.send_answer(now, key, body);
            }
            return;
        }
        let (code, body) = waits.waiting.remove(0);
        if waits.rseq == 0 {
            // Between 1 and 2³¹ - 1; the upper half of it is left to count (§3).
            waits.rseq = (start % (1 << 30)) as u32;
        }
        waits.rseq += 1;
        let rseq = waits.rseq;
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let State::Ringing(offered) = &call.state else {
            return;
        };
        let server = offered.server;
        let response = self.dialog_response(call, offered, code, &body, Some(rseq));
        self.transactions
            .respond(&mut self.core, now, server, code, response.clone());
        let unpracked = Unpracked {
            response,
            server,
            rseq,
            has_sdp: !body.is_empty(),
            interval: T1,
            times: Some(Repeats {
                resend_at: now + T1,
                give_up_at: now + LIFETIME,
            }),
        };
        self.note_progress(now, key, code, !body.is_empty());
        if let Some(call) = self.calls.get_mut(&key) {
            let mid = call.mid.get_or_insert_default();
            mid.times.reliable.get_or_insert(now);
            mid.provisionals_mut().unpracked = Some(unpracked);
            if !body.is_empty() {
                call.local_sdp = body;
            }
        }
        self.arm(key);
    }

    /// Whether a 2xx has to wait for the PRACK of a response with SDP (§3), for provisional
    /// responses in front of it, or for the answer to an UPDATE of ours; then it is kept.
    pub(super) fn holds_answer(&mut self, key: CallKey, body: &Bytes) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let offering = call.is_offering();
        let mid = call.mid.as_mut();
        let Some(waits) = mid.and_then(|mid| mid.provisionals.as_mut()) else {
            return false;
        };
        let holds = offering
            || !waits.waiting.is_empty()
            || waits
                .unpracked
                .as_ref()
                .is_some_and(|unpracked| unpracked.has_sdp && unpracked.times.is_some());
        if holds {
            waits.answer = Some(body.clone());
        }
        holds
    }

    /// A PRACK was answered, or its offer waits for our answer: what waits goes on. One without the
    /// answer to our offer leaves no session to agree on, so the call is refused.
    pub(super) fn on_pracked(&mut self, now: Instant, key: CallKey, body: Bytes) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let missing = call.is_answered_by_prack() && body.is_empty();
        let offers = call.offer.is_some();
        let mid = call.mid.get_or_insert_default();
        if !offers {
            mid.times.pracked.get_or_insert(now);
        }
        let waits = mid.provisionals_mut();
        let had_sdp = waits.unpracked.take().is_some_and(|sent| sent.has_sdp);
        waits.agreed |= had_sdp && !missing;
        self.call_event(now, key, CallEvent::Pracked { body });
        if missing {
            if let Some(call) = self.calls.get_mut(&key) {
                call.reason = Some(EndReason::AnswerMissing);
            }
            return self.refuse_call(now, key, 400);
        }
        self.next_provisional(now, key);
        self.arm(key);
    }

    /// An offer before the final response has its answer: the 2xx that waited for it goes.
    pub(super) fn release_answer(&mut self, now: Instant, key: CallKey) {
        let call = self.calls.get(&key);
        if call.is_some_and(|call| matches!(call.state, State::Ringing(_))) {
            self.next_provisional(now, key);
        }
    }

    /// Sends the reliable response again, at doubling intervals, or gives the call up with a 5xx
    /// after 64·T1 (§3).
    pub(super) fn on_provisional_timer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let waits = call.mid.as_mut().and_then(|mid| mid.provisionals.as_mut());
        let Some(unpracked) = waits.and_then(|waits| waits.unpracked.as_mut()) else {
            return;
        };
        let Some(times) = &mut unpracked.times else {
            return;
        };
        if times.give_up_at <= now {
            let endpoint = call.endpoint;
            call.reason = Some(EndReason::PrackTimeout);
            self.core
                .ledger
                .count(endpoint, |counters| counters.timeouts += 1);
            self.refuse_call(now, key, 504);
        } else if times.resend_at <= now {
            unpracked.interval *= 2;
            times.resend_at = now + unpracked.interval;
            let response = unpracked.response.clone();
            self.transactions
                .repeat(&mut self.core, unpracked.server, response);
        }
    }
}
