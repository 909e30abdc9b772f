//! What a `WorkerPool` reports.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, Time},
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports of a pool. Counters of workers are there from the first write on.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolStatus {
    /// Generation of the spec that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Live workers that are not on their way out.
    #[serde(default)]
    pub replicas: u32,
    /// Workers that are ready.
    #[serde(default)]
    pub ready_replicas: u32,
    /// Ready workers that are not fenced.
    #[serde(default)]
    pub available_replicas: u32,
    /// Workers of the current template.
    #[serde(default)]
    pub updated_replicas: u32,
    /// Ready workers of the current template.
    #[serde(default)]
    pub updated_ready_replicas: u32,
    /// Workers with active or reserved endpoints, or of which that is not known.
    #[serde(default)]
    pub busy_replicas: u32,
    /// Workers that take no new work and finish what they have.
    #[serde(default)]
    pub draining_replicas: u32,
    /// Workers whose object is being deleted.
    #[serde(default)]
    pub terminating_replicas: u32,
    /// Workers whose pod no node can take.
    #[serde(default)]
    pub unschedulable_replicas: u32,
    /// Label selector of the pool's pods, as text.
    #[serde(default)]
    pub selector: String,
    /// What the pool's workers bear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointsStatus>,
    /// Requests and limits of each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesStatus>,
    /// `Pod` or `HostNetwork`, as it follows from the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Endpoints of queued tests that wait for this pool.
    #[serde(default)]
    pub queued_endpoints: u32,
    /// The pool's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensStatus>,
    /// The oldest template a worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// The template new workers get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,
    /// The last decision on the number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// `Available`, `Progressing`, `ScalingUp`, `ScalingDown`, `TokensSufficient`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What the pool's workers bear, in endpoints.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsStatus {
    /// Of all workers that exist.
    pub capacity: u32,
    /// Of workers that take work now.
    pub available: u32,
    /// How much of that is in use, in buckets: the exact figure is a metric.
    pub load: LoadBucket,
}

/// Use of what is available.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LoadBucket {
    /// Nothing in use.
    #[default]
    Idle,
    /// Up to half.
    Low,
    /// More than half.
    High,
    /// All of it.
    Full,
    /// The gateway does not answer.
    Unknown,
}

/// Requests and limits of each worker.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct ResourcesStatus {
    /// What the scheduler sets aside.
    #[serde(default)]
    pub requests: BTreeMap<String, Quantity>,
    /// What a worker may use.
    #[serde(default)]
    pub limits: BTreeMap<String, Quantity>,
}

/// The pool's tokens.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TokensStatus {
    /// Listed; with `claim` those of the workers that exist.
    pub total: u32,
    /// In use by a worker.
    pub leased: u32,
    /// Listed and not in use; with `claim` what `maxReplicas` leaves.
    pub free: u32,
    /// Refused by the gateway.
    pub invalid: u32,
}

/// The last decision on the number of workers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingStatus {
    /// What was decided.
    pub desired: u32,
    /// When the number last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
    /// The decision and its reason.
    pub last_decision: String,
    /// Since when the gateway's figures are too old to act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_stale_since: Option<Time>,
}
