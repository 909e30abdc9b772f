//! The state of a call, and what its ends share.

mod compose;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::UserAgent;
use super::auth::{Retries, Sessions};
use super::early::EarlyDialog;
use super::event::{CallEnd, CallEvent, CallKey, CallTimes, EndReason, UaEvent};
use super::mid::Mid;
use super::redirect::Redirects;
use super::replaces::Replaces;
use crate::core::TimerKey;
use crate::counters::EndpointKey;
use crate::dialog::Dialog;
use crate::digest::Authorization;
use crate::flow::{Flow, LocalId};
use crate::message::{Message, Uri};
use crate::timers::Deadline;
use crate::transaction::{ClientKey, LIFETIME, ServerId, T1, T2};

#[derive(Debug)]
pub(super) struct Call {
    pub(super) endpoint: Option<EndpointKey>,
    pub(super) caller: bool,
    pub(super) local: LocalId,
    /// Our tag.
    pub(super) tag: u64,
    pub(super) state: State,
    /// Callee: from the INVITE on. Caller: from the first 2xx on.
    pub(super) dialog: Option<Dialog>,
    /// Why the call is being ended.
    pub(super) reason: Option<EndReason>,
    pub(super) status: Option<u16>,
    pub(super) phrase: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) bye_status: Option<u16>,
    pub(super) times: CallTimes,
    /// With a destination of its dialog that is not the endpoint's next hop.
    pub(super) sessions: Option<Box<Sessions>>,
    /// Our 2xx that waits for its ACK.
    pub(super) unacknowledged: Option<Unacknowledged>,
    /// The peer's offer that waits for our answer.
    pub(super) offer: Option<Offered>,
    /// When ringing, or an offer, has waited long enough.
    pub(super) give_up_at: Option<Instant>,
    /// Our session description as agreed last.
    pub(super) local_sdp: Bytes,
    /// Callee: CSeq number of the INVITE.
    pub(super) invite_cseq: Option<u32>,
    /// Whether the peer's Allow has UPDATE.
    pub(super) updates: bool,
    /// What the call does beyond INVITE and BYE.
    pub(super) mid: Option<Box<Mid>>,
    pub(super) deadline: Deadline,
}

#[derive(Debug)]
pub(super) enum State {
    /// Caller, before the final response.
    Calling(Box<Outgoing>),
    /// Callee, before our final response.
    Ringing(Box<Offered>),
    /// Answered.
    Up,
    /// Our BYE is under way.
    Ending { retries: Retries },
}

/// An INVITE we sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Request-URI.
    pub(super) target: Uri,
    /// To, which stays when the call is redirected.
    pub(super) to: Vec<u8>,
    pub(super) routes: Vec<Uri>,
    pub(super) flow: Flow,
    pub(super) call_id: String,
    /// From, tag included.
    pub(super) from: Vec<u8>,
    pub(super) cseq: u32,
    pub(super) body: Bytes,
    pub(super) key: ClientKey,
    pub(super) retries: Retries,
    pub(super) redirects: Redirects,
    /// Servers of the next hop that failed it.
    pub(super) servers_tried: usize,
    /// The credentials it was sent with.
    pub(super) authorization: Authorization,
    /// The longest Min-SE of the 422 it got, in seconds; 0 for none.
    pub(super) min_se: u32,
    /// How often it was sent again for a 422.
    pub(super) stretched: u8,
    /// What branches of a forking proxy said in early dialogs: To tag and last SDP.
    pub(super) early: Vec<(Bytes, Bytes)>,
    /// The call at the other end that it replaces.
    pub(super) replaces: Option<Replaces>,
    /// Early dialogs that more than an answer is heard of.
    pub(super) branches: Vec<EarlyDialog>,
    /// Whether a provisional response came, so that CANCEL may be sent (RFC 3261 §9.1).
    pub(super) provisional: bool,
    pub(super) cancelled: bool,
}

/// An INVITE, re-INVITE, UPDATE, or PRACK with an offer, that waits for our final response.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) server: ServerId,
    pub(super) request: Message,
    pub(super) cseq: u32,
    /// Where it came from.
    pub(super) source: Flow,
    /// Entry in the index of merged requests; empty but for the first INVITE.
    pub(super) merge_key: Bytes,
}

/// A 2xx to an INVITE, sent again until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) response: Bytes,
    /// The transaction of the INVITE, whose way it goes.
    server: ServerId,
    pub(super) cseq: u32,
    /// Whether it offers, the INVITE having had no SDP.
    pub(super) offers: bool,
    pub(super) interval: Duration,
    pub(super) resend_at: Option<Instant>,
    pub(super) give_up_at: Instant,
    pub(super) bye_wanted: bool,
}

impl Unacknowledged {
    pub(super) fn new(now: Instant, response: Bytes, server: ServerId, cseq: u32) -> Self {
        Self {
            response,
            server,
            cseq,
            offers: false,
            interval: T1,
            // Sent again over reliable transports too (RFC 3261 §13.3.1.4).
            resend_at: Some(now + T1),
            give_up_at: now + LIFETIME,
            bye_wanted: false,
        }
    }

    fn next(&self) -> Instant {
        self.resend_at
            .map_or(self.give_up_at, |at| at.min(self.give_up_at))
    }
}

impl Call {
    pub(super) fn new(
        endpoint: Option<EndpointKey>,
        caller: bool,
        local: LocalId,
        tag: u64,
        state: State,
    ) -> Self {
        Self {
            endpoint,
            caller,
            local,
            tag,
            state,
            dialog: None,
            reason: None,
            status: None,
            phrase: String::new(),
            retry_after: None,
            bye_status: None,
            times: CallTimes::default(),
            sessions: None,
            unacknowledged: None,
            offer: None,
            give_up_at: None,
            local_sdp: Bytes::new(),
            invite_cseq: None,
            updates: false,
            mid: None,
            deadline: Deadline::default(),
        }
    }

