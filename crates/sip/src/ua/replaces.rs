//! The Replaces header (RFC 3891): an INVITE that takes the place of a call.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;

use super::UserAgent;
use super::call::State;
use super::event::{CallEvent, CallKey, EndReason};
use crate::dialog::Dialog;
use crate::message::{HeaderName, Message, percent_decode, scan, split_list};
use crate::transaction::parse_token;

/// The option tag.
pub(super) const REPLACES: &str = "replaces";
/// Longest value taken, in bytes.
const MAX_LENGTH: usize = 1024;

/// The value of a Replaces header: which dialog of the called side is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces(Bytes);

impl Replaces {
    /// That of a dialog of ours as its other end knows it; `tag` is our tag.
    pub(super) fn of(dialog: &Dialog, tag: u64) -> Self {
        let mut value = dialog.call_id.to_vec();
        value.extend_from_slice(b";to-tag=");
        value.extend_from_slice(&dialog.remote_tag);
        value.extend_from_slice(format!(";from-tag={tag:016x}").as_bytes());
        Self(Bytes::from(value))
    }

    /// That of the header fields of a URI, `Replaces=…&…`.
    pub(super) fn of_headers(headers: &[u8]) -> Option<Self> {
        let mut fields = headers.split(|byte| *byte == b'&');
        let value = fields.find_map(|field| {
            let (name, value) = field.split_at(field.iter().position(|byte| *byte == b'=')?);
            name.eq_ignore_ascii_case(b"Replaces")
                .then(|| percent_decode(&value[1..]))
        })?;
        let replaces = Self(Bytes::from(value));
        let clean = replaces.0.len() <= MAX_LENGTH && replaces.parts().is_some();
        clean.then_some(replaces)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value as it stands in a URI: all but letters, digits, `-`, `.` and `_` escaped.
    pub(super) fn escaped(&self) -> String {
        let mut escaped = String::with_capacity(self.0.len() + 32);
        for &byte in &self.0 {
            if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
        escaped
    }

    /// Call-ID, to-tag, from-tag.
    fn parts(&self) -> Option<(&[u8], &[u8], &[u8])> {
        let end = self.0.iter().position(|byte| *byte == b';')?;
        let (call_id, parameters) = self.0.split_at(end);
        Some((
            call_id.trim_ascii(),
            scan::parameter(parameters, "to-tag")?,
            scan::parameter(parameters, "from-tag")?,
        ))
    }

    fn early_only(&self) -> bool {
        let end = self.0.iter().position(|byte| *byte == b';');
        end.is_some_and(|end| scan::parameter(&self.0[end..], "early-only").is_some())
    }
}

impl UserAgent {
    /// The call an INVITE is to replace, or the code it is refused with (RFC 3891 §3): no such
    /// call, or one that has not been answered (481), one that ends (603), one that is answered
    /// though only an early one was meant (486).
    pub(super) fn replaced_by(&self, invite: &Message) -> Result<Option<CallKey>, u16> {
        let mut values = invite.values(HeaderName::Replaces);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let one = values.next().is_none() && split_list(value).count() == 1;
        if !one || value.len() > MAX_LENGTH {
            return Err(400);
        }
        let replaces = Replaces(Bytes::copy_from_slice(value));
        let (call_id, to_tag, from_tag) = replaces.parts().ok_or(400_u16)?;
        let found = parse_token(to_tag)
            .and_then(|tag| self.by_tag.get(&tag))
            .and_then(|key| Some((*key, self.calls.get(key)?)));
        let matches = |dialog: &Dialog| dialog.call_id == call_id && dialog.remote_tag == from_tag;
        let (key, call) = found
            .filter(|(_, call)| call.dialog.as_ref().is_some_and(matches))
            .ok_or(481_u16)?;
        match call.state {
            State::Calling(_) | State::Ringing(_) => Err(481),
            State::Ending { .. } => Err(603),
            State::Up if replaces.early_only() => Err(486),
            State::Up => Ok(Some(key)),
        }
    }

    /// A call that replaces another was answered: the other one ends.
    pub(super) fn on_replacement(&mut self, now: Instant, replaced: CallKey) {
        let call = self.calls.get(&replaced);
        if call.is_some_and(|call| matches!(call.state, State::Up)) {
            self.call_event(now, replaced, CallEvent::Replaced);
            self.send_bye(now, replaced, EndReason::LocalBye);
        }
    }
}
