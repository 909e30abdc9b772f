//! Decides which queued run starts where.
//!
//! A pure function of workers, pools, queue and time. A run starts when **all** its groups fit at
//! once; the endpoints of one group may spread over several workers. A run that waits holds the
//! free slots it could use, so that a later run passes it only where it does not delay it.

mod explain;
mod fit;
mod place;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use fit::Bin;
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

/// Usable workers and fresh pools, with what this round has given away or holds.
struct Fleet<'a> {
    workers: Vec<&'a Worker>,
    /// Free slots left, by index of `workers`.
    free: Vec<u32>,
    /// Index of each worker's pool in `pools`, by index of `workers`.
    pool_of: Vec<Option<usize>>,
    pools: Vec<&'a Pool>,
    /// Endpoints each pool can still add, by index of `pools`: workers that are starting count,
    /// they are not ONLINE yet.
    growth: Vec<u64>,
    /// Demand this round has put on each pool, by index of `pools`.
    picked: Vec<u64>,
    now: Instant,
}

impl<'a> Fleet<'a> {
    fn new(workers: &'a [Worker], pools: &'a [Pool], now: Instant) -> Self {
        let mut workers: Vec<&Worker> = workers.iter().filter(|w| w.usable()).collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        let mut pools: Vec<&Pool> = pools
            .iter()
            .filter(|p| now.saturating_duration_since(p.renewed) <= POOL_FRESH)
            .collect();
        pools.sort_by(|a, b| a.key.cmp(&b.key));
        let free = workers.iter().map(|w| w.free()).collect();
        let index: HashMap<&str, usize> = pools
            .iter()
            .enumerate()
            .map(|(i, p)| (p.key.as_str(), i))
            .collect();
        let pool_of: Vec<Option<usize>> = workers
            .iter()
            .map(|w| index.get(w.pool.as_deref()?).copied())
            .collect();
        let mut online = vec![0_u64; pools.len()];
        pool_of.iter().flatten().for_each(|&pool| online[pool] += 1);
        let grows = |(p, online): (&&Pool, u64)| {
            u64::from(p.max_workers).saturating_sub(online) * u64::from(p.endpoints_per_worker)
        };
        let growth = pools.iter().zip(online).map(grows).collect();
        let picked = vec![0; pools.len()];
        Self {
            workers,
            free,
            pool_of,
            pools,
            growth,
            picked,
            now,
        }
    }

    fn decide(&mut self, run: &RunDemand, settled: Instant, position: u32) -> Decision {
        let waited = self.now.saturating_duration_since(run.since);
        let pools = self.pick_pools(run);
        let eligible = self.eligible(run);
        let possible = self.possible(run, &pools, &eligible);
        if !possible && !run.accepted && self.may_judge(run, settled) {
            return Decision::CannotRun {
                reason: self.explain_impossible(run, &pools),
            };
        }
        if possible && let Some(shares) = place::place(run, &self.workers, &self.free, &eligible) {
            self.take(&shares);
            return Decision::Place(shares);
        }
        let (missing, held) = self.missing(run, &eligible);
        let reason = if possible {
            self.explain_wait(run, missing)
        } else {
            self.explain_impossible(run, &pools)
        };
        if waited >= run.queue_timeout {
            let limit = explain::seconds(run.queue_timeout);
            return Decision::CannotRun {
                reason: format!("queueTimeout {limit} passed: {reason}"),
            };
        }
        if possible {
            self.free = held;
        }
        for (group, pool) in run.groups.iter().zip(&pools) {
            if let Some(i) = self.pool_index(pool.as_deref()) {
                self.picked[i] += u64::from(group.endpoints);
            }
        }
        Decision::Wait {
            possible,
            position,
            missing,
            reason,
            pools,
        }
    }

    /// False while a worker or a pool the run needs may not have reported yet. What a registered
    /// pool can come to is known without its workers.
    fn may_judge(&self, run: &RunDemand, settled: Instant) -> bool {
        let named = |g: &GroupDemand| match &g.placement {
            Placement::Pool(key) => Some(self.pool_index(Some(key)).is_some()),
            _ => None,
        };
        if run.groups.iter().all(|g| named(g) == Some(true)) {
            return true;
        }
        let waited = self.now.saturating_duration_since(run.since) >= POOL_FRESH;
        let unknown = run.groups.iter().any(|g| named(g) == Some(false));
        self.now >= settled && (!unknown || waited)
    }

