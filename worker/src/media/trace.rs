//! Packet by packet detail for the log at level trace (R40).

use std::net::SocketAddr;

use callmeter_rtp::HEADER_LEN;

use crate::sys::socket::MediaSocket;

/// Logs the header of an RTP packet (RFC 3550 §5.1), or that a datagram is too short for one.
/// Costs one comparison while the level is not trace.
pub(super) fn packet(direction: &str, socket: &MediaSocket, remote: SocketAddr, datagram: &[u8]) {
    if !tracing::enabled!(tracing::Level::TRACE) {
        return;
    }
    let local = socket.local().map_or(0, |address| address.port());
    let octets = datagram.len();
    let Some(header) = datagram.first_chunk::<HEADER_LEN>() else {
        tracing::trace!(direction, local, %remote, octets, "RTP: no header");
        return;
    };
    let [_, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
    tracing::trace!(
        direction,
        local,
        %remote,
        octets,
        payload_type = second & 0x7f,
        marker = second & 0x80 != 0,
        sequence = u16::from_be_bytes([s0, s1]),
        timestamp = u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc = u32::from_be_bytes([c0, c1, c2, c3]),
        "RTP packet"
    );
}
