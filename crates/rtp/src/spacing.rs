//! Inter-arrival times over the last two seconds.

use crate::{Spacing, Time};

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    count: u64,
    sum: i64,
    min: i64,
    max: i64,
}

impl Window {
    fn add(&mut self, gap: i64) {
        (self.min, self.max) = match self.count {
            0 => (gap, gap),
            _ => (self.min.min(gap), self.max.max(gap)),
        };
        self.count += 1;
        self.sum += gap;
    }

    fn merge(self, other: Self) -> Self {
        match (self.count, other.count) {
            (_, 0) => self,
            (0, _) => other,
            _ => Self {
                count: self.count + other.count,
                sum: self.sum + other.sum,
                min: self.min.min(other.min),
                max: self.max.max(other.max),
            },
        }
    }
}

/// Largest, smallest and mean spacing of packets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SpacingMeter {
    last: Option<Time>,
    present: Window,
    previous: Window,
}

impl SpacingMeter {
    pub(crate) fn update(&mut self, arrival: Time) {
        if let Some(last) = self.last {
            self.present.add(arrival.nanos_since(last).max(0));
        }
        self.last = Some(arrival);
    }

    /// The last packet's arrival.
    pub(crate) fn last(&self) -> Option<Time> {
        self.last
    }

    /// Ends a second: the figures of it and the one before.
    pub(crate) fn end_second(&mut self) -> Option<Spacing> {
        let both = self.present.merge(self.previous);
        self.previous = std::mem::take(&mut self.present);
        (both.count > 0).then(|| Spacing {
            min_ms: both.min as f64 / 1e6,
            max_ms: both.max as f64 / 1e6,
            avg_ms: both.sum as f64 / both.count as f64 / 1e6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_two_seconds_and_no_more() {
        let mut meter = SpacingMeter::default();
        assert_eq!(meter.end_second(), None);
        for at in [0, 10, 40] {
            meter.update(Time::from_millis(at));
        }
        let first = Spacing {
            min_ms: 10.0,
            max_ms: 30.0,
            avg_ms: 20.0,
        };
        assert_eq!(meter.end_second(), Some(first));
        meter.update(Time::from_millis(60));
        let both = Spacing {
            min_ms: 10.0,
            max_ms: 30.0,
            avg_ms: 20.0,
        };
        assert_eq!(meter.end_second(), Some(both));
        let second = Spacing {
            min_ms: 20.0,
            max_ms: 20.0,
            avg_ms: 20.0,
        };
        assert_eq!(meter.end_second(), Some(second));
        assert_eq!(meter.end_second(), None);
    }
}
