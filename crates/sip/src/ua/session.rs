//! Session timers (RFC 4028): what is asked for and granted, refreshes, expiry.

use std::time::{Duration, Instant};

use super::UserAgent;
use super::call::{Call, State};
use super::config::{Refresher, SessionTimer, SessionTimerMode};
use super::event::{CallEvent, CallKey, EndReason};
use super::mid::{Asked, Purpose};
use super::screen::names_option;
use crate::message::{Builder, HeaderName, Message, Method, scan};

/// The option tag.
pub(super) const TIMER: &str = "timer";
/// The shortest session interval there is, in seconds (RFC 4028 §4).
pub(super) const MIN_SE: u32 = 90;
/// How long before its end a session that was not refreshed is given up, at most (§10).
const GUARD: Duration = Duration::from_secs(32);
/// How long a refresh waits for an offer under way.
const PATIENCE: Duration = Duration::from_secs(1);

/// The timer of a session.
#[derive(Debug)]
pub(super) struct Session {
    /// Session interval in seconds.
    seconds: u32,
    /// Whether the refreshes are ours.
    ours: bool,
    refresh_at: Option<Instant>,
    /// The next refresh is a re-INVITE sent again that met an offer of the peer: it has been counted.
    met: bool,
    /// When the BYE is sent if nothing refreshes it.
    end_at: Instant,
}

/// What one side asks for or grants with Session-Expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionExpires {
    /// Session interval in seconds.
    pub(super) seconds: u32,
    /// Whether who sent the request refreshes; `None` if it is left open.
    pub(super) by_uac: Option<bool>,
}

impl SessionExpires {
    /// Reads Session-Expires; one that cannot be read counts as absent.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let value = message.value(HeaderName::SessionExpires)?;
        let digits = value
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let seconds = scan::number(&value[..digits])?;
        let by_uac = match scan::parameter(&value[digits..], "refresher") {
            Some(who) if who.eq_ignore_ascii_case(b"uac") => Some(true),
            Some(who) if who.eq_ignore_ascii_case(b"uas") => Some(false),
            _ => None,
        };
        Some(Self { seconds, by_uac })
    }

    fn write(self, builder: &mut Builder) {
        let seconds = self.seconds;
        let who = match self.by_uac {
            Some(true) => ";refresher=uac",
            Some(false) => ";refresher=uas",
            None => "",
        };
        builder.header_fmt(HeaderName::SessionExpires, format_args!("{seconds}{who}"));
    }
}

impl SessionTimer {
    pub(super) fn is_on(&self) -> bool {
        self.mode != SessionTimerMode::Disabled
    }

    /// What an INVITE that starts a call asks for; `min_se` is what a 422 demanded.
    pub(super) fn write(&self, builder: &mut Builder, min_se: u32) {
        if self.mode == SessionTimerMode::Required {
            builder.header(HeaderName::Require, TIMER.as_bytes());
        }
        let by_uac = match self.refresher {
            Refresher::Uac => Some(true),
            Refresher::Uas => Some(false),
            Refresher::None => None,
        };
        let seconds = self.seconds().max(min_se);
        SessionExpires { seconds, by_uac }.write(builder);
        if min_se > MIN_SE {
            builder.header_fmt(HeaderName::MinSe, format_args!("{min_se}"));
        }
    }

    /// The interval asked for, in seconds.
    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.expires.as_secs())
            .unwrap_or(u32::MAX)
            .max(MIN_SE)
    }

    /// Whether a request asks for a session interval that is too short, which only a peer that
    /// knows the extension can be told (422).
    pub(super) fn is_too_short(&self, request: &Message) -> bool {
        let known = names_option(request, HeaderName::Supported, TIMER)
            || names_option(request, HeaderName::Require, TIMER);
        let short = SessionExpires::of(request).is_some_and(|expires| expires.seconds < MIN_SE);
        self.is_on() && known && short
    }

    /// What a 2xx to a request grants (RFC 4028 §9, table 2); `ours` is who refreshes so far.
    fn grant(&self, request: &Message, ours: Option<bool>) -> Option<SessionExpires> {
        if !self.is_on() {
            return None;
        }
        let known = names_option(request, HeaderName::Supported, TIMER)
            || names_option(request, HeaderName::Require, TIMER);
        let asked = SessionExpires::of(request);
        if !known && asked.is_none() {
            return None;
        }
        let least = min_se(request).max(MIN_SE);
        let most = asked.map_or(u32::MAX, |asked| asked.seconds);
        let seconds = self.seconds().min(most).max(least);
        let chosen = ours.map_or(self.refresher != Refresher::Uas, |ours| !ours);
        let by_uac = known && asked.and_then(|asked| asked.by_uac).unwrap_or(chosen);
        Some(SessionExpires {
            seconds,
            by_uac: Some(by_uac),
        })
    }
}

