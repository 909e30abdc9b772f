//! What signalling tells the media threads, and what they tell it.
//!
//! A stream lives `Open` → `Opened` → `Start` → (`FirstPacket`, `Second`…) → `StopSending` →
//! `Remove` → `Removed`. Contract:
//!
//! - `Open` binds a pair of ports (RTP even, RTCP the next one) and answers `Opened` or
//!   `OpenFailed`. Datagrams that arrive before `Start` wait in the socket and count from `Start`
//!   on, so that a far end which sends first loses nothing.
//! - `Start` may be given again with another remote (a new answer): counters go on.
//! - After `StopSending` no RTP packet leaves; receiving, RTCP and the seconds go on.
//! - `Remove` closes the sockets; `Removed` carries the last snapshot and is the stream's last
//!   event. It is answered for every stream that was `Opened`, started or not.
//! - Commands of a stream that failed to open or is gone are ignored.

use std::net::SocketAddr;
use std::time::Instant;

pub use callmeter_rtp::StreamSnapshot;
pub use callmeter_sip::sdp::Codec;

/// One audio stream of one call; chosen by the engine, never used twice in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// From signalling to the media thread that owns the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaCommand {
    /// Bind the sockets.
    Open {
        /// The new stream.
        stream: StreamId,
    },
    /// The offer/answer exchange is done (RFC 3264): these parameters hold.
    Start {
        /// The stream, opened before.
        stream: StreamId,
        /// Where RTP goes, and the source preferred when several send.
        remote: SocketAddr,
        /// Where RTCP goes.
        remote_rtcp: SocketAddr,
        /// What both sides send.
        codec: Codec,
        /// RTP payload type we send with, 0..=127.
        payload_type: u8,
        /// RTP payload type we receive, 0..=127; differs only if the far end numbers the codec
        /// in its own way.
        receive_payload_type: u8,
        /// Packet time of what we send, in milliseconds.
        ptime_ms: u32,
        /// DSCP of RTP and RTCP, 0..=63.
        dscp: u8,
        /// False: only receive (the far end holds or sends only).
        start_sending: bool,
    },
    /// Send no more RTP; go on receiving.
    StopSending {
        /// The stream.
        stream: StreamId,
    },
    /// Close the sockets and report the last figures.
    Remove {
        /// The stream.
        stream: StreamId,
    },
}

impl MediaCommand {
    /// The stream the command is for; its hash chooses the media thread.
    pub fn stream(&self) -> StreamId {
        match *self {
            Self::Open { stream }
            | Self::Start { stream, .. }
            | Self::StopSending { stream }
            | Self::Remove { stream } => stream,
        }
    }
}

/// From a media thread to signalling.
#[derive(Debug, Clone)]
pub enum MediaEvent {
    /// The sockets are bound.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Local RTP address; RTCP is the next port.
        local: SocketAddr,
    },
    /// No port pair could be bound; the stream does not exist.
    OpenFailed {
        /// The stream.
        stream: StreamId,
        /// What failed, for people: the operation and the range tried.
        reason: String,
    },
    /// The first valid RTP packet, by the kernel's receive time on the monotonic scale.
    FirstPacket {
        /// The stream.
        stream: StreamId,
        /// When it was received.
        at: Instant,
    },
    /// Figures of the last second of a started stream, about once a second.
    Second {
        /// The stream.
        stream: StreamId,
        /// Gauges of the second and counters since the start of the stream.
        snapshot: StreamSnapshot,
    },
    /// The stream is gone.
    Removed {
        /// The stream.
        stream: StreamId,
        /// Its figures up to the end; the part of a second since the last `Second`.
        last: StreamSnapshot,
    },
}

impl MediaEvent {
    /// The stream that reports.
    pub fn stream(&self) -> StreamId {
        match *self {
            Self::Opened { stream, .. }
            | Self::OpenFailed { stream, .. }
            | Self::FirstPacket { stream, .. }
            | Self::Second { stream, .. }
            | Self::Removed { stream, .. } => stream,
        }
    }
}
