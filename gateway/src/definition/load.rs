//! When each caller starts its calls, and whether a group has the endpoints its load needs.

use std::time::Duration;

use super::{Load, Target, ValidatedTest};

/// From the end of a call to the next one of the same endpoint, at least: the BYE is answered and
/// the media ports are free again.
const SETTLE: Duration = Duration::from_millis(500);

/// The calls of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPlan {
    /// First call of each endpoint, milliseconds from the start of the run; empty where the load
    /// over time says when calls are placed.
    pub offsets_ms: Vec<u32>,
    /// From the end of a call to the next one, milliseconds.
    pub pause_ms: u32,
}

/// Plans the calls of a group: `concurrency` gives each caller a time slot of its own, which holds
/// over repeated calls too; `arrivalRate` spreads the callers, each of which calls once. Where
/// [`Group::calls_by_load`] holds, the workers place calls by the load itself.
///
/// [`Group::calls_by_load`]: super::Group::calls_by_load
pub fn call_plan(test: &ValidatedTest, group: usize) -> CallPlan {
    let this = &test.groups[group];
    let endpoints = this.endpoints;
    let busy = busy(test, group);
    let (offset, round): (Box<dyn Fn(u32) -> f64>, f64) = match this.load {
        _ if this.calls_by_load() => {
            return CallPlan {
                offsets_ms: Vec::new(),
                pause_ms: milliseconds(SETTLE.as_secs_f64()),
            };
        }
        Load::AllAtOnce | Load::Arrivals { .. } | Load::ConcurrencySteps(_) => {
            (Box::new(|_| 0.0), 0.0)
        }
        Load::Concurrency(at_once) => {
            let slot = (busy + SETTLE).as_secs_f64();
            let slots = endpoints.div_ceil(at_once.max(1));
            (
                Box::new(move |i| f64::from(i / at_once.max(1)) * slot),
                f64::from(slots) * slot,
            )
        }
        // Each endpoint calls once.
        Load::ArrivalRate(rate) => (Box::new(move |i| f64::from(i) / rate), 0.0),
    };
    let pause = (round - busy.as_secs_f64()).max(SETTLE.as_secs_f64());
    CallPlan {
        offsets_ms: (0..endpoints).map(|i| milliseconds(offset(i))).collect(),
        pause_ms: milliseconds(pause),
    }
}

/// How long the calls that a group places ring: what callees of the test are told, else its own.
pub fn rings(test: &ValidatedTest, group: usize) -> Duration {
    let this = &test.groups[group];
    match this.target {
        Target::Group(callee) => test.groups[callee].call.ring_for,
        _ => this.call.ring_for,
    }
}

/// How long a call takes an endpoint of a group: ringing and talking.
fn busy(test: &ValidatedTest, group: usize) -> Duration {
    rings(test, group) + test.groups[group].call.duration.unwrap_or(test.duration)
}

/// What a test asks for that its endpoints cannot do: it runs, and its report says so.
pub fn warnings(test: &ValidatedTest) -> Vec<String> {
    let groups = test.groups.iter().enumerate();
    groups
        .filter(|(_, group)| group.calls())
        .filter_map(|(index, group)| {
            let rate = match &group.load {
                Load::ArrivalRate(rate) if group.call.repeat => *rate,
                Load::Arrivals { points, .. } => points
                    .iter()
                    .map(|(_, per_second)| *per_second)
                    .fold(0.0, f64::max),
                _ => return None,
            };
            let held = busy(test, index) + SETTLE;
            // More than a call for each endpoint is not needed within the run's own length.
            let held = held.min(test.duration);
            let needed = (rate * held.as_secs_f64()).ceil();
            (needed > f64::from(group.endpoints)).then(|| {
                format!(
                    "group {}: {rate} new calls per second of {:.1} s each take {needed} endpoints, \
                     it has {}; calls that find none free are not placed",
                    group.name,
                    held.as_secs_f64(),
                    group.endpoints
                )
            })
        })
        .collect()
}

/// Rounded, and never beyond what the protocol carries (49 days, longer than any run).
fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1000.0).round().clamp(0.0, f64::from(u32::MAX)) as u32
}
