//! RTP and RTCP measurement (RFC 3550, 3551, 3611, 5481): packets in, figures out.
//!
//! Sans-IO: no socket, clock, thread or randomness; points in time and seeds are arguments.

mod snapshot;
mod time;

pub use snapshot::{
    BurstGap, GeneratorSnapshot, Lateness, PDV_BUCKETS_MS, PlayoutCounters, PlayoutSnapshot,
    QualityWindow, ReceiveCounters, ReceiveSnapshot, RemoteReport, RtcpSnapshot, SendCounters,
    SendSnapshot, Spacing, StreamSnapshot,
};
pub use time::{NtpTime, Time};
