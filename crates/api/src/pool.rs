//! `WorkerPool`: a number of workers of one kind.

mod network;
mod status;
mod template;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use network::{Network, NetworkMode, PortRange, Ports, RtpPorts};
pub use status::{
    AutoscalingStatus, EndpointsStatus, LoadBucket, ResourcesStatus, TokensStatus, WorkerPoolStatus,
};
pub use template::{
    EnvVar, Image, KeyRef, Log, LogFormat, LogLevel, MANAGED_ENV, PodTemplate, PullPolicy,
    ValueFrom,
};

use crate::Duration;

/// What a user asks of a pool.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "callmeter.io",
    version = "v1alpha1",
    kind = "WorkerPool",
    plural = "workerpools",
    shortname = "cmwp",
    category = "callmeter",
    namespaced,
    status = "WorkerPoolStatus",
    derive = "PartialEq",
    doc = "A number of call measuring workers of one kind, each with a token of its own.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: at most 50 lower case letters, digits and dashes, beginning with a letter"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Busy", type_ = "integer", json_path = ".status.busyReplicas"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.drainingReplicas"),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".status.endpoints.capacity"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.queuedEndpoints"),
    printcolumn(name = "Tokens-Free", type_ = "integer", json_path = ".status.tokens.free"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.updateRevision", priority = 1),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].status"),
    printcolumn(name = "Network", type_ = "string", json_path = ".status.network", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(
    validation = Rule::new("self.network.ports.rtp.end - self.network.ports.rtp.start + 1 >= self.capacity.endpointsPerWorker * (self.capacity.media == 'AudioVideo' ? 4 : 2)")
        .message("spec.network.ports.rtp: too small for one worker; 2 ports for each of capacity.endpointsPerWorker, 4 with media AudioVideo"),
    validation = Rule::new("self.capacity.endpointsPerWorker <= 500 || has(self.template.resources)")
        .message("spec.capacity.endpointsPerWorker: above 500 needs spec.template.resources"),
    validation = Rule::new("self.network.mode != 'Pod' || self.capacity.endpointsPerWorker <= 100 || self.network.allowLargePodNetwork")
        .message("spec.network.mode: Pod is for at most 100 endpoints per worker; use Auto or HostNetwork, or set spec.network.allowLargePodNetwork"),
)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolSpec {
    /// How many workers; absent in Git when autoscaled. No default: removing it from a manifest
    /// must not set it back to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<u32>,
    /// The operator changes nothing of this pool while true.
    #[serde(default)]
    pub paused: bool,
    /// The gateway's project the workers belong to.
    #[serde(default = "default_project")]
    #[schemars(length(min = 1, max = 63))]
    pub project: String,
    /// Region the workers are in; empty: none.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub region: String,
    /// What one worker bears.
    pub capacity: Capacity,
    /// Where the workers' tokens come from.
    #[serde(default)]
    pub tokens: Tokens,
    /// Addresses and ports.
    #[serde(default)]
    pub network: Network,
    /// The workers' pods.
    #[serde(default)]
    pub template: PodTemplate,
    /// How a worker is emptied before it goes.
    #[serde(default)]
    pub drain: Drain,
    /// Absent: `replicas` is set by hand or by another scaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// The gateway the workers dial into.
    #[serde(default)]
    pub gateway: Gateway,
}

fn default_project() -> String {
    "default".to_owned()
}

/// What one worker bears.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Concurrent endpoints of one worker, 1 to 10000; above 500 only with resources of your own.
    #[schemars(range(min = 1, max = 10_000))]
    pub endpoints_per_worker: u32,
    /// What its endpoints carry.
    #[serde(default)]
    pub media: Media,
}

/// What endpoints carry.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Media {
    /// Audio: two ports per endpoint.
    #[default]
    Audio,
    /// Audio and video: four ports per endpoint.
    AudioVideo,
}

impl Media {
    /// UDP ports of one endpoint: RTP and RTCP of each medium.
    pub const fn ports_per_endpoint(self) -> u32 {
        match self {
            Self::Audio => 2,
            Self::AudioVideo => 4,
        }
    }
}

