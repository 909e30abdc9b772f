//! What is told of a worker.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a worker stands.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WorkerPhase {
    /// There is no pod, or no node for it.
    #[default]
    Pending,
    /// The pod starts, or is not connected yet.
    Starting,
    /// Connected; takes work.
    Online,
    /// Takes no new work and finishes what it has.
    Draining,
    /// Empty; its pod goes.
    Drained,
    /// Not connected.
    Offline,
    /// Refused by the gateway, unhealthy, or its container fails.
    Error,
}

impl WorkerPhase {
    /// Name as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Online => "Online",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::Offline => "Offline",
            Self::Error => "Error",
        }
    }
}

/// How much a worker has to do.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WorkerLoad {
    /// Nothing.
    Idle,
    /// Some endpoints are active or reserved.
    Busy,
    /// No endpoint is free.
    Full,
    /// The gateway does not say; treated as busy.
    #[default]
    Unknown,
}

/// What the operator reports of a worker.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct CallMeterWorkerStatus {
    /// Generation of the spec that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the worker stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WorkerPhase>,
    /// What the gateway says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,
    /// `Stored` once the minted token is in its Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenState>,
    /// How much it has to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<WorkerLoad>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_ref: Option<PodRef>,
    /// Hash of the template its pod was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How far the drain is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Replacements of a pod whose token was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<RestartStatus>,
    /// `Ready`, `TokenValid`, `GatewayConnected`, `Busy`, `UpToDate`, `Draining`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What the gateway says of a worker.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// The gateway's id of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// `ONLINE`, `OFFLINE`, `DRAINING` or `ERROR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether it has a live connection.
    pub connected: bool,
    /// `Gateway`, or `Pod` where the gateway cannot be asked.
    pub source: SignalSource,
}

/// Where a figure comes from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SignalSource {
    /// The gateway.
    #[default]
    Gateway,
    /// The pod's readiness.
    Pod,
}

/// Where a minted token is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// In its Secret.
    Stored,
}

/// A pod.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Name of the pod.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Address of that node.
    #[serde(default, rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
}

/// How far a drain is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// When it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Time>,
    /// When the gateway confirmed that no new work comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced_at: Option<Time>,
    /// The gateway's number of that fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_seq: Option<u64>,
    /// Since when it is idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<Time>,
    /// When `onTimeout` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub blockers: Vec<String>,
}

/// Replacements of a pod whose token was refused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// How many in a row.
    pub consecutive: u32,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Time>,
    /// Why.
    #[serde(default)]
    pub last_error: String,
}
