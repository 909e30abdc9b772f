//! The report of a run: what is stored when it is over and what REST answers.

use std::collections::BTreeMap;

use callmeter_metrics::{
    Aggregate, Aggregation, CATALOGUE, CATALOGUE_VERSION, MetricId, by_id, derive, id,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::failures::{Failure, outcome_name};
use super::{ExpectOutcome, GroupResults, RunResults};
use crate::definition::{Group, Role, ValidatedTest};
use crate::run::Partial;

/// What the report says of the run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportContext {
    /// Id.
    pub run: String,
    /// Name for people.
    pub name: String,
    /// Status.
    pub status: String,
    /// What it waits for or why it ended.
    pub reason: String,
    /// Measurements are missing.
    pub partial: bool,
    /// Which and why.
    pub partial_reasons: Vec<Partial>,
    /// What is to be said of it although it goes on.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// `Passed`, `Failed`, `Unknown`; empty while it goes on.
    pub verdict: String,
    /// Submission.
    pub created_at: String,
    /// Start; absent: it never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// End; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// By index of group.
    #[serde(skip)]
    pub placed: Vec<GroupPlacement>,
}

/// Where a group was and how far its endpoints came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupPlacement {
    /// Workers and how many endpoints each had.
    pub workers: Vec<(String, u32)>,
    /// Endpoints that were ready.
    pub ready: u32,
    /// Endpoints that ended.
    pub ended: u32,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The run itself.
    #[serde(flatten)]
    pub context: ReportContext,
    /// Version of the catalogue the figures are of.
    pub catalogue_version: u32,
    /// Bounds and what was measured.
    pub expects: Vec<ExpectOutcome>,
    /// By group, in the order of the definition.
    pub groups: Vec<GroupReport>,
}

/// One group of a report. Figures that were not measured are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// `caller`, `callee` or `both`.
    pub role: String,
    /// Its size.
    pub endpoints: u32,
    /// Endpoints that were registered or listening.
    pub ready: u32,
    /// Endpoints that ended.
    pub ended: u32,
    /// Workers that carried it: name and endpoints.
    pub workers: Vec<Value>,
    /// Calls that ended: total, succeeded, and by outcome placed and taken.
    pub calls: Value,
    /// Why calls did not succeed and endpoints never called, the most frequent reasons first.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Calls with SUCCESS, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// INVITE → 200, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<Value>,
    /// INVITE → first ringback, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_dial_delay_ms: Option<Value>,
    /// Loss per second, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<Value>,
    /// Interarrival jitter, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<Value>,
    /// MOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<Value>,
    /// Round-trip time, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Value>,
    /// RTP packets of the group: sent, received, lost.
    pub packets: Value,
    /// The workers' own part: lateness in milliseconds, local drops, limited seconds.
    pub generator: Value,
    /// Every metric that was measured.
    pub metrics: Vec<Value>,
}

/// Makes the report.
pub fn report(
    test: &ValidatedTest,
    results: &RunResults,
    expects: Vec<ExpectOutcome>,
    context: ReportContext,
) -> Report {
    let group = |(index, (group, of)): (usize, (&Group, &GroupResults))| {
        let placed = context.placed.get(index).cloned().unwrap_or_default();
        group_report(group, of, &placed)
    };
    let groups = test
        .groups
        .iter()
        .zip(results.groups())
        .enumerate()
        .map(group)
        .collect();
    Report {
        context,
        catalogue_version: CATALOGUE_VERSION,
        expects,
        groups,
    }
}

