//! Synthetic audio that is like speech to codecs and level meters: voiced and unvoiced syllables
//! with moving formants, phrases and pauses. The same seed gives the same samples everywhere.

use std::f64::consts::TAU;

const RATE: f64 = 8000.0;
/// Level of the active parts, in dBov (ITU-T P.56 practice for test signals).
const ACTIVE_DBOV: f64 = -26.0;
/// Share of time in which a phrase, not a pause, sounds.
const PHRASE_S: (f64, f64) = (1.2, 2.6);
const PAUSE_S: (f64, f64) = (0.3, 0.8);
const SYLLABLE_S: (f64, f64) = (0.14, 0.26);

/// `seconds` of speech-like audio at 8 kHz, with silence at both ends, so that it can be looped.
pub fn speech(seed: u64, seconds: u32) -> Vec<i16> {
    let total = seconds as usize * RATE as usize;
    let mut voice = Voice::new(seed);
    let mut samples = Vec::with_capacity(total);
    while samples.len() < total {
        voice.phrase(&mut samples, total);
        let pause = (voice.between(PAUSE_S) * RATE) as usize;
        samples.extend(std::iter::repeat_n(0.0, pause.min(total - samples.len())));
    }
    fade_out(&mut samples);
    to_level(&samples)
}

/// A formant synthesiser: pulses or noise through three resonators.
struct Voice {
    random: u64,
    pitch: f64,
    phase: f64,
    resonators: [Resonator; 3],
}

#[derive(Clone, Copy, Default)]
struct Resonator {
    y1: f64,
    y2: f64,
}

impl Resonator {
    /// Two-pole filter around `frequency` Hz of 90 Hz bandwidth, gain 1 at its centre roughly.
    fn filter(&mut self, input: f64, frequency: f64) -> f64 {
        let radius = (-std::f64::consts::PI * 90.0 / RATE).exp();
        let out = (1.0 - radius) * input + 2.0 * radius * (TAU * frequency / RATE).cos() * self.y1
            - radius * radius * self.y2;
        (self.y2, self.y1) = (self.y1, out);
        out
    }
}

/// First three formants in Hz of a few vowels.
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1090.0, 2440.0],
    [530.0, 1840.0, 2480.0],
    [270.0, 2290.0, 3010.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
];

impl Voice {
    fn new(seed: u64) -> Self {
        // One odd multiplication spreads small seeds over all bits; xorshift needs a non-zero one.
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut voice = Self {
            random,
            pitch: 0.0,
            phase: 0.0,
            resonators: Default::default(),
        };
        voice.pitch = voice.between((95.0, 210.0));
        voice
    }

    /// Uniform in 0..1 (xorshift64*).
    fn unit(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        low + (high - low) * self.unit()
    }

    fn phrase(&mut self, out: &mut Vec<f64>, total: usize) {
        let end = (out.len() + (self.between(PHRASE_S) * RATE) as usize).min(total);
        let mut from = VOWELS[0];
        while out.len() < end {
            let to = VOWELS[(self.unit() * VOWELS.len() as f64) as usize % VOWELS.len()];
            let length = (self.between(SYLLABLE_S) * RATE) as usize;
            // A short fricative opens about every other syllable.
            let noisy = if self.unit() < 0.5 { length / 4 } else { 0 };
            let pitch = self.pitch * self.between((0.9, 1.15));
            for n in 0..length.min(end - out.len()) {
                let part = n as f64 / length as f64;
                let envelope = (std::f64::consts::PI * part).sin().powf(0.6);
                let source = if n < noisy {
                    (self.unit() - 0.5) * 0.6
                } else {
                    self.phase += pitch / RATE;
                    // A pulse with a soft slope: falls from 1 to −1 once per period.
                    self.phase -= self.phase.floor();
                    1.0 - 2.0 * self.phase.powi(3)
                };
                let mut sum = 0.0;
                for (index, resonator) in self.resonators.iter_mut().enumerate() {
                    let frequency = from[index] + (to[index] - from[index]) * part;
                    sum += resonator.filter(source, frequency) / (index + 1) as f64;
                }
                out.push(sum * envelope);
            }
            from = to;
        }
    }
}

/// The last 20 ms go to zero, wherever the last phrase was cut.
fn fade_out(samples: &mut [f64]) {
    for (n, sample) in samples.iter_mut().rev().take(160).enumerate() {
        *sample *= n as f64 / 160.0;
    }
}

/// Scales the active samples to the level speech is tested at.
fn to_level(samples: &[f64]) -> Vec<i16> {
    let active: Vec<f64> = samples.iter().copied().filter(|s| s.abs() > 1e-9).collect();
    let mean = active.iter().map(|s| s * s).sum::<f64>() / active.len().max(1) as f64;
    let gain = 32_768.0 * 10_f64.powf(ACTIVE_DBOV / 20.0) / mean.sqrt().max(1e-12);
    samples
        .iter()
        .map(|s| (s * gain).clamp(-32_768.0, 32_767.0) as i16)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LevelMeter;

    #[test]
    fn the_seed_decides_and_the_length_is_exact() {
        let one = speech(1, 8);
        assert_eq!(one.len(), 64_000);
        assert_eq!(one, speech(1, 8));
        assert_ne!(one, speech(2, 8));
        assert!(speech(1, 0).is_empty());
    }

    #[test]
    fn level_pauses_and_loop_are_like_speech() {
        for seed in 0..8 {
            let samples = speech(seed, 16);
            let mut meter = LevelMeter::default();
            meter.add(samples.iter().copied().filter(|s| *s != 0));
            let level = meter.take().unwrap();
            assert!(
                (level - ACTIVE_DBOV).abs() < 1.0,
                "seed {seed}: {level} dBov"
            );
            let silent = samples
                .chunks(160)
                .filter(|c| c.iter().all(|s| *s == 0))
                .count();
            let share = silent as f64 / (samples.len() / 160) as f64;
            assert!((0.08..0.5).contains(&share), "seed {seed}: {share} silent");
            assert_eq!(samples.last(), Some(&0), "loops without a click");
            let clipped = samples
                .iter()
                .filter(|s| s.unsigned_abs() >= 32_767)
                .count();
            assert!(
                clipped < samples.len() / 1000,
                "seed {seed}: {clipped} clipped"
            );
        }
    }
}
