//! Shares of runs on a shard, and their ports.

use std::{net::SocketAddr, net::UdpSocket, time::Instant};

use callmeter_engine::{Listener, Located, ShareId};
use callmeter_proto::worker::{Assign, GroupPeers, Registrar, Role};

use super::{Shard, waiting};
use crate::signalling::{
    convert,
    messages::{Report, StopCause},
    socket,
    transport::{self, Held, StreamSettings},
};

/// Part of a group of a run on this shard, with a SIP port of its own.
pub(super) struct Share {
    pub(super) run: String,
    pub(super) group: String,
    pub(super) first: u32,
    count: u32,
    /// The port peers see.
    pub(super) port: u16,
    /// The port is one of the range, to be given back.
    of_range: bool,
    /// None: it uses connections only.
    pub(super) socket: Option<UdpSocket>,
    /// Endpoints with connections of their own.
    own: u32,
    pub(super) ended: bool,
    /// It has been said that peers' connections are turned away for these reasons.
    pub(super) turned_away: Vec<String>,
}

impl Shard {
    pub(super) fn assign(&mut self, now: Instant, assign: Assign) {
        if waiting::must_be_found(&assign) {
            if let Err(reason) = self.find_server(assign.clone()) {
                self.refuse_share(assign, &reason);
            }
            return;
        }
        self.place_or_refuse(now, assign, None);
    }

    /// Answers the share's id if it was placed.
    pub(super) fn place_or_refuse(
        &mut self,
        now: Instant,
        assign: Assign,
        located: Option<Located>,
    ) -> Option<ShareId> {
        match self.try_assign(now, assign.clone(), located) {
            Ok(id) => Some(id),
            Err(reason) => {
                self.refuse_share(assign, &reason);
                None
            }
        }
    }

    fn try_assign(
        &mut self,
        now: Instant,
        assign: Assign,
        located: Option<Located>,
    ) -> Result<ShareId, String> {
        // The idle port is the first one a group gets.
        self.idle = None;
        self.idle_retry = now;
        let answers = matches!(assign.role(), Role::Callee | Role::Both);
        let registrar = assign.registrar.clone().unwrap_or_default();
        waiting::check_version(&registrar, self.advertised().bound)?;
        let settings = StreamSettings::read(&registrar, answers);
        let settings = settings.map_err(|invalid| invalid.to_string())?;
        let id = ShareId(self.next_share);
        let (share, listeners) = match settings {
            None => self.bind_udp(id, &assign, &registrar)?,
            Some(settings) => self.open_streams(id, &assign, settings)?,
        };
        self.shares.insert(id, share);
        let found = located.iter().flat_map(|found| &found.servers);
        let found = found.map(SocketAddr::ip);
        for server in found.chain(waiting::given_server(&registrar)) {
            self.streams.serves(id, server);
        }
        let placed = self.place(now, id, assign, (listeners, located));
        if placed.is_err() {
            self.close(id);
        } else {
            self.next_share = self.next_share.wrapping_add(1);
        }
        placed.map(|()| id)
    }

    fn share(assign: &Assign, port: u16) -> Share {
        Share {
            run: assign.run.clone(),
            group: assign.group.clone(),
            first: assign.first,
            count: assign.count,
            port,
            of_range: true,
            socket: None,
            own: 0,
            ended: false,
            turned_away: Vec::new(),
        }
    }

    /// Opens a port of UDP and of TCP: who sends large requests by TCP gets its answers, and requests
    /// of peers who do the same, there (RFC 3261 §18.1.1, §18.2.1).
    fn bind_udp(
        &mut self,
        id: ShareId,
        assign: &Assign,
        registrar: &Registrar,
    ) -> Result<(Share, Vec<Listener>), String> {
        let own = self.advertised();
        let open = |port| {
            let socket = socket::bind(own.bound, port)?;
            Ok((socket, transport::listen(SocketAddr::new(own.bound, port))?))
        };
        let (port, (socket, beside)) = self.ports.take(open).map_err(|error| error.to_string())?;
        let settings = StreamSettings::beside_udp(registrar);
        let watched = self.poller.watch(&socket, id.0.into()).and_then(|()| {
            let streams = &mut self.streams;
            let beside = (beside, transport::MOST_ACCEPTED);
            streams.listen(&self.poller, id.local(), settings, beside)
        });
        if let Err(error) = watched {
            self.ports.release(port);
            return Err(format!("SIP port {port} cannot be watched: {error}"));
        }
        let share = Share {
            socket: Some(socket),
            ..Self::share(assign, port)
        };
        let bound = SocketAddr::new(own.bound, port);
        let listener = Listener {
            large_by_tcp: !registrar.sip_over_udp_always,
            keep_alive: transport::keep_alive(registrar),
            ..Listener::udp(id.local(), bound, Some(own.external))
        };
        Ok((share, vec![listener]))
    }

