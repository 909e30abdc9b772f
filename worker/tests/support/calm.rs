//! Tests of what a machine does in time, on a machine that may be held up by others.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const ATTEMPTS: u32 = 3;
const NAP: Duration = Duration::from_millis(10);
/// Who wakes so late was not alone. Two such pauses are as much as a time may be beyond its truth.
const HELD_UP: Duration = Duration::from_millis(50);
/// That of the worker's own threads, which wait for others first.
const NICE: i32 = 10;

thread_local! {
    /// Packets that the workers of this thread's attempt were too late for.
    static SKIPPED: Cell<u64> = const { Cell::new(0) };
}

/// What an attempt had to bear.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disturbance {
    pub overslept: Duration,
    pub skipped: u64,
}

/// Runs the body of a test in a runtime of its own. If it fails while the machine was disturbed it
/// is run again, [`ATTEMPTS`] times in all; on a calm machine it fails at once: what is wrong with
/// the worker is wrong there, too.
pub fn calm(body: impl AsyncFn()) {
    repeat(|| {
        watched(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            // What a failed attempt has started ends with its runtime.
            runtime.enable_all().build().unwrap().block_on(body());
        })
    });
}

/// Each worker says at its end how many packets it was too late for.
pub fn skipped(packets: u64) {
    SKIPPED.set(SKIPPED.get() + packets);
}

/// Makes attempts until one succeeds, or fails undisturbed, or is the last.
pub fn repeat(mut attempt: impl FnMut() -> (thread::Result<()>, Disturbance)) {
    for number in 1..=ATTEMPTS {
        let (Err(failure), disturbance) = attempt() else {
            return;
        };
        eprintln!("attempt {number} of {ATTEMPTS} failed; {disturbance}");
        if number == ATTEMPTS || !disturbance.disturbs() {
            resume_unwind(failure);
        }
    }
}

/// Makes an attempt beside a thread that looks how late it wakes.
fn watched(attempt: impl FnOnce()) -> (thread::Result<()>, Disturbance) {
    SKIPPED.set(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| longest_oversleep(&over));
        let ended = catch_unwind(AssertUnwindSafe(attempt));
        over.store(true, Ordering::Relaxed);
        let disturbance = Disturbance {
            overslept: watcher.join().unwrap(),
            skipped: SKIPPED.get(),
        };
        (ended, disturbance)
    })
}

fn longest_oversleep(over: &AtomicBool) -> Duration {
    // It fails only for one that is behind already.
    let _ = rustix::process::setpriority_process(None, NICE);
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let asleep = Instant::now();
        thread::sleep(NAP);
        longest = longest.max(asleep.elapsed().saturating_sub(NAP));
    }
    longest
}

impl Disturbance {
    fn disturbs(self) -> bool {
        self.overslept > HELD_UP || self.skipped > 0
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.disturbs() { "disturbed" } else { "calm" };
        let Self { overslept, skipped } = self;
        write!(
            f,
            "the machine was {state}: a nap took {overslept:?} longer, {skipped} packets were too \
             late to send"
        )
    }
}
