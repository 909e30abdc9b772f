//! What the person at the terminal sees while waiting.

use std::time::Instant;

/// Prints one line per finished step with the time since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    start: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn step(&self, text: &str) {
        eprintln!("[{:6.1} s] {text}", self.seconds());
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