/// The shortest interval a message accepts, in seconds.
pub(super) fn min_se(message: &Message) -> u32 {
    message
        .seconds(HeaderName::MinSe)
        .and_then(|min| u32::try_from(min.as_secs()).ok())
        .unwrap_or(0)
}

impl Session {
    fn new(now: Instant, seconds: u32, ours: bool) -> Self {
        let interval = Duration::from_secs(seconds.max(MIN_SE).into());
        Self {
            seconds: seconds.max(MIN_SE),
            ours,
            refresh_at: ours.then(|| now + interval / 2),
            met: false,
            end_at: now + interval.saturating_sub(GUARD.min(interval / 3)),
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.refresh_at
            .map_or(self.end_at, |at| at.min(self.end_at))
    }
}

impl UserAgent {
    fn session_timer(&self, call: &Call) -> Option<&SessionTimer> {
        let endpoint = self.endpoints.get(&call.endpoint?)?;
        Some(&endpoint.config.session_timer)
    }

    /// What a 2xx of ours to a request of the peer grants.
    pub(super) fn granted(&self, call: &Call, request: &Message) -> Option<SessionExpires> {
        let session = call.mid.as_ref().and_then(|mid| mid.session.as_ref());
        let timer = self.session_timer(call)?;
        timer.grant(request, session.map(|session| session.ours))
    }

    /// Writes what a 2xx grants; Require binds the peer to refresh (RFC 4028 §9).
    pub(super) fn write_granted(builder: &mut Builder, granted: SessionExpires) {
        if granted.by_uac == Some(true) {
            builder.header(HeaderName::Require, TIMER.as_bytes());
        }
        builder.header(HeaderName::Supported, TIMER.as_bytes());
        granted.write(builder);
    }

    /// What a re-INVITE or UPDATE of ours asks for: the session as it is.
    pub(super) fn write_session(&self, call: &Call, builder: &mut Builder) {
        if self.session_timer(call).is_some_and(SessionTimer::is_on) {
            builder.header(HeaderName::Supported, TIMER.as_bytes());
        }
        let Some(mid) = &call.mid else {
            return;
        };
        if let Some(Session { seconds, ours, .. }) = mid.session {
            let by_uac = Some(ours);
            SessionExpires { seconds, by_uac }.write(builder);
        }
        if mid.min_se > MIN_SE {
            let min_se = mid.min_se;
            builder.header_fmt(HeaderName::MinSe, format_args!("{min_se}"));
        }
    }

    /// Our 2xx to an INVITE or UPDATE went out: the timer starts as granted.
    pub(super) fn session_granted(
        &mut self,
        now: Instant,
        key: CallKey,
        granted: Option<SessionExpires>,
        first: bool,
    ) {
        let ours = |granted: SessionExpires| granted.by_uac == Some(false);
        let session = granted.map(|granted| Session::new(now, granted.seconds, ours(granted)));
        self.set_session(now, key, session, (!first).then_some(false));
    }

    /// A 2xx to an INVITE or UPDATE of ours came: the timer starts as the peer grants; without
    /// Session-Expires there is none (RFC 4028 §7.2).
    pub(super) fn session_of_2xx(
        &mut self,
        now: Instant,
        key: CallKey,
        message: &Message,
        first: bool,
    ) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let on = self.session_timer(call).is_some_and(SessionTimer::is_on);
        let granted = SessionExpires::of(message).filter(|_| on);
        let session = granted
            .map(|granted| Session::new(now, granted.seconds, granted.by_uac != Some(false)));
        self.set_session(now, key, session, (!first).then_some(true));
    }

