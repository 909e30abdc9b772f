//! A worker's last word on a run: its totals against what is stored.

use callmeter_proto::worker::{self, ShareTotals};

use super::messages::Numbered;
use super::{Entry, RunService, RunServiceError};
use crate::run::OwedShare;
use crate::sessions;
use crate::store::RunProgress;

impl RunService {
    /// Compares what the worker counted of each share it owes with the store. A share it does not
    /// account for is lost as a whole; one it never had counts nothing.
    pub(super) async fn losses(
        &self,
        from: &Numbered<'_>,
        ended: &worker::RunEnded,
    ) -> Result<Vec<(OwedShare, u32)>, RunServiceError> {
        let carries = |entry: &&Entry| entry.run.carriers().any(|(w, _)| w == from.worker);
        let Some(entry) = self.runs.get(from.run).filter(carries) else {
            return Ok(Vec::new());
        };
        let owed = entry.run.owed(from.worker);
        let foreign = ended
            .shares
            .iter()
            .filter(|told| !owed.iter().any(|share| accounts_for(told, share)))
            .count();
        if foreign > 0 {
            tracing::warn!(
                worker = %from.worker, run = from.run, shares = foreign,
                "totals of shares the worker does not have are ignored"
            );
        }
        let mut losses = Vec::with_capacity(owed.len());
        for share in owed {
            let told = ended.shares.iter().find(|told| accounts_for(told, &share));
            let differ = if let Some(told) = told {
                self.compare(from, &share, told).await?
            } else {
                tracing::warn!(
                    worker = %from.worker, run = from.run, group = share.name,
                    first = share.first, count = share.count,
                    "a worker's totals leave out endpoints it was given"
                );
                share.count
            };
            losses.push((share, differ));
        }
        Ok(losses)
    }

    /// Gives the end to the run and answers what is to be stored of it together with the number of
    /// the message: once that is confirmed the worker cannot tell again. None: the run is over.
    pub(super) fn run_ended(
        &mut self,
        from: &Numbered<'_>,
        ended: &worker::RunEnded,
        losses: &[(OwedShare, u32)],
    ) -> Result<Option<RunProgress>, RunServiceError> {
        let Some(entry) = self.runs.get_mut(from.run) else {
            return Ok(None);
        };
        let now = sessions::now();
        entry.run.apply_run_ended(from.worker, ended, losses, now);
        // From before the run goes on: none shows as over long before its report is there.
        let progress = entry.run.progress(&self.seal)?;
        entry.run.advance(now);
        self.schedule = true;
        Ok(Some(progress))
    }

    /// Endpoints of a share of which other rows or calls are stored than the worker told.
    async fn compare(
        &self,
        from: &Numbered<'_>,
        share: &OwedShare,
        told: &ShareTotals,
    ) -> Result<u32, RunServiceError> {
        let OwedShare {
            group,
            name,
            first,
            count,
        } = share;
        let stored = self
            .store
            .rows_per_endpoint(from.run, from.worker, name, *first, *count)
            .await?;
        let differ = stored
            .iter()
            .zip(&told.rows_per_endpoint)
            .filter(|(have, sent)| have != sent)
            .count() as u32;
        let calls = told
            .calls
            .iter()
            .fold(0_u64, |sum, of| sum.saturating_add(of.calls));
        let results = self.runs.get(from.run).map(|entry| &entry.results);
        let counted = results
            .and_then(|results| results.group(*group))
            .map(|group| group.calls_of_endpoints(*first, *count));
        let calls_differ = counted.is_some_and(|counted| counted != calls);
        if differ > 0 || calls_differ {
            tracing::warn!(
                worker = %from.worker, run = from.run, group = name, endpoints = differ,
                calls_told = calls, calls_stored = counted,
                "a worker's totals differ from what is stored"
            );
        }
        Ok(differ.max(u32::from(calls_differ)))
    }
}

/// Whether totals are those of this share: every endpoint has its count of rows.
fn accounts_for(told: &ShareTotals, share: &OwedShare) -> bool {
    told.group == share.name
        && told.first == share.first
        && told.count == share.count
        && told.rows_per_endpoint.len() == share.count as usize
}
