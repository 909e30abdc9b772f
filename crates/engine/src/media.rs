//! What signalling tells the media threads, and what they tell it.
//!
//! A stream lives `Open` → `Opened` → `Start` → (`FirstPacket`, `Second`…) → `StopSending` →
//! `Remove` → `Removed`. Contract:
//!
//! - `Open` binds a pair of ports (RTP even, RTCP the next one) and answers `Opened` or
//!   `OpenFailed`. Datagrams that arrive before `Start` wait in the socket and count from `Start`
//!   on, so that a far end which sends first loses nothing.
//! - `Start` may be given again with another remote (a new answer): counters go on.
//! - After `StopSending` no RTP packet leaves; receiving, RTCP and the seconds go on. `Start` with
//!   `start_sending` sends again. Hold and resume (RFC 3264 §8.4) are no more than that: `Start`
//!   with what the new offer and answer say. To an unspecified address (0.0.0.0) neither RTP nor
//!   RTCP is sent.
//! - `SendDigits` is answered by one `DigitsSent`, in the order of the commands: also when digits
//!   cannot be sent, because telephone events are not agreed on or nothing is being sent, and
//!   when `StopSending` or `Remove` cuts them off. Rows of digits follow each other; 32 may wait.
//! - `Remove` closes the sockets; `Removed` carries the last snapshot and is the stream's last
//!   event. It is answered for every stream that was `Opened`, started or not.
//! - Commands of a stream that failed to open or is gone are ignored.

use std::net::SocketAddr;
use std::time::Instant;

pub use callmeter_rtp::{Digit, DigitError, Digits, StreamSnapshot};
pub use callmeter_sip::sdp::{Codec, TelephoneEvents};

/// How long a digit lasts unless told otherwise, in milliseconds.
pub const DIGIT_MS: u16 = 100;
/// Pause between two digits unless told otherwise, in milliseconds.
pub const DIGIT_GAP_MS: u16 = 100;

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
        /// Payload types of DTMF digits; `None`: neither side sends any.
        telephone_events: Option<TelephoneEvents>,
        /// Packet time of what we send, in milliseconds.
        ptime_ms: u32,
        /// DSCP of RTP and RTCP, 0..=63.
        dscp: u8,
        /// False: only receive (the far end holds or sends only).
        start_sending: bool,
    },
    /// Send DTMF digits as telephone events (RFC 4733); audio stands still for each of them.
    SendDigits {
        /// The stream.
        stream: StreamId,
        /// What to send.
        digits: Digits,
        /// How long each digit lasts in milliseconds, above 0: [`DIGIT_MS`].
        digit_ms: u16,
        /// Pause between two digits in milliseconds, at least two packet times: [`DIGIT_GAP_MS`].
        gap_ms: u16,
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
            | Self::SendDigits { stream, .. }
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
    /// The far end sent a DTMF digit, and it is over.
    DigitReceived {
        /// The stream.
        stream: StreamId,
        /// The digit.
        digit: Digit,
        /// How long it lasted, in milliseconds.
        duration_ms: u32,
        /// When its first packet was received.
        started: Instant,
        /// Its end was reported; false: the packets that say so were lost, it may have lasted
        /// longer.
        complete: bool,
    },
    /// The row of digits of one `SendDigits` is over.
    DigitsSent {
        /// The stream.
        stream: StreamId,
        /// Digits sent to their end.
        sent: u8,
        /// Digits cut off, never begun, or not taken by the far end.
        dropped: u8,
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
            | Self::DigitReceived { stream, .. }
            | Self::DigitsSent { stream, .. }
            | Self::Second { stream, .. }
            | Self::Removed { stream, .. } => stream,
        }
    }
}
