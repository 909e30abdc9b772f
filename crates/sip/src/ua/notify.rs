//! What becomes of a transfer the peer asks for, told by the NOTIFYs of the implicit subscription
//! of its REFER (RFC 3515 §2.4.4, RFC 6665 §4.2.2).
//!
//! One NOTIFY of a subscription is under way at a time: a second could overtake the first, which is
//! then refused with 500 (RFC 3261 §12.2.2). What is said meanwhile is remembered, the latest only;
//! the last word is always sent.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Call, State};
use super::event::CallKey;
use super::mid::{Asked, Purpose};
use super::refer::Referral;
use super::{UaError, UserAgent};
use crate::message::{HeaderName, Message, Method, reason_phrase};
use crate::transaction::{LIFETIME, T1, T2};

/// A state of the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    /// Status code of the call it led to.
    code: u16,
    last: bool,
}

/// How far the peer has been told.
#[derive(Debug)]
pub(super) struct Notices {
    /// The latest that was said.
    latest: Option<Word>,
    /// Whether that has yet to be sent, or sent again.
    due: bool,
    /// Whether a NOTIFY waits for its final response.
    under_way: bool,
    /// When the next may be sent, after one that was refused for now.
    again_at: Option<Instant>,
    /// The pause after the next refusal for now.
    pause: Duration,
}

/// What the final response to a NOTIFY, or none, means to its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The peer knows.
    Taken,
    /// It cannot be told of this, whenever it is.
    Refused,
    /// Not now, but after this time if it names one.
    NotNow(Option<Duration>),
    /// There is no subscription any more.
    Gone,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            latest: None,
            due: false,
            under_way: false,
            again_at: None,
            pause: T1,
        }
    }
}

impl Notices {
    /// Takes what is to be told; whether it may be.
    fn say(&mut self, word: Word) -> bool {
        if self.latest.is_some_and(|latest| latest.last) {
            return false;
        }
        self.due |= self.latest != Some(word);
        self.latest = Some(word);
        true
    }

    /// What is to be sent now.
    fn take(&mut self) -> Option<Word> {
        if self.again_at.is_some() || self.under_way || !self.due {
            return None;
        }
        self.due = false;
        self.under_way = true;
        self.latest
    }

    /// The NOTIFY under way has ended; whether the subscription has.
    fn answered(&mut self, now: Instant, verdict: Verdict) -> bool {
        self.under_way = false;
        match verdict {
            Verdict::Taken => self.pause = T1,
            Verdict::Refused => {}
            Verdict::NotNow(wait) => {
                self.due = true;
                self.again_at = Some(now + wait.unwrap_or_default().max(self.pause));
                self.pause = (self.pause * 2).min(T2);
            }
            Verdict::Gone => return true,
        }
        self.latest.is_some_and(|latest| latest.last) && !self.due
    }

    /// The NOTIFY under way has to be sent again, which cannot be now.
    fn put_off(&mut self) {
        self.under_way = false;
        self.due = true;
    }

    /// Whether the last word has been sent, to which no answer came yet.
    pub(super) fn last_is_under_way(&self) -> bool {
        self.latest.is_some_and(|latest| latest.last) && !self.due
    }

    /// Time has passed.
    pub(super) fn on_timer(&mut self, now: Instant) {
        self.again_at.take_if(|at| *at <= now);
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.again_at
    }
}

impl Verdict {
    /// RFC 6665 §4.2.2 has the responses that remove a subscription, of RFC 5057 §5.1 those that
    /// destroy the usage or the dialog; no response, and 408 like it (RFC 3261 §8.1.3.1), does too.
    /// A busy peer is told later, also of what is not the last: a subscriber that hears nothing for
    /// 64·T1 takes it that there is no subscription (RFC 6665 §4.1.2.4). What else is refused is so
    /// for what it says: it is not repeated.
    fn of(response: Option<(&Message, u16)>) -> Self {
        let Some((message, code)) = response else {
            return Self::Gone;
        };
        let wait = message.seconds(HeaderName::RetryAfter);
        match code {
            200..=299 => Self::Taken,
            404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604 => Self::Gone,
            491 | 500 | 503 | 504 => Self::NotNow(wait),
            _ if wait.is_some() => Self::NotNow(wait),
            _ => Self::Refused,
        }
    }
}

