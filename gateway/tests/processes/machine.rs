//! Figures that hold on an undisturbed machine only, and whether it was one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How often a thread asks to run.
const TICK: Duration = Duration::from_millis(10);
/// Calm is a machine that lets a thread run within this time.
const CALM: Duration = Duration::from_millis(100);
const TIMES: usize = 3;

/// Makes a report of which `holds` is true. A report that it refuses is made again, three times in
/// all, if the machine was disturbed meanwhile; on a calm one it is a fault at once.
pub(crate) async fn measured(make: impl AsyncFn() -> Value, holds: impl Fn(&Value)) {
    for time in 1.. {
        let machine = Machine::watch();
        let report = make().await;
        let stall = machine.longest_stall();
        let Err(fault) = catch_unwind(AssertUnwindSafe(|| holds(&report))) else {
            return;
        };
        if time == TIMES || (stall <= CALM && !is_limited(&report)) {
            resume_unwind(fault);
        }
        println!("once more: a thread waited {stall:?} to run, {report:#}");
    }
}

/// Whether a worker says that a second's figures are not the network's.
fn is_limited(report: &Value) -> bool {
    let groups = report["groups"].as_array();
    let limited = |group: &Value| group["generator"]["limitedSeconds"].as_u64() > Some(0);
    groups.is_some_and(|groups| groups.iter().any(limited))
}

/// A thread that looks for stalls.
struct Machine {
    stop: mpsc::Sender<()>,
    watch: JoinHandle<Duration>,
}

impl Machine {
    fn watch() -> Self {
        let (stop, stopped) = mpsc::channel();
        let watch = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let asleep = Instant::now();
                let next = stopped.recv_timeout(TICK);
                if next != Err(RecvTimeoutError::Timeout) {
                    return longest;
                }
                longest = longest.max(asleep.elapsed().saturating_sub(TICK));
            }
        });
        Self { stop, watch }
    }

    fn longest_stall(self) -> Duration {
        drop(self.stop);
        self.watch.join().unwrap()
    }
}
