//! What the gateway knows of one run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use callmeter_api::calltest::RunPhase;
use callmeter_proto::worker::{Assign, Outcome, Phase, ToWorker, to_worker};

use crate::definition::ValidatedTest;
use crate::link::{InstanceId, WorkerId};

/// Who submitted a run, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdentity {
    /// Id of the run.
    pub id: String,
    /// Organisation slug.
    pub organisation: String,
    /// Project slug.
    pub project: String,
    /// Namespace of the test; empty: none.
    pub namespace: String,
    /// Name for people.
    pub name: String,
    /// When it was submitted, Unix milliseconds.
    pub created_ms: i64,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// Waits for workers.
    Waiting(Waiting),
    /// Placed; its accounts and certificates are read.
    Preparing,
    /// Its callees get ready.
    Callees { until: Instant },
    /// Its callers get ready.
    Callers { until: Instant },
    /// Started.
    Started { until: Instant },
    /// Told to stop.
    Stopping { until: Instant },
    /// Over.
    Over(RunPhase),
}

/// Where a waiting run stands; what the last round of the scheduler said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// It was found possible.
    pub(super) accepted: bool,
    /// From 1.
    pub(super) position: u32,
    /// Endpoints without a free slot.
    pub(super) missing: u32,
    /// The pool each group is demand of; empty before the first round.
    pub(super) pools: Vec<Option<String>>,
}

/// Endpoints of one group on one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedShare {
    /// Index of the group.
    pub group: usize,
    /// The worker.
    pub worker: WorkerId,
    /// Its name at that time.
    pub worker_name: String,
    /// Index of the first endpoint within the group.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The numbered messages between the gateway and one worker of a run.
///
/// Messages to the worker stay in `outbox` until it confirms them; `held` become messages when
/// their time comes. Both are stored sealed, since they carry accounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Process that carries the shares; no other instance goes on with them.
    pub instance: InstanceId,
    /// Number of the next message to the worker, from 1.
    pub next_seq: u64,
    /// Unconfirmed messages; the last has number `next_seq - 1`.
    pub outbox: VecDeque<ToWorker>,
    /// Shares that wait until the callees are ready.
    pub held: Vec<Assign>,
    /// Highest number of the worker's messages that is applied.
    pub applied: u64,
    /// Its `RunEnded` is applied.
    pub ended: bool,
    /// When it was given up, Unix milliseconds.
    pub lost_ms: Option<i64>,
}

impl Link {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            next_seq: 1,
            outbox: VecDeque::new(),
            held: Vec::new(),
            applied: 0,
            ended: false,
            lost_ms: None,
        }
    }

    /// Nothing more is expected of the worker.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.lost_ms.is_some()
    }

    /// Numbers a message and keeps it until it is confirmed.
    pub(super) fn queue(&mut self, numbered: impl FnOnce(u64) -> to_worker::Message) -> ToWorker {
        let message = ToWorker {
            message: Some(numbered(self.next_seq)),
        };
        self.next_seq += 1;
        self.outbox.push_back(message.clone());
        message
    }

    /// The worker confirmed everything up to `seq`; true if that changed anything.
    pub(super) fn confirm(&mut self, seq: u64) -> bool {
        let first = self.next_seq - self.outbox.len() as u64;
        let confirmed = seq
            .saturating_add(1)
            .saturating_sub(first)
            .min(self.outbox.len() as u64) as usize;
        self.outbox.drain(..confirmed);
        confirmed > 0
    }

    /// Whether the worker ever confirmed a message.
    pub(super) fn was_confirmed(&self) -> bool {
        self.next_seq - 1 > self.outbox.len() as u64
    }
}

/// Endpoints a worker must account for when it says that the run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedShare {
    /// Index of the group.
    pub group: usize,
    /// Name of the group.
    pub name: String,
    /// Index of the first endpoint within the group.
    pub first: u32,
    /// How many follow it.
    pub count: u32,
}

impl OwedShare {
    /// Whether an endpoint of a group is one of these.
    pub fn holds(&self, group: &str, endpoint: u32) -> bool {
        self.name == group && endpoint >= self.first && endpoint - self.first < self.count
    }
}

