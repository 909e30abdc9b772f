//! SIP over UDP: one socket per group of a run.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use bytes::Bytes;
use rustix::net::sockopt;

/// Receive buffer asked for: a burst of some thousand messages. The kernel may give less.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Largest UDP payload.
const DATAGRAM: usize = 65_535;

/// The worker's own SIP address, as it is and as peers see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advertised {
    pub(super) bound: IpAddr,
    pub(super) external: IpAddr,
}

/// Opens a non-blocking socket on exactly this address and port.
pub(super) fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, port))?;
    socket.set_nonblocking(true)?;
    // Less buffer only means earlier loss under bursts, which SIP's timers repair. Past the
    // system's limit needs a capability the process may not have.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    }
    Ok(socket)
}

/// Takes one datagram after the other into memory that is made once.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: Vec<u8>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; DATAGRAM],
        }
    }

    /// The next datagram; none when nothing waits.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> Option<(SocketAddr, Bytes)> {
        loop {
            match socket.recv_from(&mut self.buffer) {
                Ok((length, remote)) => {
                    return Some((remote, Bytes::copy_from_slice(&self.buffer[..length])));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // An ICMP error of an earlier send (or a signal); the next datagram is behind it.
                Err(error) => tracing::debug!(%error, "SIP socket"),
            }
        }
    }
}
