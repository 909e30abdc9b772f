//! What workers tell of a run, and what becomes of it when they come back or are lost.

use callmeter_proto::worker::{self, Outcome, Phase, endpoint_event::What};

use super::state::{
    Cause, Endpoint, OutcomeRow, Output, OwedShare, Partial, PlacedShare, Reachable, Run, Stage,
};
use crate::link::{InstanceId, WorkerId};
use crate::session::Now;

impl Run {
    /// Highest number of a worker's messages that is applied; none: the worker or process has no
    /// part in this run.
    pub fn applied(&self, worker: WorkerId, instance: InstanceId) -> Option<u64> {
        self.links
            .get(&worker)
            .filter(|l| l.instance == instance)
            .map(|l| l.applied)
    }

    /// The worker confirmed our messages up to `seq`.
    pub fn confirmed(&mut self, worker: WorkerId, instance: InstanceId, seq: u64) {
        let link = self
            .links
            .get_mut(&worker)
            .filter(|l| l.instance == instance);
        if link.is_some_and(|link| link.confirm(seq)) {
            self.outputs.push_back(Output::Save);
        }
    }

    /// Message `seq` of a worker is stored; nothing but its number concerns the run.
    pub fn applied_samples(&mut self, worker: WorkerId, seq: u64) {
        if let Some(link) = self.links.get_mut(&worker) {
            link.applied = seq;
        }
    }

    /// The rows of an event message that are stored and counted: ends of calls and endpoints.
    pub fn outcomes_of(
        &self,
        worker: WorkerId,
        events: &worker::EndpointEvents,
    ) -> Vec<OutcomeRow> {
        let row = |event: &worker::EndpointEvent| {
            let (group, endpoint) = self.own(worker, event)?;
            let base = OutcomeRow {
                group,
                endpoint,
                call: event.call,
                outcome: Outcome::Unspecified,
                sip_status: 0,
                detail: String::new(),
                outgoing: false,
                completed: false,
            };
            match event.what.as_ref()? {
                What::CallEnded(end) => Some(OutcomeRow {
                    outcome: end.outcome(),
                    sip_status: end.sip_status,
                    detail: end.detail.clone(),
                    outgoing: end.outgoing,
                    // A worker that does not tell: a success did.
                    completed: end
                        .completed
                        .unwrap_or_else(|| end.outcome() == Outcome::Success),
                    ..base
                }),
                What::Ended(end) => Some(OutcomeRow {
                    call: 0,
                    outcome: end.outcome(),
                    detail: end.detail.clone(),
                    ..base
                }),
                What::Ready(_) | What::Phase(_) => None,
            }
        };
        events.events.iter().filter_map(row).collect()
    }

    /// State changes of endpoints; they are stored. Answers which endpoints changed.
    pub fn apply_events(
        &mut self,
        worker: WorkerId,
        events: &worker::EndpointEvents,
        now: Now,
    ) -> Vec<(usize, u32)> {
        self.applied_samples(worker, events.seq);
        let mut changed = Vec::new();
        for event in &events.events {
            let Some((group, endpoint)) = self.own(worker, event) else {
                continue;
            };
            let state = &mut self.endpoints[group][endpoint as usize];
            match &event.what {
                Some(What::Ready(ready)) => {
                    state.ready = Some(Reachable {
                        contact: ready.contact.clone(),
                        aor: ready.aor.clone(),
                    });
                }
                Some(What::Phase(phase)) => {
                    state.phase = Phase::try_from(*phase).unwrap_or(Phase::Unspecified);
                    state.call = event.call;
                }
                Some(What::CallEnded(_)) => {
                    state.phase = Phase::Closed;
                    state.call = event.call;
                }
                Some(What::Ended(end)) => {
                    state.phase = Phase::Closed;
                    state.ended = Some(end.outcome());
                }
                None => continue,
            }
            changed.push((group, endpoint));
        }
        self.advance(now);
        changed
    }

