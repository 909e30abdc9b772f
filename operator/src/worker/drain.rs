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
    if !input.own_gateway || pod.ended {
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
mod tests {
    use callmeter_api::Duration as Span;
    use callmeter_proto::fleet::WorkerStatus;
    use proptest::prelude::*;

    use super::{super::token::tests::pod, *};

    const START: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    fn row(fence_seq: u64, active: u32, reserved: u32) -> View {
        View::Row(Box::new(WorkerRow {
            id: "w1".into(),
            pod_uid: "pod-uid".into(),
            instance: vec![7],
            connected: true,
            status: WorkerStatus::Online.into(),
            active_endpoints: active,
            reserved_endpoints: reserved,
            fence_seq,
            ..WorkerRow::default()
        }))
    }

    struct Case {
        spec: WorkerDrain,
        force: bool,
        own_gateway: bool,
        pod: Option<PodFacts>,
        known: Option<DrainStatus>,
    }

    impl Case {
        fn new() -> Self {
            let spec = WorkerDrain {
                timeout: Span::from_secs(600),
                on_timeout: OnTimeout::Terminate,
                quiet_period: Span::from_secs(5),
            };
            Self {
                spec,
                force: false,
                own_gateway: true,
                pod: Some(pod()),
                known: None,
            }
        }

        fn step(&mut self, second: i64, view: &View) -> DrainStep {
            let input = DrainInput {
                now: at(second),
                known: self.known.as_ref(),
                spec: self.spec,
                force: self.force,
                own_gateway: self.own_gateway,
                pod: self.pod.as_ref(),
                view,
            };
            let (status, step) = advance(&input);
            self.known = Some(status);
            step
        }

        /// What the controller records after the gateway's answer.
        fn fenced(&mut self, second: i64, seq: u64) {
            let status = self.known.as_mut().unwrap();
            status.fence_seq = Some(seq);
            status.fenced_at = Some(Time(at(second)));
        }

        /// Up to an acknowledged fence.
        fn fence(&mut self) {
            assert_eq!(self.step(0, &row(0, 1, 0)), DrainStep::Record);
            let fence = self.step(0, &row(0, 1, 0));
            assert!(
                matches!(
                    fence,
                    DrainStep::Fence {
                        ends_in_ms: Some(600_000),
                        ..
                    }
                ),
                "{fence:?}"
            );
            self.fenced(0, 3);
        }
    }

    const DELETE: DrainStep = DrainStep::DeletePod {
        grace: Some(60),
        forced: false,
    };
    const FORCED: DrainStep = DrainStep::DeletePod {
        grace: Some(60),
        forced: true,
    };
    const SIGNAL: DrainStep = DrainStep::DeletePod {
        grace: None,
        forced: false,
    };

    #[test]
    fn recorded_fenced_idle_quiet_deleted() {
        let mut case = Case::new();
        case.fence();
        assert!(
            matches!(case.step(1, &row(0, 0, 0)), DrainStep::Wait(_)),
            "the row is older than the fence"
        );
        assert!(matches!(case.step(2, &row(3, 2, 0)), DrainStep::Wait(_)));
        assert_eq!(
            case.known.as_ref().unwrap().blockers,
            ["2 or 3 endpoints in use"]
        );
        assert!(matches!(case.step(50, &row(3, 0, 0)), DrainStep::Wait(_)));
        assert!(matches!(case.step(54, &row(3, 0, 0)), DrainStep::Wait(_)));
        assert_eq!(case.step(55, &row(3, 0, 0)), DELETE);
    }

    #[test]
    fn what_was_reserved_in_the_gap_starts_the_quiet_period_anew() {
        let mut case = Case::new();
        case.fence();
        case.step(10, &row(3, 0, 0));
        assert!(matches!(case.step(14, &row(3, 0, 1)), DrainStep::Wait(_)));
        assert!(matches!(case.step(16, &row(3, 0, 0)), DrainStep::Wait(_)));
        assert!(matches!(case.step(20, &row(3, 0, 0)), DrainStep::Wait(_)));
        assert_eq!(case.step(21, &row(3, 0, 0)), DELETE);
    }

    #[test]
    fn a_silent_gateway_is_no_idle_worker() {
        let mut case = Case::new();
        case.fence();
        case.step(10, &row(3, 0, 0));
        assert!(matches!(case.step(20, &View::Unknown), DrainStep::Wait(_)));
        assert!(matches!(case.step(614, &View::Unknown), DrainStep::Wait(_)));
        assert_eq!(case.step(615, &View::Unknown), FORCED);
    }

    #[test]
    fn another_process_is_fenced_anew() {
        let mut case = Case::new();
        case.fence();
        assert!(matches!(case.step(2, &row(3, 1, 0)), DrainStep::Wait(_)));
        assert!(matches!(
            case.step(30, &row(0, 0, 0)),
            DrainStep::Fence { .. }
        ));
    }

    #[test]
    fn the_deadline_ends_a_busy_worker_or_not() {
        let mut case = Case::new();
        case.fence();
        assert!(matches!(case.step(614, &row(3, 1, 0)), DrainStep::Wait(_)));
        assert_eq!(case.step(615, &row(3, 1, 0)), FORCED);
        let mut waits = Case::new();
        waits.spec.on_timeout = OnTimeout::Wait;
        waits.step(0, &row(0, 1, 0));
        let fence = waits.step(0, &row(0, 1, 0));
        assert!(matches!(
            fence,
            DrainStep::Fence {
                ends_in_ms: None,
                ..
            }
        ));
        waits.fenced(0, 3);
        assert!(matches!(
            waits.step(100_000, &row(3, 1, 0)),
            DrainStep::Wait(_)
        ));
        assert!(is_stuck(waits.known.as_ref().unwrap(), at(100_000)));
        waits.force = true;
        let fence = waits.step(100_001, &row(3, 1, 0));
        assert!(
            matches!(
                fence,
                DrainStep::Fence {
                    ends_in_ms: Some(0),
                    ..
                }
            ),
            "{fence:?}"
        );
        waits.fenced(100_001, 4);
        assert_eq!(waits.step(100_002, &row(4, 1, 0)), FORCED);
    }

    #[test]
    fn a_moved_deadline_is_told_to_the_gateway() {
        let mut case = Case::new();
        case.fence();
        case.step(1, &row(3, 1, 0));
        case.spec.timeout = Span::from_secs(1200);
        let fence = case.step(200, &row(3, 1, 0));
        assert!(
            matches!(
                fence,
                DrainStep::Fence {
                    ends_in_ms: Some(1_000_000),
                    ..
                }
            ),
            "{fence:?}"
        );
    }

    #[test]
    fn a_worker_that_never_connected_ends_by_signal() {
        let mut case = Case::new();
        case.step(0, &View::Absent);
        assert_eq!(case.step(0, &View::Absent), SIGNAL);
        let mut foreign = Case::new();
        foreign.own_gateway = false;
        foreign.step(0, &View::Unknown);
        assert_eq!(foreign.step(0, &View::Unknown), SIGNAL);
    }

    #[test]
    fn a_pod_that_ends_is_waited_for() {
        let mut case = Case::new();
        case.fence();
        case.pod = Some(PodFacts {
            terminating: true,
            ..pod()
        });
        assert_eq!(case.step(60, &row(3, 0, 0)), DrainStep::Terminating);
        case.pod = None;
        assert_eq!(case.step(70, &row(3, 0, 0)), DrainStep::Empty);
    }

    proptest! {
        /// No schedule of reports deletes the pod of a worker that was not seen idle under its own
        /// fence for the whole quiet period, before its deadline.
        #[test]
        fn no_busy_worker_ends_before_its_deadline(reports in prop::collection::vec((1_i64..40, 0_u8..5), 1..60)) {
            let mut case = Case::new();
            let mut second = 0;
            let mut fence = 0;
            let mut idle_since = None;
            for (wait, kind) in reports {
                second += wait;
                let view = match kind {
                    0 => View::Unknown,
                    1 => row(fence, 0, 0),
                    2 => row(fence, 1, 0),
                    3 => row(fence, 0, 1),
                    _ => row(0, 0, 0),
                };
                let idle = kind == 1 && fence > 0;
                idle_since = if idle { idle_since.or(Some(second)) } else { None };
                match case.step(second, &view) {
                    DrainStep::Fence { .. } => {
                        fence += 1;
                        idle_since = None;
                        case.fenced(second, fence);
                    }
                    DrainStep::DeletePod { forced: false, grace: Some(_) } => {
                        prop_assert!(idle_since.is_some_and(|since| second - since >= 5), "{second} {idle_since:?}");
                        break;
                    }
                    DrainStep::DeletePod { forced: true, .. } => {
                        prop_assert!(second >= 615);
                        break;
                    }
                    DrainStep::DeletePod { grace: None, .. } => prop_assert!(false, "it was connected"),
                    _ => {}
                }
            }
        }
    }
}
