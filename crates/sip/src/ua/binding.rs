//! What an endpoint has at its registrar, and for how long (RFC 3261 §10.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::auth::Retries;
use super::redirect::Redirects;
use super::screen::names_option;
use crate::message::{HeaderName, Message, NameAddr, Uri};
use crate::timers::Deadline;
use crate::transaction::ClientKey;

/// Longest lifetime asked for after 423, so that a registrar cannot park us for ever.
pub(super) const MAX_EXPIRES: u64 = 86_400;

/// The option tag of RFC 5626.
pub(super) const OUTBOUND: &str = "outbound";
/// Most URIs kept of a Service-Route.
const MAX_SERVICE_ROUTE: usize = 8;

/// What an endpoint has at its registrar.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) registrar: Uri,
    pub(super) expires: u64,
    pub(super) call_id: String,
    pub(super) tag: u64,
    pub(super) cseq: u32,
    /// The Service-Route of the last 2xx (RFC 3608): the way of requests that start something.
    pub(super) service_route: Vec<Uri>,
    /// Whether the last REGISTER was accepted and its lifetime lasts.
    pub(super) stands: bool,
    /// The server that accepted it.
    pub(super) server: Option<SocketAddr>,
    /// Its flow is lost, and `refresh` is its turn to register again.
    pub(super) recovering: bool,
    /// Whether it asks for, and has, a flow of its own (RFC 5626).
    pub(super) outbound: Outbound,
    pub(super) attempt: Option<Attempt>,
    /// Deregister as soon as the REGISTER under way has ended.
    pub(super) unregister_next: bool,
    pub(super) refresh: Deadline,
}

/// Whether a registrar keeps the flow of a registration (RFC 5626).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outbound {
    /// It has not said so.
    #[default]
    Unconfirmed,
    /// It does.
    Confirmed,
    /// The first proxy on the way cannot (439, §4.2.1): it is not asked for again.
    Impossible,
}

impl Outbound {
    /// What a 2xx makes of it (RFC 5626 §4.2.1).
    pub(super) fn accepted(self, message: &Message) -> Self {
        match self {
            Self::Impossible => self,
            _ if names_option(message, HeaderName::Require, OUTBOUND) => Self::Confirmed,
            _ => Self::Unconfirmed,
        }
    }
}

/// A REGISTER under way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) key: ClientKey,
    pub(super) purpose: Purpose,
    pub(super) sent: Instant,
    pub(super) authenticated: Option<Instant>,
    pub(super) retries: Retries,
    /// Whether 423 has been obeyed.
    pub(super) longer: bool,
    pub(super) redirects: Redirects,
    /// Where it was sent last.
    pub(super) server: Option<SocketAddr>,
    /// How often that has been another server than before.
    pub(super) moves: usize,
    /// Servers of the next hop that failed it.
    pub(super) servers_tried: usize,
    /// Where a 3xx sent it: Request-URI, address, whether by the endpoint's Route set.
    pub(super) target: Option<(Uri, SocketAddr, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Register,
    Refresh,
    Unregister,
}

/// When a registration of `granted` seconds is refreshed: at half of short ones, so that a lost
/// refresh can time out and be seen before the end, at nine tenths of long ones.
pub(super) fn refresh_after(granted: u64) -> Duration {
    let share = if granted < 600 { 500 } else { 900 };
    Duration::from_millis(granted.saturating_mul(share))
}

/// The Service-Route of a 2xx, in order; empty if it has none, or one that cannot be read.
pub(super) fn service_route(message: &Message) -> Vec<Uri> {
    let route = message
        .addresses(HeaderName::ServiceRoute)
        .unwrap_or_default();
    let uris = route.into_iter().map(|address| address.uri);
    uris.take(MAX_SERVICE_ROUTE).collect()
}

/// The lifetime of our Contact in a 2xx, in seconds: its `expires`, else Expires, else what was
/// asked for. `None` if the response lists Contacts and ours is not among them.
pub(super) fn granted(message: &Message, contact: &[u8], asked: u64) -> Option<u64> {
    let ours = NameAddr::parse(HeaderName::Contact, bytes::Bytes::copy_from_slice(contact)).ok()?;
    let bindings = message.addresses(HeaderName::Contact).unwrap_or_default();
    let fallback = || {
        message
            .seconds(HeaderName::Expires)
            .map_or(asked, |expires| expires.as_secs())
    };
    if bindings.is_empty() {
        return Some(fallback());
    }
    let found = bindings
        .iter()
        .find(|binding| binding.uri.same_address(&ours.uri))?;
    // At most 2³² − 1 (RFC 3261 §20.19), so that no moment of it is out of range.
    let expires = found.param("expires").and_then(|value| {
        let text = std::str::from_utf8(value).ok()?.trim_matches('"');
        text.parse::<u32>().ok()
    });
    Some(expires.map_or_else(fallback, u64::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_is_that_of_our_own_contact() {
        let granted = |headers: &str| {
            let text = format!("SIP/2.0 200 OK\r\n{headers}\r\n");
            let message = Message::parse(bytes::Bytes::from(text)).unwrap();
            granted(&message, b"<sip:a@192.0.2.1:5060>", 3600)
        };
        let other = "<sip:a@192.0.2.7:5060>;expires=9";
        assert_eq!(
            granted(&format!("m: {other}, <sip:a@192.0.2.1>;expires=\"60\"\r\n")),
            Some(60)
        );
        assert_eq!(granted(&format!("Contact: {other}\r\n")), None);
        assert_eq!(
            granted("Contact: <sip:a@192.0.2.1>\r\nExpires: 70\r\n"),
            Some(70)
        );
        assert_eq!(granted("Contact: <sip:a@192.0.2.1>\r\n"), Some(3600));
        assert_eq!(granted(""), Some(3600));
    }

    #[test]
    fn short_lifetimes_are_refreshed_at_half() {
        assert_eq!(refresh_after(60), Duration::from_secs(30));
        assert_eq!(refresh_after(3600), Duration::from_secs(3240));
    }
}
