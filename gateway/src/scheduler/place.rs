//! Chooses the workers of a run that fits: partners apart, then the fullest that fits.

use super::fit::{self, Bin};
use super::{RunDemand, Worker};

/// Endpoints of one group on one worker.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Share {
    /// Index of the group in the definition.
    pub group: usize,
    /// Id of the worker.
    pub worker: String,
    /// Index of the first endpoint within the group.
    pub first: u32,
    /// How many endpoints.
    pub count: u32,
}

/// Places all groups of the run, or none. `free` and `eligible` go by index of `workers`.
///
/// Groups that call each other go to different workers when possible; among the workers left, the
/// fullest one that fits is taken, so that others can drain.
pub(super) fn place(
    run: &RunDemand,
    workers: &[&Worker],
    free: &[u32],
    eligible: &[u64],
) -> Option<Vec<Share>> {
    let bins: Vec<Bin> = eligible
        .iter()
        .zip(free)
        .map(|(&groups, &f)| Bin {
            groups,
            capacity: u64::from(f),
        })
        .collect();
    let fitted = fit::fit(&super::fleet::demands(run), &bins);
    if fitted.missing > 0 {
        return None;
    }
    let amounts = greedy(run, free, eligible).unwrap_or_else(|| {
        fitted
            .amounts
            .iter()
            .map(|a| a.iter().map(|&n| n as u32).collect())
            .collect()
    });
    let mut shares = Vec::new();
    for (group, per_worker) in amounts.iter().enumerate() {
        let mut first = 0;
        for (worker, &count) in workers.iter().zip(per_worker) {
            if count > 0 {
                shares.push(Share {
                    group,
                    worker: worker.id.clone(),
                    first,
                    count,
                });
                first += count;
            }
        }
    }
    Some(shares)
}

/// `amounts[group][worker]`; none if taking the groups one by one leads into a dead end.
fn greedy(run: &RunDemand, free: &[u32], eligible: &[u64]) -> Option<Vec<Vec<u32>>> {
    let mut free = free.to_vec();
    let mut amounts = vec![vec![0; free.len()]; run.groups.len()];
    let open = |group: usize, free: &[u32]| -> u64 {
        let fits = |(f, &mask): (&u32, &u64)| (mask >> group & 1 == 1).then_some(u64::from(*f));
        free.iter().zip(eligible).filter_map(fits).sum()
    };
    let mut order: Vec<usize> = (0..run.groups.len()).collect();
    order.sort_by_key(|&g| {
        (
            open(g, &free),
            std::cmp::Reverse(run.groups[g].endpoints),
            g,
        )
    });
    for group in order {
        let mut need = run.groups[group].endpoints;
        let partners: Vec<usize> = (0..run.groups.len())
            .filter(|&other| {
                run.groups[group].calls == Some(other) || run.groups[other].calls == Some(group)
            })
            .collect();
        let (together, apart): (Vec<usize>, Vec<usize>) = (0..free.len())
            .filter(|&w| eligible[w] >> group & 1 == 1)
            .partition(|&w| partners.iter().any(|&p| p != group && amounts[p][w] > 0));
        for candidates in [apart, together] {
            need = take(need, &candidates, &mut free, &mut amounts[group]);
        }
        if need > 0 {
            return None;
        }
    }
    Some(amounts)
}

/// Takes up to `need` slots: the fullest single worker that holds the rest, else the emptiest one
/// whole. Answers what is still needed.
fn take(mut need: u32, candidates: &[usize], free: &mut [u32], amounts: &mut [u32]) -> u32 {
    let mut emptiest_first: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&w| free[w] > 0)
        .collect();
    emptiest_first.sort_by_key(|&w| (std::cmp::Reverse(free[w]), w));
    let mut rest = emptiest_first.as_slice();
    while need > 0
        && let Some((&emptiest, others)) = rest.split_first()
    {
        let fits = rest.iter().copied().take_while(|&w| free[w] >= need);
        let worker = fits.min_by_key(|&w| (free[w], w)).unwrap_or(emptiest);
        let taken = need.min(free[worker]);
        free[worker] -= taken;
        amounts[worker] += taken;
        need -= taken;
        rest = others;
    }
    need
}
