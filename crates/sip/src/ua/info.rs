//! INFO within a call, without Info Packages (RFC 6086 §7.1, "legacy" usage).

use std::time::Instant;

use bytes::Bytes;

use super::event::{CallEvent, CallKey};
use super::mid::{Asked, Purpose};
use super::{UaError, UserAgent};
use crate::message::{HeaderName, Message, Method};

/// Longest body of an INFO taken or sent, in bytes.
pub(super) const MAX_INFO: usize = 8192;
/// Longest Content-Type of an INFO taken or sent, in bytes.
const MAX_TYPE: usize = 256;

impl UserAgent {
    pub(super) fn send_info(
        &mut self,
        now: Instant,
        key: CallKey,
        content_type: &str,
        body: Bytes,
    ) -> Result<(), UaError> {
        self.standing(key)?;
        if body.len() > MAX_INFO || content_type.len() > MAX_TYPE {
            return Err(UaError::InfoTooLong(key));
        }
        let mut asked = Asked::new(Method::Info, Purpose::Info, body);
        content_type.clone_into(&mut asked.content_type);
        self.ask(now, key, asked);
        Ok(())
    }

    pub(super) fn on_info_end(&mut self, now: Instant, key: CallKey, code: Option<u16>) {
        self.call_event(now, key, CallEvent::InfoAnswered { code });
    }
}

/// What an INFO is answered with: no Info Package is known here (469), and a body has its limit
/// (413).
pub(super) fn info_code(message: &Message) -> u16 {
    let long = message.body().len() > MAX_INFO
        || message
            .value(HeaderName::ContentType)
            .is_some_and(|kind| kind.len() > MAX_TYPE);
    if message.value_of("Info-Package").is_some() {
        469
    } else if long {
        413
    } else {
        200
    }
}

/// What an INFO says.
pub(super) fn info_event(message: &Message) -> CallEvent {
    let content_type = message.value(HeaderName::ContentType).unwrap_or_default();
    CallEvent::Info {
        content_type: String::from_utf8_lossy(content_type).into_owned(),
        body: message.body(),
    }
}
