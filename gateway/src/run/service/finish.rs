//! The end of a run: its report, and the report again when something came late.

use callmeter_api::calltest::{RunPhase, Verdict};

use super::{Entry, RunService, RunServiceError};
use crate::results::{self, Report, RunResults};
use crate::run::{OutcomeRow, Run};
use crate::store::StoreError;

/// Rows read from the store at once.
const PAGE: u32 = 5_000;

impl RunService {
    /// Stores the report and lets go of the run.
    pub(super) async fn finish(&mut self, id: &str) -> Result<(), RunServiceError> {
        let Some(mut entry) = self.runs.remove(id) else {
            return Ok(());
        };
        if entry.late {
            entry.results = self.stored_results(&entry.run).await?;
        }
        let report = self.store_report(&entry).await?;
        let state = entry
            .run
            .state(&entry.results, &report.expects, &report.context.verdict);
        tracing::info!(
            run = id, status = %state.status, verdict = %state.verdict, partial = state.partial,
            reason = %state.reason, "run is over"
        );
        // Followers see the last state, then the end of the channel.
        entry.state.send_replace(state);
        Ok(())
    }

    /// A worker that was lost had more to say of a run that is over: the report is made again. The
    /// run stays partial.
    pub(super) async fn report_again(&mut self, id: &str) -> Result<(), RunServiceError> {
        let Some(record) = self.store.run_by_id(id).await? else {
            return Ok(());
        };
        let stored = self.stored(record).await?;
        match self.entry(stored).await? {
            Ok(entry) => {
                self.store_report(&entry).await?;
            }
            Err(error) => tracing::warn!(run = id, %error, "report cannot be made again"),
        }
        Ok(())
    }

    async fn store_report(&self, entry: &Entry) -> Result<Report, RunServiceError> {
        let Entry {
            run,
            results,
            inline,
            state: _,
            late: _,
            shown: _,
        } = entry;
        let expects = results::judge(run.test(), results);
        let verdict = if run.status() == RunPhase::CannotRunForNow {
            Verdict::Unknown
        } else {
            results::verdict(&expects, run.is_whole())
        };
        let report = results::report(run.test(), results, expects, run.context(verdict.as_str()));
        let summary = serde_json::to_string(&report).unwrap_or_default();
        let partial = serde_json::to_string(&report.context.partial_reasons).unwrap_or_default();
        let users = if inline.is_empty() {
            None
        } else {
            Some(
                self.seal
                    .seal(inline.without_passwords().to_sealed_form().as_bytes())?,
            )
        };
        let id = &run.identity().id;
        self.store
            .finish_run(id, &summary, verdict.as_str(), &partial, users.as_deref())
            .await?;
        Ok(report)
    }

    /// Everything measured, from the store.
    pub(super) async fn stored_results(&self, run: &Run) -> Result<RunResults, StoreError> {
        let groups = &run.test().groups;
        let mut all = RunResults::new(groups.iter().map(|g| (g.endpoints, g.role)));
        let id = &run.identity().id;
        for (index, group) in groups.iter().enumerate() {
            let mut position = 0;
            loop {
                let (rows, next) = self
                    .store
                    .read_samples(id, &group.name, position, PAGE)
                    .await?;
                all.add_samples(index, &rows);
                position = next;
                if (rows.len() as u32) < PAGE {
                    break;
                }
            }
        }
        let outcomes = self.store.outcomes(id).await?;
        let rows: Vec<OutcomeRow> = outcomes
            .into_iter()
            .filter_map(|o| {
                Some(OutcomeRow {
                    group: groups.iter().position(|g| g.name == o.group)?,
                    ..o.row
                })
            })
            .collect();
        all.add_outcomes(&rows);
        Ok(all)
    }
}
