//! The rules of fences: bound to one process, ended by `Unfence`, another process or deletion only.

use super::{FenceRefused, Now, Output, Registry};
use crate::link::{InstanceId, WorkerId};
use crate::store::StoredFence;

/// A fence deadline that moved less than this did not move: callers repeat relative times.
const DEADLINE_SLACK_MS: u64 = 1_000;

impl Registry {
    /// No new work for this process. Again for the same one: the deadline moves, the number stays.
    pub fn fence(
        &mut self,
        now: Now,
        id: WorkerId,
        instance: InstanceId,
        reason: &str,
        ends_in_ms: Option<u64>,
    ) -> Result<u64, FenceRefused> {
        let worker = self.workers.get_mut(&id).ok_or(FenceRefused::NoWorker)?;
        worker.require_instance(instance)?;
        let deadline_unix_ms = ends_in_ms.map(|ms| now.unix_ms.saturating_add_unsigned(ms));
        let record = &mut worker.record;
        match &mut record.fence {
            Some(fence) if same_deadline(fence.deadline_unix_ms, deadline_unix_ms) => {}
            Some(fence) => {
                fence.deadline_unix_ms = deadline_unix_ms;
                reason.clone_into(&mut fence.reason);
                self.fence_changed(now, id);
            }
            None => {
                record.fence_seq += 1;
                let reason = reason.to_owned();
                record.fence = Some(StoredFence {
                    instance,
                    reason,
                    deadline_unix_ms,
                });
                worker.fence_confirmed = false;
                self.fence_changed(now, id);
            }
        }
        let seq = self.record(id).map_or(0, |record| record.fence_seq);
        self.outputs.push_back(Output::Fenced { worker: id, seq });
        Ok(seq)
    }

    /// The worker asks to be fenced (its SIGTERM). Its deadline counts if no earlier one is set.
    pub fn drain_request(
        &mut self,
        now: Now,
        id: WorkerId,
        epoch: u64,
        reason: &str,
        ends_in_ms: u64,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let Some(session) = worker.session.as_ref().filter(|s| s.epoch == epoch) else {
            return;
        };
        let asked = now.unix_ms.saturating_add_unsigned(ends_in_ms);
        let earlier = worker
            .record
            .fence
            .as_ref()
            .and_then(|f| f.deadline_unix_ms)
            .filter(|at| *at < asked);
        let ends_in = earlier.map_or(ends_in_ms, |at| {
            at.saturating_sub(now.unix_ms).max(0) as u64
        });
        let instance = session.instance;
        // The instance is the session's own: it cannot be refused.
        let _ = self.fence(now, id, instance, reason, Some(ends_in));
    }

    /// The run layer has seen the fence: rows may show its number.
    pub fn confirm_fence(&mut self, id: WorkerId, seq: u64) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.record.fence_seq == seq
            && !worker.fence_confirmed
        {
            worker.fence_confirmed = true;
            self.updated(id);
        }
    }

    /// Lifts the fence of this process; without one there is nothing to do.
    pub fn unfence(&mut self, id: WorkerId, instance: InstanceId) -> Result<(), FenceRefused> {
        let worker = self.workers.get_mut(&id).ok_or(FenceRefused::NoWorker)?;
        worker.require_instance(instance)?;
        if worker.record.fence.take().is_some() {
            let seq = worker.record.fence_seq;
            self.outputs.push_back(Output::StoreFence {
                worker: id,
                seq,
                fence: None,
            });
            if let Some(epoch) = self.live_epoch(id) {
                self.outputs.push_back(Output::SendUnfence {
                    worker: id,
                    epoch,
                    seq,
                });
            }
            self.changed(id);
        }
        Ok(())
    }

    fn fence_changed(&mut self, now: Now, id: WorkerId) {
        let epoch = self.live_epoch(id);
        if let Some(worker) = self.workers.get(&id)
            && let Some(fence) = worker.fence()
        {
            let stored = worker.record.fence.clone();
            self.outputs.push_back(Output::StoreFence {
                worker: id,
                seq: fence.seq,
                fence: stored,
            });
            if let Some(epoch) = epoch {
                self.outputs.push_back(Output::SendFence {
                    worker: id,
                    epoch,
                    fence,
                    sent_unix_ms: now.unix_ms,
                });
            }
            self.changed(id);
        }
    }
}

fn same_deadline(a: Option<i64>, b: Option<i64>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.abs_diff(b) < DEADLINE_SLACK_MS,
        _ => false,
    }
}
