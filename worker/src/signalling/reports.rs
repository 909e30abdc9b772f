//! The way from a shard to the control task: bounded, never waits, counts what it gives up.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::Report;

/// Reports that may wait in the queue itself.
pub(super) const QUEUE: usize = 1024;
/// Rows kept while the control task is behind.
const BACKLOG_ROWS: usize = 100_000;

/// Reports on their way.
#[derive(Debug)]
pub(super) struct Reports {
    queue: mpsc::Sender<Report>,
    backlog: VecDeque<Report>,
    backlog_rows: usize,
    lost: BTreeMap<String, u64>,
}

impl Reports {
    pub(super) fn new(queue: mpsc::Sender<Report>) -> Self {
        Self {
            queue,
            backlog: VecDeque::new(),
            backlog_rows: 0,
            lost: BTreeMap::new(),
        }
    }

    /// Sends in order, or keeps for [`Reports::flush`]; rows past the limit are given up.
    pub(super) fn push(&mut self, report: Report) {
        if let Report::Rows { run, rows, .. } = &report
            && self.backlog_rows + rows.len() > BACKLOG_ROWS
        {
            *self.lost.entry(run.clone()).or_default() += rows.len() as u64;
            return;
        }
        // What was lost must be known before the totals that count it.
        if let Report::ShareEnded { run, .. } = &report
            && let Some(rows) = self.lost.remove(run)
        {
            self.keep(Report::RowsLost {
                run: run.clone(),
                rows,
            });
        }
        self.keep(report);
        self.flush();
    }

    /// Sends as much of what is kept as the queue takes; false if the control task is gone.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(report) = self.backlog.pop_front() {
            let rows = rows_of(&report);
            match self.queue.try_send(report) {
                Ok(()) => self.backlog_rows -= rows,
                Err(TrySendError::Full(report)) => {
                    self.backlog.push_front(report);
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        !self.queue.is_closed()
    }

    /// Whether something waits for room.
    pub(super) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn keep(&mut self, report: Report) {
        self.backlog_rows += rows_of(&report);
        self.backlog.push_back(report);
    }
}

fn rows_of(report: &Report) -> usize {
    match report {
        Report::Rows { rows, .. } => rows.len(),
        Report::Events { .. } | Report::RowsLost { .. } | Report::ShareEnded { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use callmeter_proto::worker::SampleRow;

    use super::*;

    fn rows(count: usize) -> Report {
        Report::Rows {
            run: "r".into(),
            second: 0,
            rows: vec![SampleRow::default(); count],
        }
    }

    fn ended() -> Report {
        Report::ShareEnded {
            run: "r".into(),
            group: "g".into(),
            first: 0,
            calls: vec![],
        }
    }

    #[test]
    fn a_full_queue_keeps_the_order_and_counts_what_does_not_fit() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut reports = Reports::new(sender);
        reports.push(rows(1));
        reports.push(rows(BACKLOG_ROWS - 1));
        reports.push(rows(2));
        assert!(reports.is_behind());
        reports.push(ended());
        let mut sizes = Vec::new();
        while let Ok(report) = receiver.try_recv() {
            match &report {
                Report::Rows { rows, .. } => sizes.push(rows.len() as u64),
                Report::RowsLost { rows, .. } => sizes.push(1_000_000 + rows),
                _ => sizes.push(0),
            }
            assert!(reports.flush());
        }
        assert_eq!(sizes, [1, BACKLOG_ROWS as u64 - 1, 1_000_002, 0]);
        drop(receiver);
        reports.push(ended());
        assert!(!reports.flush());
    }
}
