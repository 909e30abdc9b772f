//! Going on to another server of the next hop when one fails (RFC 3263 §4.3).

use std::net::SocketAddr;
use std::time::Instant;

use super::UserAgent;
use super::auth::Retries;
use super::call::State;
use super::endpoint::Endpoint;
use super::event::CallKey;

/// The one final response that says "another server may do it" (RFC 3263 §4.3).
pub(super) const UNAVAILABLE: u16 = 503;

impl Endpoint {
    /// Where a request goes on to that the server at `failed` did not answer or could not serve;
    /// `tried` counts the servers it has been sent to in vain. The endpoint stays with the server
    /// it ends at, so that its next request does not fail first.
    pub(super) fn next_server(
        &mut self,
        failed: SocketAddr,
        tried: &mut usize,
    ) -> Option<SocketAddr> {
        let config = &mut self.config;
        let current = config.next_hop?;
        *tried += 1;
        if *tried > config.backups.len() || !config.is_next_hop(failed) {
            return None;
        }
        if failed == current {
            // The first one cannot be missing: `tried` is at least 1.
            let next = config.backups.remove(0);
            config.backups.push(current);
            config.next_hop = Some(next);
        }
        config.next_hop
    }
}

impl UserAgent {
    /// Sends the INVITE of a call to the next server, if the one it was sent to is one of several.
    /// One that was cancelled or has led to ringing is over.
    pub(super) fn invite_goes_on(&mut self, now: Instant, key: CallKey) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let rang = call.times.ringing.or(call.times.early_media).is_some();
        let State::Calling(outgoing) = &mut call.state else {
            return false;
        };
        if outgoing.cancelled || rang {
            return false;
        }
        let next = call
            .endpoint
            .and_then(|key| self.endpoints.get_mut(&key))
            .and_then(|endpoint| {
                endpoint.next_server(outgoing.flow.remote, &mut outgoing.servers_tried)
            });
        let Some(next) = next else {
            return false;
        };
        outgoing.flow.remote = next;
        outgoing.retries = Retries::default();
        self.send_invite(now, key);
        true
    }
}
