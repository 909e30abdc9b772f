//! What is decided about a request from the message alone.

use bytes::Bytes;

use super::config::{EndpointConfig, Reliable, SessionTimerMode};
use super::reliable::RELIABLE;
use super::replaces::REPLACES;
use super::session::TIMER;
use crate::message::{Essentials, HeaderName, Message};

/// Whether a list of option tags or methods holds one.
pub(super) fn names_option(message: &Message, header: HeaderName, option: &str) -> bool {
    message
        .elements(header)
        .any(|element| element.eq_ignore_ascii_case(option.as_bytes()))
}

/// Whether an endpoint takes requests that require an option; who has yet to be named an endpoint
/// takes all there are.
pub(super) fn understands(config: Option<&EndpointConfig>, option: &[u8]) -> bool {
    let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
    is(REPLACES)
        || (is(TIMER) && config.is_none_or(|config| config.session_timer.is_on()))
        || (is(RELIABLE) && config.is_none_or(|config| config.reliable != Reliable::Off))
}

/// What an endpoint requires of a peer that does not name it in its INVITE.
pub(super) fn missing(
    message: &Message,
    config: &EndpointConfig,
) -> impl Iterator<Item = &'static str> {
    let known = |option: &str| {
        names_option(message, HeaderName::Supported, option)
            || names_option(message, HeaderName::Require, option)
    };
    let timer = config.session_timer.mode == SessionTimerMode::Required && !known(TIMER);
    let reliable = config.reliable == Reliable::Required && !known(RELIABLE);
    [timer.then_some(TIMER), reliable.then_some(RELIABLE)]
        .into_iter()
        .flatten()
}

/// Whether a request requires something the endpoint does not take.
pub(super) fn requires_more(message: &Message, config: Option<&EndpointConfig>) -> bool {
    message
        .elements(HeaderName::Require)
        .any(|option| !understands(config, option))
}

/// The code an INVITE is refused with before anybody is asked: an extension we lack (420) or
/// need (421), a session interval that is too short (422), a body we cannot read (415), an answer that may not be SDP (406), no room (486).
pub(super) fn refusal_of(
    message: &Message,
    config: Option<&EndpointConfig>,
    full: bool,
) -> Option<u16> {
    if requires_more(message, config) {
        return Some(420);
    }
    if let Some(config) = config {
        if missing(message, config).next().is_some() {
            return Some(421);
        }
        if config.session_timer.is_too_short(message) {
            return Some(422);
        }
    }
    if !accepts_sdp(message) {
        return Some(406);
    }
    if !is_sdp(message) {
        return Some(415);
    }
    full.then_some(486)
}

/// Whether the answer may be SDP: Accept is absent or names it (RFC 3261 §20.1).
fn accepts_sdp(message: &Message) -> bool {
    let is_sdp = |range: &[u8]| {
        let end = range
            .iter()
            .position(|&byte| byte == b';')
            .unwrap_or(range.len());
        let range = range[..end].trim_ascii();
        [&b"application/sdp"[..], b"application/*", b"*/*"]
            .into_iter()
            .any(|known| range.eq_ignore_ascii_case(known))
    };
    message.value(HeaderName::Accept).is_none() || message.elements(HeaderName::Accept).any(is_sdp)
}

/// Whether a body, if there is one, is plain SDP.
pub(super) fn is_sdp(message: &Message) -> bool {
    let encoded = message
        .value(HeaderName::ContentEncoding)
        .is_some_and(|encoding| {
            !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
        });
    let value = message
        .value(HeaderName::ContentType)
        .unwrap_or(b"application/sdp");
    let end = value
        .iter()
        .position(|&byte| byte == b';')
        .unwrap_or(value.len());
    message.body().is_empty()
        || (!encoded
            && value[..end]
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/sdp"))
}

/// What a request that came twice by different paths shares (RFC 3261 §8.2.2.2); the Request-URI
/// counts too, as several endpoints here may be called by one forking proxy.
pub(super) fn merge_key(message: &Message, essentials: &Essentials) -> Bytes {
    let uri = message
        .request_uri()
        .map(|uri| uri.as_bytes().to_vec())
        .unwrap_or_default();
    let tag = essentials.from.tag().unwrap_or_default();
    let number = essentials.cseq.number.to_be_bytes();
    Bytes::from([&essentials.call_id[..], b"\n", &tag, b"\n", &number, &uri].concat())
}
