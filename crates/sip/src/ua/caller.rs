//! Placing calls: INVITE and its responses (RFC 3261 §13.2).

use std::time::Instant;

use bytes::Bytes;

use super::auth::{Challenged, Retries, Verdict};
use super::call::{Call, Outgoing, State};
use super::config::{Invite, Reliable, SessionTimer};
use super::event::{CallEvent, CallKey, EndReason};
use super::failover::UNAVAILABLE;
use super::redirect::Redirects;
use super::reliable::RELIABLE;
use super::replaces::{REPLACES, Replaces};
use super::screen::names_option;
use super::session::{TIMER, min_se};
use super::{UaError, UserAgent};
use crate::compose::{self, Draft, tagged};
use crate::counters::EndpointKey;
use crate::dialog::Dialog;
use crate::digest::Authorization;
use crate::flow::Flow;
use crate::message::{Essentials, HeaderName, Message, Method};
use crate::transaction::{ClientKey, Owner};

/// How often a longer session interval is taken from a 422.
const MAX_STRETCHES: u8 = 3;

impl UserAgent {
    pub(super) fn start_call(
        &mut self,
        now: Instant,
        key: EndpointKey,
        invite: Invite,
        replaces: Option<Replaces>,
    ) -> Result<CallKey, UaError> {
        let endpoint = self
            .endpoints
            .get(&key)
            .ok_or(UaError::UnknownEndpoint(key))?;
        if self.calls.len() >= self.config.max_calls {
            return Err(UaError::TooManyCalls);
        }
        let local = endpoint.config.local;
        let listener = self
            .listeners
            .get(&local)
            .ok_or(UaError::UnknownListener(local))?;
        let routes = if invite.next_hop.is_some() {
            Vec::new()
        } else {
            endpoint.routes()
        };
        let remote = invite
            .next_hop
            .or(endpoint.config.next_hop)
            .or_else(|| {
                let first = routes.first().unwrap_or(&invite.target);
                first.socket_addr_over(listener.listener.transport)
            })
            .ok_or(UaError::NoNextHop)?;
        let tag = self.core.token();
        let outgoing = Outgoing {
            routes,
            to: [b"<", invite.target.as_bytes(), b">"].concat(),
            target: invite.target,
            flow: Flow {
                local,
                transport: listener.listener.transport,
                remote,
            },
            call_id: format!("{:016x}{:016x}", self.core.token(), self.core.token()),
            from: tagged(&endpoint.from, tag),
            cseq: 0,
            body: invite.body,
            key: ClientKey {
                branch: 0,
                cancel: false,
            },
            retries: Retries::default(),
            redirects: Redirects::default(),
            servers_tried: 0,
            authorization: Authorization::default(),
            min_se: 0,
            stretched: 0,
            early: Vec::new(),
            replaces,
            branches: Vec::new(),
            provisional: false,
            cancelled: false,
        };
        let state = State::Calling(Box::new(outgoing));
        let mut call = Call::new(Some(key), true, local, tag, state);
        call.times.invite = Some(now);
        call.give_up_at = Some(now + self.config.ring_timeout);
        let call = self.insert_call(call);
        self.core
            .ledger
            .count(Some(key), |counters| counters.invites_sent += 1);
        self.send_invite(now, call);
        self.keep_alive(now, key);
        self.arm(call);
        Ok(call)
    }

