//! `CallMeterWorker`: one worker of a pool, and the lease of its token.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration,
    pool::{Gateway, Media, OnTimeout, PodTemplate, TokenSecretRef},
};

/// One worker. Made by the operator; a user may ask it to drain.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "callmeter.io",
    version = "v1alpha1",
    kind = "CallMeterWorker",
    plural = "callmeterworkers",
    shortname = "cmw",
    category = "callmeter",
    namespaced,
    status = "CallMeterWorkerStatus",
    derive = "PartialEq",
    doc = "One worker of a pool. While the object exists, its token belongs to no other worker.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Connected",
        type_ = "boolean",
        json_path = ".status.gateway.connected"
    ),
    printcolumn(name = "Load", type_ = "string", json_path = ".status.load"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.podRef.nodeName"),
    printcolumn(
        name = "Token",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"TokenValid\")].status"
    ),
    printcolumn(
        name = "UpToDate",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"UpToDate\")].status"
    ),
    printcolumn(
        name = "RTP",
        type_ = "integer",
        json_path = ".spec.network.block.rtpStart",
        priority = 1
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.revision",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(
    validation = Rule::new("self.tokenSecretRef == oldSelf.tokenSecretRef")
        .message("spec.tokenSecretRef: immutable; the token belongs to the worker"),
    validation = Rule::new("self.network.block.rtpEnd - self.network.block.rtpStart + 1 >= self.capacity.endpoints * (self.capacity.media == 'AudioVideo' ? 4 : 2)")
        .message("spec.network.block: rtpStart to rtpEnd holds 2 ports per endpoint, 4 with media AudioVideo"),
)]
#[serde(rename_all = "camelCase")]
pub struct CallMeterWorkerSpec {
    /// The worker's token.
    pub token_secret_ref: TokenSecretRef,
    /// Whether the operator had the token minted, and so deletes its record with the worker.
    #[serde(default)]
    pub claimed: bool,
    /// Whether the worker takes new work.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// Who asked to drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_reason: Option<DrainReason>,
    /// What the worker bears.
    pub capacity: WorkerCapacity,
    /// Addresses and ports.
    pub network: WorkerNetwork,
    /// Copied from the pool, also while draining.
    pub drain: WorkerDrain,
    /// The gateway it dials into.
    #[serde(default)]
    pub gateway: Gateway,
    /// The gateway's project it belongs to.
    #[schemars(length(min = 1, max = 63))]
    pub project: String,
    /// Region of the pool; empty: none.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub region: String,
    /// Hash of the pool's template this worker was made from.
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
    /// Its pod.
    #[serde(default)]
    pub template: PodTemplate,
}

/// Whether a worker takes new work.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DesiredState {
    /// It does.
    #[default]
    Active,
    /// It finishes what it has and is then removed.
    Drain,
}

/// Who asked a worker to drain.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// The pool has too many workers.
    ScaleDown,
    /// A new template.
    Update,
    /// Its node is drained.
    NodeDrain,
    /// It gets a new token.
    TokenRotation,
    /// A person.
    User,
}

impl DrainReason {
    /// Name as shown in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScaleDown => "ScaleDown",
            Self::Update => "Update",
            Self::NodeDrain => "NodeDrain",
            Self::TokenRotation => "TokenRotation",
            Self::User => "User",
        }
    }
}

/// What one worker bears.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerCapacity {
    /// Concurrent endpoints.
    #[schemars(range(min = 1, max = 10_000))]
    pub endpoints: u32,
    /// What they carry.
    #[serde(default)]
    pub media: Media,
}

/// Addresses and ports of one worker.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WorkerNetwork {
    /// Whether its pod has an address of its own or the node's.
    pub mode: WorkerNetworkMode,
    /// Its ports.
    pub block: PortBlock,
    /// Address SIP and RTP bind to; empty: the pod's.
    #[serde(default, rename = "bindIP")]
    #[schemars(length(max = 45))]
    pub bind_ip: String,
    /// Address written into SDP; empty: the bound one.
    #[serde(default, rename = "sdpIP")]
    #[schemars(length(max = 45))]
    pub sdp_ip: String,
    /// Address written into Via and Contact; empty: the bound one.
    #[serde(default, rename = "externalIP")]
    #[schemars(length(max = 45))]
    pub external_ip: String,
}

/// Whether a worker's pod has an address of its own or the node's.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerNetworkMode {
    /// Its own.
    Pod,
    /// The node's.
    HostNetwork,
}

impl WorkerNetworkMode {
    /// Name as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::HostNetwork => "HostNetwork",
        }
    }
}

/// The ports of one worker; both ends of a range are inside.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct PortBlock {
    /// First RTP port.
    #[schemars(range(min = 1, max = 65535))]
    pub rtp_start: u16,
    /// Last RTP port.
    #[schemars(range(min = 1, max = 65535))]
    pub rtp_end: u16,
    /// First SIP port.
    #[schemars(range(min = 1, max = 65535))]
    pub sip_start: u16,
    /// Last SIP port.
    #[schemars(range(min = 1, max = 65535))]
    pub sip_end: u16,
    /// Health port.
    #[schemars(range(min = 1, max = 65535))]
    pub health: u16,
}

/// How the worker is emptied before it goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("duration(self.timeout) <= duration('24h')")
    .message("spec.drain.timeout: from 0s to 24h"))]
#[serde(rename_all = "camelCase")]
pub struct WorkerDrain {
    /// How long it may take.
    pub timeout: Duration,
    /// What happens then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// How long it must be idle before its pod is deleted.
    pub quiet_period: Duration,
}

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
