//! All connections of a shard: opened when a message needs one, accepted, reused, closed.

mod accept;
mod names;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use callmeter_engine::{Flow, LocalId, ShareId};
use rustls::{ClientConnection, StreamOwned};

use super::{
    carrier::Broken, connect, connection::Connection, settings::StreamSettings, wire::Wire,
};
use crate::signalling::poller::Poller;

/// Tokens of the poller that are ours: no share has so high an id.
const OURS: u64 = 1 << 62;
/// Most connections of peers to one share; further ones are closed at once.
pub(in crate::signalling) const MOST_ACCEPTED: usize = 10_000;
/// Octets given to a connection before it writes at once.
const WRITE_AT: usize = 64 * 1024;

/// What happened to connections.
#[derive(Debug)]
pub(in crate::signalling) enum StreamEvent {
    /// A message came.
    Message { flow: Flow, bytes: Bytes },
    /// A connection of ours is open.
    Opened {
        flow: Flow,
        connect: Duration,
        tls: Option<Duration>,
    },
    /// A connection could not be made, or is over.
    Broken {
        flow: Flow,
        reason: String,
        malformed: bool,
        /// The peer is none of those its address was thought to be.
        misnamed: bool,
    },
    /// A peer's connection was closed at once, or is not accepted for now.
    TurnedAway { local: LocalId, reason: String },
}

/// The connections of a shard.
#[derive(Default)]
pub(in crate::signalling) struct Streams {
    locals: HashMap<LocalId, Local>,
    /// What shares call addresses; the first is the one servers are told.
    names: names::Names,
    listeners: HashMap<u64, LocalId>,
    connections: HashMap<u64, Connection>,
    by_flow: HashMap<Flow, u64>,
    timers: BTreeSet<(Instant, u64)>,
    events: VecDeque<StreamEvent>,
    /// Connections that were not emptied in their last turn or have something to write.
    unfinished: Vec<u64>,
    next_token: u64,
    buffer: Vec<u8>,
}

/// What a local transport's connections have in common.
struct Local {
    settings: StreamSettings,
    listener: Option<TcpListener>,
    /// Where connections of ours come from; port 0: any, since peers know the listener's.
    source: SocketAddr,
    /// A socket that holds `source` until a connection does.
    held: Option<OwnedFd>,
    accepted: usize,
    /// None can be accepted, and this has been told.
    starved: bool,
    /// Most connections of peers.
    most: usize,
}

impl Streams {
    /// Whether a token of the poller is for [`Self::ready`].
    pub(in crate::signalling) fn owns(token: u64) -> bool {
        token & OURS != 0
    }

    /// Adds a local transport that peers connect to, so many at the same time.
    pub(in crate::signalling) fn listen(
        &mut self,
        poller: &Poller,
        local: LocalId,
        settings: StreamSettings,
        (listener, most): (TcpListener, usize),
    ) -> io::Result<()> {
        let token = self.token();
        poller.watch(&listener, token)?;
        let source = SocketAddr::new(listener.local_addr()?.ip(), 0);
        self.listeners.insert(token, local);
        let added = Local {
            settings,
            listener: Some(listener),
            source,
            held: None,
            accepted: 0,
            starved: false,
            most,
        };
        self.locals.insert(local, added);
        Ok(())
    }

    /// Adds a local transport whose connections are all made by us, from one port.
    pub(in crate::signalling) fn open(
        &mut self,
        local: LocalId,
        settings: StreamSettings,
        (held, source): (OwnedFd, SocketAddr),
    ) {
        let added = Local {
            settings,
            listener: None,
            source,
            held: Some(held),
            accepted: 0,
            starved: false,
            most: 0,
        };
        self.locals.insert(local, added);
    }

    /// Connections of peers.
    pub(in crate::signalling) fn accepted(&self) -> usize {
        self.locals.values().map(|local| local.accepted).sum()
    }

