//! Whether what was expected holds.

use callmeter_api::calltest::{ExpectMetric, Stat, Verdict};
use callmeter_metrics::{Histogram, id};
use serde::{Deserialize, Serialize};

use super::{GroupResults, RunResults};
use crate::definition::{Expectation, ValidatedTest};

/// A bound and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectOutcome {
    /// Key of the metric.
    pub metric: String,
    /// Figure of its distribution.
    pub stat: String,
    /// Group it is judged on; absent: the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The bound for people, like `>= 3.5`.
    pub bound: String,
    /// What was measured; absent: nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// Whether it holds; false if nothing was measured.
    pub passed: bool,
}

/// Judges every expectation of a test.
pub fn judge(test: &ValidatedTest, results: &RunResults) -> Vec<ExpectOutcome> {
    let outcome = |expect: &Expectation| {
        let measured = measured(expect, results);
        let holds = |value: f64| {
            expect.min.is_none_or(|min| value >= min) && expect.max.is_none_or(|max| value <= max)
        };
        ExpectOutcome {
            metric: expect.metric.as_str().to_owned(),
            stat: expect.stat.as_str().to_owned(),
            group: expect.group.map(|g| test.groups[g].name.clone()),
            bound: bound_text(expect.min, expect.max),
            measured,
            passed: measured.is_some_and(holds),
        }
    };
    test.expects.iter().map(outcome).collect()
}

/// The verdict of a run that is over: never passed if measurements are missing.
pub fn verdict(expects: &[ExpectOutcome], whole: bool) -> Verdict {
    if !whole || expects.iter().any(|e| e.measured.is_none()) {
        return Verdict::Unknown;
    }
    if expects.iter().all(|e| e.passed) {
        Verdict::Passed
    } else {
        Verdict::Failed
    }
}

/// A bound for people.
pub fn bound_text(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!(">= {min}"),
        (None, Some(max)) => format!("<= {max}"),
        (None, None) => String::new(),
    }
}

fn measured(expect: &Expectation, results: &RunResults) -> Option<f64> {
    let groups: Vec<&GroupResults> = match expect.group {
        Some(index) => results.group(index).into_iter().collect(),
        None => results.groups().iter().collect(),
    };
    match (expect.metric, expect.stat) {
        (ExpectMetric::Mos, stat) => {
            let mut all = Histogram::new();
            groups
                .iter()
                .filter_map(|g| g.aggregate().histogram(id::MOS))
                .for_each(|h| all.merge(&h));
            figure(&all, stat)
        }
        (ExpectMetric::CallSuccessRate, Stat::Mean) => success_rate(&groups),
        // Of the endpoints' own rates: the worst endpoint, the 5th percentile of endpoints, …
        (ExpectMetric::CallSuccessRate, stat) => {
            let mut all = Histogram::new();
            for endpoint in callers(&groups)
                .iter()
                .flat_map(|g| &g.endpoints)
                .filter(|e| e.judged > 0)
            {
                all.record(endpoint.succeeded as f64 / endpoint.judged as f64 * 100.0);
            }
            figure(&all, stat)
        }
    }
}

/// Calls with SUCCESS of all calls, percent; a call between two groups counts at its caller.
fn success_rate(groups: &[&GroupResults]) -> Option<f64> {
    let (mut calls, mut success) = (0, 0);
    for totals in callers(groups).iter().map(|g| g.totals()) {
        calls += totals.calls;
        success += totals.success;
    }
    (calls > 0).then(|| success as f64 / calls as f64 * 100.0)
}

/// The groups that are there to place calls; if none is, all.
fn callers<'a>(groups: &[&'a GroupResults]) -> Vec<&'a GroupResults> {
    let placing: Vec<&GroupResults> = groups.iter().copied().filter(|g| g.places).collect();
    if placing.is_empty() {
        groups.to_vec()
    } else {
        placing
    }
}

fn figure(of: &Histogram, stat: Stat) -> Option<f64> {
    match stat {
        Stat::Mean => of.mean(),
        Stat::Min => of.min(),
        Stat::Max => of.max(),
        Stat::P05 => of.quantile(0.05),
        Stat::P50 => of.quantile(0.50),
        Stat::P95 => of.quantile(0.95),
        Stat::P99 => of.quantile(0.99),
    }
}