    /// The shares placed on a worker.
    pub fn shares_of(&self, worker: WorkerId) -> impl Iterator<Item = OwedShare> {
        let own = self.shares.iter().filter(move |s| s.worker == worker);
        own.map(|share| OwedShare {
            group: share.group,
            name: self.test.groups[share.group].name.clone(),
            first: share.first,
            count: share.count,
        })
    }

    /// The shares a worker must account for at its end: all it was told of. What is still held back
    /// it does not know, and what a Stop found untouched it may not know.
    pub fn owed(&self, worker: WorkerId) -> Vec<OwedShare> {
        let held = |share: &OwedShare| {
            let held = self.links.get(&worker).map(|link| &link.held);
            held.into_iter()
                .flatten()
                .any(|assign| assign.group == share.name && assign.first == share.first)
        };
        let stopping = matches!(self.stage, Stage::Stopping { .. });
        let untouched = |share: &OwedShare| {
            self.endpoints[share.group]
                .iter()
                .skip(share.first as usize)
                .take(share.count as usize)
                .all(|endpoint| *endpoint == Endpoint::NEW)
        };
        self.shares_of(worker)
            .filter(|share| !(held(share) || stopping && untouched(share)))
            .collect()
    }

    /// The run is over for a worker. `losses`: the shares it owed, and of how many of their
    /// endpoints other rows or calls are stored than it told. What follows for the run is for
    /// `advance`.
    pub fn apply_run_ended(
        &mut self,
        worker: WorkerId,
        ended: &worker::RunEnded,
        losses: &[(OwedShare, u32)],
        now: Now,
    ) {
        let Some(link) = self.links.get_mut(&worker) else {
            return;
        };
        link.applied = ended.seq;
        if link.is_over() {
            return;
        }
        link.ended = true;
        link.outbox.clear();
        link.held.clear();
        for (share, differ) in losses {
            let lost = if ended.rows_dropped > 0 {
                share.count
            } else {
                *differ
            };
            if lost > 0 {
                self.partial(worker, &share.name, lost, Cause::SamplesLost, now);
            }
            if ended.forced {
                self.partial(worker, &share.name, share.count, Cause::Forced, now);
            }
        }
        self.outputs.push_back(Output::Save);
        self.end_endpoints(&[worker]);
    }

    /// The process is gone for good: its endpoints end with TIMEOUT and the run is partial.
    pub fn lost(&mut self, worker: WorkerId, instance: InstanceId, now: Now) {
        self.unplace(worker);
        if matches!(self.stage, Stage::Over(_)) {
            return;
        }
        let Some(link) = self
            .links
            .get_mut(&worker)
            .filter(|l| l.instance == instance && !l.is_over())
        else {
            return;
        };
        link.lost_ms = Some(now.unix_ms);
        link.outbox.clear();
        link.held.clear();
        let shares: Vec<PlacedShare> = self
            .shares
            .iter()
            .filter(|s| s.worker == worker)
            .cloned()
            .collect();
        for share in shares {
            let open = self.of_share(&share).filter(|e| e.ended.is_none()).count() as u32;
            let group = self.test.groups[share.group].name.clone();
            if open > 0 {
                self.partial(worker, &group, open, Cause::WorkerLost, now);
            }
            let of_group = || self.shares.iter().filter(|s| s.group == share.group);
            let all_lost = of_group().all(|s| {
                self.links
                    .get(&s.worker)
                    .is_none_or(|l| l.lost_ms.is_some())
            });
            if all_lost && self.failed.is_none() {
                let mut names: Vec<&str> = of_group().map(|s| s.worker_name.as_str()).collect();
                names.dedup();
                self.failed = Some(format!(
                    "group {group} lost all its endpoints with worker {}",
                    names.join(", ")
                ));
            }
        }
        self.outputs.push_back(Output::Save);
        self.end_endpoints(&[worker]);
        match &self.failed {
            Some(failed) if !matches!(self.stage, Stage::Stopping { .. }) => {
                let failed = failed.clone();
                self.begin_stop(&failed, now);
            }
            _ => self.advance(now),
        }
    }