    /// The session ends by a BYE, whose reason counts unless there is one: nothing that waits in it
    /// goes on.
    pub(super) fn leave_session(&mut self, reason: EndReason) {
        self.reason.get_or_insert(reason);
        self.state = State::Ending {
            retries: Retries::default(),
        };
        self.unacknowledged = None;
        self.give_up_at = None;
        if let Some(mid) = &mut self.mid {
            mid.session = None;
        }
    }
}

impl UserAgent {
    /// Adds a call under a new key.
    pub(super) fn insert_call(&mut self, call: Call) -> CallKey {
        self.last_call += 1;
        let key = CallKey(self.last_call);
        self.by_tag.insert(call.tag, key);
        self.calls.insert(key, call);
        key
    }

    /// Arms the call's timer anew.
    pub(super) fn arm(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key) {
            let answer = call.unacknowledged.as_ref().map(Unacknowledged::next);
            let mid = call.mid.as_ref().and_then(|mid| mid.next());
            let next = [answer, call.give_up_at, mid].into_iter().flatten().min();
            call.deadline
                .set(&mut self.core.timers, TimerKey::Call(key), next);
        }
    }

    pub(super) fn call_event(&mut self, now: Instant, key: CallKey, event: CallEvent) {
        let endpoint = self.calls.get(&key).and_then(|call| call.endpoint);
        self.core.event(UaEvent::Call {
            call: key,
            endpoint,
            at: now,
            event,
        });
    }

    /// Removes a call and reports its end; `reason` counts unless one was set before.
    pub(super) fn end(&mut self, now: Instant, key: CallKey, reason: EndReason) {
        self.refuse_offer(now, key, 487);
        let Some(call) = self.calls.remove(&key) else {
            return;
        };
        self.by_tag.remove(&call.tag);
        if let State::Ringing(offered) = &call.state {
            self.merged.remove(&offered.merge_key);
        }
        for client in call.mid.iter().flat_map(|mid| mid.keys()) {
            self.transactions
                .end_by(&mut self.core, client, now + LIFETIME);
        }
        let end = CallEnd {
            reason: call.reason.unwrap_or(reason),
            caller: call.caller,
            status: call.status,
            phrase: call.phrase,
            retry_after: call.retry_after,
            bye_status: call.bye_status,
            times: call.times,
            mid: call.mid.map(|mid| Box::new(mid.times)),
        };
        let (endpoint, event) = (call.endpoint, CallEvent::Ended(end));
        self.core.event(UaEvent::Call {
            call: key,
            endpoint,
            at: now,
            event,
        });
    }

    /// Ends a call without a message, its transactions too.
    pub(super) fn drop_call(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.reason = Some(EndReason::Dropped);
        match &call.state {
            State::Calling(outgoing) => self.transactions.forget_client(outgoing.key),
            State::Ringing(offered) => self.transactions.forget_server(offered.server),
            State::Up | State::Ending { .. } => {}
        }
        if let Some(offer) = call.offer.take() {
            self.transactions.forget_server(offer.server);
        }
        let referral = call.mid.as_mut().and_then(|mid| mid.referral.take());
        if let Some(refer) = referral.and_then(|referral| referral.unanswered) {
            self.transactions.forget_server(refer.server);
        }
        for client in call.mid.take().iter().flat_map(|mid| mid.keys()) {
            self.transactions.forget_client(client);
        }
        self.end(now, key, EndReason::Dropped);
    }

    /// Refuses the peer's offer, if one waits.
    pub(super) fn refuse_offer(&mut self, now: Instant, key: CallKey, code: u16) {
        let Some(offer) = self.calls.get_mut(&key).and_then(|call| call.offer.take()) else {
            return;
        };
        let response = self.plain_response(&offer.request, offer.source, code, None);
        self.transactions
            .respond(&mut self.core, now, offer.server, code, response);
    }

    /// The call's timer: send the 2xx again, give up on its ACK, or on ringing.
    pub(super) fn on_call_timer(&mut self, now: Instant, key: CallKey, entry: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let timer = TimerKey::Call(key);
        if !call
            .deadline
            .fired(&mut self.core.timers, timer, entry, now)
        {
            return;
        }
        if let Some(answer) = &mut call.unacknowledged {
            if answer.give_up_at <= now {
                self.core
                    .ledger
                    .count(call.endpoint, |counters| counters.timeouts += 1);
                self.call_event(now, key, CallEvent::AckMissing);
                self.send_bye(now, key, EndReason::AckTimeout);
                return;
            }
            if answer.resend_at.is_some_and(|at| at <= now) {
                let response = answer.response.clone();
                self.transactions
                    .repeat(&mut self.core, answer.server, response);
                answer.interval = (answer.interval * 2).min(T2);
                answer.resend_at = Some(now + answer.interval);
            }
        }
        if call.give_up_at.is_some_and(|at| at <= now) {
            call.give_up_at = None;
            self.give_up(now, key);
        }
        self.on_mid_timer(now, key);
        self.arm(key);
    }

    fn give_up(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        match call.state {
            State::Calling(_) => {
                call.reason = Some(EndReason::NoAnswer);
                self.cancel(now, key);
            }
            State::Ringing(_) => {
                call.reason = Some(EndReason::NoAnswer);
                self.refuse_call(now, key, 480);
            }
            State::Up | State::Ending { .. } => self.refuse_offer(now, key, 488),
        }
    }
}
