//! The way of a run, from its placement to its end: what is done to it from outside.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use callmeter_api::calltest::RunPhase;

use super::advance::release;
use super::assign::{self, READY_WITHIN};
use super::secrets::{GroupSecrets, RunSecrets};
use super::state::{Endpoint, Link, Output, PlacedShare, Run, RunIdentity, Stage, Waiting};
use crate::definition::{self, Group, ValidatedTest};
use crate::link::{InstanceId, Load, WorkerId};
use crate::scheduler::{Decision, GroupDemand, RunDemand};
use crate::session::Now;
use crate::store::EndpointRow;

/// Beyond its duration a run has this long to hang up, un-register and report, before it is stopped.
/// Where nobody answers, BYE and REGISTER take a worker 70 s (`HARD_END` of its engine); the rest is
/// for the report.
pub(super) const REPORT_WITHIN: Duration = Duration::from_secs(90);

/// A stopped run has this long before the workers that did not report are given up: what is left to
/// do is the same.
pub(super) const STOP_WITHIN: Duration = REPORT_WITHIN;

impl Run {
    /// A run that waits.
    pub fn new(identity: RunIdentity, test: ValidatedTest, now: Now) -> Self {
        let endpoints = test
            .groups
            .iter()
            .map(|g| vec![Endpoint::NEW; g.endpoints as usize])
            .collect();
        Self {
            identity,
            warnings: definition::warnings(&test),
            test,
            stage: Stage::Waiting(Waiting::default()),
            reason: String::new(),
            since: now.instant,
            started_ms: None,
            ended_ms: None,
            shares: Vec::new(),
            links: BTreeMap::new(),
            endpoints,
            partial: Vec::new(),
            failed: None,
            stopped: None,
            outputs: VecDeque::new(),
        }
    }

    /// Id, tenant and names.
    pub fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    /// The definition.
    pub fn test(&self) -> &ValidatedTest {
        &self.test
    }

    /// The status others see.
    pub fn status(&self) -> RunPhase {
        match &self.stage {
            Stage::Waiting(Waiting {
                accepted: false, ..
            }) => RunPhase::Pending,
            Stage::Waiting(_) | Stage::Preparing => RunPhase::Queued,
            Stage::Callees { .. } | Stage::Callers { .. } | Stage::Started { .. } => {
                RunPhase::Running
            }
            Stage::Stopping { .. } => RunPhase::Stopping,
            Stage::Over(phase) => *phase,
        }
    }