impl Call {
    /// Whether the peer may be told of a transfer now: not while a BYE of ours waits for its answer. A
    /// NOTIFY that overtook it would have it refused, and the session go on; behind it, it would be
    /// refused itself.
    fn may_notify(&self) -> bool {
        let outlived = self.mid.as_ref().is_some_and(|mid| mid.outlived);
        outlived || !matches!(self.state, State::Ending { .. })
    }
}

impl UserAgent {
    pub(super) fn send_notify(
        &mut self,
        now: Instant,
        key: CallKey,
        code: u16,
        last: bool,
    ) -> Result<(), UaError> {
        if !(100..700).contains(&code) {
            return Err(UaError::StatusCode(code));
        }
        let call = self.calls.get_mut(&key).ok_or(UaError::UnknownCall(key))?;
        let Some(mid) = &mut call.mid else {
            return Err(UaError::WrongState(key));
        };
        let waits = |referral: &&mut Referral| referral.unanswered.is_none();
        let Some(referral) = mid.referral.as_mut().filter(waits) else {
            return Err(UaError::WrongState(key));
        };
        if !referral.notices.say(Word { code, last }) {
            return Err(UaError::WrongState(key));
        }
        if last {
            let latest = now + LIFETIME;
            referral.until = if mid.outlived {
                referral.until.min(latest)
            } else {
                latest
            };
        }
        self.notify(now, key);
        self.arm(key);
        Ok(())
    }

    /// Sends what is to be told of the transfer, if it may be sent now.
    pub(super) fn notify(&mut self, now: Instant, key: CallKey) {
        let call = self.calls.get_mut(&key).filter(|call| call.may_notify());
        let Some(mid) = call.and_then(|call| call.mid.as_mut()) else {
            return;
        };
        let Some(referral) = &mut mid.referral else {
            return;
        };
        let Some(Word { code, last }) = referral.notices.take() else {
            return;
        };
        let left = referral.until.saturating_duration_since(now).as_secs();
        let state = if last {
            b"terminated;reason=noresource".to_vec()
        } else {
            format!("active;expires={left}").into_bytes()
        };
        let body = format!("SIP/2.0 {code} {}\r\n", reason_phrase(code));
        let purpose = Purpose::Notify {
            refer: referral.cseq,
        };
        let mut asked = Asked::new(Method::Notify, purpose, Bytes::from(body));
        "message/sipfrag;version=2.0".clone_into(&mut asked.content_type);
        // All but the first REFER of a dialog are named (RFC 3515 §2.4.6).
        let event = if mid.first_refer == Some(referral.cseq) {
            b"refer".to_vec()
        } else {
            format!("refer;id={}", referral.cseq).into_bytes()
        };
        asked.lines.push((HeaderName::Event, event));
        asked.lines.push((HeaderName::SubscriptionState, state));
        self.ask(now, key, asked);
    }

    /// Whether a request that is to be sent again is a NOTIFY that may not be sent now, and is then
    /// made anew when one may be.
    pub(super) fn puts_off(&mut self, key: CallKey, asked: &Asked) -> bool {
        let Purpose::Notify { refer } = asked.purpose else {
            return false;
        };
        let call = self.calls.get_mut(&key).filter(|call| !call.may_notify());
        let Some(mid) = call.and_then(|call| call.mid.as_mut()) else {
            return false;
        };
        let of = |referral: &&mut Referral| referral.cseq == refer;
        if let Some(referral) = mid.referral.as_mut().filter(of) {
            referral.notices.put_off();
        }
        true
    }

    /// The final response to a NOTIFY of the transfer asked for by a REFER, or none. It may end the
    /// subscription, not the call.
    pub(super) fn on_notify_end(
        &mut self,
        now: Instant,
        key: CallKey,
        refer: u32,
        response: Option<(&Message, u16)>,
    ) {
        let mid = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut());
        let Some(mid) = mid else {
            return;
        };
        // The next REFER may have come before the last word on this one was answered.
        let of = |referral: &&mut Referral| referral.cseq == refer;
        if let Some(referral) = mid.referral.as_mut().filter(of)
            && referral.notices.answered(now, Verdict::of(response))
        {
            mid.referral = None;
        }
        self.notify(now, key);
        self.subscription_over(now, key);
        self.arm(key);
    }
}
