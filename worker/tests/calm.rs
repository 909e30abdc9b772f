//! A test that is run again says only what a disturbed machine has to do with it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

#[expect(unreachable_pub, reason = "other test binaries use it, too")]
#[path = "support/calm.rs"]
mod calm;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use calm::{Disturbance, repeat};

const DISTURBED: [Disturbance; 2] = [
    Disturbance {
        overslept: Duration::from_millis(51),
        skipped: 0,
    },
    Disturbance {
        overslept: Duration::ZERO,
        skipped: 1,
    },
];
const CALM: Disturbance = Disturbance {
    overslept: Duration::from_millis(50),
    skipped: 0,
};

/// Whether it succeeds, and after how many attempts, of which the first ones fail.
fn attempts(failing: u32, disturbance: Disturbance) -> (bool, u32) {
    let made = Cell::new(0);
    let attempt = || -> (thread::Result<()>, Disturbance) {
        made.set(made.get() + 1);
        let ended: thread::Result<()> = if made.get() <= failing {
            Err(Box::new("a failure"))
        } else {
            Ok(())
        };
        (ended, disturbance)
    };
    let ended = catch_unwind(AssertUnwindSafe(|| repeat(attempt)));
    (ended.is_ok(), made.get())
}

#[test]
fn a_failure_on_a_calm_machine_is_one_at_once() {
    assert_eq!(attempts(0, CALM), (true, 1));
    assert_eq!(attempts(1, CALM), (false, 1));
}

#[test]
fn a_failure_on_a_disturbed_machine_is_one_the_third_time() {
    for disturbance in DISTURBED {
        assert_eq!(attempts(0, disturbance), (true, 1));
        assert_eq!(attempts(1, disturbance), (true, 2));
        assert_eq!(attempts(2, disturbance), (true, 3));
        assert_eq!(attempts(3, disturbance), (false, 3));
    }
}

/// The body runs anew, with what its workers say of this attempt alone.
#[test]
fn a_body_is_run_until_it_succeeds() {
    let made = Cell::new(0);
    calm::calm(async || {
        made.set(made.get() + 1);
        tokio::task::yield_now().await;
        if made.get() < 3 {
            calm::skipped(1);
            panic!("attempt {}", made.get());
        }
    });
    assert_eq!(made.get(), 3);
}