    /// A process connected; `resume` is what it still has of this run. The verdict goes into its
    /// Welcome; what it has not applied yet is sent again behind it.
    pub fn connected(
        &mut self,
        worker: WorkerId,
        instance: InstanceId,
        resume: Option<&worker::ResumeRun>,
        now: Now,
    ) -> Option<worker::ResumeVerdict> {
        let link = self.links.get_mut(&worker)?;
        if link.instance != instance {
            let old = link.instance;
            self.lost(worker, old, now);
            return None;
        }
        let over = link.is_over();
        let verdict = resume.map(|r| worker::ResumeVerdict {
            run: r.run.clone(),
            go_on: !over,
            acked_seq: link.applied,
        });
        if over {
            return verdict;
        }
        match resume {
            Some(resume) => {
                link.confirm(resume.last_applied_seq);
            }
            // It had the run and has it no more: nothing of it will follow.
            None if link.was_confirmed() => {
                self.lost(worker, instance, now);
                return None;
            }
            None => {}
        }
        for message in link.outbox.clone() {
            self.outputs.push_back(Output::Send {
                worker,
                instance,
                message,
            });
        }
        verdict
    }

    /// Ends what is still open on workers from which nothing follows.
    pub(super) fn end_endpoints(&mut self, workers: &[WorkerId]) {
        let mut rows = Vec::new();
        let shares: Vec<PlacedShare> = self
            .shares
            .iter()
            .filter(|s| workers.contains(&s.worker))
            .cloned()
            .collect();
        for share in shares {
            let lost = self
                .links
                .get(&share.worker)
                .is_some_and(|l| l.lost_ms.is_some());
            // Ended by a Stop before it was told of the run: there is nothing to judge.
            let outcome = if lost {
                Outcome::Timeout
            } else {
                Outcome::Unspecified
            };
            let detail = if lost {
                format!("worker {} was lost", share.worker_name)
            } else {
                String::new()
            };
            let calls = self.test.groups[share.group].calls();
            for endpoint in share.first..share.first + share.count {
                let state: &mut Endpoint = &mut self.endpoints[share.group][endpoint as usize];
                if state.ended.is_some() {
                    continue;
                }
                let row = OutcomeRow {
                    group: share.group,
                    endpoint,
                    call: 0,
                    outcome,
                    sip_status: 0,
                    detail: detail.clone(),
                    outgoing: calls,
                    completed: false,
                };
                if lost && state.in_progress() && state.call > 0 {
                    rows.push(OutcomeRow {
                        call: state.call,
                        ..row.clone()
                    });
                }
                rows.push(row);
                state.ended = Some(outcome);
                state.phase = Phase::Closed;
            }
        }
        if !rows.is_empty() {
            self.outputs.push_back(Output::Outcomes(rows));
        }
    }

    fn partial(&mut self, worker: WorkerId, group: &str, endpoints: u32, cause: Cause, now: Now) {
        let name = self
            .shares
            .iter()
            .find(|s| s.worker == worker)
            .map(|s| s.worker_name.clone());
        self.partial.push(Partial {
            worker: name.unwrap_or_default(),
            group: group.to_owned(),
            endpoints,
            since_unix_ms: now.unix_ms,
            cause,
        });
    }

    /// Indices of an event's endpoint if it is one of this worker's.
    fn own(&self, worker: WorkerId, event: &worker::EndpointEvent) -> Option<(usize, u32)> {
        let group = self
            .test
            .groups
            .iter()
            .position(|g| g.name == event.group)?;
        let own = |s: &PlacedShare| {
            s.group == group
                && s.worker == worker
                && event.endpoint >= s.first
                && event.endpoint - s.first < s.count
        };
        self.shares
            .iter()
            .any(own)
            .then_some((group, event.endpoint))
    }
}
