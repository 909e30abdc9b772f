//! A run as the operator sees it.

use callmeter_metrics::id;
use callmeter_proto::fleet;
use callmeter_proto::worker::Phase;

use super::state::{Partial, Run, Stage};
use crate::results::{
    ExpectOutcome, GroupPlacement, GroupReport, GroupResults, Report, ReportContext, RunResults,
};
use crate::store::RunRecord;
use crate::timestamp;

impl Run {
    /// The state for `WatchRun`; `verdict` is empty while the run goes on.
    pub fn state(
        &self,
        results: &RunResults,
        expects: &[ExpectOutcome],
        verdict: &str,
    ) -> fleet::RunState {
        let (queue_position, missing_endpoints) = match &self.stage {
            Stage::Waiting(waiting) => (waiting.position, waiting.missing),
            _ => (0, 0),
        };
        fleet::RunState {
            run: self.identity.id.clone(),
            status: self.status().as_str().to_owned(),
            reason: self.reason.clone(),
            queue_position,
            missing_endpoints,
            groups: (0..self.test.groups.len())
                .map(|g| self.group_state(g, results.group(g)))
                .collect(),
            partial: !self.partial.is_empty(),
            partial_reasons: self.partial.iter().map(partial_reason).collect(),
            expects: expects.iter().map(expect_result).collect(),
            verdict: verdict.to_owned(),
            started_unix_ms: self.started_ms.unwrap_or(0),
            ended_unix_ms: self.ended_ms.unwrap_or(0),
            warnings: self.warnings.clone(),
        }
    }

    /// What the report says of the run itself.
    pub fn context(&self, verdict: &str) -> ReportContext {
        let mut placed = vec![GroupPlacement::default(); self.test.groups.len()];
        for (group, endpoints) in placed.iter_mut().zip(&self.endpoints) {
            group.ready = endpoints.iter().filter(|e| e.ready.is_some()).count() as u32;
            group.ended = endpoints.iter().filter(|e| e.ended.is_some()).count() as u32;
        }
        for share in &self.shares {
            placed[share.group]
                .workers
                .push((share.worker_name.clone(), share.count));
        }
        ReportContext {
            run: self.identity.id.clone(),
            name: self.identity.name.clone(),
            status: self.status().as_str().to_owned(),
            reason: self.reason.clone(),
            partial: !self.partial.is_empty(),
            partial_reasons: self.partial.clone(),
            warnings: self.warnings.clone(),
            verdict: verdict.to_owned(),
            created_at: timestamp::text(self.identity.created_ms),
            started_at: self.started_ms.map(timestamp::text),
            ended_at: self.ended_ms.map(timestamp::text),
            placed,
        }
    }

    /// Nothing is missing of its measurements.
    pub fn is_whole(&self) -> bool {
        self.partial.is_empty() && self.failed.is_none() && self.started_ms.is_some()
    }

    fn group_state(&self, index: usize, results: Option<&GroupResults>) -> fleet::GroupState {
        let group = &self.test.groups[index];
        let endpoints = &self.endpoints[index];
        let totals = results.map(GroupResults::totals).unwrap_or_default();
        let mean = |metric| results?.aggregate().histogram(metric)?.mean();
        let mut workers: Vec<String> = self
            .shares
            .iter()
            .filter(|s| s.group == index)
            .map(|s| s.worker_name.clone())
            .collect();
        workers.dedup();
        fleet::GroupState {
            group: group.name.clone(),
            endpoints: group.endpoints,
            ready: endpoints.iter().filter(|e| e.ready.is_some()).count() as u32,
            in_call: endpoints
                .iter()
                .filter(|e| e.phase == Phase::Incall && e.ended.is_none())
                .count() as u32,
            ended: endpoints.iter().filter(|e| e.ended.is_some()).count() as u32,
            calls: totals.calls,
            calls_succeeded: totals.success,
            mos: mean(id::MOS),
            jitter_ms: mean(id::JITTER_MS),
            loss_percent: mean(id::FRACTION_LOST),
            setup_ms: mean(id::CALL_SETUP_TIME_MS),
            workers,
        }
    }
}

/// The last state of a run that is over.
pub(super) fn state_of_record(record: &RunRecord) -> fleet::RunState {
    let report = record
        .summary
        .as_deref()
        .and_then(|text| serde_json::from_str::<Report>(text).ok());
    let partial: Vec<Partial> = serde_json::from_str(&record.partial_reasons).unwrap_or_default();
    let (groups, expects) = report.map(|r| (r.groups, r.expects)).unwrap_or_default();
    fleet::RunState {
        run: record.id.clone(),
        status: record.status.clone(),
        reason: record.reason.clone(),
        queue_position: 0,
        missing_endpoints: 0,
        groups: groups.iter().map(group_of_report).collect(),
        partial: !partial.is_empty(),
        partial_reasons: partial.iter().map(partial_reason).collect(),
        expects: expects.iter().map(expect_result).collect(),
        verdict: record.verdict.clone(),
        started_unix_ms: record.started_ms.unwrap_or(0),
        ended_unix_ms: record.ended_ms.unwrap_or(0),
        warnings: serde_json::from_str(&record.warnings).unwrap_or_default(),
    }
}

fn group_of_report(group: &GroupReport) -> fleet::GroupState {
    let mean = |figures: &Option<serde_json::Value>| figures.as_ref()?.get("mean")?.as_f64();
    let calls = |key: &str| {
        group
            .calls
            .get(key)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    let name = |worker: &serde_json::Value| Some(worker.get("name")?.as_str()?.to_owned());
    fleet::GroupState {
        group: group.name.clone(),
        endpoints: group.endpoints,
        ready: group.ready,
        in_call: 0,
        ended: group.ended,
        calls: calls("total"),
        calls_succeeded: calls("succeeded"),
        mos: mean(&group.mos),
        jitter_ms: mean(&group.jitter_ms),
        loss_percent: mean(&group.loss_percent),
        setup_ms: mean(&group.setup_ms),
        workers: group.workers.iter().filter_map(name).collect(),
    }
}

fn partial_reason(partial: &Partial) -> fleet::PartialReason {
    let Partial {
        worker,
        group,
        endpoints,
        since_unix_ms,
        cause,
    } = partial;
    fleet::PartialReason {
        worker: worker.clone(),
        group: group.clone(),
        endpoints: *endpoints,
        since_unix_ms: *since_unix_ms,
        cause: cause.as_str().to_owned(),
    }
}

fn expect_result(expect: &ExpectOutcome) -> fleet::ExpectResult {
    let ExpectOutcome {
        metric,
        stat,
        group: _,
        bound,
        measured,
        passed,
    } = expect;
    fleet::ExpectResult {
        metric: metric.clone(),
        stat: stat.clone(),
        bound: bound.clone(),
        measured: *measured,
        passed: *passed,
    }
}
