//! What a stream is made of, and what it is told of a datagram.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Time;

/// Telephone events as offer and answer agreed on them (RFC 4733).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTypes {
    /// Payload type we send them with, 0..=127.
    pub send: u8,
    /// Payload type the far end sends them with, 0..=127.
    pub receive: u8,
    /// The digits the far end takes; bit n stands for event n.
    pub accepted: u16,
}

/// What offer and answer agreed on, and where the stream's identifiers come from.
#[derive(Debug, Clone, Copy)]
pub struct StreamConfig {
    /// Seed of SSRC, first numbers, canonical name and report times; another one per stream.
    pub seed: u64,
    /// RTP clock in Hz, a multiple of 1000.
    pub clock_rate: u32,
    /// Packet time in milliseconds, above 0.
    pub ptime_ms: u32,
    /// Payload type sent, 0..=127.
    pub payload_type: u8,
    /// Payload type the far end sends, 0..=127.
    pub receive_payload_type: u8,
    /// Telephone events; `None`: neither side sends any.
    pub events: Option<EventTypes>,
    /// Payload octets of a packet; RTCP's bandwidth is a share of what they amount to.
    pub payload_len: usize,
    /// The far end's negotiated RTP address.
    pub remote: SocketAddr,
    /// Mean time between RTCP reports: [`StreamConfig::RTCP_INTERVAL`] but in tests.
    pub rtcp_interval: Duration,
}

impl StreamConfig {
    /// Least mean report interval of RFC 3550 §6.2.
    pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);
}

/// What the kernel told about a datagram besides its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Receive time by the kernel, on the monotonic scale.
    pub at: Time,
    /// Source address.
    pub from: SocketAddr,
    /// DSCP, 0..=63.
    pub dscp: Option<u8>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
}

/// Datagrams that are no part of a stream; a metric of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusedDatagrams {
    /// No valid RTP of a negotiated payload type, or of another source.
    pub rtp: u64,
    /// No valid RTCP of this session.
    pub rtcp: u64,
}
