//! Says with numbers why a run waits or cannot run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fleet::Fleet;
use super::{Placement, Pool, RunDemand, Worker};

/// What the groups with one placement ask for together.
struct Asked<'a> {
    placement: &'a Placement,
    endpoints: u64,
    /// Index of a group that asks.
    group: usize,
}

impl Fleet<'_> {
    /// Which placement asks for more than its workers and pools can ever hold.
    pub(super) fn explain_impossible(&self, run: &RunDemand, pools: &[Option<String>]) -> String {
        let asked = by_placement(run);
        for demand in &asked {
            let pool = self
                .pool_index(pools[demand.group].as_deref())
                .map(|i| (self.pools[i], self.growth[i]));
            let online: Vec<&Worker> = self
                .workers
                .iter()
                .copied()
                .filter(|w| serves(w, run, demand.placement))
                .collect();
            let held: u64 = online.iter().map(|w| u64::from(w.capacity)).sum();
            let most = held + pool.map_or(0, |(_, growth)| growth);
            if demand.endpoints > most {
                let how = limits(demand.placement, &online, held, pool);
                let place = label(demand.placement, &run.project);
                return format!(
                    "{place}: {} endpoints asked, at most {most} ({how})",
                    demand.endpoints
                );
            }
        }
        let total: u64 = asked.iter().map(|a| a.endpoints).sum();
        let places: Vec<String> = asked
            .iter()
            .map(|a| label(a.placement, &run.project))
            .collect();
        format!(
            "{}: {total} endpoints asked together, more than their workers can hold",
            places.join(", ")
        )
    }

    /// What a run that fits in principle waits for.
    pub(super) fn explain_wait(&self, run: &RunDemand, missing: u32) -> String {
        let parts: Vec<String> = by_placement(run)
            .iter()
            .map(|demand| {
                let mut online = 0_u32;
                let mut free = 0_u64;
                for (worker, slots) in self.workers.iter().zip(&self.free) {
                    if serves(worker, run, demand.placement) {
                        online += 1;
                        free += u64::from(*slots);
                    }
                }
                let place = label(demand.placement, &run.project);
                let workers = count(online, "worker");
                format!(
                    "{place}: {} endpoints asked, {free} free on {workers} ONLINE",
                    demand.endpoints
                )
            })
            .collect();
        format!(
            "{}; waits for {} more",
            parts.join("; "),
            count(missing, "endpoint")
        )
    }
}

/// One entry per distinct placement, in the order of the groups.
fn by_placement(run: &RunDemand) -> Vec<Asked<'_>> {
    let mut index: BTreeMap<&Placement, usize> = BTreeMap::new();
    let mut asked: Vec<Asked<'_>> = Vec::new();
    for (group, demand) in run.groups.iter().enumerate() {
        let at = *index.entry(&demand.placement).or_insert(asked.len());
        match asked.get_mut(at) {
            Some(known) => known.endpoints += u64::from(demand.endpoints),
            None => asked.push(Asked {
                placement: &demand.placement,
                endpoints: u64::from(demand.endpoints),
                group,
            }),
        }
    }
    asked
}

fn serves(worker: &Worker, run: &RunDemand, placement: &Placement) -> bool {
    worker.project == run.project && placement.admits(worker)
}

fn label(placement: &Placement, project: &str) -> String {
    match placement {
        Placement::Anywhere => format!("project {project}"),
        Placement::Pool(key) => format!("pool {key}"),
        Placement::Region(region) => format!("region {region}"),
        Placement::Workers(names) => format!("workers {}", names.join(", ")),
    }
}

/// How the most possible comes about.
fn limits(
    placement: &Placement,
    online: &[&Worker],
    held: u64,
    pool: Option<(&Pool, u64)>,
) -> String {
    let up = count(online.len() as u32, "worker");
    let named = matches!(placement, Placement::Pool(_));
    match pool {
        Some((pool, growth)) if named => {
            let whole = u64::from(pool.max_workers) * u64::from(pool.endpoints_per_worker);
            if held + growth == whole {
                format!(
                    "{} of {}",
                    count(pool.max_workers, "worker"),
                    pool.endpoints_per_worker
                )
            } else {
                format!("{up} ONLINE with {held}, room to grow by {growth}")
            }
        }
        Some((pool, growth)) => {
            format!(
                "{up} ONLINE with {held}, pool {} may grow by {growth}",
                pool.key
            )
        }
        None if named => format!("{up} ONLINE, the pool is not registered"),
        None if held > 0 => format!("{up} ONLINE with {held}, no pool that can grow"),
        None => format!("{up} ONLINE, no pool that can grow"),
    }
}

fn count(n: u32, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// A wait as it is written in a definition: `10m`, `90s`, `1500ms`.
pub(super) fn seconds(wait: Duration) -> String {
    let ms = wait.as_millis();
    match ms {
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}
