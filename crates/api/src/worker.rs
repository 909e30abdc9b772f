//! `CallMeterWorker`: one worker of a pool, and the lease of its token.

mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration,
    pool::{Gateway, Media, OnTimeout, PodTemplate, TokenSecretRef},
};

pub use status::{
    CallMeterWorkerStatus, DrainStatus, GatewayStatus, PodRef, RestartStatus, SignalSource,
    TokenState, WorkerLoad, WorkerPhase,
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
