//! Requests that are too large for UDP (RFC 3261 §18.1.1).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::super::client::ClientState;
use super::Transactions;
use crate::compose;
use crate::core::{Core, TimerKey};
use crate::flow::{Flow, LocalId, Transport};
use crate::limits;

/// How long a peer that took no connection is not asked for one again.
const WITHOUT_TCP: Duration = Duration::from_secs(300);
/// Most peers that are remembered to take no connections.
const MOST_WITHOUT_TCP: usize = 1024;
/// Most connections that are remembered to be open.
const MOST_OPEN: usize = 1024;

/// Which requests go by TCP although they would go by UDP.
#[derive(Debug, Default)]
pub(super) struct Large {
    locals: HashSet<LocalId>,
    /// Peers that took no connection, and until when that is taken for so.
    without_tcp: HashMap<Flow, Instant>,
    /// Connections by which a peer answered.
    open: HashSet<Flow>,
}

impl Large {
    pub(super) fn add(&mut self, local: LocalId) {
        self.locals.insert(local);
    }

    pub(super) fn remove(&mut self, local: LocalId) {
        self.locals.remove(&local);
        self.without_tcp.retain(|flow, _| flow.local != local);
        self.open.retain(|flow| flow.local != local);
    }

    /// Whether a request goes by TCP for its size.
    pub(super) fn by_tcp(&self, now: Instant, flow: Flow, request: &[u8]) -> bool {
        request.len() > limits::BY_UDP
            && flow.transport == Transport::Udp
            && self.locals.contains(&flow.local)
            && self
                .without_tcp
                .get(&tcp(flow))
                .is_none_or(|until| *until <= now)
    }

    /// Whether an ACK to a 2xx goes by TCP for its size. Nothing says whether it got there, so it
    /// takes only a connection that is open.
    pub(super) fn ack_by_tcp(&self, flow: Flow, ack: &[u8]) -> bool {
        ack.len() > limits::BY_UDP
            && flow.transport == Transport::Udp
            && self.open.contains(&tcp(flow))
    }

    /// A peer answered by a connection.
    pub(super) fn heard(&mut self, flow: Flow) {
        if self.open.len() < MOST_OPEN {
            self.open.insert(flow);
        }
    }

    fn refused(&mut self, now: Instant, flow: Flow) {
        if self.without_tcp.len() >= MOST_WITHOUT_TCP {
            self.without_tcp.retain(|_, until| *until > now);
        }
        if self.without_tcp.len() < MOST_WITHOUT_TCP {
            self.without_tcp.insert(flow, now + WITHOUT_TCP);
        }
    }
}

/// The same way by TCP.
pub(super) fn tcp(flow: Flow) -> Flow {
    Flow {
        transport: Transport::Tcp,
        ..flow
    }
}

impl Transactions {
    /// Sends by UDP what went by TCP for its size and got no answer there. It has the same branch: a
    /// peer that took it all the same knows it again. An ACK waits for the next 2xx that asks for it.
    pub(super) fn fall_back(&mut self, core: &mut Core, now: Instant, flow: Flow) {
        if self.large.open.remove(&flow) {
            let clients = self.clients.values_mut();
            for ack in clients.flat_map(|client| &mut client.acks) {
                if ack.large && ack.flow == flow {
                    ack.large = false;
                    ack.flow.transport = Transport::Udp;
                    ack.message = compose::over(ack.message.clone(), Transport::Udp);
                }
            }
        }
        let mut keys: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                client.large
                    && client.flow == flow
                    && client.machine.state() == ClientState::Calling
            })
            .map(|(key, _)| *key)
            .collect();
        if keys.is_empty() {
            return;
        }
        self.large.refused(now, flow);
        keys.sort_unstable_by_key(|key| (key.branch, key.cancel));
        for key in keys {
            let Some(client) = self.clients.get_mut(&key) else {
                continue;
            };
            client.large = false;
            client.flow.transport = Transport::Udp;
            client.message = compose::over(client.message.clone(), Transport::Udp);
            client.machine = client.machine.again(now, false);
            core.send(client.flow, client.message.clone(), client.endpoint);
            let next = client.machine.next();
            client
                .deadline
                .set(&mut core.timers, TimerKey::Client(key), next);
        }
    }
}
