//! What holds for every fleet and every queue.

use super::*;

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
