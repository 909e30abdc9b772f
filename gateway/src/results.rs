//! What was measured in a run: live by second, and as the report of the whole run.

mod failures;
mod live;
mod report;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use callmeter_metrics::{Aggregate, MetricId, OutcomeTotals, RowDirection};
use callmeter_proto::worker::{Direction, Outcome};

pub use failures::Failure;
use failures::Failures;
pub use live::{LiveFigures, LiveGroup};
pub use report::{GroupPlacement, GroupReport, Report, ReportContext, report};
pub use verdict::{ExpectOutcome, bound_text, judge, verdict};

use crate::definition::Role;
use crate::run::OutcomeRow;
use crate::store::SampleRow;

/// Seconds kept for the live figures; rows of one second arrive over about two.
const RECENT_SECONDS: usize = 8;

/// Everything measured in a run, by index of group.
#[derive(Debug, Clone, Default)]
pub struct RunResults {
    groups: Vec<GroupResults>,
}

/// Everything measured by one group.
#[derive(Debug, Clone, Default)]
pub struct GroupResults {
    all: Aggregate,
    recent: BTreeMap<u32, Aggregate>,
    /// Sample rows by direction and whether the generator was the limit.
    seconds: BTreeMap<(RowDirection, bool), u64>,
    /// Values no catalogue of ours knows, or that are no number.
    refused: u64,
    /// Whether it is there to place calls: its rates are of these, else of the calls it takes.
    places: bool,
    /// Calls by side (placed or not) and outcome.
    calls: BTreeMap<(bool, i32), u64>,
    /// Calls placed that were answered and ended through BYE and its 200.
    completed: u64,
    failures: Failures,
    endpoints: Vec<EndpointCalls>,
}

#[derive(Debug, Clone, Copy, Default)]
struct EndpointCalls {
    calls: u64,
    /// Of these, on the side its group is there for.
    judged: u64,
    /// Of those judged, with SUCCESS.
    succeeded: u64,
}

impl RunResults {
    /// Nothing measured yet; endpoints and role of each group.
    pub fn new(groups: impl IntoIterator<Item = (u32, Role)>) -> Self {
        let group = |(n, role): (u32, Role)| GroupResults {
            endpoints: vec![EndpointCalls::default(); n as usize],
            places: role != Role::Callee,
            ..GroupResults::default()
        };
        Self {
            groups: groups.into_iter().map(group).collect(),
        }
    }

    /// Takes the rows of one group.
    pub fn add_samples<'a>(&mut self, group: usize, rows: impl IntoIterator<Item = &'a SampleRow>) {
        if let Some(group) = self.groups.get_mut(group) {
            rows.into_iter().for_each(|row| group.add(row));
        }
    }

    /// Takes ends of calls; those of endpoints (call 0) count no call, and are told if they had none,
    /// before or among these rows, in any order.
    pub fn add_outcomes<'a>(&mut self, rows: impl IntoIterator<Item = &'a OutcomeRow>) {
        let (calls, endpoints): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.call > 0);
        for row in calls.into_iter().chain(endpoints) {
            let Some(group) = self.groups.get_mut(row.group) else {
                continue;
            };
            let called = group.endpoints.get(row.endpoint as usize);
            if row.call > 0 || called.is_none_or(|endpoint| endpoint.calls == 0) {
                group.failures.add(row);
            }
            if row.call == 0 {
                continue;
            }
            *group
                .calls
                .entry((row.outgoing, row.outcome.into()))
                .or_default() += 1;
            group.completed += u64::from(row.outgoing && row.completed);
            let judged = row.outgoing == group.places;
            let succeeded = judged && row.outcome == Outcome::Success;
            if let Some(endpoint) = group.endpoints.get_mut(row.endpoint as usize) {
                endpoint.calls += 1;
                endpoint.judged += u64::from(judged);
                endpoint.succeeded += u64::from(succeeded);
            }
        }
    }

    /// One group's.
    pub fn group(&self, index: usize) -> Option<&GroupResults> {
        self.groups.get(index)
    }

    /// All groups'.
    pub fn groups(&self) -> &[GroupResults] {
        &self.groups
    }
}

impl GroupResults {
    fn add(&mut self, row: &SampleRow) {
        let direction = match Direction::try_from(row.direction) {
            Ok(Direction::Send) => RowDirection::Send,
            Ok(Direction::Recv) => RowDirection::Recv,
            Ok(Direction::None | Direction::Unspecified) | Err(_) => RowDirection::None,
        };
        if !row.per_call {
            *self
                .seconds
                .entry((direction, row.generator_limited))
                .or_default() += 1;
        }
        let recent = self.recent.entry(row.second).or_default();
        for &(metric, value) in &row.values {
            let taken = self.all.add(row.second, direction, MetricId(metric), value);
            match taken {
                Ok(()) if !row.per_call => {
                    // The same value was taken just before.
                    let _ = recent.add(row.second, direction, MetricId(metric), value);
                }
                Ok(()) => {}
                Err(_) => self.refused += 1,
            }
        }
        while self.recent.len() > RECENT_SECONDS {
            self.recent.pop_first();
        }
    }

    /// All values of the run.
    pub fn aggregate(&self) -> &Aggregate {
        &self.all
    }

    /// Calls that ended and those with SUCCESS: the placed ones if it is there to place any, else the
    /// taken. The second call of a transfer is a placed one whoever asked for it, so that it is none
    /// of those of callees.
    pub fn totals(&self) -> OutcomeTotals {
        let side = self.calls.iter().filter(|((o, _), _)| *o == self.places);
        let success = (self.places, Outcome::Success.into());
        OutcomeTotals {
            calls: side.map(|(_, n)| n).sum(),
            success: self.calls.get(&success).copied().unwrap_or(0),
            completed: self.completed,
        }
    }

    /// Calls placed or taken, by outcome.
    pub fn by_outcome(&self, outgoing: bool) -> BTreeMap<Outcome, u64> {
        let side = self.calls.iter().filter(|((side, _), _)| *side == outgoing);
        side.filter_map(|((_, code), n)| Some((Outcome::try_from(*code).ok()?, *n)))
            .collect()
    }

    /// Why calls and endpoints did not end well, the most frequent reasons first.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.shown()
    }

    /// Calls of some of its endpoints by outcome, for the comparison with a worker's own totals.
    pub fn calls_of_endpoints(&self, first: u32, count: u32) -> u64 {
        self.endpoints
            .iter()
            .skip(first as usize)
            .take(count as usize)
            .map(|e| e.calls)
            .sum()
    }

    /// Endpoint-seconds in which the generator was the limit, and all.
    pub fn limited_seconds(&self) -> (u64, u64) {
        let of = |direction, limited| {
            self.seconds
                .get(&(direction, limited))
                .copied()
                .unwrap_or(0)
        };
        [RowDirection::Send, RowDirection::Recv]
            .map(|d| (of(d, true), of(d, true) + of(d, false)))
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// Values that could not be taken.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
