//! The part of a worker's pod that a user may set.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Variables the operator sets; a template must not.
pub const MANAGED_ENV: [&str; 21] = [
    "WORKER_TOKEN",
    "CLOUD_URL",
    "HEALTH_PORT",
    "SIP_PORT_START",
    "SIP_PORT_END",
    "RTP_PORT_MIN",
    "RTP_PORT_MAX",
    "SIP_IP",
    "MEDIA_IP",
    "SDP_IP",
    "EXTERNAL_IP",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "WORKER_NAME",
    "CLOUD_CA_FILE",
    "POD_NAMESPACE",
    "POD_NAME",
    "POD_UID",
    "NODE_NAME",
    "WORKER_LABELS",
    "DRAIN_TIMEOUT",
];

/// The part of a worker's pod that a user may set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("!has(self.env) || !self.env.exists(e, e.name in ['WORKER_TOKEN','CLOUD_URL','HEALTH_PORT','SIP_PORT_START','SIP_PORT_END','RTP_PORT_MIN','RTP_PORT_MAX','SIP_IP','MEDIA_IP','SDP_IP','EXTERNAL_IP','LOG_LEVEL','LOG_FORMAT','WORKER_NAME','CLOUD_CA_FILE','POD_NAMESPACE','POD_NAME','POD_UID','NODE_NAME','WORKER_LABELS','DRAIN_TIMEOUT'])")
    .message("template.env: names set by the operator (WORKER_TOKEN, CLOUD_URL, SIP_*, RTP_*, LOG_*, POD_* …) are not accepted; use the fields of the resource"))]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// The worker's image.
    #[serde(default)]
    pub image: Image,
    /// Requests and limits; absent: derived from the capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// What the worker logs.
    #[serde(default)]
    pub log: Log,
    /// More environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pods bear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// How pods spread; absent: over nodes as far as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
}

/// An image: a repository with a tag or a digest; without repository the operator's worker image.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(
    validation = Rule::new("!(has(self.tag) && has(self.digest))")
        .message("template.image: at most one of tag, digest"),
    validation = Rule::new("has(self.repository) == (has(self.tag) || has(self.digest))")
        .message("template.image.repository: needs image.tag or image.digest, and they need it"),
)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Where the image is, without tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[a-z0-9][A-Za-z0-9._:/-]*$")
    )]
    pub repository: Option<String>,
    /// Tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    )]
    pub tag: Option<String>,
    /// Digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[a-f0-9]{64}$"))]
    pub digest: Option<String>,
    /// When the kubelet pulls it.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Names of Secrets with registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub pull_secrets: Vec<String>,
}

/// When the kubelet pulls an image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node has none.
    #[default]
    IfNotPresent,
    /// Never; the node must have it.
    Never,
}

impl PullPolicy {
    /// As the pod spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What a worker logs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(default)]
pub struct Log {
    /// Least severe level.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

/// Least severe level that is logged.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Critical failures only.
    Error,
    /// Errors and warnings.
    Warn,
    /// Normal operation.
    #[default]
    Info,
    /// Detailed diagnostics.
    Debug,
    /// Raw SIP messages and per-packet RTP detail.
    Trace,
}

impl LogLevel {
    /// As the worker's `LOG_LEVEL` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Shape of a log line.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Coloured text.
    Pretty,
}

impl LogFormat {
    /// As the worker's `LOG_FORMAT` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
        }
    }
}

/// One more variable of the worker's environment.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("!(has(self.value) && has(self.valueFrom))")
    .message("template.env[]: at most one of value, valueFrom"))]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where its value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where a value comes from: exactly one field.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
    .message("template.env[].valueFrom: exactly one of secretKeyRef, configMapKeyRef"))]
#[serde(rename_all = "camelCase")]
pub struct ValueFrom {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a `ConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of an object of the pool's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