    /// Opens the local transports of a share that uses connections: the first is the share's, others
    /// are those of single endpoints.
    fn open_streams(
        &mut self,
        id: ShareId,
        assign: &Assign,
        settings: StreamSettings,
    ) -> Result<(Share, Vec<Listener>), String> {
        let own = self.advertised();
        let transport = settings.transport();
        let listener = |local, bound: SocketAddr, accepts| {
            Listener::stream(local, transport, bound, Some(own.external), accepts)
        };
        if settings.accepts() {
            let listen = |port| transport::listen(SocketAddr::new(own.bound, port));
            let (port, socket) = self.ports.take(listen).map_err(|error| error.to_string())?;
            if let Err(error) = self.streams.listen(
                &self.poller,
                id.local(),
                settings,
                (socket, transport::MOST_ACCEPTED),
            ) {
                self.ports.release(port);
                return Err(format!("SIP port {port} cannot be watched: {error}"));
            }
            let bound = SocketAddr::new(own.bound, port);
            let listeners = vec![listener(id.local(), bound, true)];
            return Ok((Self::share(assign, port), listeners));
        }
        let held = self.held();
        let own_each = settings.per_endpoint.then_some(assign.count);
        let lanes = own_each.unwrap_or(0);
        if settings.per_endpoint {
            transport::check_connections(lanes, held)?;
        }
        let mut listeners = Vec::new();
        for local in [id.local()]
            .into_iter()
            .chain((0..lanes).map(|index| id.local_of(index)))
        {
            let port = match transport::any_port(own.bound) {
                Ok(port) => port,
                Err(error) => {
                    self.streams.close(id);
                    let ready = listeners.len().saturating_sub(1);
                    return Err(transport::unavailable(&error, own_each, ready, held));
                }
            };
            listeners.push(listener(local, port.1, false));
            self.streams.open(local, settings.clone(), port);
        }
        let port = listeners.first().map_or(0, |first| first.advertised_port);
        let share = Share {
            of_range: false,
            own: lanes,
            ..Self::share(assign, port)
        };
        Ok((share, listeners))
    }

    /// What the groups here have of ports and files, or will have.
    fn held(&self) -> Held {
        let mut held = Held::default();
        for share in self.shares.values() {
            let endpoints = if share.ended { 0 } else { share.count };
            // On UDP two sockets, and no port of those for connections.
            let (sockets, ports) = match (&share.socket, share.of_range) {
                (Some(_), _) => (2, 0),
                (None, true) => (1, 0),
                (None, false) => (1 + share.own, 1 + share.own),
            };
            held.add(endpoints, sockets, ports);
        }
        held.add_accepted(self.streams.accepted());
        held
    }

    fn place(
        &mut self,
        now: Instant,
        id: ShareId,
        assign: Assign,
        (mut listeners, located): (Vec<Listener>, Option<Located>),
    ) -> Result<(), String> {
        let own = listeners.split_off(1);
        let listener = listeners.pop().ok_or("no local transport")?;
        let (run, group) = (assign.run.clone(), assign.group.clone());
        let port = listener.advertised_port;
        let assign = convert::assign(assign, id, listener, self.settings.addresses.sdp)
            .map_err(|invalid| invalid.to_string())?;
        tracing::info!(run, group, port, "share placed");
        let assign = callmeter_engine::Assign {
            listeners: own,
            registrar: callmeter_engine::Registrar {
                located,
                ..assign.registrar
            },
            ..assign
        };
        self.engine
            .assign(now, assign)
            .map_err(|error| error.to_string())
    }

    /// Ends endpoints that never began: each is reported, and the share with them.
    pub(super) fn refuse_share(&mut self, assign: Assign, reason: &str) {
        let Assign {
            run,
            group,
            first,
            count,
            ..
        } = assign;
        tracing::warn!(run, group, first, count, "share refused: {reason}");
        let detail = format!("group {group} refused: {reason}");
        let endpoints = first..first.saturating_add(count);
        let events = endpoints
            .map(|index| convert::refused(&group, index, &detail))
            .collect();
        self.reports.push(Report::Events {
            run: run.clone(),
            events,
        });
        self.reports.push(Report::ShareEnded {
            run,
            group,
            first,
            calls: Vec::new(),
        });
    }

    pub(super) fn start(&mut self, now: Instant, run: &str, peers: Vec<GroupPeers>) {
        for share in self.waiting.values_mut() {
            if share.assign.run == run {
                share.started = Some(peers.clone());
            }
        }
        let mut peers = peers;
        for id in self.shares_of(run) {
            self.start_share(now, id, &mut peers);
        }
    }

    /// Starts one share with those of `peers` that are its own.
    pub(super) fn start_share(&mut self, now: Instant, id: ShareId, peers: &mut Vec<GroupPeers>) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let mine = |given: &GroupPeers| given.group == share.group && given.first == share.first;
        let given = peers
            .iter()
            .position(mine)
            .map(|at| peers.swap_remove(at).peers);
        if let Err(error) = self.engine.start(now, id, given.unwrap_or_default()) {
            tracing::warn!(run = share.run, group = share.group, %error, "share not started");
            self.engine.stop(now, id, &error.to_string());
        }
    }

    pub(super) fn stop(&mut self, now: Instant, run: &str, cause: &StopCause) {
        self.stop_waiting(run);
        for id in self.shares_of(run) {
            match cause {
                StopCause::Requested(reason) => self.engine.stop(now, id, reason),
                StopCause::GatewayLost | StopCause::DrainDeadline => self.engine.force_end(now, id),
            }
        }
    }

    fn shares_of(&self, run: &str) -> Vec<ShareId> {
        let open = self
            .shares
            .iter()
            .filter(|(_, share)| share.run == run && !share.ended);
        let mut ids: Vec<_> = open.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Nothing of the share is left: its socket closes and its port is free (R105).
    pub(super) fn close(&mut self, id: ShareId) {
        if let Some(share) = self.shares.remove(&id) {
            if share.of_range {
                self.ports.release(share.port);
            }
            self.streams.close(id);
            tracing::debug!(
                run = share.run,
                group = share.group,
                port = share.port,
                "port free"
            );
        }
    }
}
