mod laws;
mod queue;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn worker(id: &str, pool: &str, capacity: u32, used: u32) -> Worker {
    Worker {
        id: id.into(),
        name: id.into(),
        project: "default".into(),
        region: "eu".into(),
        pool: Some(pool).filter(|p| !p.is_empty()).map(Into::into),
        capacity,
        used,
        online: true,
        fenced: false,
    }
}

fn pool(key: &str, endpoints_per_worker: u32, max_workers: u32, renewed: Instant) -> Pool {
    Pool {
        key: key.into(),
        project: "default".into(),
        region: "eu".into(),
        endpoints_per_worker,
        max_workers,
        renewed,
    }
}

fn group(endpoints: u32, placement: Placement, calls: Option<usize>) -> GroupDemand {
    GroupDemand {
        endpoints,
        placement,
        calls,
        chosen_pool: None,
    }
}

fn fra(endpoints: u32) -> GroupDemand {
    group(endpoints, Placement::Pool("demo/fra".into()), None)
}

fn run(id: &str, since: Instant, groups: Vec<GroupDemand>) -> RunDemand {
    RunDemand {
        run: id.into(),
        project: "default".into(),
        priority: 0,
        since,
        queue_timeout: Duration::from_secs(600),
        accepted: false,
        groups,
    }
}

fn decide(workers: &[Worker], pools: &[Pool], run: RunDemand, now: Instant) -> Decision {
    let mut round = schedule(workers, pools, &[run], now, now);
    assert_eq!(round.decisions.len(), 1);
    round.decisions.remove(0).1
}

fn placed(decision: &Decision) -> BTreeMap<(usize, &str), u32> {
    match decision {
        Decision::Place(shares) => shares
            .iter()
            .map(|s| ((s.group, s.worker.as_str()), s.count))
            .collect(),
        other => panic!("not placed: {other:?}"),
    }
}

/// R107: too big for the pool: the answer names pool, asked and possible.
#[test]
fn a_test_too_big_for_its_pool_cannot_run_and_says_the_numbers() {
    let now = Instant::now();
    let pools = [pool("demo/fra", 100, 4, now)];
    let workers = [worker("a", "demo/fra", 100, 100)];
    let decision = decide(
        &workers,
        &pools,
        run("r", now, vec![fra(300), fra(200)]),
        now,
    );
    let reason = "pool demo/fra: 500 endpoints asked, at most 400 (4 workers of 100)".to_owned();
    assert_eq!(decision, Decision::CannotRun { reason });
}

/// R107: no worker and nothing that could grow.
#[test]
fn without_any_worker_a_run_is_refused_with_the_reason() {
    let now = Instant::now();
    let decision = decide(
        &[],
        &[],
        run("r", now, vec![group(1, Placement::Anywhere, None)]),
        now,
    );
    let reason =
        "project default: 1 endpoints asked, at most 0 (0 workers ONLINE, no pool that can grow)"
            .to_owned();
    assert_eq!(decision, Decision::CannotRun { reason });
}

#[test]
fn a_pool_at_zero_makes_the_run_wait_and_names_the_demand() {
    let now = Instant::now();
    let pools = [pool("demo/fra", 25, 2, now)];
    let since = now.checked_sub(Duration::from_secs(5)).unwrap();
    let round = schedule(
        &[],
        &pools,
        &[run("r", since, vec![fra(20), fra(20)])],
        now,
        now,
    );
    let Decision::Wait {
        possible: true,
        position,
        missing,
        pools,
        reason,
    } = &round.decisions[0].1
    else {
        panic!("{round:?}")
    };
    assert_eq!((*position, *missing), (1, 40));
    assert_eq!(
        pools,
        &[Some("demo/fra".to_owned()), Some("demo/fra".to_owned())]
    );
    assert_eq!(
        reason,
        "pool demo/fra: 40 endpoints asked, 0 free on 0 workers ONLINE; waits for 40 endpoints more"
    );
    let demand = &round.demand["demo/fra"];
    assert_eq!(
        (demand.endpoints, demand.oldest),
        (40, Duration::from_secs(5))
    );
    assert_eq!(demand.runs, ["r"]);
}

