//! The next step of a worker: a pure function of its object and what is seen.

use callmeter_api::{
    CallMeterWorker,
    condition::{Reason, Type},
    labels,
    pool::OnTimeout,
    worker::{DrainStatus, TokenState},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    dereference::Inputs,
    drain::{self, DrainInput, DrainStep},
    token,
    validate::ValidatedWorker,
};
use crate::fleet::View;

/// A deletion is over this long after its deadline, whatever does not answer.
const FINALIZER_BUDGET: SignedDuration = SignedDuration::from_mins(2);

/// The next step of a worker. One per pass; what it changes asks for the next pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Keep the object until it is drained.
    AddFinalizer,
    /// Nothing is left: end its record and let the object go. `forced`: the deletion took too long.
    Finish {
        /// Whether the wait was given up.
        forced: bool,
    },
    /// A step of its drain, with what to record.
    Drain(DrainStatus, DrainStep),
    /// The drain was taken back: it takes work again.
    Undrain {
        /// The gateway's id and the process, if a fence may hold.
        fenced: Option<(String, Vec<u8>)>,
    },
    /// Have its token minted and stored.
    Mint,
    /// Make its pod.
    CreatePod,
    /// Delete its pod so that a new one reads the Secret again; `rotate`: with a new token.
    ReplacePod {
        /// Whether the token was minted, and so can be made anew.
        rotate: bool,
        /// Why.
        why: &'static str,
    },
    /// Delete a pod that its node has ended.
    DeleteEndedPod,
    /// Look again after this.
    Wait(SignedDuration),
    /// All is done.
    Steady,
}

/// Decides.
pub(crate) fn decide(
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    inputs: &Inputs,
) -> Decision {
    let status = worker.status.clone().unwrap_or_default();
    let Inputs { now, pod, view } = inputs;
    let finalizer = worker
        .finalizers()
        .iter()
        .any(|f| f == labels::DRAIN_FINALIZER);
    if valid.deleting && !finalizer {
        return Decision::Steady;
    }
    if !finalizer {
        return Decision::AddFinalizer;
    }
    if valid.deleting || valid.drain_reason.is_some() {
        let (record, step) = drain::advance(&DrainInput {
            now: *now,
            known: status.drain.as_ref(),
            spec: valid.drain,
            force: valid.force,
            own_gateway: valid.own_gateway,
            pod: pod.as_ref(),
            view,
        });
        return match worker.metadata.deletion_timestamp.as_ref() {
            Some(_) if step == DrainStep::Empty => Decision::Finish { forced: false },
            Some(since) if over_budget(valid, since.0, *now) => Decision::Finish { forced: true },
            _ => Decision::Drain(record, step),
        };
    }
    if status.drain.is_some() {
        return match (view, pod) {
            // A fence that cannot be lifted now is lifted later; until then it is on record.
            (View::Unknown, Some(pod)) if valid.own_gateway && !pod.terminating => {
                Decision::Wait(SignedDuration::from_secs(5))
            }
            (View::Row(row), Some(pod)) if row.pod_uid == pod.uid && !pod.terminating => {
                Decision::Undrain {
                    fenced: Some((row.id.clone(), row.instance.clone())),
                }
            }
            _ => Decision::Undrain { fenced: None },
        };
    }
    if valid.claimed && status.token != Some(TokenState::Stored) {
        return Decision::Mint;
    }
    let Some(pod) = pod else {
        return match view {
            // The gateway frees the token of a process that is gone within a minute.
            View::Row(row) if row.connected => Decision::Wait(SignedDuration::from_secs(2)),
            _ => Decision::CreatePod,
        };
    };
    if pod.terminating {
        return Decision::Steady;
    }
    if pod.ended {
        return Decision::DeleteEndedPod;
    }
    let verdict = token::judge(Some(pod), view);
    if valid.claimed && verdict.reason == Reason::SecretMissing {
        return Decision::Mint;
    }
    if verdict.needs_restart()
        && let Some(exit) = pod.exit.as_ref().filter(|exit| exit.current)
    {
        let tries = status.restarts.map_or(0, |restarts| restarts.consecutive);
        let wait = SignedDuration::from_secs((10_i64 << tries.min(3)).min(60));
        // Since the refusal was first seen: a kubelet may start the container again and again.
        let refused = status
            .conditions
            .iter()
            .find(|c| c.type_ == Type::TokenValid.as_str() && c.status == "False");
        let since = refused.map(|c| c.last_transition_time.0).or(exit.at);
        let left = since.map_or(SignedDuration::ZERO, |since| {
            (since + wait).duration_since(*now)
        });
        return if left <= SignedDuration::ZERO {
            Decision::ReplacePod {
                rotate: valid.claimed,
                why: verdict.message,
            }
        } else {
            Decision::Wait(left)
        };
    }
    Decision::Steady
}

fn over_budget(valid: &ValidatedWorker, since: Timestamp, now: Timestamp) -> bool {
    let length = SignedDuration::try_from(valid.drain.timeout.std()).unwrap_or(SignedDuration::MAX);
    let end = since
        .saturating_add(length.saturating_add(FINALIZER_BUDGET))
        .unwrap_or(Timestamp::MAX);
    (valid.drain.on_timeout == OnTimeout::Terminate || valid.force) && now >= end
}

