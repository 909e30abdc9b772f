//! Settings of an engine, what it is told about its host, and why it refuses.

use callmeter_sip::UaError;

use crate::assign::{Invalid, ShareId};

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Number of the shard; stream ids of different shards never meet.
    pub shard: u16,
    /// Value of User-Agent and Server.
    pub product: String,
    /// REGISTERs started per second, all shares together; at least 1.
    pub registrations_per_second: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            shard: 0,
            product: "callmeter".to_owned(),
            registrations_per_second: 2000,
        }
    }
}

/// The generator's own load over the time since the last figures; what is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostFigures {
    /// CPU of this process, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Resident memory in MB.
    pub memory_mb: Option<f64>,
    /// UDP `RcvbufErrors` of the node.
    pub udp_rcvbuf_errors: Option<u64>,
    /// Milliseconds the cgroup was throttled.
    pub throttled_ms: Option<f64>,
    /// CPU steal in percent.
    pub steal_percent: Option<f64>,
    /// Messages dropped at the worker's own queues.
    pub ring_overflows: Option<u64>,
    /// Whether the wall clock moved more than 1 ms against the monotonic one.
    pub clock_stepped: Option<bool>,
}

/// Why an operation was refused; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The assignment is wrong by itself.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The share's key is taken.
    #[error("share {0:?} exists already")]
    ShareExists(ShareId),
    /// No such share.
    #[error("share {0:?} is not known")]
    UnknownShare(ShareId),
    /// The share was started before, or is ending.
    #[error("share {0:?} was started before")]
    AlreadyStarted(ShareId),
    /// Start with another number of peers than endpoints.
    #[error("start with {given} peers for {endpoints} endpoints; accepted: none, or one each")]
    Peers {
        /// Peers given.
        given: usize,
        /// Endpoints of the share.
        endpoints: usize,
    },
    /// The SIP stack refused.
    #[error("the SIP stack refused the share")]
    Sip(#[from] UaError),
}

/// What an engine holds; all zero when nothing of any share is left (R105).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Shares, closed ones that still answer late requests included.
    pub shares: usize,
    /// Calls with their streams.
    pub calls: usize,
    /// Deadlines of shares, endpoints and calls.
    pub timers: usize,
    /// What the user agent holds.
    pub sip: callmeter_sip::Held,
}