    /// Closes the local transports of a share and all their connections.
    pub(in crate::signalling) fn close(&mut self, share: ShareId) {
        let is_its = |local: LocalId| ShareId::of(local) == share;
        self.locals.retain(|local, _| !is_its(*local));
        self.names.retain(|(of, _), _| *of != share);
        self.listeners.retain(|_, local| !is_its(*local));
        let gone: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| is_its(connection.flow.local))
            .map(|(token, _)| *token)
            .collect();
        for token in gone {
            self.forget(token);
        }
    }

    /// Sends a message by the connection of its flow; makes one if there is none. It is written by
    /// [`Self::go_on`], with what is sent until then. What becomes of it is told by
    /// [`StreamEvent::Broken`].
    pub(in crate::signalling) fn send(
        &mut self,
        now: Instant,
        poller: &Poller,
        flow: Flow,
        bytes: Bytes,
    ) {
        let token = match self.by_flow.get(&flow) {
            Some(token) => Ok(*token),
            None => self.connect(now, poller, flow),
        };
        let queued = token.map_err(Broken::from).and_then(|token| {
            let connection = self.connections.get_mut(&token);
            let length = bytes.len();
            let Some(connection) = connection else {
                return Ok((token, 0, 0));
            };
            connection.queue(bytes)?;
            let before = connection.unwritten;
            connection.unwritten += length;
            Ok((token, before, connection.unwritten))
        });
        match queued {
            Ok((token, _, unwritten)) if unwritten >= WRITE_AT => self.turn(now, token),
            Ok((token, 0, _)) => self.unfinished.push(token),
            Ok(_) => {}
            Err(broken) => self.break_flow(flow, broken),
        }
    }

    /// A connection's peer keeps it: keep-alives want answers, and may have another interval.
    pub(in crate::signalling) fn keep_alive(&mut self, flow: Flow, every: Option<Duration>) {
        if let Some(&token) = self.by_flow.get(&flow)
            && let Some(connection) = self.connections.get_mut(&token)
        {
            connection.keep_alive(every);
            self.arm(token);
        }
    }

    /// A descriptor of ours is ready.
    pub(in crate::signalling) fn ready(&mut self, now: Instant, poller: &Poller, token: u64) {
        match self.listeners.get(&token) {
            Some(local) => self.accept(now, poller, (token, *local)),
            None => self.turn(now, token),
        }
    }

    /// Goes on with what was interrupted for others.
    pub(in crate::signalling) fn go_on(&mut self, now: Instant) {
        for token in std::mem::take(&mut self.unfinished) {
            self.turn(now, token);
        }
    }

    /// Whether [`Self::go_on`] has something to do now.
    pub(in crate::signalling) fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(in crate::signalling) fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Gives up openings that take too long, keeps idle connections alive, accepts again.
    pub(in crate::signalling) fn handle_timeout(&mut self, now: Instant, poller: &Poller) {
        while let Some(&(at, token)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(local) = self.listeners.get(&token) {
                self.accept_again(now, poller, (token, *local));
                continue;
            }
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            if connection.armed == Some(at) {
                connection.armed = None;
            }
            match connection.timeout(now) {
                Ok(()) => self.arm(token),
                Err(broken) => self.end(token, broken),
            }
        }
    }

    /// What happened, in order.
    pub(in crate::signalling) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        OURS | self.next_token
    }

    fn connect(&mut self, now: Instant, poller: &Poller, flow: Flow) -> io::Result<u64> {
        let local = self
            .locals
            .get_mut(&flow.local)
            .ok_or_else(|| io::Error::other("no such local transport"))?;
        let socket = match local.held.take() {
            Some(held) => held,
            None => connect::bound(local.source)?,
        };
        let stream = connect::connect(socket, flow.remote)?;
        let name = names::of_server(&self.names, flow, &local.settings);
        let wire = match &local.settings.tls {
            None => Wire::Tcp(stream),
            Some(tls) => {
                let session = ClientConnection::new(Arc::clone(&tls.client), name.clone())
                    .map_err(io::Error::other)?;
                Wire::TlsClient(Box::new(StreamOwned::new(session, stream)))
            }
        };
        let keep_alive = local.settings.keep_alive;
        let carrier = local.settings.dialled(wire, &name, flow.remote)?;
        let mut connection = Connection::new(now, flow, carrier, true, keep_alive);
        if local.listener.is_none() {
            connection.comes_from_the_only_port();
        }
        if local.settings.checks_names() {
            connection.is_called(name);
            for other in names::others(&self.names, flow) {
                connection.is_called(other.clone());
            }
        }
        self.add(poller, connection)
    }

    fn add(&mut self, poller: &Poller, connection: Connection) -> io::Result<u64> {
        let token = self.token();
        poller.watch_edges(connection.socket()?, token)?;
        self.by_flow.insert(connection.flow, token);
        self.connections.insert(token, connection);
        self.arm(token);
        Ok(token)
    }

    fn turn(&mut self, now: Instant, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let flow = connection.flow;
        connection.unwritten = 0;
        match connection.turn(now, &mut self.buffer) {
            Ok(turn) => {
                if let Some((connect, tls)) = turn.opened {
                    self.events
                        .push_back(StreamEvent::Opened { flow, connect, tls });
                }
                let messages = turn.messages.into_iter();
                self.events
                    .extend(messages.map(|bytes| StreamEvent::Message { flow, bytes }));
                if turn.more {
                    self.unfinished.push(token);
                }
                self.arm(token);
            }
            Err(broken) => self.end(token, broken),
        }
    }

    /// A connection is over, and not because its local transport is.
    fn end(&mut self, token: u64, broken: Broken) {
        if let Some(connection) = self.connections.get(&token) {
            connection.give_up();
            if broken.misnamed {
                let flow = connection.flow;
                let own = self.locals.get(&flow.local);
                let own = own.and_then(|local| local.settings.name());
                names::refuted(&mut self.names, flow, connection.proven(), own);
            }
        }
        if let Some(flow) = self.forget(token)
            && !self.by_flow.contains_key(&flow)
        {
            self.break_flow(flow, broken);
        }
    }

    fn break_flow(&mut self, flow: Flow, broken: Broken) {
        let Broken {
            reason,
            malformed,
            misnamed,
        } = broken;
        self.events.push_back(StreamEvent::Broken {
            flow,
            reason,
            malformed,
            misnamed,
        });
    }

    fn forget(&mut self, token: u64) -> Option<Flow> {
        let mut connection = self.connections.remove(&token)?;
        connection.close();
        let flow = connection.flow;
        // A peer may have connected to us from where we had connected to: the later one stays.
        if self.by_flow.get(&flow) == Some(&token) {
            self.by_flow.remove(&flow);
        }
        if !connection.is_ours()
            && let Some(local) = self.locals.get_mut(&flow.local)
        {
            local.accepted = local.accepted.saturating_sub(1);
        }
        Some(flow)
    }

    /// Sees to it that a connection gets its turn in time. It has at most one entry: one that is due
    /// too early is put back when it comes up.
    fn arm(&mut self, token: u64) {
        if let Some(connection) = self.connections.get_mut(&token)
            && let Some(at) = connection.next()
            && connection.armed.is_none_or(|armed| at < armed)
        {
            connection.armed = Some(at);
            self.timers.insert((at, token));
        }
    }
}

#[cfg(test)]
mod tests;
