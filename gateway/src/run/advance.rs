//! What follows in a run by itself: callers after callees, the start, the stop, the end.

use std::collections::BTreeMap;

use callmeter_api::calltest::RunPhase;
use callmeter_proto::worker::{self, to_worker};

use super::assign::{self, READY_WITHIN};
use super::machine::{REPORT_WITHIN, STOP_WITHIN};
use super::state::{Link, Output, Run, Stage};
use crate::definition::Group;
use crate::link::{InstanceId, WorkerId};
use crate::session::Now;

impl Run {
    /// Goes on as far as the state of endpoints and workers allows.
    pub(super) fn advance(&mut self, now: Now) {
        let dispatched = matches!(
            self.stage,
            Stage::Callees { .. }
                | Stage::Callers { .. }
                | Stage::Started { .. }
                | Stage::Stopping { .. }
        );
        if dispatched && self.links.values().all(Link::is_over) {
            let phase = if self.failed.is_some() {
                RunPhase::Failed
            } else {
                RunPhase::Completed
            };
            self.reason = self
                .failed
                .clone()
                .or_else(|| self.stopped.as_ref().map(|s| format!("stopped: {s}")))
                .unwrap_or_default();
            return self.over(phase, now);
        }
        if let Stage::Callees { .. } = self.stage {
            match self.unsettled(Group::answers) {
                None => self.begin_callers(now),
                Some(waits) => self.reason = waits,
            }
        }
        if let Stage::Callers { .. } = self.stage {
            match self.unsettled(|g| !g.answers()) {
                None => self.begin(now),
                Some(waits) => self.reason = waits,
            }
        }
    }

    pub(super) fn begin_callers(&mut self, now: Now) {
        self.stage = Stage::Callers {
            until: now.instant + READY_WITHIN,
        };
        let sends = release(&mut self.links, |_| true);
        self.save_and_send(sends);
    }

    /// Start to everyone: the run counts from here.
    pub(super) fn begin(&mut self, now: Now) {
        let mut sends = Vec::new();
        let mut starts: BTreeMap<WorkerId, Vec<worker::GroupPeers>> = BTreeMap::new();
        let parts = assign::part::parts(&self.test, &self.shares);
        for (share, part) in self.shares.iter().zip(&parts) {
            if self.test.groups[share.group].calls() {
                let peers = assign::peers(self, share, part.as_ref());
                starts.entry(share.worker).or_default().push(peers);
            }
        }
        let run = self.identity.id.clone();
        for (&worker, link) in self.links.iter_mut().filter(|(_, l)| !l.is_over()) {
            let peers = starts.remove(&worker).unwrap_or_default();
            let run = run.clone();
            let message =
                link.queue(|seq| to_worker::Message::Start(worker::Start { seq, run, peers }));
            sends.push((worker, link.instance, message));
        }
        self.stage = Stage::Started {
            until: now.instant + self.test.duration + REPORT_WITHIN,
        };
        self.started_ms = Some(now.unix_ms);
        self.reason.clear();
        self.save_and_send(sends);
    }

    pub(super) fn begin_stop(&mut self, reason: &str, now: Now) {
        let mut sends = Vec::new();
        let run = self.identity.id.clone();
        let mut untouched = Vec::new();
        for (&worker, link) in self.links.iter_mut().filter(|(_, l)| !l.is_over()) {
            link.held.clear();
            if link.next_seq == 1 {
                // It was never told of this run.
                link.ended = true;
                untouched.push(worker);
                continue;
            }
            let (run, reason) = (run.clone(), reason.to_owned());
            let message =
                link.queue(|seq| to_worker::Message::Stop(worker::Stop { seq, run, reason }));
            sends.push((worker, link.instance, message));
        }
        self.stage = Stage::Stopping {
            until: now.instant + STOP_WITHIN,
        };
        reason.clone_into(&mut self.reason);
        self.save_and_send(sends);
        self.end_endpoints(&untouched);
        self.advance(now);
    }

    pub(super) fn over(&mut self, phase: RunPhase, now: Now) {
        self.stage = Stage::Over(phase);
        self.ended_ms = Some(now.unix_ms);
        self.outputs.push_back(Output::Save);
        self.outputs.push_back(Output::Over);
    }

    /// What readiness the run waits for; none: nothing.
    fn unsettled(&self, of: impl Fn(&Group) -> bool) -> Option<String> {
        let waits = self
            .test
            .groups
            .iter()
            .zip(&self.endpoints)
            .filter(|(g, _)| of(g))
            .filter_map(|(g, endpoints)| {
                let open = endpoints.iter().filter(|e| !e.is_settled()).count();
                (open > 0)
                    .then(|| format!("{open} of {} endpoints of group {}", g.endpoints, g.name))
            });
        let waits: Vec<String> = waits.collect();
        let limit = READY_WITHIN.as_secs();
        (!waits.is_empty()).then(|| {
            format!(
                "waits at most {limit} s until {} are ready",
                waits.join(" and ")
            )
        })
    }

    pub(super) fn save_and_send(&mut self, sends: Vec<(WorkerId, InstanceId, worker::ToWorker)>) {
        self.outputs.push_back(Output::Save);
        for (worker, instance, message) in sends {
            self.outputs.push_back(Output::Send {
                worker,
                instance,
                message,
            });
        }
    }
}

/// Numbers the held shares that are wanted now.
pub(super) fn release(
    links: &mut BTreeMap<WorkerId, Link>,
    wanted: impl Fn(&worker::Assign) -> bool,
) -> Vec<(WorkerId, InstanceId, worker::ToWorker)> {
    let mut sends = Vec::new();
    for (&worker, link) in links.iter_mut().filter(|(_, l)| !l.is_over()) {
        let (now, later): (Vec<_>, Vec<_>) = link.held.drain(..).partition(&wanted);
        link.held = later;
        for assign in now {
            let message =
                link.queue(|seq| to_worker::Message::Assign(worker::Assign { seq, ..assign }));
            sends.push((worker, link.instance, message));
        }
    }
    sends
}
