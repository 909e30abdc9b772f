use super::*;

fn secs(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

fn point(at: f64, per_second: f64, ramp: bool) -> ArrivalPoint {
    ArrivalPoint {
        at: secs(at),
        per_second,
        ramp,
    }
}

fn arrivals(points: &[ArrivalPoint]) -> Arrivals {
    Arrivals::new(points, 10).unwrap()
}

/// To the microsecond: nothing places a call more exactly.
#[track_caller]
fn assert_due(arrivals: &Arrivals, k: u64, expected: Option<f64>) {
    let due = arrivals.due(k);
    match (due, expected) {
        (Some(due), Some(expected)) => {
            assert!(
                (due.as_secs_f64() - expected).abs() < 1e-6,
                "{k}: {due:?} {expected}"
            );
        }
        (due, expected) => assert_eq!(due.is_some(), expected.is_some(), "{k}: {due:?}"),
    }
}

#[test]
fn a_constant_rate_places_calls_evenly() {
    let five = arrivals(&[point(0.0, 5.0, false)]);
    for k in [0_u64, 1, 2, 10, 1_000_000] {
        assert_due(&five, k, Some(k as f64 / 5.0));
    }
    // A rate that no binary fraction holds: still to the microsecond after a day.
    let third = arrivals(&[point(0.0, 0.1, false)]);
    assert_due(&third, 8640, Some(86_400.0));
}

#[test]
fn steps_of_the_rate_go_on_where_the_one_before_ended() {
    // 10 calls by 10 s (0..=9), then 4 a second, then none, then one every 2 s.
    let steps = arrivals(&[
        point(0.0, 1.0, false),
        point(10.0, 4.0, false),
        point(20.0, 0.0, false),
        point(60.0, 0.5, false),
    ]);
    assert_due(&steps, 9, Some(9.0));
    assert_due(&steps, 10, Some(10.0));
    assert_due(&steps, 11, Some(10.25));
    assert_due(&steps, 49, Some(19.75));
    // The fiftieth is whole at the very end of the second stretch, not 40 s later.
    assert_due(&steps, 50, Some(20.0));
    assert_due(&steps, 51, Some(62.0));
    assert_due(&steps, 150, Some(260.0));
}

/// 30 × 0.1 is a hair above 3 in binary, 3 × 1.1 above 3.3 and 0.7 × 10 below 7 in other orders.
#[test]
fn a_rounding_error_waits_for_no_change_of_the_rate() {
    for (rate, length) in [
        (0.1, 30.0),
        (0.7, 10.0),
        (1.1, 30.0),
        (0.3, 10.0),
        (1.9, 70.0),
    ] {
        let points = [
            point(0.0, rate, false),
            point(length, 0.0, false),
            point(3600.0, 1.0, false),
        ];
        let whole = (rate * length).round();
        assert_due(&arrivals(&points), whole as u64, Some(length));
    }
}

#[test]
fn a_ramp_is_the_root_of_its_integral() {
    // 0 to 10 a second in 20 s: I(t) = t²/4.
    let up = arrivals(&[point(0.0, 0.0, true), point(20.0, 10.0, false)]);
    assert_due(&up, 0, Some(0.0));
    assert_due(&up, 1, Some(2.0));
    assert_due(&up, 25, Some(10.0));
    assert_due(&up, 100, Some(20.0));
    assert_due(&up, 101, Some(20.1));
    // 4 to 0 a second in 10 s: I(t) = 4t − t²/5, 20 calls in all.
    let down = arrivals(&[point(0.0, 4.0, true), point(10.0, 0.0, false)]);
    assert_due(&down, 15, Some(5.0));
    assert_due(&down, 20, Some(10.0));
    assert_due(&down, 21, None);
    // A ramp at the last point has nothing to change to.
    let last = arrivals(&[point(0.0, 2.0, true)]);
    assert_due(&last, 7, Some(3.5));
}

/// No call is due while the rate is 0, the first one neither.
#[test]
fn nothing_is_due_before_the_rate_begins() {
    let late = arrivals(&[point(0.0, 0.0, false), point(30.0, 2.0, false)]);
    assert_due(&late, 0, Some(30.0));
    assert_due(&late, 1, Some(30.5));
    let never = arrivals(&[point(0.0, 0.0, false)]);
    assert_due(&never, 0, None);
    let short = arrivals(&[point(0.0, 1.0, false), point(3.0, 0.0, false)]);
    assert_due(&short, 3, Some(3.0));
    assert_due(&short, 4, None);
    let late_ramp = arrivals(&[
        point(0.0, 0.0, false),
        point(10.0, 0.0, true),
        point(20.0, 2.0, false),
    ]);
    assert_due(&late_ramp, 0, Some(10.0));
    assert_due(&late_ramp, 10, Some(20.0));
}

/// Whatever the shape: times never go back, and as many calls are due by `t` as a fine sum of the
/// rate says.
#[test]
fn times_follow_the_integral_of_any_rate() {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut at = 0.0;
        let mut points = Vec::new();
        for _ in 0..rng.random_range(1..8) {
            let rate = if rng.random_bool(0.2) {
                0.0
            } else {
                rng.random_range(0.0..30.0)
            };
            points.push(point(at, rate, rng.random_bool(0.5)));
            at += rng.random_range(0.5..40.0);
        }
        let shape = arrivals(&points);
        let rate_at = |t: f64| {
            let n = points
                .iter()
                .rposition(|p| p.at.as_secs_f64() <= t)
                .unwrap();
            let (here, next) = (points[n], points.get(n + 1));
            match next.filter(|_| here.ramp) {
                Some(next) => {
                    let whole = next.at.as_secs_f64() - here.at.as_secs_f64();
                    let part = (t - here.at.as_secs_f64()) / whole;
                    here.per_second + (next.per_second - here.per_second) * part
                }
                None => here.per_second,
            }
        };
        let (mut sum, mut k, step) = (0.0, 1, 1e-3);
        let mut before = Duration::ZERO;
        for n in 0..(at * 1000.0) as u32 {
            let t = f64::from(n) * step;
            sum += rate_at(t + step / 2.0) * step;
            while sum >= k as f64 + 0.05 {
                let due = shape.due(k).unwrap();
                assert!(due >= before, "seed {seed}: {k}");
                assert!(
                    due.as_secs_f64() <= t + step,
                    "seed {seed}: call {k} at {due:?}, not {t}"
                );
                before = due;
                k += 1;
            }
            if let Some(due) = shape.due(k).filter(|_| sum < k as f64 - 0.05) {
                assert!(
                    due.as_secs_f64() > t,
                    "seed {seed}: call {k} at {due:?}, not after {t}"
                );
            }
        }
    }
}

