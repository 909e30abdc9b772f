//! What each worker has of the calls at a time and of the callees.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What of a group whose calls at a time are bounded each of its shares is told.
struct Parts {
    /// Calls at a time.
    calls: Vec<u32>,
    /// Whom its endpoints call, in order.
    callees: Vec<Vec<u32>>,
    warnings: Vec<String>,
}

/// Calls at a time to so many callees, from shares of so many endpoints each.
fn parts(calls: u32, callees: u32, counts: &[u32]) -> Parts {
    let endpoints: u32 = counts.iter().sum();
    let text = format!(
        "{{duration: 60s, groups: [
          {{name: a, endpoints: {callees}, role: callee}},
          {{name: b, endpoints: {endpoints}, role: caller, target: {{group: a}}, \
            load: {{concurrency: {calls}}}}}]}}"
    );
    let mut shares = vec![share(0, 1, 0, callees)];
    let mut first = 0;
    for &count in counts {
        shares.push(share(1, 2, first, count));
        first += count;
    }
    let mut bench = Bench::placed(&text, shares);
    bench.dispatch();
    // A contact says which callee it is of.
    for (index, callee) in bench.run.endpoints[0].iter_mut().enumerate() {
        callee.ready = Some(Reachable {
            contact: index.to_string(),
            aor: String::new(),
        });
    }
    let run = &bench.run;
    let secrets = GroupSecrets::default();
    let parts = assign::part::parts(&run.test, &run.shares);
    let shares = || {
        run.shares
            .iter()
            .zip(parts.iter().map(Option::as_ref))
            .skip(1)
    };
    let told = |share| assign::assign("run", &run.test, share, &secrets).load;
    let index = |contact: &String| contact.parse().unwrap();
    Parts {
        calls: shares().map(|s| told(s).unwrap().at_once).collect(),
        callees: shares()
            .map(|(share, part)| assign::peers(run, share, part).peers)
            .map(|dialled| dialled.iter().map(index).collect())
            .collect(),
        warnings: run.warnings.clone(),
    }
}

