//! What each share has of the calls that its group may hold at a time, and of those whom they go
//! to: workers do not talk to each other.

use std::ops::Range;

use crate::definition::{self, Group, Load, ValidatedTest};
use crate::run::state::PlacedShare;

/// What a share has of what its group has.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::run) struct Part {
    /// Calls at a time.
    pub(in crate::run) calls: u32,
    /// Callees, counted on from the last one to the first where there are more shares than callees.
    callees: Range<u32>,
}

impl Part {
    /// The callee of an endpoint of the share, both counted from 0.
    pub(in crate::run) fn callee(&self, endpoint: u32) -> u32 {
        self.callees.start + endpoint % (self.callees.end - self.callees.start).max(1)
    }
}

/// The part of each of `shares`; none where the load is not a number of calls at a time.
///
/// Each share has a call and no more than it has callees for, and nobody else has these: within a
/// share nobody calls whom another calls, between workers nobody would know. In all these are the
/// group's calls and callees, unless it has fewer of them than shares.
pub(in crate::run) fn parts(test: &ValidatedTest, shares: &[PlacedShare]) -> Vec<Option<Part>> {
    let mut parts: Vec<Option<Part>> = shares.iter().map(|_| None).collect();
    for group in 0..test.groups.len() {
        let Some(level) = level(test, group) else {
            continue;
        };
        let of_group = shares.iter().enumerate();
        let of_group = of_group.filter(|(_, share)| share.group == group);
        let mut of_group: Vec<(usize, &PlacedShare)> = of_group.collect();
        of_group.sort_unstable_by_key(|(_, share)| share.first);
        let one_each: Vec<(u32, u32)> =
            of_group.iter().map(|(_, share)| (share.count, 1)).collect();
        let calls: Vec<(u32, u32)> = divide(level, &one_each)
            .zip(&one_each)
            .map(|(calls, (count, _))| (*count, calls.end - calls.start))
            .collect();
        let callees = divide(definition::callees(test, group), &calls);
        for (((place, _), (_, calls)), callees) in of_group.iter().zip(&calls).zip(callees) {
            let calls = *calls;
            parts[*place] = Some(Part { calls, callees });
        }
    }
    parts
}

/// The calls at a time that a group is to hold: no more than it has callees.
fn level(test: &ValidatedTest, group: usize) -> Option<u32> {
    match test.groups[group].load {
        Load::Concurrency(calls) => Some(calls.min(definition::callees(test, group))),
        _ => None,
    }
}

/// Divides `all` between shares, of which each has endpoints and is to have so many at least: that
/// many each, and the rest in proportion to the endpoints beyond.
fn divide(all: u32, shares: &[(u32, u32)]) -> impl Iterator<Item = Range<u32>> {
    let sum = |of: fn(&(u32, u32)) -> u32| shares.iter().map(|s| u64::from(of(s))).sum::<u64>();
    let least = sum(|share| share.1);
    let rest = u64::from(all).saturating_sub(least);
    let beyond = sum(|share| share.0).saturating_sub(least).max(1);
    let (mut least_before, mut beyond_before) = (0, 0);
    let mut next = move |(endpoints, least): &(u32, u32)| {
        least_before += least;
        beyond_before += u64::from(endpoints.saturating_sub(*least));
        // To the nearest: the last share is not the one that has what is left over.
        least_before + ((beyond_before * rest + beyond / 2) / beyond) as u32
    };
    let mut start = 0;
    shares.iter().map(move |share| {
        let end = next(share);
        std::mem::replace(&mut start, end)..end
    })
}

/// Groups that hold more calls at a time than they should, for being on so many workers.
pub(in crate::run) fn warnings(test: &ValidatedTest, shares: &[PlacedShare]) -> Vec<String> {
    let told = |(index, group): (usize, &Group)| {
        let calls = level(test, index).filter(|_| group.calls())?;
        let workers = shares.iter().filter(|share| share.group == index).count() as u32;
        let busy = if workers > definition::callees(test, index) {
            "; it has fewer callees than workers, so that calls find them busy"
        } else {
            ""
        };
        (workers > calls).then(|| {
            format!(
                "group {}: up to {workers} calls at a time instead of {calls}: it is on {workers} \
                 workers, and each may hold one{busy}",
                group.name
            )
        })
    };
    test.groups.iter().enumerate().filter_map(told).collect()
}