    /// Sends the INVITE of a call, the first time, with credentials or to a new target.
    pub(super) fn send_invite(&mut self, now: Instant, key: CallKey) {
        let client = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        self.leave_branches(now, key, None);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let State::Calling(outgoing) = &mut call.state else {
            return;
        };
        let Some(endpoint) = call.endpoint.and_then(|key| self.endpoints.get_mut(&key)) else {
            return;
        };
        let Some(listener) = self.listeners.get(&call.local) else {
            return;
        };
        outgoing.cseq += 1;
        outgoing.key = client;
        outgoing.branches.clear();
        outgoing.provisional = false;
        outgoing.authorization = endpoint.authorization(
            Method::Invite,
            outgoing.flow.remote,
            outgoing.target.as_bytes(),
            &outgoing.body,
        );
        let message = Draft {
            method: Method::Invite,
            uri: &outgoing.target,
            listener: &listener.listener,
            key: client,
            routes: &outgoing.routes,
            from: &outgoing.from,
            to: &outgoing.to,
            call_id: outgoing.call_id.as_bytes(),
            cseq: outgoing.cseq,
            contact: Some(endpoint.contact_within()),
            expires: None,
            authorization: &outgoing.authorization,
            more: &|builder| {
                for (name, value) in &endpoint.config.headers {
                    builder.named(name, value.as_bytes());
                }
                if let Some(replaces) = &outgoing.replaces {
                    builder.header(HeaderName::Require, REPLACES.as_bytes());
                    builder.header(HeaderName::Replaces, replaces.as_bytes());
                }
                match endpoint.config.reliable {
                    Reliable::Off => {}
                    Reliable::Supported => {
                        builder.header(HeaderName::Supported, RELIABLE.as_bytes());
                    }
                    Reliable::Required => {
                        builder.header(HeaderName::Require, RELIABLE.as_bytes());
                    }
                }
                let timer = &endpoint.config.session_timer;
                if timer.is_on() {
                    builder.header(HeaderName::Supported, TIMER.as_bytes());
                    timer.write(builder, outgoing.min_se);
                }
                if outgoing.replaces.is_none() {
                    builder.header(HeaderName::Supported, REPLACES.as_bytes());
                }
            },
            product: &self.config.product,
            content_type: compose::SDP,
            body: &outgoing.body,
        }
        .compose();
        let owner = (Owner::Invite(key), call.endpoint);
        let request = (Method::Invite, message);
        self.transactions
            .start(&mut self.core, now, client, outgoing.flow, request, owner);
    }

    pub(super) fn on_invite_response(
        &mut self,
        now: Instant,
        key: CallKey,
        found: (ClientKey, Flow, Option<EndpointKey>),
        message: &Message,
        essentials: &Essentials,
        status: u16,
    ) {
        let (client, flow, endpoint) = found;
        let call = self.calls.get_mut(&key);
        let Some(call) = call.filter(
            |call| matches!(&call.state, State::Calling(outgoing) if outgoing.key == client),
        ) else {
            // The call has been given up: an answer must still be ended (RFC 3261 §13.2.2.4).
            if (200..300).contains(&status) {
                self.end_fork(now, client, flow, endpoint, message, essentials);
            }
            return;
        };
        call.times.first_response.get_or_insert(now);
        match status {
            100..=199 => self.on_progress(now, key, message, essentials, status),
            200..=299 => self.on_answer(now, key, client, message, essentials, status),
            401 | 407 => self.on_invite_challenge(now, key, message, status),
            422 if self.stretches_session(key, message) => self.send_invite(now, key),
            _ if self.redirected(now, key, message, status) => {}
            UNAVAILABLE if self.invite_goes_on(now, key) => {}
            _ => self.on_refusal(now, key, message, status, message.reason()),
        }
    }

    fn on_answer(
        &mut self,
        now: Instant,
        key: CallKey,
        client: ClientKey,
        message: &Message,
        essentials: &Essentials,
        status: u16,
    ) {
        let ack_key = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let State::Calling(outgoing) = std::mem::replace(&mut call.state, State::Up) else {
            return;
        };
        let body = outgoing.agreed(essentials.to.tag().as_ref(), message.body());
        let mut dialog = Dialog::of_response(message, essentials, outgoing.flow);
        let mut branches = outgoing.branches.into_iter();
        let won = branches.find(|branch| branch.dialog.remote_tag == dialog.remote_tag);
        let mut local_sdp = outgoing.body;
        if let Some(branch) = won {
            dialog.local_cseq = branch.dialog.local_cseq;
            dialog.remote_cseq = branch.dialog.remote_cseq;
            local_sdp = branch.changed.unwrap_or(local_sdp);
        }
        dialog.local = Bytes::from(outgoing.from);
        let (flow, cseq) = (dialog.request_flow(), outgoing.cseq);
        // The ACK repeats the credentials (RFC 3261 §22.1), but for the eyes of the proxy only.
        let to_proxy = dialog.is_routed() && flow.remote == outgoing.flow.remote;
        let authorization = if to_proxy {
            outgoing.authorization
        } else {
            Authorization::default()
        };
        let (endpoint, tag) = (call.endpoint, dialog.remote_tag.clone());
        call.dialog = Some(dialog);
        call.local_sdp = local_sdp;
        call.updates = names_option(message, HeaderName::Allow, Method::Update.as_str());
        if outgoing.min_se > 0 {
            call.mid.get_or_insert_default().min_se = outgoing.min_se;
        }
        call.status = Some(status);
        call.times.answered = Some(now);
        call.times.ack = Some(now);
        // An offer of theirs may still wait for our answer.
        let patience = self.config.ring_timeout;
        call.give_up_at = call.offer.as_ref().map(|_| now + patience);
        self.accepted_within(key, Method::Invite, outgoing.flow.remote, message);
        let ack = self.compose_within(key, Method::Ack, ack_key, cseq, &authorization);
        if let Some((flow, ack)) = ack {
            let (tag, ack) = (tag.clone(), (flow, ack));
            self.transactions
                .acknowledge(&mut self.core, client, tag, ack, endpoint);
        }
        self.leave_branches(now, key, Some(&tag));
        self.call_event(now, key, CallEvent::Answered { body });
        self.session_of_2xx(now, key, message, true);
        if outgoing.cancelled {
            self.send_bye(now, key, EndReason::Cancelled);
        }
        self.arm(key);
    }