    /// Per worker the set of the run's groups it may carry.
    fn eligible(&self, run: &RunDemand) -> Vec<u64> {
        let mask = |worker: &Worker| {
            if worker.project == run.project {
                group_mask(run, |g| g.placement.admits(worker))
            } else {
                0
            }
        };
        self.workers.iter().map(|w| mask(w)).collect()
    }

    /// The one pool each group is demand of: the named one, else the one chosen before, else the
    /// pool of the project (and region) with most room, then by name.
    fn pick_pools(&self, run: &RunDemand) -> Vec<Option<String>> {
        // Room of each pool: its growth and free slots, without what was picked before.
        let mut room = self.growth.clone();
        for (pool, free) in self.pool_of.iter().zip(&self.free) {
            if let Some(pool) = pool {
                room[*pool] += u64::from(*free);
            }
        }
        let mut taken = self.picked.clone();
        let mut pick = |group: &GroupDemand| {
            let region = match &group.placement {
                Placement::Pool(key) => return Some(key.clone()),
                Placement::Workers(_) => return None,
                Placement::Region(region) => Some(region),
                Placement::Anywhere => None,
            };
            let open = |p: &Pool| p.project == run.project && region.is_none_or(|r| p.region == *r);
            let candidates = || (0..self.pools.len()).filter(|&i| open(self.pools[i]));
            let sticky =
                candidates().find(|&i| Some(&self.pools[i].key) == group.chosen_pool.as_ref());
            let left = |i: usize| room[i].saturating_sub(taken[i]);
            // Pools are sorted by name and the first of equals wins.
            let best = || candidates().reduce(|a, b| if left(b) > left(a) { b } else { a });
            let i = sticky.or_else(best)?;
            taken[i] += u64::from(group.endpoints);
            Some(self.pools[i].key.clone())
        };
        run.groups.iter().map(&mut pick).collect()
    }

    /// Whether the run would fit if nothing else ran and its pools grew to their limits.
    fn possible(&self, run: &RunDemand, pools: &[Option<String>], eligible: &[u64]) -> bool {
        let mut bins: Vec<Bin> = self
            .workers
            .iter()
            .zip(eligible)
            .map(|(w, &groups)| Bin {
                groups,
                capacity: u64::from(w.capacity),
            })
            .collect();
        for (i, pool) in self.pools.iter().enumerate() {
            let mut index = 0;
            let groups = group_mask(run, |_| {
                index += 1;
                pool.project == run.project && pools[index - 1].as_ref() == Some(&pool.key)
            });
            bins.push(Bin {
                groups,
                capacity: self.growth[i],
            });
        }
        fit::fit(&demands(run), &bins).missing == 0
    }

    /// Endpoints without a free slot now, and the free slots left if this run held its part.
    fn missing(&self, run: &RunDemand, eligible: &[u64]) -> (u32, Vec<u32>) {
        let bins: Vec<Bin> = eligible
            .iter()
            .zip(&self.free)
            .map(|(&groups, &free)| Bin {
                groups,
                capacity: u64::from(free),
            })
            .collect();
        let fitted = fit::fit(&demands(run), &bins);
        let held = self
            .free
            .iter()
            .enumerate()
            .map(|(i, free)| free - fitted.amounts.iter().map(|a| a[i] as u32).sum::<u32>())
            .collect();
        (fitted.missing as u32, held)
    }

    fn pool_index(&self, key: Option<&str>) -> Option<usize> {
        key.and_then(|key| self.pools.iter().position(|p| p.key == key))
    }

    fn take(&mut self, shares: &[Share]) {
        for share in shares {
            if let Some(i) = self.workers.iter().position(|w| w.id == share.worker) {
                self.free[i] = self.free[i].saturating_sub(share.count);
            }
        }
    }
}

fn demands(run: &RunDemand) -> Vec<u64> {
    run.groups.iter().map(|g| u64::from(g.endpoints)).collect()
}

/// Bit i is set if group i satisfies `fits`; groups are visited in order.
fn group_mask(run: &RunDemand, mut fits: impl FnMut(&GroupDemand) -> bool) -> u64 {
    run.groups
        .iter()
        .enumerate()
        .fold(0, |mask, (i, g)| mask | (u64::from(fits(g)) << i))
}
