//! Placing what waits, and telling others: loads, demand, states, live figures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callmeter_api::calltest::RunPhase;
use callmeter_proto::fleet;

use super::RunService;
use crate::link::{Demand, Load, WorkerId, WorkerInfo};
use crate::scheduler::{self, POOL_FRESH, RunDemand};
use crate::sessions;

/// Demand is told again at least this often, since its waits grow.
const DEMAND_EVERY: Duration = Duration::from_secs(5);

impl RunService {
    /// One round of the scheduler for each organisation with a waiting run.
    pub(super) fn schedule_round(&mut self) {
        let now = sessions::now();
        let mut queues: BTreeMap<String, Vec<RunDemand>> = BTreeMap::new();
        for entry in self.runs.values() {
            if let Some(demand) = entry.run.demand() {
                queues
                    .entry(entry.run.identity().organisation.clone())
                    .or_default()
                    .push(demand);
            }
        }
        let loads = self.sum_loads();
        for (organisation, queue) in queues {
            let workers: Vec<scheduler::Worker> = self
                .sessions
                .workers()
                .iter()
                .filter(|w| w.organisation == organisation)
                .map(|w| worker(w, loads.get(&w.id).copied().unwrap_or_default()))
                .collect();
            let of = self
                .pools
                .iter()
                .filter(|((owner, _), _)| *owner == organisation);
            let pools: Vec<scheduler::Pool> = of
                .map(|(_, (pool, renewed))| scheduler::Pool {
                    key: pool.key.clone(),
                    project: pool.project.clone(),
                    region: pool.region.clone(),
                    endpoints_per_worker: pool.endpoints_per_worker,
                    max_workers: pool.max_workers,
                    renewed: *renewed,
                })
                .collect();
            let round = scheduler::schedule(&workers, &pools, &queue, self.settled, now.instant);
            for (id, decision) in round.decisions {
                let sessions = &self.sessions;
                let find = |id: &str| {
                    let info = sessions.worker(id.parse().ok()?)?;
                    Some((info.id, info.instance?, info.name.clone()))
                };
                if let Some(entry) = self.runs.get_mut(&id) {
                    entry.run.decided(decision, find, now);
                    self.touched.insert(id);
                }
            }
        }
    }

    /// Tells others what changed.
    pub(super) fn publish(&mut self, ticked: bool) {
        self.publish_loads();
        self.publish_demand();
        for entry in self.runs.values_mut() {
            let status = entry.run.status();
            if ticked || status != entry.shown {
                entry.shown = status;
                let state = entry.run.state(&entry.results, &[], "");
                entry.state.send_if_modified(|shown| {
                    let changed = *shown != state;
                    *shown = state;
                    changed
                });
            }
        }
        if ticked {
            let running = |phase| matches!(phase, RunPhase::Running | RunPhase::Stopping);
            let figures = self
                .runs
                .iter()
                .filter(|(_, entry)| running(entry.run.status()))
                .map(|(id, entry)| {
                    let organisation = entry.run.identity().organisation.clone();
                    ((organisation, id.clone()), entry.results.live())
                });
            self.live.send_replace(Arc::new(figures.collect()));
        }
    }

    pub(super) fn publish_loads(&self) {
        let loads = self.sum_loads();
        self.loads.send_if_modified(|shown| {
            let changed = **shown != loads;
            if changed {
                *shown = Arc::new(loads);
            }
            changed
        });
    }

    fn sum_loads(&self) -> HashMap<WorkerId, Load> {
        let mut loads: HashMap<WorkerId, Load> = HashMap::new();
        for entry in self.runs.values() {
            for (worker, load) in entry.run.loads() {
                let sum = loads.entry(worker).or_default();
                sum.active += load.active;
                sum.reserved += load.reserved;
            }
        }
        loads
    }

    fn publish_demand(&mut self) {
        let now = sessions::now();
        let demand = self.demand_of_pools(now.instant);
        let waits = demand.values().any(|d| d.queued_endpoints > 0);
        let due = self
            .demand_sent
            .is_none_or(|sent| now.instant - sent >= DEMAND_EVERY);
        let sent = self.demand.send_if_modified(|shown| {
            let ageless = |demand: &Demand| {
                let without = |d: &fleet::PoolDemand| fleet::PoolDemand {
                    oldest_wait_ms: 0,
                    ..d.clone()
                };
                demand
                    .iter()
                    .map(|(key, d)| (key.clone(), without(d)))
                    .collect::<Demand>()
            };
            let changed = (waits && due) || ageless(shown) != ageless(&demand);
            if changed {
                *shown = Arc::new(demand);
            }
            changed
        });
        if sent {
            self.demand_sent = Some(now.instant);
        }
    }

    /// What waits for and what works on each pool that is registered or has either.
    fn demand_of_pools(&self, now: Instant) -> Demand {
        let mut demand = Demand::new();
        for ((organisation, key), (_, renewed)) in &self.pools {
            if now.saturating_duration_since(*renewed) <= POOL_FRESH {
                demand.insert((organisation.clone(), key.clone()), empty(key));
            }
        }
        for worker in self
            .sessions
            .workers()
            .iter()
            .filter(|w| !w.pool.is_empty() && !w.fenced)
        {
            if let Some(load) = self.loads.borrow().get(&worker.id) {
                let key = (worker.organisation.clone(), worker.pool.clone());
                demand
                    .entry(key)
                    .or_insert_with(|| empty(&worker.pool))
                    .active_endpoints += load.active + load.reserved;
            }
        }
        let mut waiting: Vec<_> = self
            .runs
            .values()
            .filter_map(|e| Some((e, e.run.demand()?)))
            .collect();
        waiting.sort_by(|(_, a), (_, b)| a.since.cmp(&b.since).then_with(|| a.run.cmp(&b.run)));
        for (entry, run) in waiting {
            let wait = now.saturating_duration_since(run.since).as_millis() as u64;
            for group in run.groups {
                let Some(pool) = group.chosen_pool else {
                    continue;
                };
                let key = (entry.run.identity().organisation.clone(), pool.clone());
                let of = demand.entry(key).or_insert_with(|| empty(&pool));
                of.queued_endpoints += group.endpoints;
                of.oldest_wait_ms = of.oldest_wait_ms.max(wait);
                if of.runs.last() != Some(&run.run) {
                    of.runs.push(run.run.clone());
                }
            }
        }
        demand
    }
}

fn empty(pool: &str) -> fleet::PoolDemand {
    fleet::PoolDemand {
        pool: pool.to_owned(),
        ..fleet::PoolDemand::default()
    }
}

fn worker(info: &WorkerInfo, load: Load) -> scheduler::Worker {
    scheduler::Worker {
        id: info.id.to_string(),
        name: info.name.clone(),
        project: info.project.clone(),
        region: info.region.clone(),
        pool: Some(info.pool.clone()).filter(|pool| !pool.is_empty()),
        capacity: info.effective_capacity,
        used: load.active + load.reserved,
        online: info.takes_work(),
        fenced: info.fenced,
    }
}
