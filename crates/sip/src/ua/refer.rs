//! Transfers: REFER within a call and its implicit subscription (RFC 3515, RFC 6665), which goes on
//! after a BYE of either side (RFC 5057 §4.1): who asked for a transfer may hang up at once and hear
//! later what became of it (RFC 5589 §6.1).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Offered, State};
use super::event::{CallEvent, CallKey, EndReason};
use super::mid::{Asked, Mid, Purpose};
use super::notify::Notices;
use super::replaces::Replaces;
use super::{UaError, UserAgent};
use crate::message::{HeaderName, Message, Method, NameAddr, Uri, scan};
use crate::transaction::LIFETIME;

/// How long a REFER waits for [`UserAgent::accept_refer`] or [`UserAgent::reject_refer`]; its
/// transaction lasts 32 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest subscription, in seconds.
const MAX_EXPIRES: u64 = 3600;

/// A transfer to ask the peer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refer {
    /// Whom the peer is to call.
    pub to: Uri,
    /// Attended: the call with that target which the peer's new call replaces (RFC 3891).
    pub replaces: Option<CallKey>,
}

/// A transfer we asked for: until when its final NOTIFY is waited for.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) until: Instant,
}

/// A transfer the peer asks for.
#[derive(Debug)]
pub(super) struct Referral {
    /// CSeq number of the REFER.
    pub(super) cseq: u32,
    /// The REFER, until it is answered.
    pub(super) unanswered: Option<Box<Offered>>,
    /// When it is declined for want of an answer.
    decline_at: Option<Instant>,
    /// When the subscription ends.
    pub(super) until: Instant,
    /// What the peer is told.
    pub(super) notices: Notices,
}

impl Referral {
    /// When something is due.
    pub(super) fn next(&self) -> Instant {
        let due = [self.decline_at, self.notices.next()];
        due.into_iter().flatten().fold(self.until, Instant::min)
    }
}

impl UserAgent {
    pub(super) fn send_refer(
        &mut self,
        now: Instant,
        key: CallKey,
        refer: &Refer,
    ) -> Result<(), UaError> {
        let call = self.standing(key)?;
        if call.mid.as_ref().is_some_and(|mid| mid.transfer.is_some()) {
            return Err(UaError::TransferPending(key));
        }
        let (to, _) = refer.to.split_headers();
        let mut target = [b"<", to.as_bytes()].concat();
        if let Some(other) = refer.replaces {
            let replaced = self.calls.get(&other).ok_or(UaError::UnknownCall(other))?;
            let dialog = replaced.dialog.as_ref();
            let dialog = dialog.ok_or(UaError::WrongState(other))?;
            let replaces = Replaces::of(dialog, replaced.tag);
            target.extend_from_slice(b"?Replaces=");
            target.extend_from_slice(replaces.escaped().as_bytes());
        }
        target.push(b'>');
        let until = now + self.config.ring_timeout;
        let Some(call) = self.calls.get_mut(&key) else {
            return Ok(());
        };
        let endpoint = call.endpoint;
        let mid = call.mid.get_or_insert_default();
        mid.times.refer_sent = Some(now);
        mid.times.refer_ended = None;
        // NOTIFY may overtake the 202.
        mid.transfer = Some(Transfer { until });
        self.core
            .ledger
            .count(endpoint, |counters| counters.refers_sent += 1);
        let mut asked = Asked::new(Method::Refer, Purpose::Refer, Bytes::new());
        asked.lines.push((HeaderName::ReferTo, target));
        self.ask(now, key, asked);
        self.arm(key);
        Ok(())
    }

