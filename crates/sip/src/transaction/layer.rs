//! The transaction layer: owns all transactions, matches messages to them, sends again what the
//! timers ask for.
//!
//! Contract: every received message is offered to [`Transactions::response`] or
//! [`Transactions::request`] first; a request that is [`Request::New`] becomes a transaction by
//! [`Transactions::open`] and is then answered with [`Transactions::respond`]. Each timer entry of
//! a transaction goes to [`Transactions::client_timer`] or [`Transactions::server_timer`].

mod large;
mod room;
mod servers;
mod ways;

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;

use self::large::{Large, tcp};
use self::room::{Refusal, Room};
use self::ways::Ways;
pub(crate) use self::ways::{Unsent, Way};
use super::client::{ClientMachine, ClientState, OnResponse, OnTimer};
use super::key::ClientKey;
use super::server::ServerMachine;
use crate::compose;
use crate::core::{Core, TimerKey};
use crate::counters::{EndpointKey, class_index};
use crate::flow::{Flow, LocalId};
use crate::message::{Essentials, Message, Method};
use crate::own_map::OwnMap;
use crate::timers::Deadline;
use crate::ua::CallKey;

/// Most branches of one INVITE whose 2xx are acknowledged.
const MAX_FORKS: usize = 16;

/// A server transaction of this layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// A PRACK in an early dialog of a call.
    Prack(CallKey),
    /// Any other request within a dialog.
    Within(CallKey),
    /// A REGISTER.
    Register(EndpointKey),
    /// An OPTIONS outside of dialogs, and when it was sent.
    Options {
        endpoint: EndpointKey,
        sent: Instant,
    },
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
    /// A duplicate, or of a branch too many: dealt with.
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
    clients: OwnMap<ClientKey, Client>,
    servers: OwnMap<ServerId, Server>,
    by_key: HashMap<Bytes, ServerId>,
    last_server: u64,
    large: Large,
    ways: Ways,
    room: Room,
}

#[derive(Debug)]
struct Client {
    machine: ClientMachine,
    owner: Owner,
    endpoint: Option<EndpointKey>,
    flow: Flow,
    /// The request; once answered, what acknowledges the refusal of an INVITE.
    message: Bytes,
    acks: Vec<Ack>,
    /// It goes by TCP for its size alone, and by UDP where there is no TCP.
    large: bool,
    deadline: Deadline,
}

/// The ACK to the 2xx of an INVITE.
#[derive(Debug)]
struct Ack {
    /// To tag of the 2xx.
    tag: Bytes,
    flow: Flow,
    message: Bytes,
    /// It goes by TCP for its size alone.
    large: bool,
}

#[derive(Debug)]
struct Server {
    machine: ServerMachine,
    key: Bytes,
    endpoint: Option<EndpointKey>,
    call: Option<CallKey>,
    way: Way,
    /// Its request belongs to a dialog.
    within: bool,
    /// The place it has among the refusals.
    refusal: Option<Refusal>,
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
        let large = self.large.by_tcp(now, flow, &message);
        let flow = if large { tcp(flow) } else { flow };
        let message = compose::over(message, flow.transport);
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
            large,
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

    /// Sends the ACK to the 2xx with this To tag of an INVITE, again with each duplicate of the 2xx.
    /// One that is too large for UDP goes by a connection that is open.
    pub(crate) fn acknowledge(
        &mut self,
        core: &mut Core,
        key: ClientKey,
        tag: Bytes,
        (flow, message): (Flow, Bytes),
        endpoint: Option<EndpointKey>,
    ) {
        let large = self.large.ack_by_tcp(flow, &message);
        let flow = if large { tcp(flow) } else { flow };
        let message = compose::over(message, flow.transport);
        core.send(flow, message.clone(), endpoint);
        if let Some(client) = self.clients.get_mut(&key) {
            client.acks.push(Ack {
                tag,
                flow,
                message,
                large,
            });
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
        if client.large {
            self.large.heard(client.flow);
        }
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
                match client.acks.iter().find(|ack| ack.tag == tag) {
                    Some(ack) => core.resend(ack.flow, ack.message.clone(), endpoint),
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
                    None => {
                        core.ledger
                            .count(endpoint, |counters| counters.unexpected += 1);
                        return Response::Absorbed;
                    }
                }
            }
            OnResponse::AckAgain => core.resend(client.flow, client.message.clone(), endpoint),
            OnResponse::Absorb => {}
        }
        core.ledger
            .count(endpoint, |counters| counters.retransmissions_received += 1);
        Response::Absorbed
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

    /// Ends the requests on a flow that wait for their final response and names them, in an order
    /// that depends on them alone: nobody can answer them any more (RFC 3261 §17.1.4). Those that
    /// went by TCP for their size go by UDP now.
    pub(crate) fn fail_flow(
        &mut self,
        core: &mut Core,
        now: Instant,
        flow: Flow,
    ) -> Vec<(ClientKey, Owner)> {
        self.fall_back(core, now, flow);
        let mut failed: Vec<_> = self
            .clients
            .extract_if(|_, client| client.flow == flow && client.machine.on_transport_error())
            .collect();
        failed.sort_unstable_by_key(|(key, _)| (key.branch, key.cancel));
        failed
            .into_iter()
            .map(|(key, client)| {
                core.ledger.count(client.endpoint, |counters| {
                    counters.transport_errors += 1;
                });
                (key, client.owner)
            })
            .collect()
    }

    /// Forgets the transaction of a call that is dropped.
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        self.clients.remove(&key);
    }

    /// Forgets all transactions of a local transport.
    pub(crate) fn remove_local(&mut self, local: LocalId) {
        self.clients.retain(|_, client| client.flow.local != local);
        let gone = self
            .servers
            .extract_if(|_, server| server.way.flow().local == local);
        for (_, server) in gone {
            if let Some(refusal) = server.refusal {
                self.room.give(refusal);
            }
        }
        self.ways.remove_local(local);
        self.by_key.retain(|_, id| self.servers.contains_key(id));
        self.large.remove(local);
    }

    /// Whether requests of a local transport that are too large for UDP go by TCP.
    pub(crate) fn large_by_tcp(&mut self, local: LocalId) {
        self.large.add(local);
    }
}
