//! Packet delay variation, RFC 5481 §4.2: <https://www.rfc-editor.org/rfc/rfc5481#section-4.2>
//!
//! The delay of a packet above the smallest delay. Without synchronised clocks the delay itself
//! is unknown, but not its distance to the minimum. The minimum is that of the last 10 s, so that
//! the drift between two clocks (some 50 ppm) does not build up over a long call.

use crate::PDV_BUCKETS_MS;
use crate::percentile::nearest_rank;

/// Packets of a second that enter its percentiles; audio sends at most 100.
const CAPACITY: usize = 256;
/// Seconds the minimum is taken over.
const MINIMUM_OVER_S: usize = 10;

/// Minimum of the last ten seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlidingMinimum {
    seconds: [i64; MINIMUM_OVER_S],
    at: usize,
}

impl SlidingMinimum {
    pub(crate) fn new() -> Self {
        Self {
            seconds: [i64::MAX; MINIMUM_OVER_S],
            at: 0,
        }
    }

    pub(crate) fn add(&mut self, value: i64) {
        self.seconds[self.at] = self.seconds[self.at].min(value);
    }

    /// `None` before the first value.
    pub(crate) fn minimum(&self) -> Option<i64> {
        let minimum = self.seconds.iter().copied().min().unwrap_or(i64::MAX);
        (minimum != i64::MAX).then_some(minimum)
    }

    /// Opens the next second. A whole window without a value keeps the last minimum.
    pub(crate) fn end_second(&mut self) {
        let last = self.minimum();
        self.at = (self.at + 1) % MINIMUM_OVER_S;
        self.seconds[self.at] = i64::MAX;
        if let (None, Some(last)) = (self.minimum(), last) {
            self.seconds[self.at] = last;
        }
    }
}

/// Percentiles of one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PdvSecond {
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Delay variation of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Pdv {
    minimum: SlidingMinimum,
    transits: [i64; CAPACITY],
    len: usize,
    buckets: [u64; PDV_BUCKETS_MS.len()],
}

impl Pdv {
    pub(crate) fn new() -> Self {
        Self {
            minimum: SlidingMinimum::new(),
            transits: [0; CAPACITY],
            len: 0,
            buckets: [0; PDV_BUCKETS_MS.len()],
        }
    }

    /// Takes the relative transit time of a packet in nanoseconds (arrival − timestamp, any
    /// origin).
    pub(crate) fn update(&mut self, transit: i64) {
        self.minimum.add(transit);
        if let Some(free) = self.transits.get_mut(self.len) {
            *free = transit;
            self.len += 1;
        } else if let Some(minimum) = self.minimum.minimum() {
            self.count(transit - minimum);
        }
    }

    /// The transit times start anew (timestamp jump, another source).
    pub(crate) fn interrupt(&mut self) {
        self.fold();
        self.minimum = SlidingMinimum::new();
        self.len = 0;
    }

    /// Ends a second; `None` without packets.
    pub(crate) fn end_second(&mut self) -> Option<PdvSecond> {
        self.fold();
        let minimum = self.minimum.minimum().unwrap_or(0);
        let samples = &mut self.transits[..self.len];
        samples.sort_unstable();
        let millis = |percent| {
            nearest_rank(samples, percent).map(|transit| (transit - minimum) as f64 / 1e6)
        };
        let second = millis(95).zip(millis(99));
        self.len = 0;
        self.minimum.end_second();
        second.map(|(p95_ms, p99_ms)| PdvSecond { p95_ms, p99_ms })
    }

    /// Packets per bucket of [`PDV_BUCKETS_MS`] in the seconds ended so far.
    pub(crate) fn buckets(&self) -> [u64; PDV_BUCKETS_MS.len()] {
        self.buckets
    }

    fn fold(&mut self) {
        let minimum = self.minimum.minimum().unwrap_or(0);
        for index in 0..self.len {
            self.count(self.transits[index] - minimum);
        }
    }

    fn count(&mut self, delay: i64) {
        let limits = PDV_BUCKETS_MS
            .iter()
            .map(|limit| i64::from(*limit) * 1_000_000);
        if let Some(bucket) = limits.rev().position(|limit| delay >= limit) {
            self.buckets[PDV_BUCKETS_MS.len() - 1 - bucket] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn percentiles_and_buckets_above_the_minimum() {
        let mut pdv = Pdv::new();
        assert_eq!(pdv.end_second(), None);
        for n in 1..=100 {
            pdv.update((1_000 + n) * MS);
        }
        assert_eq!(
            pdv.end_second(),
            Some(PdvSecond {
                p95_ms: 94.0,
                p99_ms: 98.0
            })
        );
        // Delays 0..=99 ms: 50..=69, 70..=89, 90..=99.
        assert_eq!(pdv.buckets(), [20, 20, 10, 0, 0, 0]);
        for above in [119, 120, 149, 150, 299, 300, 5000] {
            pdv.update((1_001 + above) * MS);
        }
        pdv.end_second();
        assert_eq!(pdv.buckets(), [20, 20, 11, 2, 2, 2]);
    }

    #[test]
    fn the_minimum_is_that_of_ten_seconds_and_survives_silence() {
        let mut minimum = SlidingMinimum::new();
        assert_eq!(minimum.minimum(), None);
        minimum.add(5);
        for _ in 0..9 {
            minimum.end_second();
            minimum.add(9);
            assert_eq!(minimum.minimum(), Some(5));
        }
        minimum.end_second();
        assert_eq!(minimum.minimum(), Some(9));
        for _ in 0..30 {
            minimum.end_second();
        }
        assert_eq!(minimum.minimum(), Some(9));
    }

    #[test]
    fn more_packets_than_fit_are_still_counted_in_buckets() {
        let mut pdv = Pdv::new();
        pdv.update(0);
        for _ in 0..999 {
            pdv.update(60 * MS);
        }
        pdv.end_second();
        assert_eq!(pdv.buckets()[0], 999);
    }
}
