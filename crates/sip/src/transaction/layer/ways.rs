//! Which way the responses of a server transaction go (RFC 3261 §18.2.2), and what becomes of them
//! when it breaks (§17.2.4, RFC 6026 §7.1).

use std::net::SocketAddr;

use bytes::Bytes;

use super::super::server::{OnTransportError, ServerState};
use super::{Server, ServerId, Transactions};
use crate::core::Core;
use crate::counters::{EndpointKey, class_index};
use crate::flow::{Flow, LocalId, Transport};
use crate::message::Via;
use crate::ua::CallKey;

/// The way of the responses to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    flow: Flow,
    /// Where a connection is made to once the one the request came by is gone.
    back: Option<SocketAddr>,
    /// Nobody opens a connection to the peer.
    one_way: bool,
    /// Its connection is gone for good.
    lost: bool,
}

impl Way {
    /// The way back of a request that came by a flow with this topmost Via; `accepts`: peers can
    /// connect to us. By UDP it is the address the Via asks for, which does not break. Over WebSocket
    /// one side is the server (RFC 7118 §5): if it is we, the connection is the only way to the peer;
    /// else the peer is where we have connected to, whatever inner address its Via names.
    pub(crate) fn of(via: &Via, flow: Flow, accepts: bool) -> Self {
        let (remote, back) = match flow.transport {
            Transport::Udp => (via.response_address(flow.remote), None),
            Transport::Tcp | Transport::Tls => (flow.remote, Some(via.listens_at(flow.remote))),
            Transport::Ws | Transport::Wss => (flow.remote, (!accepts).then_some(flow.remote)),
        };
        Self {
            flow: Flow { remote, ..flow },
            back,
            one_way: accepts && matches!(flow.transport, Transport::Ws | Transport::Wss),
            lost: false,
        }
    }

    pub(crate) fn flow(&self) -> Flow {
        self.flow
    }

    /// Its entry among [`Ways`].
    fn entry(&self, id: ServerId) -> Option<Entry> {
        let Flow { local, remote, .. } = self.flow;
        let breaks = self.flow.transport.is_reliable();
        breaks.then_some((local, remote, id))
    }
}

type Entry = (LocalId, SocketAddr, ServerId);

/// Which transactions answer by which connection; a local transport has those of one protocol.
#[derive(Debug, Default)]
pub(super) struct Ways(std::collections::BTreeSet<Entry>);

impl Ways {
    pub(super) fn add(&mut self, way: &Way, id: ServerId) {
        self.0.extend(way.entry(id));
    }

    pub(super) fn remove(&mut self, way: &Way, id: ServerId) {
        if let Some(entry) = way.entry(id) {
            self.0.remove(&entry);
        }
    }

    pub(super) fn remove_local(&mut self, local: LocalId) {
        self.0.retain(|(of, ..)| *of != local);
    }

    fn by(&self, flow: Flow) -> Vec<ServerId> {
        let Flow { local, remote, .. } = flow;
        let all = (local, remote, ServerId(0))..=(local, remote, ServerId(u64::MAX));
        self.0.range(all).map(|(.., id)| *id).collect()
    }
}

/// A transaction whose last response may not have got to the peer.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) call: Option<CallKey>,
    pub(crate) endpoint: Option<EndpointKey>,
    /// It was a 2xx to an INVITE, which is the dialog's.
    pub(crate) by_dialog: bool,
}

impl Server {
    /// Sends a response, one with a `status` for the first time, else again; without a way it counts
    /// as not sent.
    pub(super) fn send(&self, core: &mut Core, response: Bytes, status: Option<u16>) {
        if self.way.lost {
            core.ledger
                .count(self.endpoint, |counters| counters.transport_errors += 1);
        } else if let Some(status) = status {
            core.ledger.count(self.endpoint, |counters| {
                counters.responses_sent[class_index(status)] += 1;
            });
            core.send(self.way.flow, response, self.endpoint);
        } else {
            core.resend(self.way.flow, response, self.endpoint);
        }
    }
}

impl Transactions {
    /// Sends a response again that the dialog keeps.
    pub(crate) fn repeat(&self, core: &mut Core, id: ServerId, response: Bytes) {
        if let Some(server) = self.servers.get(&id) {
            server.send(core, response, None);
        }
    }

    /// A connection could not be made or is gone: responses to what came by it go to where the peer
    /// listens from now on. A refusal that nobody has acknowledged goes there at once: over
    /// connections it is sent only once, and may not have arrived. Names those transactions that
    /// have no other way, in order of their age; they stay, and those that can are tried again with
    /// their next response.
    pub(crate) fn fail_ways(&mut self, core: &mut Core, flow: Flow) -> Vec<Unsent> {
        if !flow.transport.is_reliable() {
            return Vec::new();
        }
        let mut unsent = Vec::new();
        for id in self.ways.by(flow) {
            let Some(server) = self.servers.get_mut(&id) else {
                continue;
            };
            let state = server.machine.state();
            if let Some(back) = server.way.back.take() {
                self.ways.remove(&server.way, id);
                server.way.flow.remote = back;
                self.ways.add(&server.way, id);
                if server.call.is_some() && server.machine.awaits_ack() {
                    server.send(core, server.response.clone(), None);
                }
                continue;
            }
            server.way.lost = server.way.one_way;
            let error = server.machine.on_transport_error();
            if error != OnTransportError::Nothing {
                unsent.push(Unsent {
                    call: server.call,
                    endpoint: server.endpoint,
                    by_dialog: state == ServerState::Accepted,
                });
            }
            if error == OnTransportError::Over {
                self.forget_server(id);
            }
        }
        unsent
    }
}
