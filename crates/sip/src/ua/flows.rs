//! Flows: what keeps them open on the way, and what becomes of requests by one that breaks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::UserAgent;
use super::call::Call;
use crate::core::TimerKey;
use crate::counters::EndpointKey;
use crate::flow::{Flow, LocalId, Transport};
use crate::framer::PING;
use crate::message::Via;
use crate::timers::Deadline;
use crate::transaction::Way;

/// The peers that a UDP socket sends keep-alives to, all at the same time.
#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    remotes: BTreeSet<SocketAddr>,
    due: Deadline,
}

impl UserAgent {
    /// Counts a message that the transport could not send; retransmission and the transaction
    /// timeouts deal with the loss.
    pub fn transport_error(&mut self, endpoint: Option<EndpointKey>) {
        self.core
            .ledger
            .count(endpoint, |counters| counters.transport_errors += 1);
    }

    /// A flow broke: its connection was refused, reset or closed. Requests that wait for an answer
    /// by it fail at once (RFC 3261 §17.1.4), each counted as a transport error of its endpoint, but
    /// those that went by TCP for their size alone go by UDP (§18.1.1); calls that stand go on.
    /// Responses to what came by it go to where the topmost Via says that the peer listens (§18.2.2);
    /// over WebSocket to the server there, if that is the peer, and to nowhere if it is a client. One
    /// that is missing then is a transport error too.
    /// Where peers cannot connect to us, the endpoints registered by it register again, which makes
    /// another connection: within a second, later if many do. `reason` is for people.
    pub fn flow_failed(&mut self, now: Instant, flow: Flow, reason: &str) {
        let now = self.clock(now);
        self.fail_flow(now, flow, reason);
        self.register_after_loss(now, flow);
    }

    /// The way of the responses to a request that came by a flow with this topmost Via.
    pub(super) fn way_back(&self, via: &Via, flow: Flow) -> Way {
        let bound = self.listeners.get(&flow.local);
        Way::of(via, flow, bound.is_some_and(|bound| bound.listener.accepts))
    }

    /// Keeps the way from an endpoint to its next hop open, if its UDP socket does such a thing,
    /// until the socket has no endpoints any more.
    pub(super) fn keep_alive(&mut self, now: Instant, key: EndpointKey) {
        let Some(config) = self.endpoints.get(&key).map(|endpoint| &endpoint.config) else {
            return;
        };
        let local = config.local;
        let Some(bound) = self.listeners.get_mut(&local) else {
            return;
        };
        let kept = &mut bound.keep_alive;
        if let (Some(interval), Some(remote)) = (bound.listener.keep_alive, config.next_hop)
            && kept.remotes.insert(remote)
            && kept.remotes.len() == 1
        {
            let at = now + self.core.spread(interval);
            let timer = TimerKey::KeepAlive(local);
            kept.due.set(&mut self.core.timers, timer, Some(at));
        }
    }

    /// Sends a double CRLF to the peers of a UDP socket. RFC 5626 §3.5.2 has STUN there, but this is
    /// what servers take for a keep-alive on UDP.
    pub(super) fn on_keep_alive_timer(&mut self, now: Instant, local: LocalId, entry: Instant) {
        let Some(bound) = self.listeners.get_mut(&local) else {
            return;
        };
        let timer = TimerKey::KeepAlive(local);
        let kept = &mut bound.keep_alive;
        if !kept.due.fired(&mut self.core.timers, timer, entry, now) {
            return;
        }
        let Some(interval) = bound.listener.keep_alive else {
            return;
        };
        if bound.endpoints.is_empty() {
            kept.remotes.clear();
            return;
        }
        for &remote in &kept.remotes {
            let flow = Flow {
                local,
                transport: Transport::Udp,
                remote,
            };
            self.core.send_uncounted(flow, Bytes::from_static(PING));
        }
        let at = now + self.core.spread(interval);
        kept.due.set(&mut self.core.timers, timer, Some(at));
    }

    /// Drops the calls that a test of them names.
    pub(super) fn drop_calls(&mut self, now: Instant, wanted: impl Fn(&Call) -> bool) {
        let mut keys: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| wanted(call))
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        for key in keys {
            self.drop_call(now, key);
        }
    }
}

/// Whether a datagram only keeps a way open: line ends (RFC 5626 §3.5.1), the zeros of some servers,
/// or STUN (RFC 8489 §5), which nobody asked us to answer.
pub(super) fn is_keep_alive(datagram: &[u8]) -> bool {
    const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    let short = datagram.len() <= PING.len();
    let stun = datagram.len() >= 20 && datagram[0] & 0xc0 == 0 && datagram[4..8] == MAGIC;
    stun || (short && datagram.iter().all(blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alives_are_told_from_messages() {
        let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        binding.extend([7; 12]);
        for datagram in [&b"\r\n\r\n"[..], b"\r\n", b"", &[0; 4], &[0], &binding] {
            assert!(is_keep_alive(datagram), "{datagram:?}");
        }
        let mut response = binding.clone();
        response[0] = 0x80;
        for datagram in [
            &b"\r\n\r\nx"[..],
            &[0; 5],
            &binding[..19],
            &response,
            b"BYE",
        ] {
            assert!(!is_keep_alive(datagram), "{datagram:?}");
        }
    }
}
