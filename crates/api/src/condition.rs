//! Condition types and reasons, and how a condition is updated.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// That is not known.
    Unknown,
}

impl Status {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Name as shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
    };
}

names! {
    /// Types of conditions, in the order they are listed in a status.
    Type {
        /// Worker: connected, not fenced, its token is not refused.
        Ready,
        /// Pool: as many workers take work as it asks for.
        Available,
        /// `CallTest`: the gateway took it.
        Accepted,
        /// `CallTest`: it runs.
        Running,
        /// `CallTest`: it has ended.
        Complete,
        /// `CallTest`: what was expected holds.
        Passed,
        /// Pool: it moves towards its spec.
        Progressing,
        /// Pool: workers are being made.
        ScalingUp,
        /// Pool: workers are being drained and removed.
        ScalingDown,
        /// Pool: there is a token for every worker it asks for.
        TokensSufficient,
        /// Pool: the port windows hold a block for each worker.
        PortsAllocatable,
        /// Pool: the gateway's figures are fresh and decide.
        AutoscalingActive,
        /// Pool: the decision was cut by a limit.
        AutoscalingLimited,
        /// A person is needed.
        Degraded,
        /// Worker: whether its token is accepted.
        TokenValid,
        /// Worker: the gateway allows it fewer endpoints than asked for.
        CapacityMismatch,
        /// Worker: its pod has a node.
        PodScheduled,
        /// Worker on the host network: its node keeps its ports for it.
        PortsBound,
        /// Worker: it has a live connection.
        GatewayConnected,
        /// Worker: it has active or reserved endpoints.
        Busy,
        /// Worker: it was made from the pool's current template.
        UpToDate,
        /// Worker: it takes no new work.
        Draining,
        /// Worker: its drain deadline has passed and it is still there.
        DrainStuck,
        /// Nothing is changed on purpose.
        Paused,
        /// The object is on its way out.
        Deleting,
    }
}

names! {
    /// Reasons of conditions and of events.
    Reason {
        /// All is as it should be.
        AsExpected,
        /// As many workers take work as asked for.
        MinimumReplicas,
        /// Fewer workers take work than asked for.
        BelowDesired,
        /// No worker was asked for.
        ZeroRequested,
        /// Workers are made or removed.
        Scaling,
        /// Nothing is left to do.
        Complete,
        /// Workers finish what they have.
        WaitingForDrain,
        /// Every token is in use.
        NoFreeTokens,
        /// Another worker has this token.
        DuplicateToken,
        /// The token is not of the documented form.
        MalformedToken,
        /// A cloud worker's token.
        CloudToken,
        /// The gateway does not know the token.
        InvalidToken,
        /// The Secret, or its key, is not there.
        SecretMissing,
        /// An admin disabled the worker.
        WorkerDisabled,
        /// Another process uses the token.
        DuplicateConnection,
        /// The gateway has not answered yet.
        NotYetKnown,
        /// The gateway accepts the token.
        Accepted,
        /// The port window holds fewer blocks than workers are asked for.
        WindowTooSmall,
        /// A block of the window is free for each worker.
        BlocksFree,
        /// The gateway's figures are too old.
        StaleSignal,
        /// Figures are fresh.
        SignalFresh,
        /// There is nothing to decide.
        Disabled,
        /// More is needed than `maxReplicas` allows.
        MaxReplicas,
        /// Less is needed than `minReplicas`.
        MinReplicas,
        /// Going down waits for the stabilisation window or `idleAfter`.
        Stabilizing,
        /// No limit applies.
        WithinLimits,
        /// The gateway does not answer.
        GatewayUnreachable,
        /// Pod Security admission refuses the pods.
        PodSecurityForbidden,
        /// A quota is used up.
        QuotaExceeded,
        /// The spec, or what it refers to, cannot be acted on.
        ValidationFailed,
        /// The gateway refuses the definition.
        Refused,
        /// It has a live connection.
        Connected,
        /// It has no live connection.
        Disconnected,
        /// The gateway does not list it yet.
        NotRegistered,
        /// The gateway cannot be asked; the pod's readiness counts.
        PodReadiness,
        /// Some endpoints are active or reserved.
        EndpointsInUse,
        /// No endpoint is active or reserved.
        Idle,
        /// Unhealthy by its own report.
        Unhealthy,
        /// There is no pod.
        NoPod,
        /// A node has the pod.
        Scheduled,
        /// No node can take the pod.
        Unschedulable,
        /// The node keeps the worker's ports for it.
        PortsClaimed,
        /// On every node that could take the pod some of its ports are taken.
        PortConflict,
        /// The worker runs an older template.
        OutdatedTemplate,
        /// The worker runs the current template.
        CurrentTemplate,
        /// The capacity is as asked for.
        CapacityGranted,
        /// The gateway allows fewer endpoints.
        CapacityReduced,
        /// The pool has too many workers.
        ScaleDown,
        /// A new template.
        Update,
        /// Its node is drained.
        NodeDrain,
        /// It gets a new token.
        TokenRotation,
        /// A person asked.
        User,
        /// Not asked to drain.
        NotDraining,
        /// The deadline has passed.
        DeadlinePassed,
        /// The object is being deleted.
        Deleted,
        /// `paused` is set.
        PausedByUser,
        /// `paused` is not set.
        NotPaused,
        /// Waits for capacity.
        Queued,
        /// Endpoints work.
        Running,
        /// It is over.
        Ended,
        /// A group lost all its endpoints.
        RunFailed,
        /// A limit keeps it from starting.
        CannotRunForNow,
        /// Measurements are missing.
        Partial,
        /// Every bound holds.
        ExpectationsMet,
        /// A bound does not hold.
        ExpectationsMissed,
        /// There is no verdict.
        NoVerdict,
        /// Was stopped.
        Stopped,
    }
}

