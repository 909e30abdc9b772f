//! Offers of ours within a call: re-INVITE (RFC 3261 §14.1) and UPDATE (RFC 3311 §5.1).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Call, State};
use super::event::{CallEvent, CallKey};
use super::mid::{Asked, Purpose};
use super::{UaError, UserAgent};
use crate::message::{Message, Method};

/// How often an offer that meets one of the peer is sent again.
pub(super) const MAX_GLARES: u8 = 5;

/// With which request an offer within a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferBy {
    /// A re-INVITE.
    Invite,
    /// An UPDATE (RFC 3311); answered at once, nobody is asked at the other end.
    Update,
}

/// An offer that was refused with 491 and is sent again.
#[derive(Debug)]
pub(super) struct Glare {
    pub(super) at: Instant,
    pub(super) asked: Asked,
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
    ) -> Result<(), UaError> {
        let call = self.open_to(key, by)?;
        if body.is_empty() {
            return Err(UaError::NoOffer(key));
        }
        let waits = call.mid.as_ref().is_some_and(|mid| mid.glare.is_some());
        if waits || call.is_negotiating() {
            return Err(UaError::OfferPending(key));
        }
        let times = &mut call.mid.get_or_insert_default().times;
        times.offer_sent = Some(now);
        times.offer_answered = None;
        let endpoint = call.endpoint;
        self.core
            .ledger
            .count(endpoint, |counters| counters.reinvites_sent += 1);
        self.ask(now, key, Asked::new(by.method(), Purpose::Offer, body));
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
                return self.wait_out_glare(now, key, asked);
            }
            refusal => CallEvent::OfferRefused {
                code: refusal.map(|(_, status)| status),
            },
        };
        self.call_event(now, key, event);
        self.release_answer(now, key);
    }

    /// Puts an offer off, by 2.1 to 4 s for the owner of the Call-ID and up to 2 s for the other
    /// side, in steps of 10 ms (RFC 3261 §14.1).
    pub(super) fn wait_out_glare(&mut self, now: Instant, key: CallKey, mut asked: Asked) {
        let token = self.core.token();
        if let Some(call) = self.calls.get_mut(&key) {
            let steps = if call.caller {
                210 + token % 191
            } else {
                token % 201
            };
            asked.glares += 1;
            let at = now + Duration::from_millis(steps * 10);
            call.mid.get_or_insert_default().glare = Some(Glare { at, asked });
        }
        self.release_answer(now, key);
        self.arm(key);
    }

    /// An offer has met those of the peer too often.
    fn on_glare_end(&mut self, now: Instant, key: CallKey, asked: Asked) {
        if asked.purpose == Purpose::Refresh {
            self.on_refresh_end(now, key, asked, None);
        } else {
            let code = Some(491);
            self.call_event(now, key, CallEvent::OfferRefused { code });
        }
    }

    /// Sends an offer that was put off again, or puts it off further while the peer offers.
    pub(super) fn on_glare_timer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let due = call
            .mid
            .as_mut()
            .and_then(|mid| mid.glare.take_if(|glare| glare.at <= now));
        let Some(Glare { asked, .. }) = due.filter(|_| !matches!(call.state, State::Ending { .. }))
        else {
            return;
        };
        if call.is_open() && !call.is_negotiating() {
            self.ask(now, key, asked);
        } else if asked.glares < MAX_GLARES {
            self.wait_out_glare(now, key, asked);
        } else {
            self.on_glare_end(now, key, asked);
        }
    }
}
