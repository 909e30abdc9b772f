//! Incoming calls, and offers within a call.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::{CallKey, Incoming, sdp};

use super::Engine;
use crate::assign::ShareId;
use crate::call::{Call, Purpose, Stage as CallStage};
use crate::endpoint::{Life, endpoint_of};
use crate::event::{Outcome, Phase};
use crate::media::StreamId;
use crate::scenario::Event;
use crate::share::Stage;

impl Engine {
    /// Gives an INVITE to the endpoint its user names or, for external callers, to the one that
    /// has been idle longest; refuses it with 404 (no such user), 480 (takes no calls, or the run
    /// is over) or 486 (has a call).
    pub(super) fn incoming(&mut self, now: Instant, incoming: Incoming) {
        let id = ShareId::of(incoming.flow.local);
        // A call that takes the place of another is for whoever has that one.
        let replaced = incoming
            .replaces
            .and_then(|key| self.calls.get(self.by_key.get(&key)?))
            .filter(|call| call.share == id)
            .map(|call| call.endpoint);
        let chosen = match incoming.endpoint.map(endpoint_of) {
            _ if replaced.is_some() => self.choose_replaced(id, replaced),
            Some((share, index)) if share == id => self.choose_named(id, index),
            _ => self.choose_idle(id),
        };
        let index = match chosen {
            Ok(index) => index,
            Err(code) => {
                self.refuse(now, incoming.call, code);
                return;
            }
        };
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        share.take_idle(index);
        let key = share.endpoints[index as usize].key;
        // The replaced call has rung (RFC 3891 §3).
        let ring = if replaced.is_some() {
            Duration::ZERO
        } else {
            share.assign.call.ring
        };
        if incoming.endpoint.is_none() && self.ua.attach(incoming.call, key).is_err() {
            self.refuse(now, incoming.call, 500);
            return;
        }
        let first = share.endpoints[index as usize].current;
        let Some(stream) = self.open_call(now, id, index) else {
            return;
        };
        if replaced.is_some()
            && let Some(endpoint) = self.endpoint(id, index)
        {
            endpoint.current = first;
            endpoint.beside = Some(stream);
        }
        if let Some(call) = self.calls.get_mut(&stream) {
            if replaced.is_some() {
                call.purpose = Purpose::Replacement;
            }
            call.stage = CallStage::Ringing;
            call.key = Some(incoming.call);
            call.offer = incoming.body;
        }
        self.by_key.insert(incoming.call, stream);
        self.enter(now, stream, Phase::Ringing);
        self.ring(now, stream);
        self.set_call_timer(stream, Some(now + ring));
    }

    /// Tells the caller once that the phone rings; with our offer, so not before a port is bound,
    /// if that has to come first.
    pub(super) fn ring(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(key) = call.key.filter(|_| call.stage == CallStage::Ringing) else {
            return;
        };
        if call.rang {
            return;
        }
        let mut offer = Bytes::new();
        if self.ua.must_offer_early(key) {
            let share = self.shares.get(&call.share);
            let Some(local) = share.and_then(|share| call.local_audio(&share.assign)) else {
                return;
            };
            offer = sdp::offer(&local);
        }
        call.rang = true;
        // Refused only if the caller cancelled meanwhile: its end is reported next.
        let _ = self.ua.progress(now, key, 180, offer);
    }

