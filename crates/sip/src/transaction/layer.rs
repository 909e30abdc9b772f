//! The transaction layer: owns all transactions, matches messages to them, sends again what the
//! timers ask for.
//!
//! Contract: every received message is offered to [`Transactions::response`] or
//! [`Transactions::request`] first; a request that is [`Request::New`] becomes a transaction by
//! [`Transactions::open`] and is then answered with [`Transactions::respond`]. Each timer entry of
//! a transaction goes to [`Transactions::client_timer`] or [`Transactions::server_timer`].

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;

use super::client::{ClientMachine, ClientState, OnResponse, OnTimer};
use super::key::{self, ClientKey};
use super::server::{OnRequest, OnServerTimer, ServerMachine, ServerState};
use crate::compose;
use crate::core::{Core, TimerKey};
use crate::counters::{EndpointKey, class_index};
use crate::flow::{Flow, LocalId};
use crate::message::{Essentials, Message, Method};
use crate::timers::Deadline;
use crate::ua::CallKey;

/// Most branches of one INVITE whose 2xx are acknowledged.
const MAX_FORKS: usize = 16;

/// A server transaction of this layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerId(u64);

/// Who waits for the response to a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The INVITE that places a call.
    Invite(CallKey),
    /// The CANCEL of it.
    Cancel(CallKey),
    /// The BYE of a call.
    Bye(CallKey),
    /// A REGISTER.
    Register(EndpointKey),
    /// Nobody: the BYE of a branch that lost.
    Orphan,
}

/// What a response is.
#[derive(Debug)]
pub(crate) enum Response {
    /// A response its owner waits for; `flow` is where the request went.
    Deliver {
        owner: Owner,
        key: ClientKey,
        flow: Flow,
        endpoint: Option<EndpointKey>,
    },
    /// A 2xx of another branch to an INVITE that has one.
    Fork {
        key: ClientKey,
        flow: Flow,
        endpoint: Option<EndpointKey>,
    },
    /// A duplicate, dealt with.
    Absorbed,
    /// No transaction of ours.
    Unknown,
}

/// What a request is.
#[derive(Debug)]
pub(crate) enum Request {
    /// The first of a transaction, with its key; an ACK to a 2xx is one too.
    New(Bytes),
    /// A duplicate or the ACK of a refusal, dealt with.
    Absorbed,
}

/// What a timer leaves to the owner.
#[derive(Debug)]
pub(crate) enum Expired {
    Nothing,
    /// A request of ours got no final response.
    Unanswered(ClientKey, Owner),
    /// A server INVITE transaction has sent nothing for 200 ms.
    Silent(ServerId),
}

#[derive(Debug, Default)]
pub(crate) struct Transactions {
    clients: HashMap<ClientKey, Client>,
    servers: HashMap<ServerId, Server>,
    by_key: HashMap<Bytes, ServerId>,
    last_server: u64,
}

#[derive(Debug)]
struct Client {
    machine: ClientMachine,
    owner: Owner,
    endpoint: Option<EndpointKey>,
    flow: Flow,
    /// The request; once answered, what acknowledges the refusal of an INVITE.
    message: Bytes,
    /// The ACKs to the 2xx of an INVITE, by To tag.
    acks: Vec<(Bytes, Flow, Bytes)>,
    deadline: Deadline,
}

#[derive(Debug)]
struct Server {
    machine: ServerMachine,
    key: Bytes,
    endpoint: Option<EndpointKey>,
    call: Option<CallKey>,
    flow: Flow,
    response: Bytes,
    deadline: Deadline,
}

impl Transactions {
    /// Sends a request and waits for its responses.
    pub(crate) fn start(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: ClientKey,
        flow: Flow,
        request: (Method, Bytes),
        owner: (Owner, Option<EndpointKey>),
    ) {
        let (method, message) = request;
        let (owner, endpoint) = owner;
        core.send(flow, message.clone(), endpoint);
        let reliable = flow.transport.is_reliable();
        let machine = ClientMachine::new(now, method == Method::Invite, reliable);
        let mut client = Client {
            machine,
            owner,
            endpoint,
            flow,
            message,
            acks: Vec::new(),
            deadline: Deadline::default(),
        };
        client
            .deadline
            .set(&mut core.timers, TimerKey::Client(key), machine.next());
        self.clients.insert(key, client);
    }

    /// The request and flow of a transaction that waits for its final response.
    pub(crate) fn pending(&self, key: ClientKey) -> Option<(&Bytes, Flow)> {
        let client = self.clients.get(&key)?;
        let waits = matches!(
            client.machine.state(),
            ClientState::Calling | ClientState::Proceeding
        );
        waits.then_some((&client.message, client.flow))
    }

