//! The next step of a test: a pure function of its object and what is seen of its run.

use callmeter_api::{CallTest, calltest::RunPhase, labels};
use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt as _;

use super::{dereference::Inputs, watches::Report};

/// A deleted test waits this long for its run to stop: the 90 s that a gateway gives it
/// (`STOP_WITHIN` there), and time to learn of its end.
const STOP_LIMIT: SignedDuration = SignedDuration::from_secs(100);

/// The next step of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Keep the object while its run goes on.
    AddFinalizer,
    /// Submit it.
    Submit,
    /// Stop its run.
    Stop {
        /// The run.
        run: String,
        /// Why.
        reason: &'static str,
    },
    /// The object may go at any time.
    RemoveFinalizer,
    /// Follow the run.
    Follow,
    /// It is over, or was refused, or is on its way out.
    Done,
}

/// Decides.
pub(crate) fn decide(test: &CallTest, inputs: &Inputs) -> Decision {
    let status = test.status.clone().unwrap_or_default();
    let kept = test.finalizers().iter().any(|f| f == labels::RUN_FINALIZER);
    let seen = inputs
        .state()
        .and_then(|state| RunPhase::parse(&state.status));
    let over = status.phase.is_some_and(RunPhase::is_final)
        || seen.is_some_and(RunPhase::is_final)
        || inputs.report == Report::Unknown;
    if let Some(since) = &test.metadata.deletion_timestamp {
        let late = inputs.now >= since.0 + STOP_LIMIT;
        return match (&status.run, kept) {
            (_, false) => Decision::Done,
            (Some(run), true) if !over && !late => {
                if seen == Some(RunPhase::Stopping) {
                    Decision::Follow
                } else {
                    Decision::Stop {
                        run: run.clone(),
                        reason: "the CallTest was deleted",
                    }
                }
            }
            _ => Decision::RemoveFinalizer,
        };
    }
    if over {
        // First its end is on record, then the object may go.
        let recorded = status.phase.is_some_and(RunPhase::is_final);
        return if kept && recorded {
            Decision::RemoveFinalizer
        } else {
            Decision::Done
        };
    }
    match &status.run {
        None if refused(test) => Decision::Done,
        None if !kept => Decision::AddFinalizer,
        None => Decision::Submit,
        Some(run)
            if test.annotations().contains_key(labels::STOP)
                && seen != Some(RunPhase::Stopping) =>
        {
            Decision::Stop {
                run: run.clone(),
                reason: "stopped by the annotation callmeter.io/stop",
            }
        }
        Some(_) => Decision::Follow,
    }
}

/// Whether the gateway refused this very definition.
fn refused(test: &CallTest) -> bool {
    let status = test.status.clone().unwrap_or_default();
    status.conditions.iter().any(|c| {
        c.type_ == "Accepted"
            && c.status == "False"
            && c.reason == "Refused"
            && c.observed_generation == test.metadata.generation
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use callmeter_api::calltest::CallTestStatus;
    use callmeter_proto::fleet::RunState;
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    pub(crate) fn test() -> CallTest {
        serde_yaml::from_str(
            r"
apiVersion: callmeter.io/v1alpha1
kind: CallTest
metadata: {name: t, namespace: demo, uid: test-uid, generation: 1, finalizers: [callmeter.io/run]}
spec:
  duration: 60s
  groups:
    - {name: callers, endpoints: 20, role: caller, target: {group: answerers}}
    - {name: answerers, endpoints: 20, role: callee}
",
        )
        .unwrap()
    }

    fn with_run(phase: Option<RunPhase>) -> CallTest {
        let mut test = test();
        test.status = Some(CallTestStatus {
            run: Some("r1".into()),
            phase,
            ..CallTestStatus::default()
        });
        test
    }

    pub(crate) fn seen(status: &str) -> Inputs {
        let report = match status {
            "" => Report::None,
            "?" => Report::Unknown,
            status => Report::State(Box::new(RunState {
                run: "r1".into(),
                status: status.into(),
                ..RunState::default()
            })),
        };
        Inputs {
            now: Timestamp::from_second(1000).unwrap(),
            report,
            since_write: None,
        }
    }

    fn stop(reason: &'static str) -> Decision {
        Decision::Stop {
            run: "r1".into(),
            reason,
        }
    }

    #[test]
    fn kept_submitted_followed_let_go() {
        let mut fresh = test();
        fresh.metadata.finalizers = None;
        assert_eq!(decide(&fresh, &seen("")), Decision::AddFinalizer);
        assert_eq!(decide(&test(), &seen("")), Decision::Submit);
        assert_eq!(decide(&with_run(None), &seen("")), Decision::Follow);
        assert_eq!(
            decide(&with_run(Some(RunPhase::Queued)), &seen("RUNNING")),
            Decision::Follow
        );
        assert_eq!(
            decide(&with_run(Some(RunPhase::Running)), &seen("COMPLETED")),
            Decision::Done
        );
        assert_eq!(
            decide(&with_run(Some(RunPhase::Completed)), &seen("COMPLETED")),
            Decision::RemoveFinalizer
        );
    }

    #[test]
    fn a_test_is_never_submitted_twice() {
        for phase in [
            None,
            Some(RunPhase::Queued),
            Some(RunPhase::Completed),
            Some(RunPhase::Failed),
        ] {
            for report in ["", "?", "QUEUED", "COMPLETED"] {
                assert_ne!(decide(&with_run(phase), &seen(report)), Decision::Submit);
            }
        }
    }

    #[test]
    fn a_refused_definition_waits_for_a_change() {
        let mut refused = test();
        let status: CallTestStatus = serde_yaml::from_str(
            "conditions: [{type: Accepted, status: 'False', reason: Refused, message: '', observedGeneration: 1, lastTransitionTime: '2026-01-01T00:00:00Z'}]",
        )
        .unwrap();
        refused.status = Some(status);
        assert_eq!(decide(&refused, &seen("")), Decision::Done);
        refused.metadata.generation = Some(2);
        assert_eq!(decide(&refused, &seen("")), Decision::Submit);
    }

    #[test]
    fn the_annotation_stops_once() {
        let mut test = with_run(Some(RunPhase::Running));
        test.metadata.annotations = Some([(labels::STOP.to_owned(), String::new())].into());
        assert_eq!(
            decide(&test, &seen("RUNNING")),
            stop("stopped by the annotation callmeter.io/stop")
        );
        assert_eq!(decide(&test, &seen("STOPPING")), Decision::Follow);
        assert_eq!(decide(&test, &seen("COMPLETED")), Decision::Done);
    }

    #[test]
    fn deletion_stops_the_run_and_is_bounded() {
        let deleted = |at| {
            let mut test = with_run(Some(RunPhase::Running));
            test.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(at).unwrap()));
            test
        };
        assert_eq!(
            decide(&deleted(999), &seen("RUNNING")),
            stop("the CallTest was deleted")
        );
        assert_eq!(decide(&deleted(999), &seen("STOPPING")), Decision::Follow);
        assert_eq!(
            decide(&deleted(999), &seen("COMPLETED")),
            Decision::RemoveFinalizer
        );
        assert_eq!(decide(&deleted(999), &seen("?")), Decision::RemoveFinalizer);
        // The gateway may take 90 s.
        assert_eq!(decide(&deleted(910), &seen("STOPPING")), Decision::Follow);
        assert_eq!(
            decide(&deleted(900), &seen("STOPPING")),
            Decision::RemoveFinalizer
        );
        let mut never = deleted(999);
        never.status = None;
        assert_eq!(decide(&never, &seen("")), Decision::RemoveFinalizer);
    }
}
