//! How late our own packets leave: send time − due time.

use crate::percentile::nearest_rank;
use crate::{Lateness, Time};

/// Packets of a second that enter its percentiles; the largest ptime rate is 100 a second.
const CAPACITY: usize = 128;

/// Lateness of one second's packets, in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct LatenessMeter {
    micros: [u32; CAPACITY],
    len: usize,
    packets: u32,
    over_1ms: u32,
    max: u32,
}

impl LatenessMeter {
    pub(crate) fn new() -> Self {
        Self {
            micros: [0; CAPACITY],
            len: 0,
            packets: 0,
            over_1ms: 0,
            max: 0,
        }
    }

    pub(crate) fn update(&mut self, due: Time, sent: Time) {
        let micros = (sent.nanos_since(due) / 1000).clamp(0, i64::from(u32::MAX)) as u32;
        self.packets += 1;
        self.over_1ms += u32::from(micros > 1000);
        self.max = self.max.max(micros);
        if let Some(free) = self.micros.get_mut(self.len) {
            *free = micros;
            self.len += 1;
        }
    }

    /// Ends a second; `None` when nothing was sent.
    pub(crate) fn end_second(&mut self) -> Option<Lateness> {
        let samples = &mut self.micros[..self.len];
        samples.sort_unstable();
        let millis = |percent| nearest_rank(samples, percent).map(|us| f64::from(us) / 1e3);
        let lateness = millis(50).zip(millis(99)).map(|(p50_ms, p99_ms)| Lateness {
            p50_ms,
            p99_ms,
            max_ms: f64::from(self.max) / 1e3,
            over_1ms: self.over_1ms,
            packets: self.packets,
        });
        (self.len, self.packets, self.over_1ms, self.max) = (0, 0, 0, 0);
        lateness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_maximum_and_a_fresh_second() {
        let mut meter = LatenessMeter::new();
        assert_eq!(meter.end_second(), None);
        for n in 1..=100 {
            let due = Time::from_millis(20 * n);
            meter.update(due, due.plus_nanos(n * 20_000));
        }
        let expected = Lateness {
            p50_ms: 1.0,
            p99_ms: 1.98,
            max_ms: 2.0,
            over_1ms: 50,
            packets: 100,
        };
        assert_eq!(meter.end_second(), Some(expected));
        assert_eq!(meter.end_second(), None);
        meter.update(Time::from_millis(5), Time::from_millis(4));
        assert_eq!(
            meter.end_second().map(|l| l.max_ms),
            Some(0.0),
            "early is not late"
        );
    }
}
