//! What the user agents of a group do in their dialogs.

use std::time::Duration;

use callmeter_api::calltest as api;

use super::forms::{is_token, shown};
use super::{Check, DAY, Role};
use crate::definition::{Action, Do, Event, Header, SessionTimer, SessionTimerMode, When};

const SESSION_EXPIRES: Duration = Duration::from_secs(1800);
/// Bytes of the header fields of a group, names and values. With all else it holds, an INVITE then
/// fits into a datagram of 64 KiB, and its head into the 32 KiB that a worker takes of a stream.
const HEADERS: usize = 16 * 1024;

impl Check<'_> {
    pub(super) fn answer(&mut self, at: &str, role: Role, answer: Option<&api::Answer>) -> u16 {
        let Some(api::Answer { code }) = answer else {
            return 200;
        };
        if role == Role::Caller {
            self.refuse(at, "is accepted with role callee and both only");
        }
        if !matches!(code, 200 | 300..=699) {
            self.refuse(
                format!("{at}.code"),
                format!("{code}; accepted: 200, or a refusal of 300 to 699"),
            );
        }
        *code
    }

    /// `None` where no session has a timer.
    pub(super) fn session_timer(
        &mut self,
        at: &str,
        timer: Option<&api::SessionTimer>,
    ) -> Option<SessionTimer> {
        let api::SessionTimer {
            mode,
            expires,
            refresher,
        } = timer?;
        let mode = mode.unwrap_or_default();
        if mode == SessionTimerMode::Disabled {
            for (field, given) in [
                ("expires", expires.is_some()),
                ("refresher", refresher.is_some()),
            ] {
                if given {
                    let message = "is accepted with mode supported and required only";
                    self.refuse(format!("{at}.{field}"), message);
                }
            }
            return None;
        }
        let expires = expires.map_or(SESSION_EXPIRES, Into::into);
        let field = format!("{at}.expires");
        let accepted = "90s to 7200s, whole seconds";
        let (least, most) = (Duration::from_secs(90), Duration::from_secs(7200));
        self.within(&field, expires, least, most, accepted);
        if expires.subsec_nanos() != 0 {
            let shown = callmeter_api::Duration::from_millis(expires.as_millis() as u64);
            self.refuse(field, format!("{shown}; accepted: {accepted}"));
        }
        Some(SessionTimer {
            mode,
            expires,
            refresher: refresher.unwrap_or_default(),
        })
    }

    pub(super) fn headers(&mut self, at: &str, headers: &[Header]) -> Vec<Header> {
        self.limit(at, headers.len(), 32);
        for (index, Header { name, value }) in headers.iter().enumerate() {
            let field = format!("{at}[{index}].name");
            if !is_token(name) || name.len() > 64 {
                let accepted = "a header name of RFC 3261, at most 64 characters";
                self.refuse(field, format!("{}; accepted: {accepted}", shown(name)));
            } else if Header::RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                let accepted = "one that the SIP stack does not write itself, like X-Test";
                self.refuse(field, format!("{}; accepted: {accepted}", shown(name)));
            }
            if value.chars().count() > 1024 || value.chars().any(char::is_control) {
                self.refuse(
                    format!("{at}[{index}].value"),
                    "accepted: at most 1024 characters, none of them a control character",
                );
            }
        }
        let sizes = headers.iter().map(|it| it.name.len() + it.value.len());
        let bytes: usize = sizes.sum();
        if bytes > HEADERS {
            let accepted = format!("at most {HEADERS} bytes of names and values");
            self.refuse(at, format!("{bytes} bytes; accepted: {accepted}"));
        }
        headers.to_vec()
    }

    pub(super) fn scenario(
        &mut self,
        at: &str,
        registers: bool,
        actions: &[api::Action],
    ) -> Vec<Action> {
        self.limit(at, actions.len(), 30);
        let action = |(index, action): (usize, &api::Action)| {
            self.action(&format!("{at}[{index}]"), registers, action)
        };
        actions.iter().enumerate().map(action).collect()
    }

    fn action(&mut self, at: &str, registers: bool, action: &api::Action) -> Action {
        let api::Action {
            when,
            action,
            digits,
            to,
            attended,
        } = action;
        let mut belongs = |field: &str, given: bool, to: Do, required: bool| {
            let field = format!("{at}.{field}");
            let name = if to == Do::Transfer {
                "transfer"
            } else {
                "sendDtmf"
            };
            if given && *action != to {
                self.refuse(field, format!("is accepted with do {name} only"));
            } else if required && !given && *action == to {
                self.refuse(field, format!("is required with do {name}"));
            }
        };
        belongs("digits", digits.is_some(), Do::SendDtmf, true);
        belongs("to", to.is_some(), Do::Transfer, true);
        belongs("attended", attended.is_some(), Do::Transfer, false);
        if let Some(digits) = digits {
            self.digits(&format!("{at}.digits"), digits, 64);
        }
        if let Some(to) = to {
            self.sip_uri(&format!("{at}.to"), to);
        }
        if *action == Do::ReRegister && !registers {
            self.refuse(
                format!("{at}.do"),
                "reRegister is accepted in a group that registers at a registrar only",
            );
        }
        Action {
            when: self.when(&format!("{at}.when"), when),
            action: *action,
            digits: digits.clone().unwrap_or_default(),
            to: to.clone().unwrap_or_default(),
            attended: attended.unwrap_or(false),
        }
    }

    fn when(&mut self, at: &str, when: &api::When) -> When {
        let api::When {
            at: time,
            event,
            digits,
        } = when;
        if digits.is_some() && *event != Some(Event::Dtmf) {
            self.refuse(format!("{at}.digits"), "is accepted with event dtmf only");
        }
        if let Some(digits) = digits {
            self.digits(&format!("{at}.digits"), digits, 16);
        }
        match (time, event) {
            (Some(time), None) => {
                self.within(
                    &format!("{at}.at"),
                    time.std(),
                    Duration::ZERO,
                    DAY,
                    "0s to 24h",
                );
                When::At(time.std())
            }
            (None, Some(event)) => When::Event {
                event: *event,
                digits: digits.clone().unwrap_or_default(),
            },
            _ => {
                self.refuse(at, "accepted: exactly one of at, event");
                When::At(Duration::ZERO)
            }
        }
    }

    fn digits(&mut self, at: &str, digits: &str, most: usize) {
        let allowed = |b: u8| b.is_ascii_digit() || b"ABCD*#".contains(&b);
        if !(1..=most).contains(&digits.len()) || !digits.bytes().all(allowed) {
            let accepted = format!("1 to {most} of 0-9, A-D, * and #");
            self.refuse(at, format!("{}; accepted: {accepted}", shown(digits)));
        }
    }
}
