//! Connections of peers.

use std::{
    io,
    net::TcpListener,
    time::{Duration, Instant},
};

use callmeter_engine::{Flow, LocalId};
use rustls::{ServerConnection, StreamOwned};

use super::{Connection, StreamEvent, Streams, Wire};
use crate::signalling::poller::Poller;

/// Connections accepted before other sockets get their turn.
const ACCEPT_BURST: usize = 64;
/// How long connections wait when they cannot be accepted, for want of open files.
const PAUSE: Duration = Duration::from_millis(100);

impl Streams {
    pub(super) fn accept(&mut self, now: Instant, poller: &Poller, (listener, id): (u64, LocalId)) {
        for _ in 0..ACCEPT_BURST {
            let Some(local) = self.locals.get_mut(&id) else {
                return;
            };
            let accepted = match local.listener.as_ref().map(TcpListener::accept) {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It was over before we came to it.
                Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Some(Err(error)) => {
                    self.pause(now, poller, (listener, id), &error);
                    return;
                }
                None => return,
            };
            if local.accepted >= local.most {
                let most = local.most;
                let reason = format!("{most} are open, the most a group takes on a worker");
                self.events
                    .push_back(StreamEvent::TurnedAway { local: id, reason });
                continue;
            }
            local.starved = false;
            let (stream, remote) = accepted;
            let flow = Flow {
                local: id,
                transport: local.settings.transport,
                remote,
            };
            let ready = stream
                .set_nonblocking(true)
                .and_then(|()| stream.set_nodelay(true));
            let server = local
                .settings
                .tls
                .as_ref()
                .and_then(|configs| configs.server.clone());
            let wire = match server {
                None => Ok(Wire::Tcp(stream)),
                Some(config) => ServerConnection::new(config)
                    .map(|session| Wire::TlsServer(Box::new(StreamOwned::new(session, stream))))
                    .map_err(io::Error::other),
            };
            let settings = local.settings.clone();
            let added = ready.and(wire).and_then(|wire| {
                let (carrier, keep_alive) = (settings.accepted(wire), settings.keep_alive);
                let connection = Connection::new(now, flow, carrier, false, keep_alive);
                self.add(poller, connection)
            });
            match added {
                Ok(token) => {
                    if let Some(local) = self.locals.get_mut(&id) {
                        local.accepted += 1;
                    }
                    self.turn(now, token);
                }
                Err(error) => tracing::debug!(%error, %remote, "SIP connection not accepted"),
            }
        }
    }

    /// Looks no more at a listener whose connections cannot be accepted, until a moment later: they
    /// would be there again at once.
    fn pause(
        &mut self,
        now: Instant,
        poller: &Poller,
        (token, id): (u64, LocalId),
        error: &io::Error,
    ) {
        let Some(local) = self.locals.get_mut(&id) else {
            return;
        };
        let listener = local.listener.as_ref();
        if listener.is_some_and(|listener| poller.forget(listener).is_ok()) {
            self.timers.insert((now + PAUSE, token));
        }
        if !std::mem::replace(&mut local.starved, true) {
            let reason = error.to_string();
            self.events
                .push_back(StreamEvent::TurnedAway { local: id, reason });
        }
    }

    /// Looks at a listener again.
    pub(super) fn accept_again(
        &mut self,
        now: Instant,
        poller: &Poller,
        (token, id): (u64, LocalId),
    ) {
        let listener = self
            .locals
            .get(&id)
            .and_then(|local| local.listener.as_ref());
        if listener.is_some_and(|listener| poller.watch(listener, token).is_err()) {
            self.timers.insert((now + PAUSE, token));
        }
    }
}
