//! A mergeable histogram with a bounded relative error.
//!
//! Buckets are log-linear: every power of two is cut into 512 equal parts, taken straight from the
//! bits of the number, so that a percentile is within 1/1024 (0.1 %) of a value that was recorded.
//! Count, sum, minimum and maximum are exact. Negative values have buckets of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bits of the mantissa a bucket keeps.
const KEPT_BITS: u32 = 9;
const SHIFT: u32 = 52 - KEPT_BITS;
/// Smaller magnitudes count as zero: far below any unit of the catalogue.
const SMALLEST: f64 = 1e-9;

/// A distribution of values; empty at first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Histogram {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// By ascending value: negative keys are negative values, 0 is zero.
    buckets: BTreeMap<i32, u64>,
}

/// Why stored bytes are not a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedHistogram;

impl std::fmt::Display for MalformedHistogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a histogram whose count is not the sum of its buckets, or with min > max")
    }
}

impl std::error::Error for MalformedHistogram {}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a value; false (and nothing recorded) if it is not finite.
    pub fn record(&mut self, value: f64) -> bool {
        self.record_n(value, 1)
    }

    /// Records a value `n` times; false (and nothing recorded) if it is not finite.
    pub fn record_n(&mut self, value: f64, n: u64) -> bool {
        if !value.is_finite() {
            return false;
        }
        if n == 0 {
            return true;
        }
        self.widen(value, value);
        self.count += n;
        self.sum += value * n as f64;
        *self.buckets.entry(bucket_of(value)).or_default() += n;
        true
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.widen(other.min, other.max);
        self.count += other.count;
        self.sum += other.sum;
        for (&bucket, &n) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += n;
        }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values, exact but for floating point.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Arithmetic mean; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Smallest value, exact; `None` when empty.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// Largest value, exact; `None` when empty.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The value below or at which a share `q` (0..=1) of the values lies (nearest rank), within
    /// 0.1 %; `None` when empty or `q` is out of range.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        if rank == 1 {
            return Some(self.min);
        }
        if rank == self.count {
            return Some(self.max);
        }
        let mut seen = 0;
        for (&bucket, &n) in &self.buckets {
            seen += n;
            if seen >= rank {
                return Some(middle_of(bucket).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// How many values are at least `limit`, exact for values further than 0.1 % from it.
    pub fn count_at_least(&self, limit: f64) -> u64 {
        if self.count == 0 || limit <= self.min {
            return self.count;
        }
        self.buckets.range(bucket_of(limit)..).map(|(_, n)| n).sum()
    }

    fn widen(&mut self, min: f64, max: f64) {
        if self.count == 0 {
            (self.min, self.max) = (min, max);
        } else {
            self.min = self.min.min(min);
            self.max = self.max.max(max);
        }
    }
}

fn bucket_of(value: f64) -> i32 {
    if value.abs() < SMALLEST {
        return 0;
    }
    // Sign bit off, the rest fits 20 bits: 11 of the exponent and those kept of the mantissa.
    let magnitude = (value.abs().to_bits() >> SHIFT) as i32;
    if value < 0.0 { -magnitude } else { magnitude }
}

fn middle_of(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let magnitude = u64::from(bucket.unsigned_abs());
    let middle = f64::from_bits((magnitude << SHIFT) | (1 << (SHIFT - 1)));
    if bucket < 0 { -middle } else { middle }
}

/// The stored form: bucket numbers and counts side by side.
#[derive(Serialize, Deserialize)]
struct Wire {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    buckets: Vec<(i32, u64)>,
}

impl From<Histogram> for Wire {
    fn from(histogram: Histogram) -> Self {
        let Histogram {
            count,
            sum,
            min,
            max,
            buckets,
        } = histogram;
        Self {
            count,
            sum,
            min,
            max,
            buckets: buckets.into_iter().collect(),
        }
    }
}

impl TryFrom<Wire> for Histogram {
    type Error = MalformedHistogram;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let Wire {
            count,
            sum,
            min,
            max,
            buckets,
        } = wire;
        let total = buckets
            .iter()
            .try_fold(0_u64, |total, (_, n)| total.checked_add(*n));
        let in_range = buckets
            .iter()
            .all(|(bucket, _)| bucket.unsigned_abs() < 1 << 20);
        // Written so that a NaN fails too.
        let ordered = min <= max && min.is_finite() && max.is_finite() && sum.is_finite();
        if total != Some(count) || !in_range || !ordered {
            return Err(MalformedHistogram);
        }
        let mut merged = BTreeMap::new();
        for (bucket, n) in buckets {
            *merged.entry(bucket).or_default() += n;
        }
        Ok(Self {
            count,
            sum,
            min,
            max,
            buckets: merged,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::new();
        for &value in values {
            assert!(histogram.record(value));
        }
        histogram
    }

    #[test]
    fn an_empty_histogram_knows_nothing() {
        let empty = Histogram::new();
        assert_eq!(empty.count(), 0);
        for figure in [empty.mean(), empty.min(), empty.max(), empty.quantile(0.5)] {
            assert_eq!(figure, None);
        }
    }

    #[test]
    fn values_that_are_no_numbers_are_refused() {
        let mut histogram = Histogram::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!histogram.record(value));
        }
        assert_eq!(histogram, Histogram::new());
    }

    #[test]
    fn percentiles_of_a_known_row_of_numbers() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let histogram = of(&values);
        for (q, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(q).unwrap();
            assert!(
                (found - expected).abs() <= expected / 1000.0,
                "{q}: {found}"
            );
        }
        assert_eq!(histogram.quantile(0.0), Some(1.0));
        assert_eq!(histogram.mean(), Some(500.5));
        assert_eq!(histogram.quantile(1.5), None);
    }

    #[test]
    fn merging_differs_from_averaging() {
        let mut fast = of(&[10.0; 99]);
        fast.merge(&of(&[1000.0; 1]));
        assert!(fast.quantile(0.95).unwrap() < 11.0);
        assert_eq!(fast.max(), Some(1000.0));
    }

    #[test]
    fn stored_and_read_again_it_is_the_same() {
        let histogram = of(&[-3.5, 0.0, 1e-12, 4.41, 4.41, 1e6]);
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        let lying = text.replacen("\"count\":6", "\"count\":7", 1);
        assert!(serde_json::from_str::<Histogram>(&lying).is_err());
    }

    #[test]
    fn values_at_least_a_limit_are_counted() {
        let histogram = of(&[1.0, 3.4, 3.6, 4.4, 4.4]);
        assert_eq!(histogram.count_at_least(3.5), 3);
        assert_eq!(histogram.count_at_least(0.0), 5);
        assert_eq!(histogram.count_at_least(5.0), 0);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_thousandth(
            mut values in prop::collection::vec(-1e6_f64..1e6, 1..200), q in 0.0_f64..=1.0,
        ) {
            let histogram = of(&values);
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let found = histogram.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= exact.abs() / 1000.0 + SMALLEST, "{found} {exact}");
        }

        #[test]
        fn merged_parts_equal_the_whole(
            values in prop::collection::vec(-1e3_f64..1e3, 0..100), cut in 0_usize..100,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(left);
            merged.merge(&of(right));
            let whole = of(&values);
            prop_assert_eq!(&merged.buckets, &whole.buckets);
            prop_assert_eq!(merged.count, whole.count);
            prop_assert_eq!((merged.min(), merged.max()), (whole.min(), whole.max()));
            prop_assert!((merged.sum - whole.sum).abs() < 1e-6);
        }
    }
}
