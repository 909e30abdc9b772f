//! Audio level in dBov, the decibels below overload of RFC 6464 §3 and ITU-T G.100.1.

/// Root mean square over what was added since the last reading.
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelMeter {
    squares: u64,
    samples: u64,
}

impl LevelMeter {
    /// Adds samples.
    pub fn add(&mut self, samples: impl IntoIterator<Item = i16>) {
        for sample in samples {
            self.squares += i64::from(sample).pow(2) as u64;
            self.samples += 1;
        }
    }

    /// The level in dBov, 0 for a full-scale square wave, −127 at the lowest; `None` without
    /// samples. Starts anew.
    pub fn take(&mut self) -> Option<f64> {
        let Self { squares, samples } = std::mem::take(self);
        if samples == 0 {
            return None;
        }
        let mean = squares as f64 / samples as f64;
        // 20·log10(rms / 32768), written for the square.
        Some((10.0 * (mean / f64::from(1 << 30)).log10()).max(-127.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_sine_silence_and_nothing() {
        let mut meter = LevelMeter::default();
        assert_eq!(meter.take(), None);
        meter.add([i16::MIN; 100]);
        assert!(meter.take().unwrap().abs() < 1e-9);
        meter.add(
            (0..8000)
                .map(|n| ((f64::from(n) * std::f64::consts::TAU / 8.0).sin() * 32_767.0) as i16),
        );
        assert!(
            (meter.take().unwrap() + 3.01).abs() < 0.01,
            "a full-scale sine"
        );
        meter.add([0; 100]);
        assert!((meter.take().unwrap() + 127.0).abs() < 1e-9);
        assert_eq!(meter.take(), None);
    }
}
