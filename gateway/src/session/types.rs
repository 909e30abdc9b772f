//! What goes into and comes out of the session rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::link::{FenceInfo, HostInfo, InstanceId, Refusal, Vitals, WorkerId, WorkerInfo};
use crate::store::{StoredFence, StoredSession};

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For every span the rules measure.
    pub instant: Instant,
    /// Unix time, milliseconds: for what is stored and shown.
    pub unix_ms: i64,
}

/// What a process tells of itself in its Hello.
#[derive(Debug, Clone)]
pub struct HelloFacts {
    /// Keyed hash of the token it presented.
    pub token_hash: [u8; 32],
    /// Process instance.
    pub instance: InstanceId,
    /// Name it gave itself; empty: the record's holds (R9).
    pub name: String,
    /// Capacity it can bear, endpoints; 0: no limit.
    pub capacity: u32,
    /// Where it runs.
    pub host: HostInfo,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A process was let in.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Number of its stream among all of this worker.
    pub epoch: u64,
    /// The worker now.
    pub info: Arc<WorkerInfo>,
}

/// A heartbeat.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat {
    /// The worker's own judgement.
    pub healthy: bool,
    /// Its figures.
    pub vitals: Vitals,
}

/// Why the gateway ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// A newer stream of the same process.
    Replaced,
    /// The token was regenerated.
    TokenReplaced,
    /// The record was disabled.
    Disabled,
    /// The record was deleted.
    Deleted,
    /// No heartbeat for 60 s.
    Silent,
    /// The worker does not read what it is sent.
    NotReading,
    /// The gateway stops.
    Stopping,
}

/// Why a fence was not set or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceRefused {
    /// No such record.
    NoWorker,
    /// The record's live or last session is of another instance, or it never had one.
    OtherInstance {
        /// The instance of the live or last session.
        current: Option<InstanceId>,
    },
}

/// What the rules want done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Store this session.
    StoreSession(StoredSession),
    /// Store that the stream of `epoch` ended.
    EndSession {
        /// Worker.
        worker: WorkerId,
        /// Stream.
        epoch: u64,
        /// Last sign of life, Unix milliseconds.
        last_seen_ms: i64,
    },
    /// Store or clear the fence.
    StoreFence {
        /// Worker.
        worker: WorkerId,
        /// The last fence number given out.
        seq: u64,
        /// The fence in force.
        fence: Option<StoredFence>,
    },
    /// Store the last refusal.
    StoreRefusal {
        /// Worker.
        worker: WorkerId,
        /// The refusal.
        refusal: Refusal,
    },
    /// Tell the worker of its fence.
    SendFence {
        /// Worker.
        worker: WorkerId,
        /// Stream.
        epoch: u64,
        /// The fence.
        fence: FenceInfo,
        /// The time the deadline is counted from, Unix milliseconds.
        sent_unix_ms: i64,
    },
    /// Tell the worker that the fence is lifted.
    SendUnfence {
        /// Worker.
        worker: WorkerId,
        /// Stream.
        epoch: u64,
        /// The fence lifted.
        seq: u64,
    },
    /// End the stream.
    Close {
        /// Worker.
        worker: WorkerId,
        /// Stream.
        epoch: u64,
        /// Why.
        reason: CloseReason,
    },
    /// Something the run layer and rows show changed.
    Changed(Arc<WorkerInfo>),
    /// Something only rows show changed.
    Updated(Arc<WorkerInfo>),
    /// Let the run layer confirm the fence, after the change above.
    Fenced {
        /// Worker.
        worker: WorkerId,
        /// Fence.
        seq: u64,
    },
    /// The process is gone for good.
    Lost {
        /// Worker.
        worker: WorkerId,
        /// Process.
        instance: InstanceId,
    },
    /// The record is gone.
    Removed {
        /// Worker.
        worker: WorkerId,
    },
}
