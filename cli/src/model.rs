//! What the gateway answers, as far as this program shows it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A run in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) verdict: String,
    pub(crate) created_at: String,
    pub(crate) reason: String,
}

/// A worker in a list.
#[derive(Debug, Deserialize)]
pub(crate) struct WorkerRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) pool: String,
    pub(crate) region: String,
    pub(crate) capacity: Capacity,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Capacity {
    pub(crate) effective: u32,
    pub(crate) active: u32,
    pub(crate) reserved: u32,
}

/// Progress of a run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Progress {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) queue: Option<Queue>,
    pub(crate) groups: Vec<Group>,
    pub(crate) verdict: String,
    pub(crate) live: Option<Live>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Queue {
    pub(crate) position: u32,
    pub(crate) missing_endpoints: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) endpoints: u32,
    pub(crate) ready: u32,
    pub(crate) in_call: u32,
    pub(crate) ended: u32,
    pub(crate) calls: u64,
    pub(crate) calls_succeeded: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Live {
    pub(crate) second: u32,
    pub(crate) groups: Vec<LiveGroup>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LiveGroup {
    pub(crate) mos: Option<f64>,
    pub(crate) jitter_ms: Option<f64>,
    pub(crate) loss_percent: Option<f64>,
    pub(crate) packets_sent: Option<f64>,
    pub(crate) packets_received: Option<f64>,
    pub(crate) tx_lateness_p99_ms: Option<f64>,
}

/// The report of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Report {
    pub(crate) run: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) partial: bool,
    pub(crate) partial_reasons: Vec<PartialReason>,
    pub(crate) warnings: Vec<String>,
    pub(crate) verdict: String,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    pub(crate) expects: Vec<Expect>,
    pub(crate) groups: Vec<GroupReport>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PartialReason {
    pub(crate) worker: String,
    pub(crate) group: String,
    pub(crate) endpoints: u32,
    pub(crate) since: String,
    pub(crate) cause: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Expect {
    pub(crate) metric: String,
    pub(crate) stat: String,
    pub(crate) group: Option<String>,
    pub(crate) bound: String,
    pub(crate) measured: Option<f64>,
    pub(crate) passed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GroupReport {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) endpoints: u32,
    pub(crate) workers: Vec<Share>,
    pub(crate) calls: Calls,
    #[serde(default)]
    pub(crate) failures: Vec<Failure>,
    pub(crate) success_rate: Option<f64>,
    pub(crate) setup_ms: Option<Figures>,
    pub(crate) post_dial_delay_ms: Option<Figures>,
    pub(crate) loss_percent: Option<Figures>,
    pub(crate) jitter_ms: Option<Figures>,
    pub(crate) mos: Option<Figures>,
    pub(crate) rtt_ms: Option<Figures>,
    pub(crate) packets: Packets,
    pub(crate) generator: Generator,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Share {
    pub(crate) name: String,
    pub(crate) endpoints: u32,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) calls: u64,
    pub(crate) endpoints: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Calls {
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) placed: BTreeMap<String, u64>,
    pub(crate) taken: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    pub(crate) mean: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) p05: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Packets {
    pub(crate) sent: Option<f64>,
    pub(crate) received: Option<f64>,
    pub(crate) lost: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Generator {
    pub(crate) tx_lateness_p50_ms: Option<f64>,
    pub(crate) tx_lateness_p99_ms: Option<f64>,
    pub(crate) tx_lateness_max_ms: Option<f64>,
    pub(crate) rx_socket_drops: Option<f64>,
    pub(crate) limited_seconds: u64,
    pub(crate) seconds: u64,
}