/// The calls that each share places when it is first its turn, and how many of them meet another
/// at a callee. Within a share nobody calls whom another calls, unless all call the same one: that
/// is a number with many lines to a worker.
fn meet(parts: &Parts) -> (u32, u32) {
    let mut called: BTreeMap<u32, u32> = BTreeMap::new();
    for (callees, &calls) in parts.callees.iter().zip(&parts.calls) {
        let mut distinct = callees.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let waits = distinct.len() > 1;
        let in_turn = if waits { &distinct } else { callees };
        for callee in in_turn.iter().take(calls as usize) {
            *called.entry(*callee).or_default() += 1;
        }
    }
    let all = called.values().sum();
    (all, all - called.len() as u32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Calls stand at a time as told, or one for each callee if these are fewer, or one for each
    /// worker; and each callee is in one unless there are more workers than callees.
    #[test]
    fn callers_of_all_workers_hold_the_level_and_find_nobody_busy(
        counts in vec(1_u32..12, 1..6),
        callees in 1_u32..40,
        part in 0.0..1.0,
    ) {
        let endpoints: u32 = counts.iter().sum();
        let calls = 1 + (part * f64::from(endpoints)) as u32;
        let workers = counts.len() as u32;
        let told = parts(calls, callees, &counts);
        let level = calls.min(callees).max(workers);
        prop_assert_eq!(told.calls.iter().sum::<u32>(), level);
        prop_assert_eq!(meet(&told), (level, level.saturating_sub(callees)));
        for ((&calls, callees), &count) in told.calls.iter().zip(&told.callees).zip(&counts) {
            prop_assert!((1..=count).contains(&calls) && callees.len() == count as usize);
        }
        let mut called = told.callees.concat();
        called.sort_unstable();
        called.dedup();
        prop_assert_eq!(called.len() as u32, callees.min(endpoints), "nobody is left out");
        // Whom two workers call is called by one of them only, if there are enough.
        if workers <= callees {
            for (n, own) in told.callees.iter().enumerate() {
                let others = told.callees[..n].concat();
                prop_assert!(own.iter().all(|callee| !others.contains(callee)));
            }
        }
    }
}

/// Callees are divided as the calls are: each worker has as many at least as it may hold calls.
#[test]
fn workers_have_callees_of_their_own() {
    for (calls, callees, counts, expected) in [
        (4, 4, vec![4, 4], vec![vec![0, 1, 0, 1], vec![2, 3, 2, 3]]),
        (3, 3, vec![4, 2], vec![vec![0, 1, 0, 1], vec![2, 2]]),
        (
            4,
            4,
            vec![6, 1, 1],
            vec![vec![0, 1, 0, 1, 0, 1], vec![2], vec![3]],
        ),
        (2, 1, vec![2], vec![vec![0, 0]]),
        // Each its own.
        (2, 5, vec![2, 2], vec![vec![0, 1], vec![2, 3]]),
        // Callees beyond the calls go by the endpoints: nobody has more than it has callers.
        (2, 5, vec![5, 1], vec![vec![0, 1, 2, 3, 0], vec![4]]),
        // More workers than callees: these are in common.
        (3, 2, vec![1, 2, 1], vec![vec![0], vec![1, 1], vec![0]]),
    ] {
        let told = parts(calls, callees, &counts).callees;
        assert_eq!(told, expected, "{calls} to {callees} of {counts:?}");
    }
    let told = parts(10, 10, &[8, 8, 4]);
    assert_eq!((meet(&told), told.calls), ((10, 0), vec![4, 4, 2]));
    // Nobody waits for a callee otherwise.
    let test = "{duration: 60s, groups: [{name: a, endpoints: 2, role: callee}, \
        {name: b, endpoints: 4, role: caller, target: {group: a}, load: {arrivalRate: 1/s}}]}";
    let (test, ..) = definition::parse(test, Format::Yaml, "").unwrap();
    let placed = PlacedShare {
        group: 1,
        worker: id(1),
        worker_name: "w".into(),
        first: 2,
        count: 2,
    };
    assert_eq!(assign::part::parts(&test, &[placed]), [None]);
}

/// A number takes as many calls at a time as it has lines, whoever places them.
#[test]
fn a_uri_bounds_no_calls() {
    let text = "{duration: 60s, groups: [{name: b, endpoints: 6, role: caller, \
        target: {uri: 'sip:pbx'}, load: {concurrency: 5}}]}";
    let mut bench = Bench::placed(text, vec![share(0, 1, 0, 3), share(0, 2, 3, 3)]);
    bench.dispatch();
    let run = &bench.run;
    let parts = assign::part::parts(&run.test, &run.shares);
    let calls: Vec<u32> = parts.into_iter().map(|part| part.unwrap().calls).collect();
    assert_eq!((calls, run.warnings.len()), (vec![3, 2], 0));
}

/// The calls at a time are divided between the workers: none is left over, none is given twice,
/// each worker has some and none has more than endpoints.
#[test]
fn calls_at_a_time_are_divided_between_shares() {
    for (calls, counts, expected) in [
        (8, vec![20], vec![8]),
        (20, vec![20], vec![20]),
        (10, vec![10, 10], vec![5, 5]),
        (3, vec![10, 1, 1], vec![1, 1, 1]),
        (5, vec![10, 1, 1], vec![3, 1, 1]),
        (12, vec![10, 1, 1], vec![10, 1, 1]),
        (7, vec![5, 5, 5], vec![2, 3, 2]),
        (100_000, vec![65_536, 34_464], vec![65_536, 34_464]),
        (99_999, vec![65_536, 34_464], vec![65_535, 34_464]),
    ] {
        let told = parts(calls, 100_000, &counts);
        let told = (told.calls, told.warnings);
        assert_eq!(told, (expected, Vec::new()), "{calls} of {counts:?}");
    }
}

/// A level that is not held is told of, be it for callees or for workers.
#[test]
fn a_level_that_is_not_held_is_warned_of() {
    let told = |calls, callees, counts: &[u32]| parts(calls, callees, counts).warnings;
    assert_eq!(told(3, 3, &[4, 4, 4]), [""; 0]);
    let few = "group b: load.concurrency 4: up to 3 calls at a time, for it calls the group a, which has 3 endpoints; calls beyond wait";
    assert_eq!(told(4, 3, &[4, 4, 4]), [few]);
    let many =
        "group b: up to 3 calls at a time instead of 2: it is on 3 workers, and each may hold one";
    assert_eq!(told(2, 12, &[4, 4, 4]), [many]);
    let busy = "; it has fewer callees than workers, so that calls find them busy";
    assert_eq!(told(2, 2, &[4, 4, 4]), [format!("{many}{busy}")]);
    let few = few.replace('3', "2");
    assert_eq!(told(4, 2, &[4, 4, 4]), [few, format!("{many}{busy}")]);
}