#[cfg(test)]
mod tests {
    use callmeter_api::worker::RestartStatus;
    use callmeter_proto::{INVALID_TOKEN, fleet::WorkerRow};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::{
        super::{
            facts::{Exit, PodFacts},
            token::tests::pod,
            validate::tests::{settings, worker},
        },
        *,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn decided(
        worker: &CallMeterWorker,
        second: i64,
        pod: Option<PodFacts>,
        view: View,
    ) -> Decision {
        let valid = super::super::validate::validate(worker, &settings()).unwrap();
        decide(
            worker,
            &valid,
            &Inputs {
                now: at(second),
                pod,
                view,
            },
        )
    }

    fn connected(pod_uid: &str) -> View {
        View::Row(Box::new(WorkerRow {
            id: "w1".into(),
            instance: vec![7],
            pod_uid: pod_uid.into(),
            connected: true,
            ..WorkerRow::default()
        }))
    }

    #[test]
    fn from_nothing_to_a_pod() {
        let fresh = worker("{metadata: {finalizers: []}}");
        assert_eq!(
            decided(&fresh, 0, None, View::Absent),
            Decision::AddFinalizer
        );
        let kept = worker("{}");
        assert_eq!(decided(&kept, 0, None, View::Absent), Decision::CreatePod);
        assert_eq!(decided(&kept, 0, None, View::Unknown), Decision::CreatePod);
        assert_eq!(
            decided(&kept, 0, Some(pod()), connected("pod-uid")),
            Decision::Steady
        );
    }

    #[test]
    fn a_minted_token_comes_before_the_pod() {
        let claimed = worker("{spec: {claimed: true}}");
        assert_eq!(decided(&claimed, 0, None, View::Absent), Decision::Mint);
        let stored = worker("{spec: {claimed: true}, status: {token: Stored}}");
        assert_eq!(decided(&stored, 0, None, View::Absent), Decision::CreatePod);
        let lost = PodFacts {
            waiting: Some(("CreateContainerConfigError".into(), String::new())),
            ..pod()
        };
        assert_eq!(
            decided(&stored, 0, Some(lost.clone()), View::Absent),
            Decision::Mint
        );
        assert_eq!(
            decided(&worker("{}"), 0, Some(lost), View::Absent),
            Decision::Steady
        );
    }

    #[test]
    fn no_second_pod_while_the_first_one_or_its_session_lives() {
        let ending = PodFacts {
            terminating: true,
            ..pod()
        };
        assert_eq!(
            decided(&worker("{}"), 0, Some(ending), View::Absent),
            Decision::Steady
        );
        assert!(matches!(
            decided(&worker("{}"), 0, None, connected("pod-uid")),
            Decision::Wait(_)
        ));
    }

    #[test]
    fn a_refused_token_is_read_again_after_10_s_doubling_to_60() {
        let refused = |second| PodFacts {
            exit: Some(Exit {
                code: 3,
                message: INVALID_TOKEN.into(),
                at: Some(at(second)),
                current: true,
            }),
            ..pod()
        };
        for (tries, wait) in [(0, 10), (1, 20), (2, 40), (3, 60), (9, 60)] {
            let mut tried = worker("{}");
            let status = tried.status.get_or_insert_default();
            status.restarts = Some(RestartStatus {
                consecutive: tries,
                ..RestartStatus::default()
            });
            let early = decided(&tried, wait - 1, Some(refused(0)), View::Absent);
            assert_eq!(
                early,
                Decision::Wait(SignedDuration::from_secs(1)),
                "{tries}"
            );
            let due = decided(&tried, wait, Some(refused(0)), View::Absent);
            assert!(
                matches!(due, Decision::ReplacePod { rotate: false, .. }),
                "{tries}"
            );
        }
        let running = PodFacts {
            exit: refused(0).exit.map(|e| Exit {
                current: false,
                ..e
            }),
            ..pod()
        };
        assert_eq!(
            decided(&worker("{}"), 100, Some(running), View::Absent),
            Decision::Steady
        );
        let claimed = worker("{spec: {claimed: true}, status: {token: Stored}}");
        let due = decided(&claimed, 10, Some(refused(0)), View::Absent);
        assert!(matches!(due, Decision::ReplacePod { rotate: true, .. }));
    }

    #[test]
    fn a_drain_that_is_taken_back_lifts_its_fence() {
        let mut back = worker("{}");
        back.status.get_or_insert_default().drain = Some(DrainStatus::default());
        let lifted = decided(&back, 0, Some(pod()), connected("pod-uid"));
        assert_eq!(
            lifted,
            Decision::Undrain {
                fenced: Some(("w1".into(), vec![7]))
            }
        );
        assert_eq!(
            decided(&back, 0, Some(pod()), connected("other")),
            Decision::Undrain { fenced: None }
        );
        assert!(matches!(
            decided(&back, 0, Some(pod()), View::Unknown),
            Decision::Wait(_)
        ));
        assert_eq!(
            decided(&back, 0, None, View::Unknown),
            Decision::Undrain { fenced: None }
        );
    }

    #[test]
    fn a_deleted_worker_is_drained_first_and_within_bounds() {
        let mut gone = worker("{status: {drain: {requestedAt: '1970-01-12T13:46:40Z'}}}");
        gone.metadata.deletion_timestamp = Some(Time(at(0)));
        let fence = decided(&gone, 1, Some(pod()), connected("pod-uid"));
        assert!(
            matches!(fence, Decision::Drain(_, DrainStep::Fence { .. })),
            "{fence:?}"
        );
        assert_eq!(
            decided(&gone, 1, None, View::Unknown),
            Decision::Finish { forced: false }
        );
        let ending = PodFacts {
            terminating: true,
            ..pod()
        };
        let waits = decided(&gone, 1319, Some(ending.clone()), View::Unknown);
        assert!(matches!(waits, Decision::Drain(_, DrainStep::Terminating)));
        assert_eq!(
            decided(&gone, 1320, Some(ending), View::Unknown),
            Decision::Finish { forced: true }
        );
    }
}
