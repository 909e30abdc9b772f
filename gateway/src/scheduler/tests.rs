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

#[test]
fn a_small_run_passes_only_where_it_does_not_delay_the_big_one() {
    let now = Instant::now();
    let pools = [pool("demo/fra", 10, 3, now)];
    let workers = [worker("a", "demo/fra", 10, 0), worker("x", "", 10, 0)];
    let ago = |s| now.checked_sub(Duration::from_secs(s)).unwrap();
    let big = run("big", ago(9), vec![fra(20)]);
    let same = run("same", ago(8), vec![fra(5)]);
    let other = run(
        "other",
        ago(7),
        vec![group(5, Placement::Workers(vec!["x".into()]), None)],
    );
    let round = schedule(&workers, &pools, &[other, same, big], now, now);
    let kinds: Vec<(&str, bool)> = round
        .decisions
        .iter()
        .map(|(r, d)| (r.as_str(), matches!(d, Decision::Place(_))))
        .collect();
    assert_eq!(kinds, [("big", false), ("same", false), ("other", true)]);
    assert_eq!(round.demand["demo/fra"].endpoints, 25);
    assert_eq!(round.demand["demo/fra"].runs, ["big", "same"]);
}

#[test]
fn a_full_fleet_queues_until_the_timeout_and_then_says_what_it_waited_for() {
    let now = Instant::now();
    let workers = [worker("a", "", 10, 10)];
    let waiting = run("r", now, vec![group(5, Placement::Anywhere, None)]);
    assert!(matches!(
        decide(&workers, &[], waiting.clone(), now),
        Decision::Wait { missing: 5, .. }
    ));
    let late = now + Duration::from_secs(600);
    let Decision::CannotRun { reason } = decide(
        &workers,
        &[],
        RunDemand {
            accepted: true,
            ..waiting
        },
        late,
    ) else {
        panic!()
    };
    assert_eq!(
        reason,
        "queueTimeout 10m passed: project default: 5 endpoints asked, 0 free on 1 worker ONLINE; \
         waits for 5 endpoints more"
    );
}

#[test]
fn a_stale_pool_is_no_room_to_grow() {
    let start = Instant::now();
    let pools = [pool("demo/fra", 10, 3, start)];
    let now = start + POOL_FRESH + Duration::from_millis(1);
    let known = run("r", start, vec![fra(20)]);
    let Decision::CannotRun { reason } = decide(&[], &pools, known, now) else {
        panic!()
    };
    assert_eq!(
        reason,
        "pool demo/fra: 20 endpoints asked, at most 0 (0 workers ONLINE, the pool is not registered)"
    );
}

#[test]
fn a_named_pool_that_is_not_registered_yet_is_waited_for() {
    let now = Instant::now();
    let waits = decide(
        &[],
        &[],
        run("r", now, vec![fra(1)]),
        now + Duration::from_secs(59),
    );
    assert!(matches!(waits, Decision::Wait { .. }), "{waits:?}");
}

#[test]
fn only_a_registered_pool_is_judged_while_a_started_gateway_still_collects() {
    let now = Instant::now();
    let settled = now + Duration::from_secs(1);
    let big = schedule(
        &[],
        &[pool("demo/fra", 10, 1, now)],
        &[run("r", now, vec![fra(11)])],
        settled,
        now,
    );
    assert!(matches!(big.decisions[0].1, Decision::CannotRun { .. }));
    let asked = run("r", now, vec![group(1, Placement::Anywhere, None)]);
    let round = schedule(&[], &[], &[asked], settled, now);
    assert!(matches!(
        round.decisions[0].1,
        Decision::Wait {
            possible: false,
            ..
        }
    ));
}

#[test]
fn the_demand_of_a_group_stays_with_the_pool_chosen_first() {
    let now = Instant::now();
    let pools = [pool("demo/a", 10, 3, now), pool("demo/b", 10, 4, now)];
    let first = run("r", now, vec![group(5, Placement::Anywhere, None)]);
    let Decision::Wait { pools: chosen, .. } = decide(&[], &pools, first.clone(), now) else {
        panic!()
    };
    assert_eq!(chosen, [Some("demo/b".to_owned())]);
    let mut again = first;
    again.groups[0].chosen_pool = Some("demo/a".into());
    let Decision::Wait { pools: chosen, .. } = decide(&[], &pools, again, now) else {
        panic!()
    };
    assert_eq!(chosen, [Some("demo/a".to_owned())]);
}

fn placements() -> impl Strategy<Value = Placement> {
    prop_oneof![
        Just(Placement::Anywhere),
        (0..3u8).prop_map(|p| Placement::Pool(format!("p/{p}"))),
        (0..2u8).prop_map(|r| Placement::Region(format!("r{r}"))),
        prop::collection::vec(0..8u8, 1..4)
            .prop_map(|ws| Placement::Workers(ws.iter().map(|w| format!("w{w}")).collect())),
    ]
}