    /// Bounds the wait for the final response to a cancelled INVITE.
    pub(crate) fn end_by(&mut self, core: &mut Core, key: ClientKey, at: Instant) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.machine.end_by(at);
            let next = client.machine.next();
            client
                .deadline
                .set(&mut core.timers, TimerKey::Client(key), next);
        }
    }

    /// Keeps the ACK to a 2xx, to be sent again with each duplicate of the 2xx.
    pub(crate) fn keep_ack(&mut self, key: ClientKey, tag: Bytes, flow: Flow, ack: Bytes) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.acks.push((tag, flow, ack));
        }
    }

    /// Matches a response, acknowledges refusals of INVITE and absorbs duplicates.
    pub(crate) fn response(
        &mut self,
        core: &mut Core,
        now: Instant,
        message: &Message,
        essentials: &Essentials,
        status: u16,
    ) -> Response {
        let found = ClientKey::of_response(essentials);
        let Some((key, client)) = found.and_then(|key| Some((key, self.clients.get_mut(&key)?)))
        else {
            return Response::Unknown;
        };
        let endpoint = client.endpoint;
        core.ledger
            .attribute(endpoint, |counters| counters.messages_received += 1);
        let action = client.machine.on_response(now, status);
        let next = client.machine.next();
        client
            .deadline
            .set(&mut core.timers, TimerKey::Client(key), next);
        match action {
            OnResponse::Deliver | OnResponse::DeliverAndAck => {
                core.ledger.count(endpoint, |counters| {
                    counters.responses_received[class_index(status)] += 1;
                });
                if action == OnResponse::DeliverAndAck {
                    client.message = compose::ack_refusal(&client.message, message);
                    core.send(client.flow, client.message.clone(), endpoint);
                } else if status >= 200 {
                    client.message = Bytes::new();
                }
                return Response::Deliver {
                    owner: client.owner,
                    key,
                    flow: client.flow,
                    endpoint,
                };
            }
            OnResponse::Another2xx => {
                let tag = essentials.to.tag().unwrap_or_default();
                match client.acks.iter().find(|(known, ..)| *known == tag) {
                    Some((_, flow, ack)) => core.resend(*flow, ack.clone(), endpoint),
                    None if client.acks.len() < MAX_FORKS => {
                        core.ledger.count(endpoint, |counters| {
                            counters.responses_received[class_index(status)] += 1;
                        });
                        return Response::Fork {
                            key,
                            flow: client.flow,
                            endpoint,
                        };
                    }
                    None => core
                        .ledger
                        .count(endpoint, |counters| counters.unexpected += 1),
                }
            }
            OnResponse::AckAgain => core.resend(client.flow, client.message.clone(), endpoint),
            OnResponse::Absorb => {}
        }
        core.ledger
            .count(endpoint, |counters| counters.retransmissions_received += 1);
        Response::Absorbed
    }

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
            core.resend(server.flow, server.response.clone(), endpoint);
        }
        let first_ack = is_ack && before == ServerState::Completed;
        if !first_ack {
            core.ledger
                .count(endpoint, |counters| counters.retransmissions_received += 1);
        }
        let next = server.machine.next();
        server
            .deadline
            .set(&mut core.timers, TimerKey::Server(id), next);
        Request::Absorbed
    }

    /// Makes a transaction of a new request; `flow` is where its responses go.
    pub(crate) fn open(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: Bytes,
        flow: Flow,
        method: Method,
        owner: (Option<CallKey>, Option<EndpointKey>),
    ) -> ServerId {
        self.last_server += 1;
        let id = ServerId(self.last_server);
        let reliable = flow.transport.is_reliable();
        let machine = ServerMachine::new(now, method == Method::Invite, reliable);
        let mut deadline = Deadline::default();
        deadline.set(&mut core.timers, TimerKey::Server(id), machine.next());
        let (call, endpoint) = owner;
        let response = Bytes::new();
        self.by_key.insert(key.clone(), id);
        self.servers.insert(
            id,
            Server {
                machine,
                key,
                endpoint,
                call,
                flow,
                response,
                deadline,
            },
        );
        id
    }

    /// How many server transactions there are.
    pub(crate) fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// Sends a response, unless a final one has been sent.
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
        if !server.machine.on_respond(now, status) {
            return false;
        }
        core.ledger.count(server.endpoint, |counters| {
            counters.responses_sent[class_index(status)] += 1;
        });
        core.send(server.flow, response.clone(), server.endpoint);
        if server.machine.state() != ServerState::Accepted {
            server.response = response;
        }
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

    /// Where the responses of a transaction go.
    pub(crate) fn server_flow(&self, id: ServerId) -> Option<Flow> {
        self.servers.get(&id).map(|server| server.flow)
    }

    /// The call of a server transaction.
    pub(crate) fn server_call(&self, id: ServerId) -> Option<CallKey> {
        self.servers.get(&id)?.call
    }

    pub(crate) fn client_timer(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: ClientKey,
        entry: Instant,
    ) -> Expired {
        let timer = TimerKey::Client(key);
        let Some(client) = self.clients.get_mut(&key) else {
            return Expired::Nothing;
        };
        if !client.deadline.fired(&mut core.timers, timer, entry, now) {
            return Expired::Nothing;
        }
        match client.machine.on_timer(now) {
            OnTimer::Wait => {}
            OnTimer::Resend => core.resend(client.flow, client.message.clone(), client.endpoint),
            OnTimer::Timeout => {
                let owner = client.owner;
                core.ledger
                    .count(client.endpoint, |counters| counters.timeouts += 1);
                self.clients.remove(&key);
                return Expired::Unanswered(key, owner);
            }
            OnTimer::Over => {
                self.clients.remove(&key);
                return Expired::Nothing;
            }
        }
        client
            .deadline
            .set(&mut core.timers, timer, client.machine.next());
        Expired::Nothing
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
            OnServerTimer::Resend => {
                core.resend(server.flow, server.response.clone(), server.endpoint);
            }
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
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        self.clients.remove(&key);
    }

    /// Forgets the transaction of a call that is dropped.
    pub(crate) fn forget_server(&mut self, id: ServerId) {
        if let Some(server) = self.servers.remove(&id) {
            self.by_key.remove(&server.key);
        }
    }

    /// Forgets all transactions of a local transport.
    pub(crate) fn remove_local(&mut self, local: LocalId) {
        self.clients.retain(|_, client| client.flow.local != local);
        self.servers.retain(|_, server| server.flow.local != local);
        self.by_key.retain(|_, id| self.servers.contains_key(id));
    }
}
