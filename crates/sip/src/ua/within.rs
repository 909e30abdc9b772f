//! Requests within a dialog (RFC 3261 §12.2.2, §14.2, §15.1.2).

use std::time::Instant;

use bytes::Bytes;

use super::call::{Offered, State};
use super::event::{CallEvent, CallKey, EndReason};
use super::info::{info_code, info_event};
use super::refer::has_refer_to;
use super::screen::{is_sdp, requires_more};
use super::{UaError, UserAgent};
use crate::counters::{EndpointKey, UaCounters};
use crate::flow::Flow;
use crate::message::{Essentials, Message, Method};
use crate::transaction::parse_token;

impl UserAgent {
    /// The call of an in-dialog request: our tag in To, the peer's in From, the Call-ID.
    pub(super) fn call_within(&self, essentials: &Essentials) -> Option<CallKey> {
        let tag = parse_token(&essentials.to.tag()?)?;
        let key = *self.by_tag.get(&tag)?;
        let peer = essentials.from.tag().unwrap_or_default();
        let dialog = self.calls.get(&key)?.dialog_with(&peer)?;
        (dialog.call_id == essentials.call_id).then_some(key)
    }

    /// A request with a To tag, other than ACK and CANCEL.
    pub(super) fn on_request_within(
        &mut self,
        now: Instant,
        flow: Flow,
        message: Message,
        essentials: &Essentials,
        key: Bytes,
        method: Method,
    ) {
        let Some(call_key) = self.call_within(essentials) else {
            self.count_stray(flow, &message, |counters| counters.out_of_dialog += 1);
            return self.refuse(now, flow, &message, essentials, key, 481);
        };
        let to = self.way_back(&essentials.via, flow);
        let Some(call) = self.calls.get_mut(&call_key) else {
            return;
        };
        let endpoint = call.endpoint;
        self.core
            .ledger
            .attribute(endpoint, |counters| counters.messages_received += 1);
        let owner = (Some(call_key), endpoint);
        let server = self
            .transactions
            .open(&mut self.core, now, key, to, method, owner);
        self.transactions.keep(server);
        let cseq = essentials.cseq.number;
        let peer = essentials.from.tag().unwrap_or_default();
        let in_order = call
            .dialog_with_mut(&peer)
            .is_some_and(|dialog| dialog.accept_cseq(cseq));
        if method == Method::Refer && in_order {
            let mid = call.mid.get_or_insert_default();
            mid.first_refer.get_or_insert(cseq);
        }
        let ringing = matches!(call.state, State::Ringing(_));
        let ending = matches!(call.state, State::Ending { .. });
        let calling = matches!(call.state, State::Calling(_));
        let (awaited, unoffered) = call.awaits(&peer);
        let busy = unoffered
            || (ringing && !call.is_agreed_early())
            || call.offer.is_some()
            || call.unacknowledged.is_some();
        let offering = awaited || call.is_offering();
        let config = endpoint
            .and_then(|key| self.endpoints.get(&key))
            .map(|endpoint| &endpoint.config);
        let short = config.is_some_and(|config| config.session_timer.is_too_short(&message));
        let (acknowledges, prack_code) = match method {
            Method::Prack => call.prack_code(&message),
            _ => (false, None),
        };
        let mid = call.mid.as_ref();
        let (transfers, referred) = mid.map_or((false, false), |mid| {
            (mid.transfer.is_some(), !mid.takes_refer())
        });
        let outlived = mid.is_some_and(|mid| mid.outlived);
        let stands = matches!(call.state, State::Up);
        let has_body = !message.body().is_empty();
        // `None`: an offer for the caller of this stack.
        let code = match method {
            _ if !in_order => Some(500),
            // Early dialogs are ended by the final response (RFC 3261 §15).
            Method::Bye if calling || outlived => Some(481),
            Method::Bye => Some(200),
            _ if ending && !(method == Method::Notify && transfers) => Some(481),
            _ if requires_more(&message, config) => Some(420),
            Method::Invite | Method::Update if short => Some(422),
            Method::Prack => prack_code,
            Method::Notify => Some(Self::notify_code(transfers, &message)),
            Method::Refer if !has_refer_to(&message) => Some(400),
            Method::Refer if referred || !stands => Some(491),
            Method::Info => Some(info_code(&message)),
            Method::Options => Some(200),
            Method::Invite | Method::Update if !is_sdp(&message) => Some(415),
            Method::Update if !has_body => Some(200),
            Method::Invite | Method::Update if offering => Some(491),
            Method::Invite if calling => Some(491),
            Method::Invite if ringing => Some(500),
            Method::Invite | Method::Update if busy => Some(500),
            Method::Invite | Method::Update | Method::Refer => None,
            _ => Some(405),
        };
        if code == Some(500) {
            self.core
                .ledger
                .count(endpoint, |counters| counters.unexpected += 1);
        }
        if matches!(method, Method::Invite | Method::Update)
            && code.is_none_or(|code| code == 200)
            && let Some(dialog) = call.dialog_with_mut(&peer)
        {
            dialog.refresh_target(&message);
        }
        let merge_key = Bytes::new();
        let offered = Offered {
            server,
            request: message,
            cseq,
            source: flow,
            merge_key,
        };
        let Some(code) = code else {
            if method == Method::Refer {
                return self.on_refer(now, call_key, offered);
            }
            if stands {
                call.give_up_at = Some(now + self.config.ring_timeout);
            }
            let body = offered.request.body();
            call.offer = Some(offered);
            if method == Method::Prack {
                self.on_pracked(now, call_key, Bytes::new());
            } else {
                self.core
                    .ledger
                    .count(endpoint, |counters| counters.reinvites_received += 1);
            }
            self.arm(call_key);
            self.call_event(now, call_key, CallEvent::Offer { body });
            return;
        };
        let response = match (self.calls.get(&call_key), method, code) {
            (Some(call), Method::Update, 200) => {
                self.dialog_response(call, &offered, code, b"", None)
            }
            _ => self.plain_response(&offered.request, flow, code, None),
        };
        self.transactions
            .respond(&mut self.core, now, server, code, response);
        if method == Method::Update && code == 200 {
            let call = self.calls.get(&call_key);
            let granted = call.and_then(|call| self.granted(call, &offered.request));
            self.session_granted(now, call_key, granted, false);
        }
        if acknowledges && prack_code == Some(code) {
            let body = if code == 200 && is_sdp(&offered.request) {
                offered.request.body()
            } else {
                Bytes::new()
            };
            self.on_pracked(now, call_key, body);
        }
        if method == Method::Bye && code == 200 {
            self.on_bye(now, call_key);
        }
        if method == Method::Notify && code == 200 {
            self.on_notify(now, call_key, &offered.request);
        }
        if method == Method::Info && code == 200 {
            self.call_event(now, call_key, info_event(&offered.request));
        }
    }