/// How an endpoint is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reachable {
    /// Directly.
    pub contact: String,
    /// Through its registrar; empty: not registered.
    pub aor: String,
}

/// One endpoint of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Registered or listening, and how it is reached.
    pub ready: Option<Reachable>,
    /// Phase of the current call.
    pub phase: Phase,
    /// Number of the current or last call; 0: none yet.
    pub call: u32,
    /// It has done all it will do, with its worst outcome.
    pub ended: Option<Outcome>,
}

impl Endpoint {
    pub(super) const NEW: Self = Self {
        ready: None,
        phase: Phase::Initializing,
        call: 0,
        ended: None,
    };

    /// Nothing is to be waited for before the callers start.
    pub(super) fn is_settled(&self) -> bool {
        self.ready.is_some() || self.ended.is_some()
    }

    /// A call is set up, up, or being hung up.
    pub(super) fn in_progress(&self) -> bool {
        matches!(
            self.phase,
            Phase::Calling
                | Phase::Ringing
                | Phase::Negotiating
                | Phase::Incall
                | Phase::Disconnecting
        )
    }
}

/// Why a run's measurements are not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Cause {
    /// The worker was away for too long.
    WorkerLost,
    /// Its totals differ from what is stored.
    SamplesLost,
    /// Its calls were cut by a drain deadline.
    Forced,
}

impl Cause {
    /// Name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkerLost => "WorkerLost",
            Self::SamplesLost => "SamplesLost",
            Self::Forced => "Forced",
        }
    }
}

/// Endpoints whose measurements are not whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partial {
    /// Name of the worker.
    pub worker: String,
    /// Name of the group.
    pub group: String,
    /// How many endpoints.
    pub endpoints: u32,
    /// Since when, Unix milliseconds.
    #[serde(rename = "since", with = "crate::timestamp")]
    pub since_unix_ms: i64,
    /// Why.
    pub cause: Cause,
}

/// An outcome to be stored and counted; call 0 is the endpoint itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRow {
    /// Index of the group.
    pub group: usize,
    /// Index within the group.
    pub endpoint: u32,
    /// Number of the call, 0 for the endpoint.
    pub call: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Last final status of the INVITE; 0: none.
    pub sip_status: u32,
    /// What happened, for people.
    pub detail: String,
    /// The endpoint placed the call.
    pub outgoing: bool,
    /// The call was answered and ended by a BYE that was received or answered 2xx.
    pub completed: bool,
}

/// What [`super::Run`] wants done, in this order.
// Few exist at a time, and most are messages: a box would only add an allocation to each.
#[expect(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Store the run and its links before anything after this.
    Save,
    /// Store and count outcomes the gateway itself decided.
    Outcomes(Vec<OutcomeRow>),
    /// Read what the run needs of Secrets, then call `dispatch` or `cannot_run`.
    ReadSecrets,
    /// Send; a worker that is away gets it when it resumes.
    Send {
        /// To whom.
        worker: WorkerId,
        /// To which process of it.
        instance: InstanceId,
        /// What.
        message: ToWorker,
    },
    /// The run is over: make its report.
    Over,
}

/// One run; see the module for its contract.
#[derive(Debug, Clone)]
pub struct Run {
    pub(super) identity: RunIdentity,
    pub(super) test: ValidatedTest,
    pub(super) stage: Stage,
    /// What it waits for or why it ended.
    pub(super) reason: String,
    /// When it began to wait.
    pub(super) since: Instant,
    pub(super) started_ms: Option<i64>,
    pub(super) ended_ms: Option<i64>,
    pub(super) shares: Vec<PlacedShare>,
    pub(super) links: BTreeMap<WorkerId, Link>,
    /// By index of group, by index of endpoint.
    pub(super) endpoints: Vec<Vec<Endpoint>>,
    pub(super) partial: Vec<Partial>,
    /// What is to be said of it although it goes on.
    pub(super) warnings: Vec<String>,
    /// Why it ends FAILED.
    pub(super) failed: Option<String>,
    /// Why it was told to stop.
    pub(super) stopped: Option<String>,
    pub(super) outputs: VecDeque<Output>,
}
