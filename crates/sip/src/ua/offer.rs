//! Offers of ours within a call: re-INVITE (RFC 3261 §14.1) and UPDATE (RFC 3311 §5.1).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Call, State};
use super::event::{CallEvent, CallKey};
use super::mid::{Asked, Purpose};
use super::{UaError, UserAgent};
use crate::message::{Message, Method};

/// How often an offer that meets one of the peer is made again.
pub(super) const MAX_GLARES: u8 = 5;

/// With which request an offer within a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferBy {
    /// A re-INVITE.
    Invite,
    /// An UPDATE (RFC 3311); answered at once, nobody is asked at the other end.
    Update,
}

impl OfferBy {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Invite => Method::Invite,
            Self::Update => Method::Update,
        }
    }
}

impl UserAgent {
    /// Checks that an offer may be made: in a call that stands, or by UPDATE before the answer once
    /// a reliable provisional response and its PRACK have agreed on a session (RFC 3311 §5.1).
    fn open_to(&mut self, key: CallKey, by: OfferBy) -> Result<&mut Call, UaError> {
        let call = self.calls.get(&key).ok_or(UaError::UnknownCall(key))?;
        let agreed = call.updates && call.is_agreed_early();
        let calls = matches!(call.state, State::Calling(_)) && call.peer_tag().is_some();
        let early = by == OfferBy::Update && (agreed || calls);
        if early {
            self.with_room(key)
        } else {
            self.standing(key)
        }
    }

    pub(super) fn offer_change(
        &mut self,
        now: Instant,
        key: CallKey,
        body: Bytes,
        by: OfferBy,
        again: bool,
    ) -> Result<(), UaError> {
        let call = self.open_to(key, by)?;
        if body.is_empty() {
            return Err(UaError::NoOffer(key));
        }
        if call.is_negotiating() {
            return Err(UaError::OfferPending(key));
        }
        let mid = call.mid.get_or_insert_default();
        if again && mid.met == 0 {
            return Err(UaError::WrongState(key));
        }
        let met = std::mem::take(&mut mid.met);
        let mut asked = Asked::new(by.method(), Purpose::Offer, body);
        if again {
            asked.glares = met;
        } else {
            mid.times.offer_sent = Some(now);
            mid.times.offer_answered = None;
            let endpoint = call.endpoint;
            self.core
                .ledger
                .count(endpoint, |counters| counters.reinvites_sent += 1);
        }
        self.ask(now, key, asked);
        Ok(())
    }

    /// The final response to an offer of ours, or none.
    pub(super) fn on_offer_end(
        &mut self,
        now: Instant,
        key: CallKey,
        asked: Asked,
        response: Option<(&Message, u16)>,
    ) {
        let event = match response {
            Some((message, 200..=299)) => {
                if let Some(call) = self.calls.get_mut(&key) {
                    call.mid.get_or_insert_default().times.offer_answered = Some(now);
                    call.change_early(&asked.peer, asked.body.clone(), &message.body());
                    call.local_sdp = asked.body;
                    call.note_early_change();
                }
                CallEvent::OfferAnswered {
                    body: message.body(),
                }
            }
            Some((_, 491)) if asked.glares < MAX_GLARES => {
                if let Some(call) = self.calls.get_mut(&key) {
                    call.mid.get_or_insert_default().met = asked.glares + 1;
                }
                let wait = self.glare_wait(key);
                CallEvent::OfferMet { wait }
            }
            refusal => CallEvent::OfferRefused {
                code: refusal.map(|(_, status)| status),
            },
        };
        self.call_event(now, key, event);
        self.release_answer(now, key);
    }

    /// How long an offer that met one of the peer waits: 2.1 to 4 s if the Call-ID is ours, else up
    /// to 2 s, in steps of 10 ms (RFC 3261 §14.1).
    pub(super) fn glare_wait(&mut self, key: CallKey) -> Duration {
        let token = self.core.token();
        let owner = self.calls.get(&key).is_some_and(|call| call.caller);
        let steps = if owner {
            210 + token % 191
        } else {
            token % 201
        };
        Duration::from_millis(steps * 10)
    }
}