fn group_report(group: &Group, of: &GroupResults, placed: &GroupPlacement) -> GroupReport {
    let all = of.aggregate();
    let totals = of.totals();
    let (limited, seconds) = of.limited_seconds();
    GroupReport {
        name: group.name.clone(),
        role: role(group.role).to_owned(),
        endpoints: group.endpoints,
        ready: placed.ready,
        ended: placed.ended,
        workers: placed
            .workers
            .iter()
            .map(|(name, n)| json!({"name": name, "endpoints": n}))
            .collect(),
        calls: json!({
            "total": totals.calls,
            "succeeded": totals.success,
            "placed": by_outcome(of, true),
            "taken": by_outcome(of, false),
        }),
        failures: of.failures(),
        success_rate: derive(id::CALL_SUCCESS_RATE, all, Some(&totals)),
        setup_ms: figures(all, id::CALL_SETUP_TIME_MS),
        post_dial_delay_ms: figures(all, id::POST_DIAL_DELAY_MS),
        loss_percent: figures(all, id::FRACTION_LOST),
        jitter_ms: figures(all, id::JITTER_MS),
        mos: figures(all, id::MOS),
        rtt_ms: figures(all, id::RTT_MS),
        packets: Value::Object(object([
            ("sent", all.total(id::PACKETS_SENT)),
            ("received", all.total(id::PACKETS_RECEIVED)),
            ("lost", all.total(id::PACKETS_LOST)),
        ])),
        generator: generator(all, limited, seconds, of.refused()),
        metrics: metrics(of),
    }
}

fn generator(all: &Aggregate, limited: u64, seconds: u64, refused: u64) -> Value {
    let of = |metric, q: f64| all.histogram(metric).and_then(|h| h.quantile(q));
    let mut generator = object([
        // Each second has its own percentiles; over the run the typical and the worst second count.
        ("txLatenessP50Ms", of(id::TX_LATENESS_P50_MS, 0.5)),
        ("txLatenessP99Ms", of(id::TX_LATENESS_P99_MS, 0.99)),
        ("txLatenessMaxMs", of(id::TX_LATENESS_MAX_MS, 1.0)),
        ("rxSocketDrops", all.total(id::RX_SOCKET_DROPS)),
        ("ringOverflows", all.total(id::RING_OVERFLOWS)),
        ("cpuThrottledMs", all.total(id::CPU_THROTTLED_MS)),
    ]);
    generator.insert("limitedSeconds".to_owned(), limited.into());
    generator.insert("seconds".to_owned(), seconds.into());
    generator.insert("refusedValues".to_owned(), refused.into());
    Value::Object(generator)
}

fn by_outcome(of: &GroupResults, outgoing: bool) -> BTreeMap<&'static str, u64> {
    of.by_outcome(outgoing)
        .into_iter()
        .map(|(outcome, n)| (outcome_name(outcome), n))
        .collect()
}

/// Distribution of a metric over all directions.
fn figures(all: &Aggregate, metric: MetricId) -> Option<Value> {
    let histogram = all.histogram(metric)?;
    let mut fields = object([
        ("mean", histogram.mean()),
        ("min", histogram.min()),
        ("p05", histogram.quantile(0.05)),
        ("p50", histogram.quantile(0.50)),
        ("p95", histogram.quantile(0.95)),
        ("p99", histogram.quantile(0.99)),
        ("max", histogram.max()),
    ]);
    fields.insert("count".to_owned(), histogram.count().into());
    Some(Value::Object(fields))
}

/// Every metric with a value, keys and units from the catalogue.
fn metrics(of: &GroupResults) -> Vec<Value> {
    let all = of.aggregate();
    let totals = of.totals();
    let mut rows: Vec<(MetricId, Value)> = Vec::new();
    for summary in all.summaries() {
        let Some(metric) = by_id(summary.metric) else {
            continue;
        };
        let Ok(Value::Object(mut fields)) = serde_json::to_value(&summary) else {
            continue;
        };
        fields.insert("metric".to_owned(), metric.key.into());
        fields.insert("unit".to_owned(), metric.unit.into());
        rows.push((metric.id, Value::Object(fields)));
    }
    for metric in CATALOGUE
        .iter()
        .filter(|m| m.aggregation == Aggregation::Derived)
    {
        if let Some(value) = derive(metric.id, all, Some(&totals)) {
            rows.push((
                metric.id,
                json!({"metric": metric.key, "unit": metric.unit, "value": value}),
            ));
        }
    }
    rows.sort_by_key(|(id, _)| *id);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The figures that were measured.
fn object<const N: usize>(fields: [(&str, Option<f64>); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Caller => "caller",
        Role::Callee => "callee",
        Role::Both => "both",
    }
}