    /// The next thing to carry out.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Run::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Callees { until }
            | Stage::Callers { until }
            | Stage::Started { until }
            | Stage::Stopping { until } => Some(until),
            Stage::Waiting(_) | Stage::Preparing | Stage::Over(_) => None,
        }
    }

    /// What the scheduler is asked for; none if the run does not wait.
    pub fn demand(&self) -> Option<RunDemand> {
        let Stage::Waiting(waiting) = &self.stage else {
            return None;
        };
        let group = |(i, g): (usize, &Group)| GroupDemand {
            endpoints: g.endpoints,
            placement: g.placement.clone(),
            calls: match g.target {
                definition::Target::Group(callees) => Some(callees),
                _ => None,
            },
            chosen_pool: waiting.pools.get(i).cloned().flatten(),
        };
        Some(RunDemand {
            run: self.identity.id.clone(),
            project: self.identity.project.clone(),
            priority: 0,
            since: self.since,
            queue_timeout: self.test.queue_timeout,
            accepted: waiting.accepted,
            groups: self.test.groups.iter().enumerate().map(group).collect(),
        })
    }

    /// What the scheduler decided; `worker` finds a worker's process and name by the scheduler's id.
    pub fn decided(
        &mut self,
        decision: Decision,
        worker: impl Fn(&str) -> Option<(WorkerId, InstanceId, String)>,
        now: Now,
    ) {
        let Stage::Waiting(waiting) = &mut self.stage else {
            return;
        };
        match decision {
            Decision::CannotRun { reason } => self.cannot_run(reason, now),
            Decision::Wait {
                possible,
                position,
                missing,
                reason,
                pools,
            } => {
                let accepted = waiting.accepted || possible;
                let changed = accepted != waiting.accepted;
                *waiting = Waiting {
                    accepted,
                    position,
                    missing,
                    pools,
                };
                self.reason = reason;
                if changed {
                    self.outputs.push_back(Output::Save);
                }
            }
            Decision::Place(shares) => {
                let mut placed = Vec::new();
                let mut links = BTreeMap::new();
                for share in shares {
                    // Workers of this round; one that is gone by now is placed anew next round.
                    let Some((id, instance, name)) = worker(&share.worker) else {
                        return;
                    };
                    links.entry(id).or_insert_with(|| Link::new(instance));
                    placed.push(PlacedShare {
                        group: share.group,
                        worker: id,
                        worker_name: name,
                        first: share.first,
                        count: share.count,
                    });
                }
                (self.shares, self.links) = (placed, links);
                self.stage = Stage::Preparing;
                "reads accounts and certificates".clone_into(&mut self.reason);
                self.outputs.push_back(Output::ReadSecrets);
            }
        }
    }

    /// A worker of the placement was fenced or went before the run started: back to the queue.
    pub fn unplace(&mut self, worker: WorkerId) {
        if self.stage == Stage::Preparing && self.links.contains_key(&worker) {
            self.shares.clear();
            self.links.clear();
            self.stage = Stage::Waiting(Waiting {
                accepted: true,
                ..Waiting::default()
            });
            "a worker of its placement takes no new work any more".clone_into(&mut self.reason);
        }
    }

    /// Gives the shares out: callees at once, callers are held until the callees are ready.
    /// `secrets` has one entry per group.
    pub fn dispatch(&mut self, secrets: &RunSecrets, now: Now) {
        if self.stage != Stage::Preparing {
            return;
        }
        let placed = assign::part::warnings(&self.test, &self.shares);
        self.warnings.extend(placed);
        self.warnings.extend_from_slice(&secrets.warnings);
        let none = GroupSecrets::default();
        let parts = assign::part::parts(&self.test, &self.shares);
        for (share, part) in self.shares.iter().zip(&parts) {
            let given = secrets.groups.get(share.group).unwrap_or(&none);
            let share_of = (share, part.as_ref());
            let assign = assign::assign(&self.identity.id, &self.test, share_of, given);
            if let Some(link) = self.links.get_mut(&share.worker) {
                link.held.push(assign);
            }
        }
        self.stage = Stage::Callees {
            until: now.instant + READY_WITHIN,
        };
        let callees: Vec<&str> = self
            .test
            .groups
            .iter()
            .filter(|g| g.answers())
            .map(|g| g.name.as_str())
            .collect();
        let sends = release(&mut self.links, |assign| {
            callees.contains(&assign.group.as_str())
        });
        self.save_and_send(sends);
        self.advance(now);
    }

    /// Ends a run that did not start.
    pub fn cannot_run(&mut self, reason: String, now: Now) {
        if !matches!(self.stage, Stage::Waiting(_) | Stage::Preparing) {
            return;
        }
        self.shares.clear();
        self.links.clear();
        self.reason = reason;
        self.over(RunPhase::CannotRunForNow, now);
    }

    /// Someone asked the run to stop: what is up hangs up and reports.
    pub fn stop(&mut self, reason: &str, now: Now) {
        match self.stage {
            Stage::Over(_) | Stage::Stopping { .. } => {}
            Stage::Waiting(_) | Stage::Preparing => {
                self.cannot_run(format!("stopped before it started: {reason}"), now);
            }
            Stage::Callees { .. } | Stage::Callers { .. } | Stage::Started { .. } => {
                self.stopped = Some(reason.to_owned());
                self.begin_stop(reason, now);
            }
        }
    }

    /// A deadline of [`Run::next_timeout`] passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.next_timeout().is_none_or(|due| due > now.instant) {
            return;
        }
        match self.stage {
            Stage::Callees { .. } => self.begin_callers(now),
            Stage::Callers { .. } => self.begin(now),
            Stage::Started { .. } => {
                let reason = format!(
                    "not all endpoints had ended {} s after the end of the run",
                    REPORT_WITHIN.as_secs()
                );
                self.stopped = Some(reason.clone());
                self.begin_stop(&reason, now);
            }
            Stage::Stopping { .. } => {
                let open: Vec<(WorkerId, InstanceId)> = self
                    .links
                    .iter()
                    .filter(|(_, l)| !l.is_over())
                    .map(|(id, l)| (*id, l.instance))
                    .collect();
                for (worker, instance) in open {
                    self.lost(worker, instance, now);
                }
            }
            Stage::Waiting(_) | Stage::Preparing | Stage::Over(_) => {}
        }
        self.advance(now);
    }

    /// Goes on after a restart: what happened may have been stored, and what follows from it not.
    /// `gone`: carriers of which nothing more can come.
    pub fn resume(&mut self, gone: &[(WorkerId, InstanceId)], now: Now) {
        let silent: Vec<WorkerId> = self
            .links
            .iter()
            .filter(|(_, link)| link.is_over())
            .map(|(id, _)| *id)
            .collect();
        self.end_endpoints(&silent);
        if let Stage::Over(_) = self.stage {
            return self.outputs.push_back(Output::Over);
        }
        for (worker, instance) in gone {
            self.lost(*worker, *instance, now);
        }
        self.advance(now);
    }

    /// State of an endpoint, to be stored.
    pub fn endpoint_row(&self, group: usize, endpoint: u32) -> EndpointRow {
        EndpointRow {
            group: self.test.groups[group].name.clone(),
            endpoint,
            state: self.endpoints[group][endpoint as usize].clone(),
        }
    }

    /// Endpoints this run holds on each worker.
    pub fn loads(&self) -> BTreeMap<WorkerId, Load> {
        let mut loads: BTreeMap<WorkerId, Load> = BTreeMap::new();
        for share in &self.shares {
            if self.links.get(&share.worker).is_none_or(Link::is_over) {
                continue;
            }
            let load = loads.entry(share.worker).or_default();
            match self.stage {
                Stage::Preparing => load.reserved += share.count,
                Stage::Waiting(_) | Stage::Over(_) => {}
                Stage::Callees { .. }
                | Stage::Callers { .. }
                | Stage::Started { .. }
                | Stage::Stopping { .. } => {
                    load.active +=
                        self.of_share(share).filter(|e| e.ended.is_none()).count() as u32;
                }
            }
        }
        loads
    }

    pub(super) fn of_share(&self, share: &PlacedShare) -> impl Iterator<Item = &Endpoint> {
        self.endpoints[share.group]
            .iter()
            .skip(share.first as usize)
            .take(share.count as usize)
    }
}
