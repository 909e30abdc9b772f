//! When the callers of a group place calls: pure functions of the time since the start.
//!
//! Every share works out the moments of its own endpoints from the plan of the whole group, so
//! that shares on different workers keep one rate and one level between them without talking.

use std::time::Duration;

use crate::assign::{Invalid, check};

/// Most points of a shape.
const MOST_POINTS: usize = 1000;
/// Part of a call that counts as the whole, so that a sum of rates that is a rounding error short
/// of a call does not wait for the next change of the rate.
const WHOLE: f64 = 1e-9;

/// When the callers of a group place calls, counted from the start of the run.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Load {
    /// Each endpoint first at its start offset, then as the plan of its calls repeats them.
    #[default]
    Offsets,
    /// The same, but so many calls that endpoints of the share place stand at a time at most: 1 to
    /// its endpoints. The others wait in line, those of the start in order of their index, and the
    /// first one calls as soon as the signalling of one of those calls is over.
    AtOnce(u32),
    /// The group's calls at a rate that changes over time.
    Arrivals(Arrivals),
    /// The group holds a number of calls that changes over time.
    Concurrency(Levels),
}

/// The rate of new calls from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArrivalPoint {
    /// Since the start of the run.
    pub at: Duration,
    /// New calls per second of the whole group; finite, 0 or more.
    pub per_second: f64,
    /// The rate changes evenly to that of the next point; the last point's rate stays as it is.
    pub ramp: bool,
}

/// The calls held from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcurrencyPoint {
    /// Since the start of the run.
    pub at: Duration,
    /// Calls of the whole group at a time.
    pub calls: u32,
}

/// New calls of a group at a rate that is constant or changes evenly between points.
///
/// Call `k` of the group (from 0) is due when the integral of the rate reaches `k`, call 0 as soon
/// as the rate is above 0; endpoint `k` modulo the group's endpoints places it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    segments: Vec<Segment>,
    group_endpoints: u32,
}

/// A stretch of time in which the rate changes evenly. Times are seconds since the start.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    from: f64,
    /// Calls due before it.
    before: f64,
    /// Calls per second at its beginning.
    rate: f64,
    /// Change of the rate, per second.
    slope: f64,
    /// Calls due by its end; infinite for the last one unless its rate is 0.
    by_end: f64,
}

impl Arrivals {
    /// Takes the points of a rate: in order of time, the first at 0, and the number of endpoints of
    /// the whole group, at least 1. At most 1000 points.
    pub fn new(points: &[ArrivalPoint], group_endpoints: u32) -> Result<Self, Invalid> {
        let field = "load.arrivals";
        check_times(field, points.iter().map(|point| point.at))?;
        for (index, point) in points.iter().enumerate() {
            check(
                &format!("{field}[{index}].per_second"),
                point.per_second,
                point.per_second.is_finite() && point.per_second >= 0.0,
                "a finite rate of 0 or more",
            )?;
        }
        check(
            "load.group_endpoints",
            group_endpoints,
            group_endpoints > 0,
            "1 or more, with load.arrivals",
        )?;
        let mut segments = Vec::with_capacity(points.len());
        let mut before = 0.0;
        for (index, point) in points.iter().enumerate() {
            let (from, rate) = (point.at.as_secs_f64(), point.per_second);
            let next = points.get(index + 1);
            let (slope, by_end) = match next {
                Some(next) => {
                    let length = next.at.as_secs_f64() - from;
                    let last = if point.ramp { next.per_second } else { rate };
                    (
                        (last - rate) / length,
                        before + f64::midpoint(rate, last) * length,
                    )
                }
                None if rate > 0.0 => (0.0, f64::INFINITY),
                None => (0.0, before),
            };
            segments.push(Segment {
                from,
                before,
                rate,
                slope,
                by_end,
            });
            before = by_end;
        }
        Ok(Self {
            segments,
            group_endpoints,
        })
    }

    /// Endpoints of the whole group.
    pub fn group_endpoints(&self) -> u32 {
        self.group_endpoints
    }

    /// When call `k` of the group is due; `None` if the rate never brings it, or not within the
    /// time a [`Duration`] holds.
    pub fn due(&self, k: u64) -> Option<Duration> {
        let wanted = k as f64;
        // `by_end` never falls. The first stretch that reaches the call has some of it due within;
        // call 0 is reached by none that has no call at all.
        let at = self
            .segments
            .partition_point(|segment| segment.by_end < wanted - WHOLE || segment.by_end <= 0.0);
        let segment = self.segments.get(at)?;
        let Segment {
            from, rate, slope, ..
        } = *segment;
        let missing = (wanted - segment.before).max(0.0);
        // missing = rate·x + slope·x²/2, solved without the difference of two close numbers.
        let root = (rate * rate + 2.0 * slope * missing).max(0.0).sqrt();
        let x = if missing > 0.0 {
            2.0 * missing / (rate + root)
        } else {
            0.0
        };
        Duration::try_from_secs_f64(from + x).ok()
    }
}

/// Calls held at a time by a group. Endpoint `i` of the group calls again and again while the
/// level is above `i`; a level that falls lets calls in progress end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    points: Vec<ConcurrencyPoint>,
}

impl Levels {
    /// Takes levels in order of time, the first at 0; at most 1000.
    pub fn new(points: Vec<ConcurrencyPoint>) -> Result<Self, Invalid> {
        check_times("load.concurrency", points.iter().map(|point| point.at))?;
        Ok(Self { points })
    }

    /// The first moment from `since` on at which endpoint `index` of the group may place a call.
    pub fn open(&self, index: u32, since: Duration) -> Option<Duration> {
        let begun = self.points.partition_point(|point| point.at <= since);
        let now = self.points[..begun].last();
        if now.is_some_and(|point| point.calls > index) {
            return Some(since);
        }
        let mut later = self.points[begun..].iter();
        later
            .find(|point| point.calls > index)
            .map(|point| point.at)
    }
}

/// Points are there, not too many, in order, and the first is at 0.
fn check_times(field: &str, times: impl ExactSizeIterator<Item = Duration>) -> Result<(), Invalid> {
    let count = times.len();
    let some = (1..=MOST_POINTS).contains(&count);
    check(field, count, some, "1 to 1000 points")?;
    let mut before: Option<Duration> = None;
    for (index, at) in times.enumerate() {
        let right = before.map_or_else(|| at.is_zero(), |before| at > before);
        check(
            &format!("{field}[{index}].at_ms"),
            at.as_millis(),
            right,
            "0 for the first point, later than the point before for the others",
        )?;
        before = Some(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