/// One condition as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Its type.
    pub type_: Type,
    /// Whether it holds.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// Why, for people; free of times that move on their own.
    pub message: String,
}

impl Desired {
    /// A condition as it is to be.
    pub fn new(
        type_: Type,
        status: impl Into<Status>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status: status.into(),
            reason,
            message: message.into(),
        }
    }
}

/// The conditions to write: `desired` over `current`, sorted as [`Type`] is. The transition time of
/// a condition is kept unless its *status* changes; conditions that are not desired are left out.
pub fn merge(
    current: &[Condition],
    desired: Vec<Desired>,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let mut desired = desired;
    desired.sort_by_key(|condition| condition.type_);
    desired
        .into_iter()
        .map(
            |Desired {
                 type_,
                 status,
                 reason,
                 message,
             }| {
                let since = current
                    .iter()
                    .find(|known| known.type_ == type_.as_str() && known.status == status.as_str())
                    .map_or_else(|| now.clone(), |known| known.last_transition_time.clone());
                Condition {
                    last_transition_time: since,
                    message,
                    observed_generation: generation,
                    reason: reason.as_str().to_owned(),
                    status: status.as_str().to_owned(),
                    type_: type_.as_str().to_owned(),
                }
            },
        )
        .collect()
}

/// Whether a condition of this type is there and holds.
pub fn is_true(conditions: &[Condition], type_: Type) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == type_.as_str() && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_new_reason_keeps_the_transition_time_and_a_new_status_does_not() {
        let first = merge(
            &[],
            vec![Desired::new(Type::Ready, false, Reason::NoPod, "a")],
            Some(1),
            &at(1),
        );
        let second = merge(
            &first,
            vec![Desired::new(Type::Ready, false, Reason::Disconnected, "b")],
            Some(2),
            &at(2),
        );
        assert_eq!(second[0].last_transition_time, at(1));
        assert_eq!(second[0].reason, "Disconnected");
        assert_eq!(second[0].observed_generation, Some(2));
        let third = merge(
            &second,
            vec![Desired::new(Type::Ready, true, Reason::Connected, "c")],
            Some(2),
            &at(3),
        );
        assert_eq!(third[0].last_transition_time, at(3));
    }

    #[test]
    fn conditions_are_sorted_ready_first_and_unwanted_ones_go() {
        let current = merge(
            &[],
            vec![Desired::new(
                Type::DrainStuck,
                true,
                Reason::DeadlinePassed,
                "",
            )],
            None,
            &at(1),
        );
        let merged = merge(
            &current,
            vec![
                Desired::new(Type::Busy, Status::Unknown, Reason::NotYetKnown, ""),
                Desired::new(Type::Ready, true, Reason::Connected, ""),
            ],
            None,
            &at(2),
        );
        let types: Vec<_> = merged.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["Ready", "Busy"]);
        assert!(is_true(&merged, Type::Ready) && !is_true(&merged, Type::Busy));
    }
}