    /// Callee: a PRACK came; with the answer, if our 180 offered. What comes before the answer is
    /// heard.
    pub(super) fn pracked(&mut self, now: Instant, stream: StreamId, body: &Bytes) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let answered = call.stage == CallStage::Established;
        if body.is_empty() || !(answered || call.stage == CallStage::Ringing) {
            return;
        }
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        let (Some(key), Some(local)) = (call.key, call.local_audio(&share.assign)) else {
            return;
        };
        match sdp::accept(body, &local) {
            Ok(agreed) => {
                call.late_offer = None;
                self.start_stream(stream, agreed, answered);
            }
            Err(error) => {
                self.raise(stream, Outcome::NegotiationFailed, &error.to_string());
                // An answer that waited for the PRACK has gone out with it: that ends by BYE.
                if self.ua.reject(now, key, error.status()).is_err() {
                    self.hang_up(now, stream);
                }
            }
        }
    }

    fn choose_replaced(&self, id: ShareId, index: Option<u32>) -> Result<u32, u16> {
        let share = self.shares.get(&id).ok_or(404_u16)?;
        let open = matches!(share.stage, Stage::Assigned | Stage::Running);
        let endpoint = index.and_then(|index| share.endpoints.get(index as usize));
        match (index, endpoint) {
            (Some(index), Some(endpoint)) if open && endpoint.beside.is_none() => Ok(index),
            _ => Err(480),
        }
    }

    fn choose_named(&self, id: ShareId, index: u32) -> Result<u32, u16> {
        let share = self.shares.get(&id).ok_or(404_u16)?;
        let endpoint = share.endpoints.get(index as usize).ok_or(404_u16)?;
        let open = matches!(share.stage, Stage::Assigned | Stage::Running);
        let ready = matches!(endpoint.life, Life::Ready | Life::Registering);
        if !open || !ready || !share.assign.role.answers() {
            return Err(480);
        }
        if endpoint.current.is_some() {
            Err(486)
        } else {
            Ok(index)
        }
    }

    fn choose_idle(&self, id: ShareId) -> Result<u32, u16> {
        let share = self.shares.get(&id).ok_or(404_u16)?;
        if !share.assign.accept_external {
            return Err(404);
        }
        match share.stage {
            Stage::Assigned | Stage::Running => {
                share.idle.first().map(|(_, index)| *index).ok_or(486)
            }
            Stage::Ending(_) => Err(480),
            Stage::Closed => Err(404),
        }
    }

    fn refuse(&mut self, now: Instant, call: CallKey, code: u16) {
        // Fails only if the caller cancelled meanwhile: then nothing needs an answer.
        let _ = self.ua.reject(now, call, code);
    }

    /// Answers once the phone has rung long enough and a port is bound; refuses without one, if
    /// that is what the test asks for.
    pub(super) fn try_answer(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if call.stage != CallStage::Ringing || !call.ring_over {
            return;
        }
        let Some(key) = call.key else { return };
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        let code = share.assign.call.answer_code;
        if code >= 300 && call.purpose == Purpose::Plan {
            // What the test asks for is no failure of the callee.
            let detail = format!("refused as asked: {code}");
            call.verdict.raise(Outcome::Success, detail);
            call.refuses = true;
            call.stage = CallStage::Disconnecting;
            self.set_call_timer(stream, None);
            self.refuse(now, key, code);
            return;
        }
        let Some(local) = call.local_audio(&share.assign) else {
            return;
        };
        let (body, agreed) = if call.offer.is_empty() {
            let body = sdp::offer(&local);
            call.late_offer = call.negotiated.is_none().then(|| Box::new(local));
            (body, call.negotiated)
        } else {
            match sdp::answer(&call.offer, &local) {
                Ok((body, agreed)) => {
                    call.refused = sdp::Refused::of_answer(&body);
                    (body, Some(agreed))
                }
                Err(error) => {
                    call.verdict
                        .raise(Outcome::NegotiationFailed, error.to_string());
                    call.stage = CallStage::Disconnecting;
                    self.set_call_timer(stream, None);
                    self.refuse(now, key, error.status());
                    return;
                }
            }
        };
        call.stage = CallStage::Established;
        self.set_call_timer(stream, None);
        if self.ua.answer(now, key, body).is_err() {
            // Cancelled meanwhile: its end is reported next.
            return;
        }
        self.enter(now, stream, Phase::Negotiating);
        if let Some(agreed) = agreed {
            self.start_stream(stream, agreed, true);
        }
    }

    /// Callee: the ACK came; with the answer, if ours was the offer.
    pub(super) fn confirmed(&mut self, now: Instant, stream: StreamId, body: &Bytes) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if call.stage != CallStage::Established {
            return;
        }
        if let Some(local) = call.late_offer.take() {
            let before = call.negotiated;
            let agreed = if body.is_empty() {
                Err("the ACK has no SDP answer to our offer".to_owned())
            } else {
                sdp::accept(body, &local).map_err(|error| error.to_string())
            };
            match agreed {
                Ok(agreed) => {
                    self.start_stream(stream, agreed, true);
                    if let Some(before) = before {
                        self.held_by_peer(now, stream, before.held, agreed.held);
                    }
                }
                // An ACK cannot be refused: only a BYE ends an exchange without an answer.
                Err(reason) => {
                    self.raise(stream, Outcome::NegotiationFailed, &reason);
                    self.hang_up(now, stream);
                    return;
                }
            }
        }
        self.enter(now, stream, Phase::InCall);
        self.begin_script(now, stream);
    }

    /// The far end has changed the media: it may hold the call now, or no longer.
    pub(super) fn held_by_peer(
        &mut self,
        now: Instant,
        stream: StreamId,
        before: bool,
        held: bool,
    ) {
        let event = match (before, held) {
            (false, true) => Event::HoldReceived,
            (true, false) => Event::ResumeReceived,
            _ => return,
        };
        if let Some(&Call {
            share, endpoint, ..
        }) = self.calls.get(&stream)
            && let Some(endpoint) = self.endpoint(share, endpoint)
        {
            endpoint.counts.holds_received += u64::from(held);
        }
        self.script_event(now, stream, event);
    }

    /// The far end offers a change: hold, resume, another address; or wants an offer of ours, whose
    /// answer is in its ACK. Before the answer, by UPDATE, we hear by it and say nothing yet.
    pub(super) fn offered(&mut self, now: Instant, stream: StreamId, body: &Bytes) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(key) = call.key else { return };
        let stands = call.stage == CallStage::Established;
        if !(stands || matches!(call.stage, CallStage::Inviting | CallStage::Ringing)) {
            // It crosses our own end of the call.
            self.refuse(now, key, 491);
            return;
        }
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        let Some(mut local) = call.local_audio(&share.assign) else {
            return;
        };
        local.session_version += 1;
        if body.is_empty() {
            if self.ua.answer(now, key, sdp::offer(&local)).is_ok() {
                call.session_version = local.session_version;
                call.late_offer = Some(Box::new(local));
            }
            return;
        }
        match sdp::answer(body, &local) {
            Ok((answer, agreed)) => {
                let was_held = call.negotiated.is_some_and(|before| before.held);
                let refused = sdp::Refused::of_answer(&answer);
                if self.ua.answer(now, key, answer).is_ok() {
                    call.session_version = local.session_version;
                    call.refused = refused;
                    self.start_stream(stream, agreed, stands);
                    self.held_by_peer(now, stream, was_held, agreed.held);
                }
            }
            Err(error) => self.refuse(now, key, error.status()),
        }
    }
}
