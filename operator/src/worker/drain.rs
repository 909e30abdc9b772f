//! Emptying a worker: a pure function of what was recorded, what is seen now, and the time.
//!
//! The order is fixed: the request is recorded, then the gateway fences the process, then the
//! worker is idle for the quiet period by rows that carry that fence, then its pod is deleted. A
//! load that is not known counts as busy. The request is recorded before anything is done, so that
//! a drain that is taken back is known to need its fence lifted.

use callmeter_api::{
    pool::OnTimeout,
    worker::{DrainStatus, WorkerDrain},
};
use callmeter_proto::fleet::WorkerRow;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::facts::PodFacts;
use crate::fleet::View;

/// After the deadline a worker that hangs up by itself gets this long to say that it is idle.
const HANG_UP: SignedDuration = SignedDuration::from_secs(15);
/// A row may lag behind the answer to a fence by this much.
const ROW_LAG: SignedDuration = SignedDuration::from_secs(5);
/// Grace of an empty worker's pod, seconds.
const GRACE: u32 = 60;

/// What a drain is made from.
#[derive(Clone, Debug)]
pub(crate) struct DrainInput<'a> {
    pub(crate) now: Timestamp,
    /// What was recorded of it.
    pub(crate) known: Option<&'a DrainStatus>,
    pub(crate) spec: WorkerDrain,
    /// The user wants it to end now.
    pub(crate) force: bool,
    /// Whether the gateway's fleet API may be used; else the worker's own end on SIGTERM is.
    pub(crate) own_gateway: bool,
    pub(crate) pod: Option<&'a PodFacts>,
    pub(crate) view: &'a View,
}

/// The next step of a drain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DrainStep {
    /// Record that it was asked for; nothing before that is written.
    Record,
    /// Have the gateway give it no new work.
    Fence {
        /// The gateway's id.
        id: String,
        /// The process.
        instance: Vec<u8>,
        /// Milliseconds to the deadline; `None`: no deadline.
        ends_in_ms: Option<u64>,
    },
    /// Wait for the gateway, at most this long before looking again.
    Wait(SignedDuration),
    /// Delete its pod. `grace` in seconds; `None`: the pod's own, which lets work end.
    DeletePod {
        /// Seconds.
        grace: Option<u32>,
        /// It was still busy at its deadline, or may have been.
        forced: bool,
    },
    /// Its pod is on its way out.
    Terminating,
    /// Nothing is left of it.
    Empty,
}

/// Advances a drain: what to record, and what to do.
pub(crate) fn advance(input: &DrainInput<'_>) -> (DrainStatus, DrainStep) {
    let mut status = input.known.cloned().unwrap_or_default();
    let Some(requested) = status.requested_at.clone() else {
        status.requested_at = Some(Time(input.now));
        return (status, DrainStep::Record);
    };
    let length = SignedDuration::try_from(input.spec.timeout.std()).unwrap_or(SignedDuration::MAX);
    let length = if input.force {
        SignedDuration::ZERO
    } else {
        length
    };
    let deadline = requested.0.saturating_add(length).unwrap_or(requested.0);
    let ends = input.force || input.spec.on_timeout == OnTimeout::Terminate;
    let deadline_moved = status
        .deadline
        .as_ref()
        .is_none_or(|known| known.0 != deadline);
    status.deadline = Some(Time(deadline));
    status.blockers.clear();

    let Some(pod) = input.pod else {
        return (status, DrainStep::Empty);
    };
    if pod.terminating {
        status.blockers.push("the pod ends".to_owned());
        return (status, DrainStep::Terminating);
    }
    let overdue = input.now >= deadline + HANG_UP;
    let give_up = |status: DrainStatus| {
        let step = if overdue && ends {
            DrainStep::DeletePod {
                grace: Some(GRACE),
                forced: true,
            }
        } else {
            DrainStep::Wait(until(input.now, deadline + HANG_UP))
        };
        (status, step)
    };
    // The worker's own end on SIGTERM: it asks for no new work, finishes, and exits.
    let by_signal = DrainStep::DeletePod {
        grace: None,
        forced: false,
    };
    // Where no process is there is nothing to fence and nothing to lose; one that starts meanwhile
    // has the pod's own grace.
    if !input.own_gateway || pod.ended || !pod.running {
        return (status, by_signal);
    }
    let row = match input.view {
        View::Unknown => {
            status.idle_since = None;
            status
                .blockers
                .push("the gateway does not answer; the worker counts as busy".to_owned());
            return give_up(status);
        }
        View::Absent => return (status, by_signal),
        View::Row(row) => row,
    };
    if row.pod_uid != pod.uid || row.instance.is_empty() {
        // This process has never been connected: there is nothing to fence and nothing to lose.
        return (status, by_signal);
    }
    let fence = status.fence_seq.unwrap_or(0);
    if fence == 0 || row.fence_seq != fence || deadline_moved {
        let lags = fence > row.fence_seq && !deadline_moved;
        if lags
            && status
                .fenced_at
                .as_ref()
                .is_some_and(|at| input.now < at.0 + ROW_LAG)
        {
            return (status, DrainStep::Wait(ROW_LAG));
        }
        status.idle_since = None;
        let left = deadline.duration_since(input.now).max(SignedDuration::ZERO);
        let step = DrainStep::Fence {
            id: row.id.clone(),
            instance: row.instance.clone(),
            ends_in_ms: ends.then(|| left.as_millis() as u64),
        };
        return (status, step);
    }
    if let Some(used) = in_use(row) {
        status.idle_since = None;
        status.blockers.push(used);
        return give_up(status);
    }
    let since = status.idle_since.get_or_insert(Time(input.now)).0;
    let quiet =
        SignedDuration::try_from(input.spec.quiet_period.std()).unwrap_or(SignedDuration::MAX);
    let quiet_until = since.saturating_add(quiet).unwrap_or(since);
    if input.now >= quiet_until {
        return (
            status,
            DrainStep::DeletePod {
                grace: Some(GRACE),
                forced: false,
            },
        );
    }
    (status, DrainStep::Wait(until(input.now, quiet_until)))
}

/// Whether a drain is past its deadline and waits on: the user chose that, or the pod does not end.
pub(crate) fn is_stuck(status: &DrainStatus, now: Timestamp) -> bool {
    status
        .deadline
        .as_ref()
        .is_some_and(|deadline| now >= deadline.0 + HANG_UP)
        && !status.blockers.is_empty()
}

fn until(now: Timestamp, then: Timestamp) -> SignedDuration {
    then.duration_since(now).clamp(
        SignedDuration::from_millis(50),
        SignedDuration::from_secs(60),
    )
}

/// What keeps a worker, told in powers of two: a text that changes with each call would be a write
/// with each call.
fn in_use(row: &WorkerRow) -> Option<String> {
    let endpoints = row.active_endpoints.saturating_add(row.reserved_endpoints);
    let floor = 1_u32 << endpoints.checked_ilog2()?;
    Some(match floor {
        1 => "1 endpoint in use".to_owned(),
        2 => "2 or 3 endpoints in use".to_owned(),
        _ => format!("{floor} to {} endpoints in use", 2 * floor - 1),
    })
}

#[cfg(test)]
mod tests;
