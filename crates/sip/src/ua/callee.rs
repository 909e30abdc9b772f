//! Taking calls: INVITE, our responses, ACK and CANCEL (RFC 3261 §9.2, §13.3).

use std::time::Instant;

use bytes::Bytes;

use super::call::{Call, Offered, State, Unacknowledged};
use super::event::{CallEvent, CallKey, EndReason, Incoming, UaEvent};
use super::screen::{merge_key, names_option, refusal_of};
use super::{UaError, UserAgent};
use crate::compose::{self, tagged};
use crate::counters::EndpointKey;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::message::{Essentials, HeaderName, Message, Method, Scheme};
use crate::transaction::ServerId;

impl UserAgent {
    /// An INVITE outside any dialog; `key` is that of its transaction.
    pub(super) fn on_invite(
        &mut self,
        now: Instant,
        flow: Flow,
        message: Message,
        essentials: &Essentials,
        key: Bytes,
    ) {
        let request_uri = match message.request_uri() {
            Ok(uri) if uri.scheme() == Scheme::Other => {
                return self.refuse(now, flow, &message, essentials, key, 416);
            }
            Ok(uri) => uri,
            Err(_) => return self.refuse_malformed(now, flow, &message, essentials, key),
        };
        let request_user = request_uri.user();
        let found = self
            .by_user
            .get(&(flow.local, request_user.clone()))
            .copied();
        self.core
            .ledger
            .attribute(found, |counters| counters.messages_received += 1);
        self.core
            .ledger
            .count(found, |counters| counters.invites_received += 1);
        let config = found
            .and_then(|key| self.endpoints.get(&key))
            .map(|endpoint| &endpoint.config);
        let full = self.calls.len() >= self.config.max_calls;
        if let Some(code) = refusal_of(&message, config, full) {
            return self.refuse(now, flow, &message, essentials, key, code);
        }
        let replaces = match self.replaced_by(&message) {
            Ok(replaces) => replaces,
            Err(code) => return self.refuse(now, flow, &message, essentials, key, code),
        };
        let merge_key = merge_key(&message, essentials);
        if self.merged.contains_key(&merge_key) {
            return self.refuse(now, flow, &message, essentials, key, 482);
        }
        let tag = self.core.token();
        let local = Bytes::from(tagged(essentials.to.as_bytes(), tag));
        let Ok(dialog) = Dialog::of_request(&message, essentials, local, self.contact_flow(flow))
        else {
            return self.refuse_malformed(now, flow, &message, essentials, key);
        };
        let call_key = CallKey(self.last_call + 1);
        let way = self.way_back(&essentials.via, flow);
        let owner = (Some(call_key), found);
        let method = Method::Invite;
        let server = self
            .transactions
            .open(&mut self.core, now, key, way, method, owner);
        let body = message.body();
        let updates = names_option(&message, HeaderName::Allow, Method::Update.as_str());
        let cseq = essentials.cseq.number;
        let from = essentials.from.uri.clone();
        let offered = Offered {
            server,
            request: message,
            cseq,
            source: flow,
            merge_key: merge_key.clone(),
        };
        let state = State::Ringing(Box::new(offered));
        let mut call = Call::new(found, false, flow.local, tag, state);
        call.dialog = Some(dialog);
        call.updates = updates;
        call.invite_cseq = Some(cseq);
        if replaces.is_some() {
            call.mid.get_or_insert_default().replaces = replaces;
        }
        call.times.invite = Some(now);
        call.give_up_at = Some(now + self.config.ring_timeout);
        let call = self.insert_call(call);
        self.merged.insert(merge_key, call);
        self.arm(call);
        self.core.event(UaEvent::Incoming(Incoming {
            call,
            endpoint: found,
            request_user,
            from,
            flow,
            body,
            replaces,
            at: now,
        }));
    }

