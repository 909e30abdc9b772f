//! Why calls did not succeed, and why endpoints never called: each reason with how often it was.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use callmeter_proto::worker::Outcome;
use serde::{Deserialize, Serialize};

use crate::run::OutcomeRow;

/// Different reasons kept of a group; what comes after is counted without its words.
const MOST_KEPT: usize = 200;
/// Reasons shown of a group, the most frequent ones.
const MOST_SHOWN: usize = 20;
/// What is said of reasons that are not kept.
const OTHERS: &str = "other reasons";

/// Reasons of a group, by outcome and SIP status.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    of: BTreeMap<(i32, u32, String), Count>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    calls: u64,
    endpoints: u64,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Outcome of the calls or endpoints.
    pub outcome: String,
    /// Final SIP status of the INVITE; 0: none.
    pub sip_status: u32,
    /// What the worker said.
    pub reason: String,
    /// Calls that ended so.
    pub calls: u64,
    /// Endpoints that ended so without a call.
    pub endpoints: u64,
}

impl Failures {
    /// Takes the end of a call, or of an endpoint that had none; ends that are good count nothing.
    pub(super) fn add(&mut self, row: &OutcomeRow) {
        if matches!(row.outcome, Outcome::Success | Outcome::Unspecified) {
            return;
        }
        let mut key = (row.outcome.into(), row.sip_status, row.detail.clone());
        if self.of.len() >= MOST_KEPT && !self.of.contains_key(&key) {
            key = (key.0, 0, OTHERS.to_owned());
        }
        let count = self.of.entry(key).or_default();
        if row.call > 0 {
            count.calls += 1;
        } else {
            count.endpoints += 1;
        }
    }

    /// The most frequent ones first.
    pub(super) fn shown(&self) -> Vec<Failure> {
        let mut all: Vec<Failure> = self
            .of
            .iter()
            .map(|((outcome, sip_status, reason), count)| Failure {
                outcome: outcome_name(Outcome::try_from(*outcome).unwrap_or_default()).to_owned(),
                sip_status: *sip_status,
                reason: reason.clone(),
                calls: count.calls,
                endpoints: count.endpoints,
            })
            .collect();
        all.sort_by_key(|failure| Reverse(failure.calls + failure.endpoints));
        all.truncate(MOST_SHOWN);
        all
    }
}

/// An outcome as it is written.
pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    outcome.as_str_name().trim_start_matches("OUTCOME_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(call: u32, outcome: Outcome, detail: &str) -> OutcomeRow {
        OutcomeRow {
            group: 0,
            endpoint: 0,
            call,
            outcome,
            sip_status: 503,
            detail: detail.to_owned(),
            outgoing: true,
            completed: false,
        }
    }

    #[test]
    fn reasons_are_counted_and_the_most_frequent_stands_first() {
        let mut failures = Failures::default();
        failures.add(&row(1, Outcome::CallFailed, "refused"));
        failures.add(&row(1, Outcome::Success, ""));
        for _ in 0..3 {
            failures.add(&row(2, Outcome::Timeout, "no answer"));
        }
        failures.add(&row(0, Outcome::Timeout, "no answer"));
        let shown = failures.shown();
        let told: Vec<_> = shown
            .iter()
            .map(|f| (&*f.outcome, &*f.reason, f.calls, f.endpoints))
            .collect();
        assert_eq!(
            told,
            [
                ("TIMEOUT", "no answer", 3, 1),
                ("CALL_FAILED", "refused", 1, 0)
            ]
        );
    }

    #[test]
    fn ever_new_words_fill_nothing() {
        let mut failures = Failures::default();
        for n in 0..5_000 {
            failures.add(&row(1, Outcome::CallFailed, &format!("reason {n}")));
        }
        assert_eq!(failures.of.len(), MOST_KEPT + 1);
        let shown = failures.shown();
        assert_eq!(shown.len(), MOST_SHOWN);
        assert_eq!(
            (&*shown[0].reason, shown[0].calls),
            (OTHERS, 5_000 - MOST_KEPT as u64)
        );
    }
}
