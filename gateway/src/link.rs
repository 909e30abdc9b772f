//! The link between the session layer (who is connected) and the run layer (who carries what).
//!
//! Session layer → run layer: one bounded channel of [`SessionEvent`]. Run layer → session layer:
//! [`crate::sessions::Sessions::send`], which never waits. The fleet and REST services reach the
//! run layer through [`RunHandle`].

mod runs;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use callmeter_proto::worker;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use runs::{Demand, PoolRegistration, RunCommand, RunError, RunHandle, SubmitRun};

/// Identity of a worker record; fixed for the life of the record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub Uuid);

impl WorkerId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WorkerId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

/// 128 random bits of one worker process; tells its reconnect from a second process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub [u8; 16]);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The four statuses of a worker (R122–R126).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerStatus {
    /// Connected, healthy, ready for assignments; the only status that is given work.
    Online,
    /// Not connected, or disabled, or connected and not yet heard.
    Offline,
    /// Fenced: finishes what it has, gets nothing new.
    Draining,
    /// Connected, but its heartbeats report unhealthy.
    Error,
}

impl WorkerStatus {
    /// The name shown everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Offline => "OFFLINE",
            Self::Draining => "DRAINING",
            Self::Error => "ERROR",
        }
    }
}

/// Why the last connection under a worker's token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// A token of this record that was regenerated since (R69).
    InvalidToken,
    /// The record is disabled (R70).
    WorkerDisabled,
    /// Another process holds the token (R71).
    DuplicateConnection,
}

impl RefusalReason {
    /// The exact message of the refusal.
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidToken => callmeter_proto::INVALID_TOKEN,
            Self::WorkerDisabled => callmeter_proto::WORKER_DISABLED,
            Self::DuplicateConnection => callmeter_proto::DUPLICATE_CONNECTION,
        }
    }
}

/// The last refused connection of a worker record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// Pod of the refused process; empty if it told none.
    pub pod_uid: String,
    /// Unix time, milliseconds.
    pub at_unix_ms: i64,
}

/// A fence in force: no new work for this process instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceInfo {
    /// Grows with each new fence of the record; 0 is never used.
    pub seq: u64,
    /// The process instance the fence binds to.
    pub instance: InstanceId,
    /// Why, for people.
    pub reason: String,
    /// Drain deadline, Unix time in milliseconds; none: waits for ever.
    pub deadline_unix_ms: Option<i64>,
    /// The run layer has seen it: loads read from now on are read after the fence.
    pub confirmed: bool,
}

/// Where a worker process runs, as far as it told; empty strings where it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HostInfo {
    /// Host name.
    pub hostname: String,
    /// Pod namespace.
    pub pod_namespace: String,
    /// Pod name.
    pub pod_name: String,
    /// Pod UID.
    pub pod_uid: String,
    /// Node name.
    pub node_name: String,
    /// Software version of the worker.
    pub software_version: String,
}

/// What the last heartbeat told; figures are display only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// Endpoints the worker itself counts as active.
    pub active_endpoints: u32,
    /// Why it calls itself unhealthy; empty while healthy.
    pub unhealthy_reason: String,
    /// CPU of the process in percent of one core.
    pub cpu_percent: f64,
    /// 99th percentile of send lateness, milliseconds; none: nothing was sent.
    pub tx_lateness_p99_ms: Option<f64>,
    /// Resident memory, megabytes.
    pub memory_mb: f64,
}

/// Everything others need to know of a worker; a new value per change.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerInfo {
    /// Record id.
    pub id: WorkerId,
    /// Key of `CreateWorker`; empty for a worker made by a person.
    pub key: String,
    /// Display name of the record.
    pub name: String,
    /// Organisation slug.
    pub organisation: String,
    /// Project slug.
    pub project: String,
    /// Region label; empty: none.
    pub region: String,
    /// Label `callmeter.io/pool` (`namespace/name`); empty: none.
    pub pool: String,
    /// Labels of the process, overlaid by those of the record.
    pub labels: BTreeMap<String, String>,
    /// Capacity set on the record, endpoints.
    pub configured_capacity: u32,
    /// MIN(configured, licensed, what the process can bear), endpoints.
    pub effective_capacity: u32,
    /// Status now.
    pub status: WorkerStatus,
    /// A stream is up.
    pub connected: bool,
    /// Disabled by an admin.
    pub disabled: bool,
    /// No new work; `fence` tells why. Set in the same change that makes the fence hold.
    pub fenced: bool,
    /// The fence in force.
    pub fence: Option<FenceInfo>,
    /// Instance of the live or last session.
    pub instance: Option<InstanceId>,
    /// Where the live or last process runs.
    pub host: HostInfo,
    /// The last refusal under this record's token.
    pub last_refusal: Option<Refusal>,
    /// The last heartbeat's figures; none before the first.
    pub vitals: Option<Vitals>,
    /// Unix time of the last sign of life, milliseconds; 0: never connected.
    pub last_seen_unix_ms: i64,
    /// Unix time of the record's creation, milliseconds.
    pub created_unix_ms: i64,
}

impl WorkerInfo {
    /// May it be given new endpoints (R127)?
    pub fn takes_work(&self) -> bool {
        self.status == WorkerStatus::Online
    }
}

/// Endpoints a worker carries or is promised, as the run layer counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Endpoints of running runs assigned to it and not ended.
    pub active: u32,
    /// Endpoints of runs that are placed and not RUNNING yet.
    pub reserved: u32,
}

/// A message of a worker about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunMessage {
    /// The worker applied our messages of a run up to a sequence number.
    Ack(worker::Ack),
    /// State changes of endpoints.
    Events(worker::EndpointEvents),
    /// Measurements.
    Samples(worker::Samples),
    /// The run is over for this worker.
    RunEnded(worker::RunEnded),
}

/// What the session layer tells the run layer, in the order it happened.
#[derive(Debug)]
pub enum SessionEvent {
    /// A process was accepted. The verdicts go into its Welcome; what the run layer sends after
    /// this event arrives after the Welcome. An unanswered `reply` ends the stream of a process that
    /// resumes runs: it tries again.
    Connected {
        /// The worker, connected.
        worker: Arc<WorkerInfo>,
        /// Its runs in progress.
        resume: Vec<worker::ResumeRun>,
        /// Which of them go on.
        reply: oneshot::Sender<Vec<worker::ResumeVerdict>>,
    },
    /// A message of the live stream.
    Message {
        /// From whom.
        worker_id: WorkerId,
        /// Which process of it; messages of an instance other than the accepted one are void.
        instance: InstanceId,
        /// What.
        message: RunMessage,
    },
    /// Status, fence, capacity, labels or connection changed.
    Changed {
        /// The worker as it is now.
        worker: Arc<WorkerInfo>,
    },
    /// Read the load after all earlier events took effect, a fence among them. The watch of loads
    /// must show at least this state before the answer goes out.
    ReadLoad {
        /// Of whom.
        worker_id: WorkerId,
        /// The answer.
        reply: oneshot::Sender<Load>,
    },
    /// The process is gone for good: 60 s without it, another instance accepted, or the record
    /// deleted. Its endpoints end with TIMEOUT. May be told twice after a restart.
    Lost {
        /// Of whom.
        worker_id: WorkerId,
        /// Which process.
        instance: InstanceId,
    },
}

/// Capacity of the channel of [`SessionEvent`]s; a slow run layer holds the streams back.
pub const SESSION_EVENTS: usize = 1024;
