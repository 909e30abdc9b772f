//! Decides which queued run starts where.
//!
//! A pure function of workers, pools, queue and time. A run starts when **all** its groups fit at
//! once; the endpoints of one group may spread over several workers. A run that waits holds the
//! free slots it could use, so that a later run passes it only where it does not delay it.

mod explain;
mod fit;
mod fleet;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleet::Fleet;
pub use place::Share;

/// A registration of a pool older than this no longer counts as room to grow.
pub const POOL_FRESH: Duration = Duration::from_secs(60);

/// The most groups of one run; the sets of groups a worker may carry are bit masks.
pub const MAX_GROUPS: usize = 64;

/// A worker as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Id of its record.
    pub id: String,
    /// Display name, which `placement: {workers: […]}` refers to.
    pub name: String,
    /// Project it belongs to.
    pub project: String,
    /// Region, empty if none was given.
    pub region: String,
    /// Pool as `namespace/name`; none for a worker made by a person.
    pub pool: Option<String>,
    /// Effective capacity, endpoints.
    pub capacity: u32,
    /// Endpoints assigned or reserved; never above what runs really hold.
    pub used: u32,
    /// ONLINE.
    pub online: bool,
    /// Fenced: takes no new work.
    pub fenced: bool,
}

impl Worker {
    fn usable(&self) -> bool {
        self.online && !self.fenced
    }

    fn free(&self) -> u32 {
        self.capacity.saturating_sub(self.used)
    }
}

/// A pool that may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// `namespace/name`.
    pub key: String,
    /// Project its workers belong to.
    pub project: String,
    /// Region of its workers.
    pub region: String,
    /// Capacity of each of its workers, endpoints.
    pub endpoints_per_worker: u32,
    /// The most workers it can come to.
    pub max_workers: u32,
    /// When its registration was last renewed.
    pub renewed: Instant,
}

/// Which workers a group may use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    /// Any worker of the project.
    Anywhere,
    /// Workers of one pool, `namespace/name`.
    Pool(String),
    /// Workers of one region.
    Region(String),
    /// Workers with these names.
    Workers(Vec<String>),
}

impl Placement {
    /// Whether it leaves this worker open, the project apart.
    fn admits(&self, worker: &Worker) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Pool(key) => worker.pool.as_ref() == Some(key),
            Self::Region(region) => worker.region == *region,
            Self::Workers(names) => names.contains(&worker.name),
        }
    }
}

/// What one group asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDemand {
    /// Endpoints, at least 1.
    pub endpoints: u32,
    /// Where they may run.
    pub placement: Placement,
    /// Index of the group it calls.
    pub calls: Option<usize>,
    /// Pool that an earlier round chose for the demand of this group; kept while it is registered,
    /// so that two pools never grow for one group.
    pub chosen_pool: Option<String>,
}

/// A run in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDemand {
    /// Id of the run.
    pub run: String,
    /// Its project; only workers of the same one serve it.
    pub project: String,
    /// Higher first.
    pub priority: i32,
    /// When it was submitted.
    pub since: Instant,
    /// How long it may wait.
    pub queue_timeout: Duration,
    /// It was found possible before and is QUEUED: from then on only the timeout ends its wait.
    pub accepted: bool,
    /// At most [`MAX_GROUPS`].
    pub groups: Vec<GroupDemand>,
}

/// What becomes of one run of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Starts now on these workers.
    Place(Vec<Share>),
    /// Goes on waiting.
    Wait {
        /// Workers and pools could hold it; false: it is too early to judge, or it was possible.
        possible: bool,
        /// Place in the queue, from 1.
        position: u32,
        /// Endpoints for which no slot is free now.
        missing: u32,
        /// What it waits for, for people.
        reason: String,
        /// The pool each group is demand of.
        pools: Vec<Option<String>>,
    },
    /// Ends CANNOT_RUN_FOR_NOW.
    CannotRun {
        /// Which limit, what was asked and what is possible.
        reason: String,
    },
}

/// What waits for one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuedDemand {
    /// Endpoints of all waiting groups of this pool.
    pub endpoints: u32,
    /// Age of the oldest of them.
    pub oldest: Duration,
    /// Runs, oldest first.
    pub runs: Vec<String>,
}

/// Result of one round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// One decision per run of the queue, in queue order.
    pub decisions: Vec<(String, Decision)>,
    /// Demand per pool, of the runs that wait.
    pub demand: BTreeMap<String, QueuedDemand>,
}

/// One round: looks at the runs in queue order (priority, then age) and decides on each.
///
/// `settled` is when every worker and pool that exists has had time to report after a start of the
/// gateway; before that no run is called impossible, but for what a registered pool cannot hold.
pub fn schedule(
    workers: &[Worker],
    pools: &[Pool],
    queue: &[RunDemand],
    settled: Instant,
    now: Instant,
) -> Round {
    let mut fleet = Fleet::new(workers, pools, now);
    let mut order: Vec<&RunDemand> = queue.iter().collect();
    order.sort_by(|a, b| {
        b.priority
            .cmp(&a.priority)
            .then(a.since.cmp(&b.since))
            .then_with(|| a.run.cmp(&b.run))
    });
    let mut round = Round::default();
    let mut waiting = 0;
    for run in order {
        let decision = fleet.decide(run, settled, waiting + 1);
        if let Decision::Wait { pools, .. } = &decision {
            waiting += 1;
            let age = now.saturating_duration_since(run.since);
            for (group, pool) in run.groups.iter().zip(pools) {
                let Some(pool) = pool else { continue };
                let demand = round.demand.entry(pool.clone()).or_default();
                demand.endpoints = demand.endpoints.saturating_add(group.endpoints);
                demand.oldest = demand.oldest.max(age);
                if demand.runs.last() != Some(&run.run) {
                    demand.runs.push(run.run.clone());
                }
            }
        }
        round.decisions.push((run.run.clone(), decision));
    }
    round
}
