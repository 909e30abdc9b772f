//! Whether a worker's token is accepted, from what its container and the gateway say.

use callmeter_api::condition::{Reason, Status};
use callmeter_proto::{INVALID_TOKEN, fleet::RefusalReason};

use super::facts::PodFacts;
use crate::fleet::View;

/// The verdict on a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenVerdict {
    pub(crate) status: Status,
    pub(crate) reason: Reason,
    pub(crate) message: &'static str,
}

impl TokenVerdict {
    const fn refused(reason: Reason, message: &'static str) -> Self {
        Self {
            status: Status::False,
            reason,
            message,
        }
    }

    /// Whether only a new container, which reads the Secret again, can bring another verdict.
    pub(crate) const fn needs_restart(&self) -> bool {
        matches!(
            self.reason,
            Reason::InvalidToken | Reason::MalformedToken | Reason::CloudToken
        )
    }
}

/// Judges a token. A live connection outweighs how an earlier container ended.
pub(crate) fn judge(pod: Option<&PodFacts>, view: &View) -> TokenVerdict {
    let row = match view {
        View::Row(row) => Some(row),
        View::Unknown | View::Absent => None,
    };
    let of_this_pod = |uid: &str| pod.is_some_and(|pod| pod.uid == uid);
    if let Some(row) = row {
        if row.disabled {
            return TokenVerdict::refused(
                Reason::WorkerDisabled,
                "an admin has disabled the worker at the gateway",
            );
        }
        if row.connected && of_this_pod(&row.pod_uid) {
            return TokenVerdict {
                status: Status::True,
                reason: Reason::Accepted,
                message: "the gateway accepts the token",
            };
        }
    }
    if let Some(pod) = pod {
        if matches!(&pod.waiting, Some((reason, _)) if reason == "CreateContainerConfigError") {
            return TokenVerdict::refused(
                Reason::SecretMissing,
                "the Secret with the token, or its key, does not exist",
            );
        }
        if let Some(exit) = &pod.exit
            && let Some(refused) = by_message(&exit.message)
        {
            return refused;
        }
    }
    if let Some(refusal) = row.and_then(|row| row.last_refusal.as_ref())
        && of_this_pod(&refusal.pod_uid)
    {
        match refusal.reason() {
            RefusalReason::InvalidToken => return invalid(),
            RefusalReason::WorkerDisabled => {
                return TokenVerdict::refused(
                    Reason::WorkerDisabled,
                    "the gateway refused the worker as disabled",
                );
            }
            RefusalReason::DuplicateConnection => {
                return TokenVerdict::refused(
                    Reason::DuplicateConnection,
                    "another process is connected with the token",
                );
            }
            RefusalReason::Unspecified => {}
        }
    }
    TokenVerdict {
        status: Status::Unknown,
        reason: Reason::NotYetKnown,
        message: "the gateway has not answered yet",
    }
}

const fn invalid() -> TokenVerdict {
    TokenVerdict::refused(
        Reason::InvalidToken,
        "the gateway does not know the token, or it was regenerated",
    )
}

/// What a worker wrote when it ended; it never holds the token.
fn by_message(message: &str) -> Option<TokenVerdict> {
    if message.contains(INVALID_TOKEN) {
        Some(invalid())
    } else if !message.contains("WORKER_TOKEN") {
        None
    } else if message.contains("cmc_") {
        Some(TokenVerdict::refused(
            Reason::CloudToken,
            "the Secret holds the token of a cloud worker (cmc_)",
        ))
    } else {
        Some(TokenVerdict::refused(
            Reason::MalformedToken,
            "the Secret holds no worker token; accepted: cmw_ and 64 lowercase hexadecimal characters",
        ))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use callmeter_proto::fleet::{Refusal, WorkerRow};

    use super::{super::facts::Exit, *};

    pub(crate) fn pod() -> PodFacts {
        PodFacts {
            name: "fra-aaaaaaaa".into(),
            uid: "pod-uid".into(),
            terminating: false,
            ended: false,
            node: Some("n1".into()),
            host_ip: Some("10.0.0.1".into()),
            ready: true,
            running: true,
            unschedulable: None,
            waiting: None,
            exit: None,
            revision: Some("abc".into()),
            safe_to_evict: false,
        }
    }

    fn ended(message: &str) -> PodFacts {
        PodFacts {
            exit: Some(Exit {
                code: 3,
                message: message.into(),
                at: None,
                current: true,
            }),
            ..pod()
        }
    }

    fn refused(reason: RefusalReason, pod_uid: &str) -> View {
        View::Row(Box::new(WorkerRow {
            last_refusal: Some(Refusal {
                reason: reason.into(),
                pod_uid: pod_uid.into(),
                at_unix_ms: 0,
            }),
            ..WorkerRow::default()
        }))
    }

    fn reason(pod: &PodFacts, view: &View) -> &'static str {
        judge(Some(pod), view).reason.as_str()
    }

    /// R69
    #[test]
    fn what_the_container_wrote_gives_the_reason() {
        let message = "authentication failed: invalid token";
        assert_eq!(reason(&ended(message), &View::Absent), "InvalidToken");
        assert_eq!(
            reason(
                &ended("WORKER_TOKEN: is malformed (3 characters)"),
                &View::Unknown
            ),
            "MalformedToken"
        );
        assert_eq!(
            reason(
                &ended("WORKER_TOKEN: is a cloud worker token (cmc_)"),
                &View::Absent
            ),
            "CloudToken"
        );
        assert_eq!(
            reason(&ended("CLOUD_URL: is missing"), &View::Absent),
            "NotYetKnown"
        );
        let waiting = PodFacts {
            waiting: Some((
                "CreateContainerConfigError".into(),
                "secret not found".into(),
            )),
            ..pod()
        };
        assert_eq!(reason(&waiting, &View::Absent), "SecretMissing");
    }

    /// R70, R71
    #[test]
    fn what_the_gateway_refused_counts_for_this_pod_only() {
        assert_eq!(
            reason(&pod(), &refused(RefusalReason::WorkerDisabled, "pod-uid")),
            "WorkerDisabled"
        );
        assert_eq!(
            reason(
                &pod(),
                &refused(RefusalReason::DuplicateConnection, "pod-uid")
            ),
            "DuplicateConnection"
        );
        assert_eq!(
            reason(
                &pod(),
                &refused(RefusalReason::DuplicateConnection, "other")
            ),
            "NotYetKnown"
        );
    }

    #[test]
    fn a_live_connection_outweighs_an_earlier_end() {
        let row = WorkerRow {
            connected: true,
            pod_uid: "pod-uid".into(),
            ..WorkerRow::default()
        };
        assert_eq!(
            reason(&ended(INVALID_TOKEN), &View::Row(Box::new(row.clone()))),
            "Accepted"
        );
        let disabled = WorkerRow {
            disabled: true,
            ..row
        };
        assert_eq!(
            reason(&pod(), &View::Row(Box::new(disabled))),
            "WorkerDisabled"
        );
    }
}
