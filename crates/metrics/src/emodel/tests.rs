//! Checks against figures worked out independently of this code.

use super::*;

fn g711(delay_ms: f64, loss_percent: f64, burst_ratio: f64) -> Rating {
    Rating::new(&Parameters::g711(Observed {
        delay_ms,
        loss_percent,
        burst_ratio,
    }))
}

fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found}, expected {expected}"
    );
}

/// The published defaults: R 93.2 and MOS 4.41.
#[test]
fn default_planning_values_give_the_published_rating() {
    let rating = Rating::new(&Parameters::default());
    assert_close(rating.r(), 93.2, 0.01, "R");
    assert_close(rating.mos(), 4.41, 0.005, "MOS");
    assert_close(rating.ro, 94.77, 0.005, "Ro");
    assert_close(rating.is, 1.41, 0.005, "Is");
}

/// The worked examples of the requirement: MOS by one-way delay.
#[test]
fn delay_alone_gives_the_worked_figures() {
    for (delay, mos) in [(0.0, 4.41), (40.0, 4.385), (60.0, 4.375), (100.0, 4.355)] {
        assert_close(g711(delay, 0.0, 1.0).mos(), mos, 0.005, "MOS");
    }
}

/// Delay, loss and burst ratio against a table computed by another implementation.
#[test]
fn delay_loss_and_bursts_against_a_table() {
    let table = [
        (0.0, 0.0, 1.0, 93.206, 4.4094),
        (40.0, 0.0, 1.0, 91.998, 4.3848),
        (60.0, 0.0, 1.0, 91.524, 4.3745),
        (100.0, 0.0, 1.0, 90.664, 4.3549),
        (150.0, 0.0, 1.0, 89.539, 4.3275),
        (200.0, 0.0, 1.0, 85.805, 4.2232),
        (300.0, 0.0, 1.0, 72.666, 3.7194),
        (400.0, 0.0, 1.0, 62.247, 3.2156),
        (500.0, 0.0, 1.0, 54.803, 2.8280),
        (60.0, 1.0, 1.0, 87.884, 4.2838),
        (60.0, 2.0, 1.0, 84.513, 4.1825),
        (60.0, 5.0, 1.0, 75.743, 3.8535),
        (60.0, 10.0, 1.0, 64.458, 3.3275),
        (60.0, 5.0, 2.0, 74.314, 3.7922),
        (60.0, 5.0, 4.0, 73.497, 3.7564),
        (200.0, 3.0, 1.5, 75.288, 3.8342),
        (30.0, 20.0, 1.0, 50.126, 2.5816),
    ];
    for (delay, loss, burst, r, mos) in table {
        let rating = g711(delay, loss, burst);
        assert_close(
            rating.r(),
            r,
            0.01,
            &format!("R of {delay} ms, {loss} %, {burst}"),
        );
        assert_close(rating.mos(), mos, 0.0005, "MOS");
    }
}

/// Every other parameter moves the rating as the formula says, against the same implementation.
#[test]
fn each_transmission_parameter_counts() {
    let echo = |delay: f64, p: Parameters| Parameters {
        t_ms: delay,
        ta_ms: delay,
        tr_ms: 2.0 * delay,
        ..p
    };
    let base = Parameters::default();
    let table = [
        (Parameters { qdu: 4.0, ..base }, 88.203),
        (echo(50.0, Parameters { stmr: 8.0, ..base }), 91.433),
        (echo(50.0, Parameters { stmr: 22.0, ..base }), 90.541),
        (
            Parameters {
                ps: 60.0,
                pr: 60.0,
                ..base
            },
            70.270,
        ),
        (echo(100.0, Parameters { telr: 45.0, ..base }), 70.146),
        (echo(100.0, Parameters { wepl: 40.0, ..base }), 87.216),
        (
            Parameters {
                slr: 0.0,
                rlr: -5.0,
                ..base
            },
            79.013,
        ),
        (
            Parameters {
                advantage: 5.0,
                ..base
            },
            98.206,
        ),
    ];
    for (parameters, r) in table {
        assert_close(
            Rating::new(&parameters).r(),
            r,
            0.01,
            &format!("{parameters:?}"),
        );
    }
}

#[test]
fn mos_scale_has_its_ends() {
    for (r, mos) in [
        (-5.0, 1.0),
        (0.0, 1.0),
        (3.0, 1.0),
        (50.0, 2.575),
        (100.0, 4.5),
        (120.0, 4.5),
    ] {
        assert_close(mos_from_r(r), mos, 1e-9, &format!("R {r}"));
    }
}

#[test]
fn listening_quality_forgets_the_delay() {
    let near = g711(0.0, 2.0, 1.0);
    let far = g711(400.0, 2.0, 1.0);
    assert_close(
        near.r_listening(),
        far.r_listening(),
        1e-6,
        "R of listening",
    );
    assert!(far.mos() < far.mos_listening());
}

#[test]
fn degradation_shares_add_up_and_name_the_cause() {
    let lossy = g711(40.0, 10.0, 1.0).degradation().unwrap();
    assert_close(lossy.codec + lossy.loss + lossy.delay, 100.0, 1e-9, "sum");
    assert!(lossy.loss > 90.0 && lossy.codec == 0.0, "{lossy:?}");
    let late = g711(400.0, 0.0, 1.0).degradation().unwrap();
    assert_close(late.delay, 100.0, 1e-9, "delay");
    let codec = Rating::new(&Parameters {
        ie: 11.0,
        ..Parameters::default()
    });
    assert!(codec.degradation().unwrap().codec > 98.0);
}

#[test]
fn out_of_range_inputs_are_moved_into_range() {
    assert_eq!(g711(-5.0, -1.0, 0.2), g711(0.0, 0.0, 1.0));
    assert_eq!(g711(0.0, 300.0, 1.0), g711(0.0, 100.0, 1.0));
}

#[test]
fn burst_ratio_is_one_for_random_loss() {
    assert_close(burst_ratio(1.0 / 0.9, 0.1), 1.0, 1e-9, "random");
    assert_close(burst_ratio(4.0, 0.1), 3.6, 1e-9, "bursts");
    for (run, loss) in [(0.0, 0.0), (3.0, 1.0), (3.0, 0.0)] {
        assert_close(burst_ratio(run, loss), 1.0, 0.0, "undefined");
    }
}