fn fleets() -> impl Strategy<Value = Vec<Worker>> {
    let one = (0..40u32, 0..30u32, 0..5u8, 0..3u8, any::<bool>(), 0..8u8);
    prop::collection::vec(one, 0..8).prop_map(|workers| {
        let build = |(i, (capacity, used, pool, region, online, fenced)): (usize, _)| Worker {
            id: format!("id{i}"),
            name: format!("w{i}"),
            project: "default".into(),
            region: format!("r{region}"),
            pool: (pool < 3).then(|| format!("p/{pool}")),
            capacity,
            used,
            online: online || fenced > 3,
            fenced: fenced == 0,
        };
        workers.into_iter().enumerate().map(build).collect()
    })
}

/// Endpoints, placement, and the group that is called.
type GroupShape = (u32, Placement, usize);

fn queues(now: Instant) -> impl Strategy<Value = Vec<RunDemand>> {
    let groups = prop::collection::vec((1..40u32, placements(), 0..4usize), 1..4);
    prop::collection::vec((groups, 0..900u64, any::<bool>()), 0..6).prop_map(move |runs| {
        let build = |(i, (groups, age, accepted)): (usize, (Vec<GroupShape>, u64, bool))| {
            let count = groups.len();
            let groups = groups
                .into_iter()
                .map(|(n, placement, calls)| {
                    group(n, placement, Some(calls).filter(|&c| c < count))
                })
                .collect();
            RunDemand {
                accepted,
                ..run(
                    &format!("run{i}"),
                    now.checked_sub(Duration::from_secs(age)).unwrap(),
                    groups,
                )
            }
        };
        runs.into_iter().enumerate().map(build).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// R127: never over capacity, never on fenced or offline workers, all groups or none, where
    /// they may run, and the order of the input changes nothing.
    #[test]
    fn placements_hold_every_limit(workers in fleets(), queue in queues(Instant::now() + Duration::from_secs(1000))) {
        let now = Instant::now() + Duration::from_secs(1000);
        let pools = [pool("p/0", 10, 2, now), pool("p/1", 5, 5, now)];
        let round = schedule(&workers, &pools, &queue, now, now);
        prop_assert_eq!(round.decisions.len(), queue.len());
        let mut used: BTreeMap<&str, u32> = workers.iter().map(|w| (w.id.as_str(), w.used)).collect();
        for (id, decision) in &round.decisions {
            let asked = queue.iter().find(|r| r.run == *id).unwrap();
            let Decision::Place(shares) = decision else { continue };
            for (index, group) in asked.groups.iter().enumerate() {
                let mut endpoints = BTreeSet::new();
                for share in shares.iter().filter(|s| s.group == index) {
                    let on = workers.iter().find(|w| w.id == share.worker).unwrap();
                    prop_assert!(on.online && !on.fenced && group.placement.admits(on));
                    for endpoint in share.first..share.first + share.count {
                        prop_assert!(endpoints.insert(endpoint), "endpoint placed twice");
                    }
                    *used.get_mut(share.worker.as_str()).unwrap() += share.count;
                }
                prop_assert_eq!(endpoints, (0..group.endpoints).collect::<BTreeSet<_>>());
            }
        }
        for worker in &workers {
            let before = worker.used;
            prop_assert!(used[worker.id.as_str()] <= worker.capacity.max(before));
        }
        let reversed = |list: &[Worker]| list.iter().rev().cloned().collect::<Vec<_>>();
        let queue_reversed: Vec<RunDemand> = queue.iter().rev().cloned().collect();
        prop_assert_eq!(&round, &schedule(&reversed(&workers), &pools, &queue_reversed, now, now));
    }

    /// The oldest run starts exactly when its groups fit into the free slots; checked by trying
    /// every subset of groups against the room open to it (Hall's condition).
    #[test]
    fn the_first_run_starts_if_and_only_if_it_fits(workers in fleets(), queue in queues(Instant::now() + Duration::from_secs(1000))) {
        let now = Instant::now() + Duration::from_secs(1000);
        let Some(first) = queue.iter().min_by_key(|r| (r.since, r.run.clone())) else { return Ok(()) };
        let round = schedule(&workers, &[], &queue, now, now);
        let fits = (1..1_u32 << first.groups.len()).all(|subset| {
            let chosen = || first.groups.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, g)| g);
            let asked: u32 = chosen().map(|g| g.endpoints).sum();
            let open = |w: &&Worker| w.online && !w.fenced && chosen().any(|g| g.placement.admits(w));
            asked <= workers.iter().filter(open).map(|w| w.capacity.saturating_sub(w.used)).sum()
        });
        prop_assert_eq!(matches!(round.decisions[0].1, Decision::Place(_)), fits, "{:?}", round);
    }
}
