//! When each caller starts its calls, and whether a group has the endpoints its load needs.

use std::time::Duration;

use super::{Group, Load, Target, ValidatedTest};

/// From the end of a call to the next one of the same endpoint, at least: the BYE is answered and
/// the media ports are free again.
pub const SETTLE: Duration = Duration::from_millis(500);

/// First call of each endpoint of a group, milliseconds from the start of the run. None: all call
/// at once, or as the load says that the workers are told.
pub fn start_offsets(group: &Group) -> Vec<u32> {
    match group.load {
        // Each endpoint calls once.
        Load::ArrivalRate(rate) if !group.calls_by_load() => (0..group.endpoints)
            .map(|index| milliseconds(f64::from(index) / rate))
            .collect(),
        _ => Vec::new(),
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

/// How many a group calls: one for each of its endpoints, or the fewer of the group it calls.
pub fn callees(test: &ValidatedTest, group: usize) -> u32 {
    let this = &test.groups[group];
    match this.target {
        Target::Group(callee) => test.groups[callee].endpoints.min(this.endpoints),
        _ => this.endpoints,
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
            rate_beyond(test, index)
                .or_else(|| calls_beyond(test, index))
                .map(|told| format!("group {}: {told}", group.name))
        })
        .collect()
}

/// A rate that keeps more endpoints busy than there are.
fn rate_beyond(test: &ValidatedTest, index: usize) -> Option<String> {
    let group = &test.groups[index];
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
            "{rate} new calls per second of {:.1} s each take {needed} endpoints, it has {}; calls \
             that find none free are not placed",
            held.as_secs_f64(),
            group.endpoints
        )
    })
}

/// More calls at a time than there are callees, of whom each takes one; in a group that calls itself
/// the caller is one that nobody else can call.
fn calls_beyond(test: &ValidatedTest, index: usize) -> Option<String> {
    let group = &test.groups[index];
    let Target::Group(target) = group.target else {
        return None;
    };
    let callees = callees(test, index);
    let to = if target == index {
        format!("itself, a group of {callees} endpoints of which each call takes two")
    } else {
        let name = &test.groups[target].name;
        format!("the group {name}, which has {callees} endpoints")
    };
    let (field, calls, most, beyond) = match &group.load {
        Load::Concurrency(calls) => {
            // The others wait until nobody is in a call whom they need.
            let most = if target == index {
                callees / 2
            } else {
                callees
            };
            ("load.concurrency", *calls, most, "wait")
        }
        Load::ConcurrencySteps(steps) => {
            let highest = steps.iter().map(|(_, calls)| *calls).max()?;
            // Whom an endpoint calls, the next one, calls as well.
            let most = if target == index { 1 } else { callees };
            let field = "load.steps[].concurrency";
            (field, highest, most, "find their callee busy")
        }
        _ => return None,
    };
    (calls > most).then(|| {
        let plural = if most == 1 { "" } else { "s" };
        format!(
            "{field} {calls}: up to {most} call{plural} at a time, for it calls {to}; calls beyond \
             {beyond}"
        )
    })
}

/// Rounded, and never beyond what the protocol carries (49 days, longer than any run).
fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1000.0).round().clamp(0.0, f64::from(u32::MAX)) as u32
}
