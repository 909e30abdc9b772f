//! Waits between attempts to reach the gateway.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// 1 s doubling to 30 s, each ± 20 %.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The wait before the next attempt; `random` is uniform in 0..1 and spreads it.
    pub fn wait(&mut self, random: f64) -> Duration {
        let wait = self.next.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0));
        self.next = (self.next * 2).min(LONGEST);
        wait
    }

    /// An accepted connection starts over.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R94
    #[test]
    fn waits_double_to_thirty_seconds_and_stay_within_a_fifth() {
        let mut backoff = Backoff::default();
        let middle: Vec<f64> = (0..7).map(|_| backoff.wait(0.5).as_secs_f64()).collect();
        assert_eq!(middle, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(backoff.wait(0.0), Duration::from_secs(24));
        assert_eq!(backoff.wait(1.0), Duration::from_secs(36));
        backoff.reset();
        assert_eq!(backoff.wait(0.5), FIRST);
    }
}