    pub(super) fn attach_call(
        &mut self,
        key: CallKey,
        endpoint: EndpointKey,
    ) -> Result<(), UaError> {
        if !self.endpoints.contains_key(&endpoint) {
            return Err(UaError::UnknownEndpoint(endpoint));
        }
        let call = self.calls.get_mut(&key).ok_or(UaError::UnknownCall(key))?;
        let State::Ringing(offered) = &call.state else {
            return Err(UaError::WrongState(key));
        };
        if call.endpoint.is_some() {
            return Err(UaError::WrongState(key));
        }
        call.endpoint = Some(endpoint);
        self.transactions.attach(offered.server, endpoint);
        let answered = u64::from(call.times.first_response.is_some());
        self.core.ledger.attribute(Some(endpoint), |counters| {
            counters.messages_received += 1;
            counters.invites_received += 1;
            counters.messages_sent += answered;
            counters.responses_sent[0] += answered;
        });
        Ok(())
    }

    /// Sends 100 for an INVITE or re-INVITE that nobody has answered for 200 ms.
    pub(super) fn send_trying(&mut self, now: Instant, key: CallKey, server: ServerId) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let offered = match &call.state {
            State::Ringing(offered) => Some(&**offered),
            _ => call.offer.as_ref(),
        };
        let Some(offered) = offered.filter(|offered| offered.server == server) else {
            return;
        };
        let builder = compose::response(&offered.request, offered.source.remote, 100, None);
        if matches!(call.state, State::Ringing(_)) {
            call.times.first_response.get_or_insert(now);
        }
        let response = builder.finish("", b"");
        self.transactions
            .respond(&mut self.core, now, server, 100, response);
    }

    pub(super) fn answer_call(
        &mut self,
        now: Instant,
        key: CallKey,
        body: Bytes,
    ) -> Result<(), UaError> {
        let call = self.calls.get(&key).ok_or(UaError::UnknownCall(key))?;
        let ringing = matches!(call.state, State::Ringing(_));
        let first = ringing && call.offer.is_none();
        let ending = matches!(call.state, State::Ending { .. });
        let offered = !ending && call.offer.is_some();
        if !(first || offered) {
            return Err(UaError::WrongState(key));
        }
        if !(first && self.holds_answer(key, &body)) {
            self.send_answer(now, key, body);
        }
        if !first {
            self.release_answer(now, key);
        }
        Ok(())
    }

    /// Sends 200 to the INVITE, re-INVITE, UPDATE or PRACK that waits.
    pub(super) fn send_answer(&mut self, now: Instant, key: CallKey, body: Bytes) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let (offered, first) = match (&call.state, &call.offer) {
            (_, Some(offer)) => (offer, false),
            (State::Ringing(offered), None) => (&**offered, true),
            _ => return,
        };
        let body = if first && call.is_settled_early() {
            Bytes::new()
        } else {
            body
        };
        let (server, cseq) = (offered.server, offered.cseq);
        let method = offered.request.method();
        let is_invite = method == Some(Method::Invite);
        let is_prack = method == Some(Method::Prack);
        let offers = offered.request.body().is_empty() && !body.is_empty();
        let (response, granted) = if is_prack {
            (self.prack_response(offered, &body), None)
        } else {
            let response = self.dialog_response(call, offered, 200, &body, None);
            (response, self.granted(call, &offered.request))
        };
        self.transactions
            .respond(&mut self.core, now, server, 200, response.clone());
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let Some(offer) = call.offer.take()
            && let Some(tag) = offer
                .request
                .essentials()
                .ok()
                .and_then(|found| found.from.tag())
        {
            call.change_early(&tag, body.clone(), &offer.request.body());
        }
        if !(first && body.is_empty()) {
            call.local_sdp = body;
        }
        if !first {
            call.note_early_change();
        }
        if is_prack && let Some(mid) = &mut call.mid {
            mid.times.pracked.get_or_insert(now);
        }
        if first || matches!(call.state, State::Up) {
            call.give_up_at = None;
        }
        if let State::Ringing(offered) = &call.state
            && first
        {
            let mid = call.mid.as_mut();
            if let Some(waits) = mid.and_then(|mid| mid.provisionals.as_mut()) {
                waits.close();
            }
            self.merged.remove(&offered.merge_key);
            call.state = State::Up;
            call.status = Some(200);
            call.times.first_response.get_or_insert(now);
            call.times.answered = Some(now);
        }
        if is_invite {
            let mut answer = Unacknowledged::new(now, response, server, cseq);
            answer.offers = offers;
            call.unacknowledged = Some(answer);
        }
        if !is_prack {
            self.session_granted(now, key, granted, first);
        }
        let call = self.calls.get_mut(&key).filter(|_| first);
        let replaced = call.and_then(|call| call.mid.as_mut()?.replaces.take());
        if let Some(replaced) = replaced {
            self.on_replacement(now, replaced);
        }
        self.arm(key);
    }

    pub(super) fn reject_call(
        &mut self,
        now: Instant,
        key: CallKey,
        code: u16,
    ) -> Result<(), UaError> {
        if !(300..700).contains(&code) {
            return Err(UaError::StatusCode(code));
        }
        let call = self.calls.get_mut(&key).ok_or(UaError::UnknownCall(key))?;
        match (&call.state, &call.offer) {
            (State::Ringing(_), None) => self.refuse_call(now, key, code),
            (State::Ringing(_) | State::Calling(_), Some(_)) => {
                self.refuse_offer(now, key, code);
                self.release_answer(now, key);
            }
            (State::Up, Some(_)) => {
                call.give_up_at = None;
                self.refuse_offer(now, key, code);
                self.arm(key);
            }
            _ => return Err(UaError::WrongState(key)),
        }
        Ok(())
    }

    /// Refuses a ringing call and ends it.
    pub(super) fn refuse_call(&mut self, now: Instant, key: CallKey, code: u16) {
        self.refuse_offer(now, key, 487);
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let State::Ringing(offered) = &call.state else {
            return;
        };
        let server = offered.server;
        let response = self.plain_response(&offered.request, offered.source, code, Some(call.tag));
        self.transactions
            .respond(&mut self.core, now, server, code, response);
        if let Some(call) = self.calls.get_mut(&key) {
            call.status = Some(code);
            call.times.first_response.get_or_insert(now);
            call.times.failed = Some(now);
        }
        self.end(now, key, EndReason::Rejected);
    }

    /// An ACK that belongs to no refusal: to a 2xx, or to nothing.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
    ) {
        let Some(key) = self.call_within(essentials) else {
            self.count_stray(flow, message, |counters| counters.out_of_dialog += 1);
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let endpoint = call.endpoint;
        self.core
            .ledger
            .attribute(endpoint, |counters| counters.messages_received += 1);
        let number = essentials.cseq.number;
        let Some(answer) = call.unacknowledged.take_if(|answer| answer.cseq == number) else {
            self.core
                .ledger
                .count(endpoint, |counters| counters.retransmissions_received += 1);
            return;
        };
        let first = call.times.ack.is_none();
        call.times.ack.get_or_insert(now);
        let body = message.body();
        if first || answer.offers || !body.is_empty() {
            self.call_event(now, key, CallEvent::Confirmed { body });
        }
        if answer.bye_wanted {
            self.send_bye(now, key, EndReason::LocalBye);
        }
        self.arm(key);
    }

    pub(super) fn on_cancel(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
        key: Bytes,
    ) {
        let Some((server, call, endpoint)) = self.transactions.cancelled(message, essentials)
        else {
            self.count_stray(flow, message, |counters| counters.out_of_dialog += 1);
            return self.refuse(now, flow, message, essentials, key, 481);
        };
        self.core
            .ledger
            .attribute(endpoint, |counters| counters.messages_received += 1);
        let tag = call
            .and_then(|key| self.calls.get(&key))
            .map(|call| call.tag);
        let tag = tag.unwrap_or_else(|| self.stray_tag(essentials));
        let response = self.plain_response(message, flow, 200, Some(tag));
        let owner = (call, endpoint);
        let to = self.way_back(&essentials.via, flow);
        let id = self
            .transactions
            .open(&mut self.core, now, key, to, Method::Cancel, owner);
        self.transactions
            .respond(&mut self.core, now, id, 200, response);
        let Some((key, call)) = call.and_then(|key| Some((key, self.calls.get_mut(&key)?))) else {
            return;
        };
        match &call.state {
            State::Ringing(offered) if offered.server == server => {
                call.reason = Some(EndReason::CancelledByPeer);
                call.times.cancel = Some(now);
                self.refuse_call(now, key, 487);
            }
            _ if call
                .offer
                .as_ref()
                .is_some_and(|offer| offer.server == server) =>
            {
                call.give_up_at = None;
                self.refuse_offer(now, key, 487);
                self.arm(key);
            }
            _ => {}
        }
    }
}