    /// The final response to a REFER of ours, or none.
    pub(super) fn on_refer_end(&mut self, now: Instant, key: CallKey, code: Option<u16>) {
        let accepted = code.is_some_and(|code| code < 300);
        if !accepted && let Some(mid) = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut())
        {
            mid.transfer = None;
        }
        self.call_event(now, key, CallEvent::ReferAnswered { code });
        self.subscription_over(now, key);
    }

    /// The code of a NOTIFY within a call: of the transfer we asked for, or of nothing.
    pub(super) fn notify_code(waits: bool, message: &Message) -> u16 {
        let event = message.value(HeaderName::Event).unwrap_or_default();
        let name = event.split(|byte| *byte == b';').next();
        let is_refer = name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"refer"));
        match message.value(HeaderName::SubscriptionState) {
            _ if !is_refer => 489,
            _ if !waits => 481,
            None => 400,
            Some(_) => 200,
        }
    }

    /// A NOTIFY of our transfer has been answered.
    pub(super) fn on_notify(&mut self, now: Instant, key: CallKey, message: &Message) {
        let state = message
            .value(HeaderName::SubscriptionState)
            .unwrap_or_default();
        let name_end = state
            .iter()
            .position(|byte| *byte == b';')
            .unwrap_or(state.len());
        let (name, parameters) = state.split_at(name_end);
        let last = name.trim_ascii().eq_ignore_ascii_case(b"terminated");
        let expires = scan::parameter(parameters, "expires").and_then(scan::number::<u32>);
        if let Some(mid) = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut()) {
            if last {
                mid.transfer = None;
                mid.times.refer_ended = Some(now);
            } else if let (Some(transfer), Some(expires), false) =
                (&mut mid.transfer, expires, mid.outlived)
            {
                let seconds = u64::from(expires).clamp(1, MAX_EXPIRES);
                transfer.until = now + Duration::from_secs(seconds);
            }
        }
        let code = fragment_code(&message.body());
        self.call_event(now, key, CallEvent::TransferProgress { code, last });
        self.subscription_over(now, key);
        self.arm(key);
    }

    /// A REFER of the peer that nobody has answered yet.
    pub(super) fn on_refer(&mut self, now: Instant, key: CallKey, offered: Offered) {
        let address = offered
            .request
            .value(HeaderName::ReferTo)
            .unwrap_or_default();
        let address = Bytes::copy_from_slice(address);
        let Ok(address) = NameAddr::parse(HeaderName::ReferTo, address) else {
            return;
        };
        let (to, headers) = address.uri.split_headers();
        let replaces = Replaces::of_headers(headers);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let endpoint = call.endpoint;
        let until = now + self.config.ring_timeout;
        let mid = call.mid.get_or_insert_default();
        mid.referral = Some(Referral {
            cseq: offered.cseq,
            unanswered: Some(Box::new(offered)),
            decline_at: Some(now + PATIENCE),
            until,
            notices: Notices::default(),
        });
        self.core
            .ledger
            .count(endpoint, |counters| counters.refers_received += 1);
        self.arm(key);
        self.call_event(now, key, CallEvent::Referred { to, replaces });
    }

    pub(super) fn answer_refer(
        &mut self,
        now: Instant,
        key: CallKey,
        code: u16,
    ) -> Result<(), UaError> {
        let call = self.calls.get_mut(&key).ok_or(UaError::UnknownCall(key))?;
        let referral = call.mid.as_mut().and_then(|mid| mid.referral.as_mut());
        let unanswered = referral.and_then(|referral| {
            referral.decline_at = None;
            referral.unanswered.take()
        });
        let Some(offered) = unanswered else {
            return Err(UaError::WrongState(key));
        };
        let Some(call) = self.calls.get(&key) else {
            return Ok(());
        };
        let response = if code == 202 {
            self.dialog_response(call, &offered, code, b"", None)
        } else {
            self.plain_response(&offered.request, offered.source, code, None)
        };
        self.transactions
            .respond(&mut self.core, now, offered.server, code, response);
        if code == 202 {
            // RFC 6665 §4.2.1.2: a NOTIFY at once.
            return self.send_notify(now, key, 100, false);
        }
        if let Some(mid) = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut()) {
            mid.referral = None;
        }
        self.arm(key);
        Ok(())
    }

    /// A BYE has ended the session. The call ends with it, or once the last has been said of a
    /// transfer, 64·T1 later at most.
    pub(super) fn session_over(&mut self, now: Instant, key: CallKey, reason: EndReason) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.leave_session(reason);
        let latest = now + LIFETIME;
        let Some(mid) = &mut call.mid else {
            return self.end(now, key, reason);
        };
        mid.outlived = true;
        if let Some(transfer) = &mut mid.transfer {
            transfer.until = transfer.until.min(latest);
        }
        if let Some(referral) = &mut mid.referral {
            referral.until = referral.until.min(latest);
        }
        self.notify(now, key);
        self.subscription_over(now, key);
        self.arm(key);
    }

    /// Ends a call whose session is over, if nothing is to be said of a transfer any more.
    pub(super) fn subscription_over(&mut self, now: Instant, key: CallKey) {
        let mid = self.calls.get(&key).and_then(|call| call.mid.as_ref());
        let over = |mid: &Mid| mid.outlived && mid.transfer.is_none() && mid.referral.is_none();
        if mid.is_some_and(|mid| over(mid)) {
            // The reason has been set.
            self.end(now, key, EndReason::LocalBye);
        }
    }

    /// Declines the REFER that waits, as its call ends.
    pub(super) fn refuse_referral(&mut self, now: Instant, key: CallKey) {
        // Without one there is nothing to decline.
        let _ = self.answer_refer(now, key, 603);
    }

    /// Declines a REFER that waited too long; gives up on the NOTIFY of a transfer.
    pub(super) fn on_refer_timer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let stands = matches!(call.state, State::Up);
        let Some(mid) = &mut call.mid else {
            return;
        };
        let heard = stands || mid.outlived;
        let silent = mid.transfer.take_if(|transfer| transfer.until <= now);
        // The subscription ends unheard if nobody says how the transfer went.
        mid.referral.take_if(|referral| referral.until <= now);
        let due = mid.referral.as_mut().and_then(|referral| {
            referral.notices.on_timer(now);
            referral.decline_at
        });
        if due.is_some_and(|at| at <= now) {
            self.refuse_referral(now, key);
        }
        self.notify(now, key);
        if silent.is_some() && heard {
            let event = CallEvent::TransferProgress {
                code: None,
                last: true,
            };
            self.call_event(now, key, event);
        }
        self.subscription_over(now, key);
    }
}

/// Whether Refer-To is there once and can be read (RFC 3515 §2.4.2).
pub(super) fn has_refer_to(message: &Message) -> bool {
    let one = message.values(HeaderName::ReferTo).count() == 1;
    let address = message.value(HeaderName::ReferTo).unwrap_or_default();
    one && NameAddr::parse(HeaderName::ReferTo, Bytes::copy_from_slice(address)).is_ok()
}

/// The status code of a `message/sipfrag` (RFC 3420): that of its first line.
fn fragment_code(body: &[u8]) -> Option<u16> {
    let rest = body.strip_prefix(b"SIP/2.0 ")?;
    let code = scan::number::<u16>(rest.get(..3)?)?;
    (100..700).contains(&code).then_some(code)
}
