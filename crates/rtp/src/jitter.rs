//! Interarrival jitter, RFC 3550 §6.4.1 and A.8:
//! <https://www.rfc-editor.org/rfc/rfc3550#appendix-A.8>

use crate::Time;

/// `J += (|D| − J) / 16`, in timestamp units.
#[derive(Debug, Clone, Copy)]
pub struct Jitter {
    clock_rate: u32,
    last: Option<(Time, u32)>,
    value: f64,
    samples: u64,
}

impl Jitter {
    /// For a payload clock of `clock_rate` Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            last: None,
            value: 0.0,
            samples: 0,
        }
    }

    /// Takes one packet in order of arrival.
    pub fn update(&mut self, arrival: Time, timestamp: u32) {
        if let Some((last_arrival, last_timestamp)) = self.last {
            let elapsed = arrival.nanos_since(last_arrival) as f64 * f64::from(self.clock_rate);
            // The difference of two 32-bit timestamps is signed (RFC 1982 style), so that both
            // wraps and late packets come out right.
            let step = timestamp.wrapping_sub(last_timestamp) as i32;
            let difference = (elapsed / 1e9 - f64::from(step)).abs();
            self.value += (difference - self.value) / 16.0;
            self.samples += 1;
        }
        self.last = Some((arrival, timestamp));
    }

    /// Forgets the last packet: the next one starts a new timestamp sequence, and its distance to
    /// the old one is no jitter. The value goes on.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    /// In timestamp units, the form of the report block.
    pub fn in_units(&self) -> u32 {
        self.value as u32
    }

    /// In milliseconds; `None` before the second packet.
    pub fn in_millis(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.value * 1e3 / f64::from(self.clock_rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_perfect_stream_has_none_and_one_packet_says_nothing() {
        let mut jitter = Jitter::new(8000);
        jitter.update(Time::ZERO, 0);
        assert_eq!(jitter.in_millis(), None);
        for n in 1..100_u32 {
            jitter.update(Time::from_millis(20 * i64::from(n)), 160 * n);
        }
        assert_eq!(jitter.in_millis(), Some(0.0));
    }

    #[test]
    fn alternating_by_ten_ms_settles_at_ten_ms() {
        let mut jitter = Jitter::new(8000);
        for n in 0..2000_u32 {
            let shift = if n % 2 == 0 { 0 } else { 10 };
            jitter.update(
                Time::from_millis(20 * i64::from(n) + shift),
                n.wrapping_mul(160),
            );
        }
        assert!((jitter.in_millis().unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(
            jitter.in_units(),
            79,
            "truncated as A.8 does, just below 80"
        );
    }

    proptest! {
        /// Against the definition, in exact whole-number arithmetic: transit times in units of
        /// 1/(rate·10⁹) s and a value kept in 1/16-th of a growing denominator.
        #[test]
        fn equals_the_definition_over_random_traces(
            start in any::<u32>(),
            rate in prop_oneof![Just(8000_u32), Just(16_000), Just(48_000), Just(90_000)],
            steps in proptest::collection::vec((0..80_000_000_i64, 0..4_i64), 2..400),
        ) {
            let mut jitter = Jitter::new(rate);
            let mut transits: Vec<i128> = Vec::new();
            let (mut arrival, mut position) = (0_i64, 0_i64);
            for (gap, packets) in &steps {
                arrival += gap;
                position += packets * 160 - 160; // also backwards: late packets
                jitter.update(Time::from_nanos(arrival), start.wrapping_add(position as u32));
                transits.push(
                    i128::from(arrival) * i128::from(rate) - i128::from(position) * 1_000_000_000,
                );
            }
            let oracle = transits.windows(2).fold(0.0_f64, |value, pair| {
                let difference = (pair[1] - pair[0]).unsigned_abs() as f64 / 1e9;
                value * (15.0 / 16.0) + difference / 16.0
            });
            let ours = jitter.in_millis().unwrap() * f64::from(rate) / 1e3;
            prop_assert!((ours - oracle).abs() < 1e-6, "{} against {}", ours, oracle);
            prop_assert!(jitter.in_units().abs_diff(oracle as u32) <= 1);
        }
    }
}
