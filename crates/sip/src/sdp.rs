//! Session descriptions (RFC 8866) and audio offer/answer (RFC 3264) for PCMA and PCMU.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// An audio codec with a static payload type (RFC 3551 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 A-law, payload type 8.
    Pcma,
    /// G.711 µ-law, payload type 0.
    Pcmu,
}

/// Direction of a media stream, from the point of view of who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sends and receives.
    SendRecv,
    /// Sends only.
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

/// What one side of an audio session offers or can accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAudio {
    /// Session id of `o=`, kept for the whole call.
    pub session_id: u64,
    /// Session version of `o=`, one more with each changed description.
    pub session_version: u64,
    /// Address of `c=` and `o=`: what the peer sends to; may differ from the bound address.
    pub address: IpAddr,
    /// RTP port; RTCP is on the next one.
    pub port: u16,
    /// Codecs, preferred first.
    pub codecs: Vec<Codec>,
    /// Packet time in milliseconds.
    pub ptime_ms: u16,
    /// Direction wanted.
    pub direction: Direction,
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The codec.
    pub codec: Codec,
    /// Payload type to send with (the peer's number for the codec).
    pub send_payload_type: u8,
    /// Payload type to expect (our number for the codec).
    pub receive_payload_type: u8,
    /// Where to send RTP.
    pub remote_rtp: SocketAddr,
    /// Where to send RTCP: the peer's `a=rtcp`, else the port after RTP.
    pub remote_rtcp: SocketAddr,
    /// Packet time to send with, in milliseconds: the peer's `a=ptime`, else our own.
    pub ptime_ms: u16,
    /// Our direction.
    pub direction: Direction,
    /// Whether the peer holds the call: it wants no media from us (RFC 3264 §8.4).
    pub held: bool,
}

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It cannot be read.
    #[error("SDP cannot be read: {0}")]
    Malformed(String),
    /// It is longer than this stack takes.
    #[error("SDP is longer than {0} bytes")]
    TooLong(usize),
    /// It has no audio stream over plain RTP that is not refused.
    #[error("SDP has no usable audio stream (m=audio over RTP/AVP with a port)")]
    NoAudio,
    /// None of the codecs is ours.
    #[error("SDP has none of the codecs {0}")]
    NoCommonCodec(&'static str),
    /// The connection address is missing or no IP address.
    #[error("SDP connection address {0:?} is not an IP address")]
    Address(String),
    /// The answer has another number of streams than the offer.
    #[error("SDP answer has {answered} streams for {offered} offered")]
    StreamCount {
        /// Streams in the offer.
        offered: usize,
        /// Streams in the answer.
        answered: usize,
    },
}

impl SdpError {
    /// The status code an offer with this fault is refused with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::TooLong(_) => 513,
            _ => 488,
        }
    }
}

/// Writes an offer.
pub fn offer(local: &LocalAudio) -> Bytes {
    let _ = local;
    Bytes::new()
}

/// Writes the answer to an offer; every stream but the first usable audio one is refused.
pub fn answer(offer: &[u8], local: &LocalAudio) -> Result<(Bytes, Negotiated), SdpError> {
    let _ = (offer, local);
    Err(SdpError::NoAudio)
}

/// Reads the answer to our offer.
pub fn accept(answer: &[u8], local: &LocalAudio) -> Result<Negotiated, SdpError> {
    let _ = (answer, local);
    Err(SdpError::NoAudio)
}
