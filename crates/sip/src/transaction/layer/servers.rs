//! The server half of the transaction layer.

use std::time::Instant;

use bytes::Bytes;

use super::super::key;
use super::super::server::{OnRequest, OnServerTimer, ServerMachine, ServerState};
use super::{Expired, Refusal, Request, Server, ServerId, Transactions, Way};
use crate::core::{Core, TimerKey};
use crate::counters::EndpointKey;
use crate::message::{Essentials, Message, Method};
use crate::timers::Deadline;
use crate::ua::CallKey;

impl Transactions {
    /// Matches a request: duplicates are answered again, the ACK of a refusal ends it.
    pub(crate) fn request(
        &mut self,
        core: &mut Core,
        now: Instant,
        message: &Message,
        essentials: &Essentials,
        method: Method,
    ) -> Request {
        let key = key::of_request(message, essentials, method);
        let found = self
            .by_key
            .get(&key)
            .and_then(|id| Some((*id, self.servers.get_mut(id)?)));
        let Some((id, server)) = found else {
            return Request::New(key);
        };
        let endpoint = server.endpoint;
        let is_ack = method == Method::Ack;
        let before = server.machine.state();
        let action = if is_ack {
            server.machine.on_ack(now)
        } else {
            server.machine.on_request()
        };
        if action == OnRequest::Ack2xx {
            return Request::New(key);
        }
        core.ledger
            .attribute(endpoint, |counters| counters.messages_received += 1);
        if action == OnRequest::Resend {
            server.send(core, server.response.clone(), None);
        }
        if is_ack && before == ServerState::Completed {
            if let Some(refusal) = server.refusal {
                self.room.give(refusal);
                server.refusal = self.room.take(Refusal::Acknowledged);
                if server.refusal.is_none() {
                    self.forget_server(id);
                    return Request::Absorbed;
                }
            }
        } else {
            core.ledger
                .count(endpoint, |counters| counters.retransmissions_received += 1);
        }
        let next = server.machine.next();
        server
            .deadline
            .set(&mut core.timers, TimerKey::Server(id), next);
        Request::Absorbed
    }

    /// Makes a transaction of a new request; `way` is where its responses go.
    pub(crate) fn open(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: Bytes,
        way: Way,
        method: Method,
        owner: (Option<CallKey>, Option<EndpointKey>),
    ) -> ServerId {
        self.last_server += 1;
        let id = ServerId(self.last_server);
        let reliable = way.flow().transport.is_reliable();
        let machine = ServerMachine::new(now, method == Method::Invite, reliable);
        let mut deadline = Deadline::default();
        deadline.set(&mut core.timers, TimerKey::Server(id), machine.next());
        let (call, endpoint) = owner;
        let response = Bytes::new();
        self.by_key.insert(key.clone(), id);
        self.ways.add(&way, id);
        self.servers.insert(
            id,
            Server {
                machine,
                key,
                endpoint,
                call,
                way,
                within: false,
                refusal: None,
                response,
                deadline,
            },
        );
        id
    }

    /// Transactions of both sides.
    pub(crate) fn count(&self) -> usize {
        self.clients.len() + self.servers.len().max(self.by_key.len())
    }

    /// Sends a response, unless a final one has been sent. A refusal without room is not kept.
    pub(crate) fn respond(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ServerId,
        status: u16,
        response: Bytes,
    ) -> bool {
        let Some(server) = self.servers.get_mut(&id) else {
            return false;
        };
        let first = server.machine.state() == ServerState::Trying;
        if !server.machine.on_respond(now, status) {
            return false;
        }
        server.send(core, response.clone(), Some(status));
        if first && !server.within && server.machine.awaits_ack() {
            server.refusal = self.room.take(Refusal::Unacknowledged);
            if server.refusal.is_none() {
                self.forget_server(id);
                return true;
            }
        }
        // The dialog keeps and repeats a 2xx to INVITE.
        let kept = server.machine.state() != ServerState::Accepted;
        server.response = if kept { response } else { Bytes::new() };
        let next = server.machine.next();
        server
            .deadline
            .set(&mut core.timers, TimerKey::Server(id), next);
        true
    }

    /// The INVITE transaction a CANCEL is for: same branch and sent-by (RFC 3261 §9.2).
    pub(crate) fn cancelled(
        &self,
        message: &Message,
        essentials: &Essentials,
    ) -> Option<(ServerId, Option<CallKey>, Option<EndpointKey>)> {
        let id = *self
            .by_key
            .get(&key::of_request(message, essentials, Method::Invite))?;
        let server = self.servers.get(&id)?;
        Some((id, server.call, server.endpoint))
    }

    /// Names the endpoint of a transaction.
    pub(crate) fn attach(&mut self, id: ServerId, endpoint: EndpointKey) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.endpoint = Some(endpoint);
        }
    }

    /// The call of a server transaction.
    pub(crate) fn server_call(&self, id: ServerId) -> Option<CallKey> {
        self.servers.get(&id)?.call
    }

    pub(crate) fn server_timer(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ServerId,
        entry: Instant,
    ) -> Expired {
        let timer = TimerKey::Server(id);
        let Some(server) = self.servers.get_mut(&id) else {
            return Expired::Nothing;
        };
        if !server.deadline.fired(&mut core.timers, timer, entry, now) {
            return Expired::Nothing;
        }
        match server.machine.on_timer(now) {
            OnServerTimer::Wait => {}
            OnServerTimer::SendTrying => return Expired::Silent(id),
            OnServerTimer::Resend => server.send(core, server.response.clone(), None),
            end @ (OnServerTimer::Timeout | OnServerTimer::Over) => {
                if end == OnServerTimer::Timeout {
                    core.ledger
                        .count(server.endpoint, |counters| counters.timeouts += 1);
                }
                self.forget_server(id);
                return Expired::Nothing;
            }
        }
        server
            .deadline
            .set(&mut core.timers, timer, server.machine.next());
        Expired::Nothing
    }

    /// Forgets the transaction of a call that is dropped.
    pub(crate) fn forget_server(&mut self, id: ServerId) {
        if let Some(server) = self.servers.remove(&id) {
            self.by_key.remove(&server.key);
            self.ways.remove(&server.way, id);
            if let Some(refusal) = server.refusal {
                self.room.give(refusal);
            }
        }
    }
}
