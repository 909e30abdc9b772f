//! Going on to where a 3xx points (RFC 3261 §8.1.3.4), for endpoints that ask for it.

use std::net::SocketAddr;
use std::time::Instant;

use super::UserAgent;
use super::auth::Retries;
use super::binding::Attempt;
use super::call::State;
use super::config::EndpointConfig;
use super::event::CallKey;
use crate::flow::Transport;
use crate::message::{HeaderName, Message, Scheme, Uri};

/// Most Contacts that one request is sent on to.
const MAX_REDIRECTS: usize = 5;

/// Where a redirected request may still go.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// Every target so far, the first one included.
    seen: Vec<Uri>,
    /// Those not yet tried, the best one last.
    left: Vec<Uri>,
}

impl Redirects {
    /// Adds the Contacts of a 3xx to a request to `target`: those not seen before, before what is
    /// left of an earlier one, in the order of their `q`, else their own.
    pub(super) fn learn(&mut self, target: &Uri, response: &Message) {
        if self.seen.is_empty() {
            self.seen.push(target.clone());
        }
        let mut contacts = response.addresses(HeaderName::Contact).unwrap_or_default();
        contacts
            .retain(|contact| contact.uri.scheme() == Scheme::Sip && !contact.uri.has_headers());
        contacts.sort_by_key(|contact| {
            let q = contact.param("q").and_then(|q| std::str::from_utf8(q).ok());
            let q: f32 = q.and_then(|q| q.parse().ok()).unwrap_or(1.0);
            // Per mille, best first; what is no number counts as none.
            std::cmp::Reverse((q.clamp(0.0, 1.0) * 1000.0) as u16)
        });
        let mut new = Vec::new();
        for contact in contacts {
            if self.seen.len() <= MAX_REDIRECTS && !self.seen.contains(&contact.uri) {
                self.seen.push(contact.uri.clone());
                new.push(contact.uri);
            }
        }
        new.reverse();
        self.left.append(&mut new);
    }

    /// The next target.
    pub(super) fn next(&mut self) -> Option<Uri> {
        self.left.pop()
    }
}

/// Whether the Contacts of a response are other targets: 300, 301, 302. 305 names a proxy and 380
/// another service (RFC 3261 §21.3); neither is taken from a peer.
fn points_elsewhere(status: u16) -> bool {
    matches!(status, 300..=302)
}

/// Where a request to a new target goes, and whether by the endpoint's Route set: always by an
/// outbound proxy, else to the address it names, else by the next hop.
fn destination(
    (config, own): (&EndpointConfig, Transport),
    target: &Uri,
) -> Option<(SocketAddr, bool)> {
    if let Some(proxy) = config.route.first() {
        let next = config.next_hop.or_else(|| proxy.socket_addr_over(own));
        return Some((next?, true));
    }
    Some((target.socket_addr_over(own).or(config.next_hop)?, false))
}

/// Moves a REGISTER to the next target of its 3xx responses, if one is left.
pub(super) fn redirect(
    (config, own): (&EndpointConfig, Transport),
    registrar: &Uri,
    attempt: &mut Attempt,
    response: &Message,
    status: u16,
) -> bool {
    if points_elsewhere(status) {
        let target = attempt.target.as_ref().map_or(registrar, |(uri, ..)| uri);
        attempt.redirects.learn(target, response);
    }
    while let Some(target) = attempt.redirects.next() {
        if let Some((remote, by_route)) = destination((config, own), &target) {
            attempt.target = Some((target, remote, by_route));
            attempt.retries = Retries::default();
            return true;
        }
    }
    false
}

impl UserAgent {
    /// Sends an INVITE on after a final response, if the endpoint follows redirections and a
    /// target is left. What ends the whole call (6xx) and what ends a cancelled one does not.
    pub(super) fn redirected(
        &mut self,
        now: Instant,
        key: CallKey,
        message: &Message,
        status: u16,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let State::Calling(outgoing) = &mut call.state else {
            return false;
        };
        let config = call
            .endpoint
            .and_then(|key| self.endpoints.get(&key))
            .map(|endpoint| &endpoint.config)
            .filter(|config| config.follow_redirects);
        let Some(config) = config.filter(|_| status < 600 && !outgoing.cancelled) else {
            return false;
        };
        if points_elsewhere(status) {
            outgoing.redirects.learn(&outgoing.target, message);
        }
        while let Some(target) = outgoing.redirects.next() {
            let own = outgoing.flow.transport;
            if let Some((remote, by_route)) = destination((config, own), &target) {
                outgoing.target = target;
                outgoing.flow.remote = remote;
                if !by_route {
                    outgoing.routes.clear();
                }
                outgoing.retries = Retries::default();
                outgoing.early.clear();
                self.send_invite(now, key);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn learnt(redirects: &mut Redirects, contacts: &str) {
        let text = format!("SIP/2.0 302 Moved\r\nContact: {contacts}\r\n\r\n");
        let response = Message::parse(Bytes::from(text)).unwrap();
        redirects.learn(&"sip:first@h".parse().unwrap(), &response);
    }

    #[test]
    fn the_best_contact_comes_first_and_none_twice() {
        let mut redirects = Redirects::default();
        learnt(
            &mut redirects,
            "<sip:c@h>;q=0.1, <sip:a@h>, <sip:first@h>, <tel:1>, <sip:b@h>;q=0.9, <sip:d@h>;q=x",
        );
        let next = redirects.next().unwrap().to_string();
        assert_eq!(next, "sip:a@h");
        // What a target points to comes before its siblings.
        learnt(&mut redirects, "<sip:a@h>, <sip:e@h>");
        let rest: Vec<_> = std::iter::from_fn(|| redirects.next())
            .map(|uri| uri.to_string())
            .collect();
        assert_eq!(rest, ["sip:e@h", "sip:d@h", "sip:b@h", "sip:c@h"]);
    }

    #[test]
    fn five_are_enough() {
        let mut redirects = Redirects::default();
        for round in 0..3 {
            let contacts: Vec<_> = (0..4).map(|n| format!("<sip:{round}{n}@h>")).collect();
            learnt(&mut redirects, &contacts.join(", "));
        }
        let followed = std::iter::from_fn(|| redirects.next()).count();
        assert_eq!(followed, MAX_REDIRECTS);
    }
}
