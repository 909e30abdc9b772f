//! Connections of peers.

use std::{io, net::TcpListener, time::Instant};

use callmeter_engine::{Flow, LocalId};
use rustls::{ServerConnection, StreamOwned};

use super::{Connection, StreamEvent, Streams, Wire};
use crate::signalling::poller::Poller;

/// Connections accepted before other sockets get their turn.
const ACCEPT_BURST: usize = 64;

impl Streams {
    pub(super) fn accept(&mut self, now: Instant, poller: &Poller, id: LocalId) {
        for _ in 0..ACCEPT_BURST {
            let Some(local) = self.locals.get_mut(&id) else {
                return;
            };
            let accepted = match local.listener.as_ref().map(TcpListener::accept) {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Some(Err(error)) => {
                    tracing::debug!(%error, "SIP connection not accepted");
                    return;
                }
                None => return,
            };
            if local.accepted >= local.most {
                let most = local.most;
                self.events
                    .push_back(StreamEvent::TurnedAway { local: id, most });
                continue;
            }
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
}
