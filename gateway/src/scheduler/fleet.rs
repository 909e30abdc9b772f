//! One round's workers and pools, and what it decides on a run.

use std::collections::HashMap;
use std::time::Instant;

use super::fit::{self, Bin};
use super::place::{self, Share};
use super::{Decision, GroupDemand, POOL_FRESH, Placement, Pool, RunDemand, Worker, explain};

/// Usable workers and fresh pools, with what this round has given away or holds.
pub(super) struct Fleet<'a> {
    pub(super) workers: Vec<&'a Worker>,
    /// Free slots left, by index of `workers`.
    pub(super) free: Vec<u32>,
    /// Index of each worker's pool in `pools`, by index of `workers`.
    pub(super) pool_of: Vec<Option<usize>>,
    pub(super) pools: Vec<&'a Pool>,
    /// Endpoints each pool can still add, by index of `pools`: workers that are starting count,
    /// they are not ONLINE yet.
    pub(super) growth: Vec<u64>,
    /// Demand this round has put on each pool, by index of `pools`.
    pub(super) picked: Vec<u64>,
    pub(super) now: Instant,
}

impl<'a> Fleet<'a> {
    /// Before anything is given away.
    pub(super) fn new(workers: &'a [Worker], pools: &'a [Pool], now: Instant) -> Self {
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

    /// What becomes of the next run of the queue.
    pub(super) fn decide(&mut self, run: &RunDemand, settled: Instant, position: u32) -> Decision {
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

    pub(super) fn pool_index(&self, key: Option<&str>) -> Option<usize> {
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

pub(super) fn demands(run: &RunDemand) -> Vec<u64> {
    run.groups.iter().map(|g| u64::from(g.endpoints)).collect()
}

/// Bit i is set if group i satisfies `fits`; groups are visited in order.
fn group_mask(run: &RunDemand, mut fits: impl FnMut(&GroupDemand) -> bool) -> u64 {
    run.groups
        .iter()
        .enumerate()
        .fold(0, |mask, (i, g)| mask | (u64::from(fits(g)) << i))
}
