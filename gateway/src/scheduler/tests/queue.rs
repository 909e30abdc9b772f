//! Runs that wait: for whom, how long, and for which pool.

use super::*;

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