    fn on_invite_challenge(&mut self, now: Instant, key: CallKey, message: &Message, status: u16) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        self.core
            .ledger
            .count(call.endpoint, |counters| counters.auth_challenges += 1);
        let State::Calling(outgoing) = &mut call.state else {
            return;
        };
        if outgoing.cancelled {
            self.end(now, key, EndReason::Cancelled);
            return;
        }
        let challenged = Challenged {
            response: message,
            method: Method::Invite,
            destination: outgoing.flow.remote,
        };
        let endpoint = call.endpoint.and_then(|key| self.endpoints.get_mut(&key));
        let verdict = endpoint.map_or(Verdict::Refused, |endpoint| {
            let (uri, retries) = (outgoing.target.as_bytes(), &mut outgoing.retries);
            endpoint.challenged(&mut self.core, &challenged, uri, retries)
        });
        if verdict != Verdict::Again {
            self.on_refusal(now, key, message, status, verdict.phrase(message));
            return;
        }
        call.times.invite_authenticated = Some(now);
        self.send_invite(now, key);
    }

    /// A 422 to the INVITE: whether it is sent again with what the peer demands now (RFC 4028 §7.3).
    fn stretches_session(&mut self, key: CallKey, message: &Message) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let timer = call
            .endpoint
            .and_then(|key| self.endpoints.get(&key))
            .map(|endpoint| endpoint.config.session_timer);
        let State::Calling(outgoing) = &mut call.state else {
            return false;
        };
        let (Some(timer), wanted) = (timer.filter(SessionTimer::is_on), min_se(message)) else {
            return false;
        };
        let sent = timer.seconds().max(outgoing.min_se);
        if wanted <= sent || outgoing.cancelled || outgoing.stretched == MAX_STRETCHES {
            return false;
        }
        outgoing.min_se = wanted;
        outgoing.stretched += 1;
        true
    }

    /// A final response other than 2xx.
    fn on_refusal(
        &mut self,
        now: Instant,
        key: CallKey,
        message: &Message,
        status: u16,
        phrase: String,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.status = Some(status);
        call.phrase = phrase;
        call.retry_after = message.seconds(HeaderName::RetryAfter);
        call.times.failed = Some(now);
        if status != 487 {
            // Refused before the CANCEL got there.
            call.reason = None;
        }
        self.end(now, key, EndReason::Refused);
    }

    /// No final response to the INVITE: Timer B, 64·T1 after the CANCEL, or its flow broke.
    pub(super) fn on_invite_unanswered(
        &mut self,
        now: Instant,
        key: CallKey,
        client: ClientKey,
        reason: EndReason,
        phrase: &str,
    ) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        if !matches!(&call.state, State::Calling(outgoing) if outgoing.key == client) {
            return;
        }
        let failed = matches!(reason, EndReason::InviteTimeout | EndReason::FlowFailed);
        if failed && self.invite_goes_on(now, key) {
            return;
        }
        if let Some(call) = self.calls.get_mut(&key) {
            phrase.clone_into(&mut call.phrase);
            self.end(now, key, reason);
        }
    }
}