#[test]
fn one_worker_of_two_is_not_enough_for_the_gang() {
    let now = Instant::now();
    let pools = [pool("demo/fra", 25, 2, now)];
    let groups = vec![
        group(20, Placement::Pool("demo/fra".into()), Some(1)),
        fra(20),
    ];
    let one = [worker("a", "demo/fra", 25, 0)];
    let waits = decide(&one, &pools, run("r", now, groups.clone()), now);
    assert!(
        matches!(waits, Decision::Wait { missing: 15, .. }),
        "{waits:?}"
    );
    let two = [
        worker("a", "demo/fra", 25, 0),
        worker("b", "demo/fra", 25, 0),
    ];
    let starts = decide(&two, &pools, run("r", now, groups), now);
    assert_eq!(
        placed(&starts),
        BTreeMap::from([((0, "a"), 20), ((1, "b"), 20)])
    );
}

#[test]
fn partners_share_a_worker_only_when_they_must() {
    let now = Instant::now();
    let groups = vec![
        group(10, Placement::Anywhere, Some(1)),
        group(10, Placement::Anywhere, None),
    ];
    let apart = decide(
        &[worker("a", "", 100, 0), worker("b", "", 50, 0)],
        &[],
        run("r", now, groups.clone()),
        now,
    );
    assert_eq!(
        placed(&apart),
        BTreeMap::from([((0, "b"), 10), ((1, "a"), 10)])
    );
    let together = decide(&[worker("a", "", 20, 0)], &[], run("r", now, groups), now);
    assert_eq!(
        placed(&together),
        BTreeMap::from([((0, "a"), 10), ((1, "a"), 10)])
    );
}

/// R136
#[test]
fn the_fullest_that_fits_is_taken_and_a_group_may_spread() {
    let now = Instant::now();
    let workers = [
        worker("a", "", 10, 0),
        worker("b", "", 10, 4),
        worker("c", "", 10, 8),
    ];
    let small = decide(
        &workers,
        &[],
        run("r", now, vec![group(2, Placement::Anywhere, None)]),
        now,
    );
    assert_eq!(placed(&small), BTreeMap::from([((0, "c"), 2)]));
    let big = decide(
        &workers,
        &[],
        run("r", now, vec![group(15, Placement::Anywhere, None)]),
        now,
    );
    assert_eq!(
        placed(&big),
        BTreeMap::from([((0, "a"), 10), ((0, "b"), 5)])
    );
}

/// R124, R127
#[test]
fn fenced_and_offline_workers_get_nothing() {
    let now = Instant::now();
    let fenced = Worker {
        fenced: true,
        ..worker("a", "", 10, 0)
    };
    let offline = Worker {
        online: false,
        ..worker("b", "", 10, 0)
    };
    let decision = decide(
        &[fenced, offline],
        &[],
        run("r", now, vec![group(1, Placement::Anywhere, None)]),
        now,
    );
    assert!(
        matches!(decision, Decision::CannotRun { .. }),
        "{decision:?}"
    );
}

#[test]
fn overlapping_placements_are_solved_together() {
    let now = Instant::now();
    let names = |n: &[&str]| Placement::Workers(n.iter().map(|s| (*s).to_owned()).collect());
    let workers = [
        worker("a", "", 10, 0),
        worker("b", "", 10, 0),
        worker("c", "", 10, 0),
    ];
    // Taken one by one, the second group could take what the third needs.
    let groups = vec![
        group(10, names(&["a", "b"]), None),
        group(10, names(&["b", "c"]), None),
        group(10, names(&["a", "c"]), None),
    ];
    let decision = decide(&workers, &[], run("r", now, groups), now);
    assert_eq!(placed(&decision).values().sum::<u32>(), 30);
}