/// Where tokens come from: at most one field; none is the same as `claim`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = Rule::new("!(has(self.secrets) && has(self.claim))")
    .message("spec.tokens: at most one of secrets, claim"))]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Existing Secrets, one token each. The operator refers to them and never reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10_000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "key".into()]))]
    pub secrets: Option<Vec<TokenSecretRef>>,
    /// The operator has the gateway mint a token for each worker and writes it to a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// Minting of tokens; there is nothing to set.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Claim {}

/// One token: a key of a Secret.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default,
)]
pub struct TokenSecretRef {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key within the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// How a worker is emptied before it goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("duration(self.timeout) >= duration('0s') && duration(self.timeout) <= duration('24h')")
        .message("drain.timeout: from 0s to 24h"),
    validation = Rule::new("self.onTimeout != 'Wait' || duration(self.timeout) > duration('0s')")
        .message("drain.onTimeout: Wait needs a drain.timeout above 0s"),
    validation = Rule::new("duration(self.quietPeriod) <= duration('1h')")
        .message("drain.quietPeriod: at most 1h"),
)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long a busy worker may take, 0s to 24h; longer than the longest test.
    #[serde(default = "default_drain_timeout")]
    pub timeout: Duration,
    /// What happens then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// How long a worker must be idle before its pod is deleted, at most 1h.
    #[serde(default = "default_quiet_period")]
    pub quiet_period: Duration,
}

const fn default_drain_timeout() -> Duration {
    Duration::from_secs(1200)
}

const fn default_quiet_period() -> Duration {
    Duration::from_secs(5)
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: default_drain_timeout(),
            on_timeout: OnTimeout::default(),
            quiet_period: default_quiet_period(),
        }
    }
}

/// What happens to a worker that is busy at its drain deadline.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// It hangs up and goes.
    #[default]
    Terminate,
    /// It stays until it is idle; the condition `DrainStuck` says so.
    Wait,
}

/// How the number of workers follows the demand.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("spec.autoscaling.minReplicas: at most maxReplicas"),
    validation = Rule::new("duration(self.idleAfter) <= duration('24h')")
        .message("spec.autoscaling.idleAfter: at most 24h"),
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Never fewer workers than this.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: u32,
    /// Never more workers than this.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_replicas: u32,
    /// How long nothing may be needed before the last step to zero, at most 24h.
    #[serde(default = "default_idle_after")]
    pub idle_after: Duration,
    /// How fast it follows.
    #[serde(default)]
    pub behavior: Behavior,
}

const fn default_idle_after() -> Duration {
    Duration::from_secs(600)
}

/// How fast the number of workers follows the demand.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    /// Going down.
    pub scale_down: ScaleDown,
}

/// Going down.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("duration(self.stabilization) >= duration('0s') && duration(self.stabilization) <= duration('1h')")
    .message("spec.autoscaling.behavior.scaleDown.stabilization: from 0s to 1h"))]
#[serde(rename_all = "camelCase")]
pub struct ScaleDown {
    /// The greatest need of this window counts, 0s to 1h.
    #[serde(default = "default_stabilization")]
    pub stabilization: Duration,
}

const fn default_stabilization() -> Duration {
    Duration::from_secs(300)
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self {
            stabilization: default_stabilization(),
        }
    }
}

/// The gateway the workers dial into.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, Default)]
#[x_kube(validation = Rule::new("self.url == '' || (self.url.matches('^[^:/@ ]+:[0-9]{1,5}$') && int(self.url.split(':')[1]) >= 1 && int(self.url.split(':')[1]) <= 65535)")
    .message("spec.gateway.url: host:port with a port from 1 to 65535, or empty for the operator's gateway"))]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// `host:port`; empty: the operator's own.
    #[serde(default)]
    #[schemars(length(max = 259))]
    pub url: String,
    /// A `ConfigMap` of the pool's namespace with the key `ca.crt`; empty: the operator's.
    #[serde(default)]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")
    )]
    pub ca_config_map: String,
}

impl WorkerPool {
    /// The labels by which the pool's workers and pods are found.
    pub fn selector(name: &str) -> LabelSelector {
        LabelSelector {
            match_labels: Some([(crate::labels::POOL.to_owned(), name.to_owned())].into()),
            ..LabelSelector::default()
        }
    }
}
