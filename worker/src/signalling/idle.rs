//! What answers on `SIP_PORT_START` while no group uses it: OPTIONS, and 405 to the rest.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use bytes::Bytes;
use callmeter_sip::{Flow, Listener, LocalId, Output, Transport, UaConfig, UaError, UserAgent};

use super::socket::{self, Advertised};

/// A user agent without endpoints on a socket of its own.
#[derive(Debug)]
pub(super) struct Idle {
    socket: UdpSocket,
    agent: UserAgent,
}

/// Its only transport.
const LOCAL: LocalId = LocalId(0);

/// Why the port cannot be held.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenIdle {
    /// The socket.
    #[error("SIP port {port} could not be bound")]
    Bind {
        port: u16,
        #[source]
        source: io::Error,
    },
    /// The user agent.
    #[error("the user agent of the idle port")]
    Agent(#[from] UaError),
}

impl Idle {
    pub(super) fn open(own: Advertised, port: u16, seed: u64) -> Result<Self, OpenIdle> {
        let socket =
            socket::bind(own.bound, port).map_err(|source| OpenIdle::Bind { port, source })?;
        let mut agent = UserAgent::new(UaConfig::default(), seed);
        let bound = SocketAddr::new(own.bound, port);
        agent.add_listener(Listener::udp(LOCAL, bound, Some(own.external)))?;
        Ok(Self { socket, agent })
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Answers what has arrived.
    pub(super) fn receive(&mut self, now: Instant, remote: SocketAddr, bytes: Bytes) {
        let flow = Flow {
            local: LOCAL,
            transport: Transport::Udp,
            remote,
        };
        self.agent.handle_input(now, flow, bytes);
        self.send();
    }

    /// Messages that could not be read, since the port was opened.
    pub(super) fn malformed(&self) -> u64 {
        self.agent.counters().malformed
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|due| due <= now) {
            self.agent.handle_timeout(now);
            self.send();
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.agent.next_timeout()
    }

    fn send(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            if let Output::Transmit(transmit) = output {
                // A lost answer is asked for again by whoever wants it.
                let _ = self.socket.send_to(&transmit.bytes, transmit.flow.remote);
            }
        }
    }
}