    fn set_session(
        &mut self,
        now: Instant,
        key: CallKey,
        session: Option<Session>,
        refreshed: Option<bool>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        // What an UPDATE says before the call stands is said anew by the 2xx to the INVITE.
        if !matches!(call.state, State::Up) {
            return;
        }
        let lives = session.is_some();
        if let Some(mid) = &mut call.mid {
            mid.session = session;
        } else if session.is_some() {
            call.mid.get_or_insert_default().session = session;
        }
        if let Some(ours) = refreshed.filter(|_| lives) {
            self.session_refreshed(now, key, ours);
        }
        self.arm(key);
    }

    /// Counts and reports a refresh.
    fn session_refreshed(&mut self, now: Instant, key: CallKey, ours: bool) {
        let endpoint = self.calls.get(&key).and_then(|call| call.endpoint);
        self.core
            .ledger
            .count(endpoint, |counters| counters.session_refreshes += 1);
        self.call_event(now, key, CallEvent::SessionRefreshed { ours });
    }

    /// Refreshes the session: by UPDATE without SDP if the peer allows it, else by re-INVITE with
    /// the SDP that stands (RFC 4028 §7.4).
    fn send_refresh(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let session = call.mid.as_mut().and_then(|mid| mid.session.as_mut());
        let met = session.is_some_and(|session| {
            session.refresh_at = None;
            std::mem::take(&mut session.met)
        });
        let asked = if call.updates {
            Asked::new(Method::Update, Purpose::Refresh, bytes::Bytes::new())
        } else {
            let counted = u64::from(!met);
            self.core
                .ledger
                .count(call.endpoint, |counters| counters.reinvites_sent += counted);
            Asked::new(Method::Invite, Purpose::Refresh, call.local_sdp.clone())
        };
        self.ask(now, key, asked);
        self.arm(key);
    }

    /// The final response to a refresh of ours, or none. One that failed is tried again, until
    /// the session ends.
    pub(super) fn on_refresh_end(
        &mut self,
        now: Instant,
        key: CallKey,
        asked: &Asked,
        response: Option<(&Message, u16)>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        match response.map(|(_, status)| status) {
            Some(200..=299) => {
                let timed = call.mid.as_ref().is_some_and(|mid| mid.session.is_some());
                if !timed {
                    self.session_refreshed(now, key, true);
                }
                let body = response.map(|(message, _)| message.body());
                let answer = body.filter(|body| !asked.body.is_empty() && !body.is_empty());
                if let Some(body) = answer {
                    self.call_event(now, key, CallEvent::RefreshAnswered { body });
                }
            }
            // Put off: by then the SDP that stands may be another.
            Some(491) => {
                let at = now + self.glare_wait(key);
                let mid = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut());
                if let Some(session) = mid.and_then(|mid| mid.session.as_mut()) {
                    session.refresh_at = session.ours.then_some(at);
                    session.met = asked.method == Method::Invite;
                }
            }
            Some(405 | 501) if asked.method == Method::Update => {
                call.updates = false;
                self.send_refresh(now, key);
            }
            _ => {
                if let Some(session) = call.mid.as_mut().and_then(|mid| mid.session.as_mut())
                    && session.ours
                {
                    let left = session.end_at.saturating_duration_since(now);
                    session.refresh_at = Some(now + (left / 2).max(PATIENCE));
                }
            }
        }
    }

    /// A 422 to a request of ours within a dialog: whether it is sent again with what the peer
    /// demands, which has to be more than before (RFC 4028 §7.3).
    pub(super) fn takes_longer_session(&mut self, key: CallKey, response: &Message) -> bool {
        let wanted = min_se(response);
        let Some(mid) = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut()) else {
            return false;
        };
        let Some(session) = &mut mid.session else {
            return false;
        };
        if wanted <= session.seconds {
            return false;
        }
        session.seconds = wanted;
        mid.min_se = wanted;
        true
    }

    /// Refreshes the session that is due, or ends the call whose session has not been refreshed.
    pub(super) fn on_session_timer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if !matches!(call.state, State::Up) {
            return;
        }
        let negotiating = call.is_negotiating();
        let Some(mid) = &mut call.mid else {
            return;
        };
        let Some(session) = &mut mid.session else {
            return;
        };
        if session.end_at <= now {
            mid.session = None;
            self.call_event(now, key, CallEvent::SessionExpired);
            self.send_bye(now, key, EndReason::SessionExpired);
        } else if session.refresh_at.is_some_and(|at| at <= now) {
            if negotiating {
                session.refresh_at = Some(now + PATIENCE);
            } else {
                self.send_refresh(now, key);
            }
        }
    }
}