    /// The peer's BYE has been answered.
    fn on_bye(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.times.bye_received.get_or_insert(now);
        match call.state {
            State::Ringing(_) => {
                call.reason = Some(EndReason::CancelledByPeer);
                self.refuse_call(now, key, 487);
            }
            // Both hung up: the answer to our own BYE ends the call.
            State::Ending { .. } => self.call_event(now, key, CallEvent::ByeReceived),
            State::Calling(_) | State::Up => {
                self.refuse_offer(now, key, 487);
                self.refuse_referral(now, key);
                self.call_event(now, key, CallEvent::ByeReceived);
                self.session_over(now, key, EndReason::RemoteBye);
            }
        }
    }

    pub(super) fn end_call(&mut self, now: Instant, key: CallKey) -> Result<(), UaError> {
        let call = self.calls.get_mut(&key).ok_or(UaError::UnknownCall(key))?;
        match &call.state {
            State::Calling(_) => self.cancel(now, key),
            State::Ringing(_) => self.refuse_call(now, key, 480),
            State::Up => match &mut call.unacknowledged {
                Some(answer) if !call.caller && call.times.ack.is_none() => {
                    answer.bye_wanted = true;
                }
                _ => self.send_bye(now, key, EndReason::LocalBye),
            },
            State::Ending { .. } => {}
        }
        Ok(())
    }

    pub(super) fn addressed(&self, request: &Message, source: Flow) -> Option<EndpointKey> {
        let user = request.request_uri().ok()?.user();
        self.by_user.get(&(source.local, user)).copied()
    }

    /// Counts a request that belongs to no call, for the endpoint it is addressed to.
    pub(super) fn count_stray(
        &mut self,
        source: Flow,
        request: &Message,
        change: impl Fn(&mut UaCounters),
    ) {
        let endpoint = self.addressed(request, source);
        self.core.ledger.count(endpoint, change);
        self.core
            .ledger
            .attribute(endpoint, |counters| counters.messages_received += 1);
    }
}
