//! What a `CallTest` reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunPhase {
    /// Not yet known to the gateway's queue.
    #[default]
    Pending,
    /// Waits for capacity.
    Queued,
    /// Endpoints are placed and work.
    Running,
    /// Was told to stop; endpoints hang up.
    Stopping,
    /// All endpoints finished and reported.
    Completed,
    /// A group lost all its endpoints.
    Failed,
    /// Could not start; the reason says which limit.
    CannotRunForNow,
}

impl RunPhase {
    /// As the gateway spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::CannotRunForNow => "CANNOT_RUN_FOR_NOW",
        }
    }

    /// From the gateway's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Queued,
            Self::Running,
            Self::Stopping,
            Self::Completed,
            Self::Failed,
            Self::CannotRunForNow,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == text)
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::CannotRunForNow)
    }
}

/// Whether what was expected holds.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every bound holds.
    Passed,
    /// A bound does not hold.
    Failed,
    /// A partial run, or a figure that was not measured.
    Unknown,
}

impl Verdict {
    /// Name as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }

    /// From the gateway's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Passed, Self::Failed, Self::Unknown]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
    }
}

/// What the gateway reports of the run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct CallTestStatus {
    /// Generation of the spec that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The gateway's id of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Where the run stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// What the run waits for, or why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Place in the queue, from 1, while queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// Endpoints for which there is no free worker yet, while queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_endpoints: Option<u32>,
    /// Endpoints that have ended, of all: `12/40`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Endpoints of all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<u32>,
    /// Calls placed so far, by all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Worst mean MOS of the groups, two decimals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<String>,
    /// When callers could start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Per group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub groups: Vec<GroupStatus>,
    /// Measurements are missing; the verdict is then never `Passed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<bool>,
    /// What is missing and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub partial_reasons: Vec<PartialReason>,
    /// What is to be said of the run although it goes on: load that its endpoints cannot serve,
    /// certificates that end soon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub warnings: Vec<String>,
    /// Each bound and what was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub expects: Vec<ExpectStatus>,
    /// Set when the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// `Accepted`, `Running`, `Complete`, `Passed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One group of a run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Name of the group.
    pub name: String,
    /// Endpoints of the group.
    pub endpoints: u32,
    /// Registered, or listening where nothing registers.
    pub ready: u32,
    /// In a call now.
    pub in_call: u32,
    /// Endpoints that have done all they will do.
    pub ended: u32,
    /// Calls placed so far.
    pub calls: u64,
    /// Calls that succeeded so far.
    pub calls_succeeded: u64,
    /// Mean MOS; absent if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<String>,
    /// Mean jitter in milliseconds; absent if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<String>,
    /// Mean loss in percent; absent if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<String>,
    /// Mean time from INVITE to answer in milliseconds; absent if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<String>,
    /// Workers that carry the group, the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub workers: Vec<String>,
}

/// Why measurements are missing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PartialReason {
    /// The worker.
    pub worker: String,
    /// The group.
    pub group: String,
    /// Endpoints concerned.
    pub endpoints: u32,
    /// Since when.
    pub since: Time,
    /// `WorkerLost`, `SamplesLost` or `Forced`.
    pub cause: String,
}

/// A bound and what was measured.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExpectStatus {
    /// The metric.
    pub metric: String,
    /// The figure of its distribution.
    pub stat: String,
    /// The bound, like `>= 3.5`.
    pub bound: String,
    /// What was measured; absent if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
    /// Whether the bound holds.
    pub passed: bool,
}
