use callmeter_api::Duration as Span;
use callmeter_proto::fleet::WorkerStatus;
use proptest::prelude::*;

use super::*;
use crate::worker::token::tests::pod;

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
fn a_worker_without_a_process_goes_though_the_gateway_is_silent() {
    let mut case = Case::new();
    case.pod = Some(PodFacts {
        running: false,
        ..pod()
    });
    assert_eq!(case.step(0, &View::Unknown), DrainStep::Record);
    assert_eq!(case.step(0, &View::Unknown), SIGNAL);
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