#[test]
fn endpoints_below_the_level_call() {
    let level = |at, calls| ConcurrencyPoint {
        at: secs(at),
        calls,
    };
    let levels = Levels::new(vec![
        level(0.0, 2),
        level(10.0, 5),
        level(20.0, 1),
        level(30.0, 3),
    ])
    .unwrap();
    for (index, since, expected) in [
        (0, 0.0, Some(0.0)),
        (0, 25.0, Some(25.0)),
        (1, 9.0, Some(9.0)),
        (1, 20.0, Some(30.0)),
        (2, 0.0, Some(10.0)),
        (2, 10.0, Some(10.0)),
        (4, 19.999, Some(19.999)),
        (4, 20.0, None),
        (5, 0.0, None),
    ] {
        assert_eq!(
            levels.open(index, secs(since)),
            expected.map(secs),
            "{index} from {since}"
        );
    }
}

#[test]
fn wrong_shapes_are_refused_by_field() {
    let refused =
        |points: &[ArrivalPoint], group| Arrivals::new(points, group).unwrap_err().to_string();
    for (points, group, expected) in [
        (
            vec![],
            1,
            r#"load.arrivals is "0"; accepted: 1 to 1000 points"#,
        ),
        (
            vec![point(1.0, 1.0, false)],
            1,
            r#"load.arrivals[0].at_ms is "1000""#,
        ),
        (
            vec![
                point(0.0, 1.0, false),
                point(2.0, 1.0, false),
                point(2.0, 1.0, false),
            ],
            1,
            r#"load.arrivals[2].at_ms is "2000""#,
        ),
        (
            vec![point(0.0, -1.0, false)],
            1,
            r#"load.arrivals[0].per_second is "-1.0""#,
        ),
        (
            vec![point(0.0, f64::NAN, false)],
            1,
            r#"load.arrivals[0].per_second is "NaN""#,
        ),
        (
            vec![point(0.0, f64::INFINITY, false)],
            1,
            r#"load.arrivals[0].per_second is "inf""#,
        ),
        (
            vec![point(0.0, 1.0, false)],
            0,
            r#"load.group_endpoints is "0""#,
        ),
    ] {
        let error = refused(&points, group);
        assert!(error.starts_with(expected), "{error}");
    }
    let level = |at, calls| ConcurrencyPoint {
        at: secs(at),
        calls,
    };
    let error = Levels::new(vec![level(0.0, 1), level(0.0, 2)]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(r#"load.concurrency[1].at_ms is "0""#),
        "{error}"
    );
    assert!(Levels::new(vec![]).is_err());
}
