//! What decisions about a pool need to know of one worker.

use callmeter_api::{
    CallMeterWorker,
    condition::{self, Reason, Type},
    labels,
    pool::TokenSecretRef,
    worker::{DesiredState, DrainReason, PortBlock, WorkerNetworkMode, WorkerPhase},
};
use callmeter_proto::fleet::WorkerStatus;
use kube::{Resource as _, ResourceExt as _};

use crate::fleet::View;

/// One worker of a pool, as decisions see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) token: TokenSecretRef,
    /// Slot of a worker whose token was minted.
    pub(crate) slot: Option<u32>,
    /// The object is being deleted.
    pub(crate) terminating: bool,
    /// Who asked it to drain.
    pub(crate) drain: Option<DrainReason>,
    /// Nothing is assigned to it any more and its pod is gone.
    pub(crate) drained: bool,
    /// The gateway has confirmed that it gets no new work.
    pub(crate) fenced: bool,
    /// No node has had its pod yet.
    pub(crate) unscheduled: bool,
    /// No node can take its pod now.
    pub(crate) unschedulable: bool,
    /// Its token is refused, or its container fails.
    pub(crate) failed: bool,
    /// It has no live connection.
    pub(crate) offline: bool,
    /// Its pod is of an older template.
    pub(crate) outdated: bool,
    /// Its pod is of the current template.
    pub(crate) updated: bool,
    pub(crate) ready: bool,
    /// Active and reserved endpoints; `None`: not known, and so more than any number.
    pub(crate) endpoints: Option<u32>,
    /// What the gateway allows it; 0: not known.
    pub(crate) effective_capacity: u32,
    /// When it was made, Unix seconds.
    pub(crate) created: i64,
    pub(crate) network: (WorkerNetworkMode, PortBlock),
    /// Why its pod cannot be made, if it cannot.
    pub(crate) blocked: Option<(Reason, String)>,
    pub(crate) token_refused: bool,
}

impl Member {
    /// From the object, what the gateway says of it, and the pool's current revision.
    pub(crate) fn new(worker: &CallMeterWorker, view: &View, revision: &str) -> Self {
        let status = worker.status.clone().unwrap_or_default();
        let draining = worker.spec.desired_state == DesiredState::Drain;
        let pod = status.pod_ref.as_ref();
        let running = status.revision.as_deref();
        let row = match view {
            View::Row(row) => Some(row.as_ref()),
            View::Unknown | View::Absent => None,
        };
        let is = |type_, value: &str| {
            status
                .conditions
                .iter()
                .any(|c| c.type_ == Type::as_str(type_) && c.status == value)
        };
        let blocked = status
            .conditions
            .iter()
            .find(|c| c.type_ == Type::Ready.as_str())
            .and_then(|ready| {
                [Reason::PodSecurityForbidden, Reason::QuotaExceeded]
                    .into_iter()
                    .find(|reason| reason.as_str() == ready.reason)
                    .map(|reason| (reason, ready.message.clone()))
            });
        let phase = status.phase.unwrap_or_default();
        Self {
            name: worker.name_any(),
            uid: worker.uid().unwrap_or_default(),
            token: worker.spec.token_secret_ref.clone(),
            slot: worker
                .labels()
                .get(labels::SLOT)
                .and_then(|slot| slot.parse().ok()),
            terminating: worker.metadata.deletion_timestamp.is_some(),
            drain: draining.then(|| worker.spec.drain_reason.unwrap_or(DrainReason::User)),
            drained: draining && phase == WorkerPhase::Drained && pod.is_none(),
            fenced: status.drain.as_ref().is_some_and(|d| d.fenced_at.is_some()),
            unscheduled: pod.is_none_or(|pod| pod.node_name.is_none()),
            unschedulable: status.conditions.iter().any(|c| {
                c.type_ == Type::PodScheduled.as_str() && c.reason == Reason::Unschedulable.as_str()
            }),
            failed: phase == WorkerPhase::Error || is(Type::TokenValid, "False"),
            offline: is(Type::GatewayConnected, "False"),
            outdated: running.is_some_and(|running| running != revision),
            updated: running == Some(revision),
            ready: condition::is_true(&status.conditions, Type::Ready),
            endpoints: endpoints(view, pod.map(|pod| pod.uid.as_str())),
            effective_capacity: row
                .filter(|r| r.status() != WorkerStatus::Unspecified)
                .map_or(0, |r| r.effective_capacity),
            created: worker
                .meta()
                .creation_timestamp
                .as_ref()
                .map_or(0, |t| t.0.as_second()),
            network: (worker.spec.network.mode, worker.spec.network.block),
            blocked,
            token_refused: is(Type::TokenValid, "False"),
        }
    }

    /// Whether it counts towards the number of workers that is asked for.
    pub(crate) fn is_live(&self) -> bool {
        !self.terminating && self.drain != Some(DrainReason::ScaleDown)
    }

    /// Whether it may have work.
    pub(crate) fn is_busy(&self) -> bool {
        self.endpoints != Some(0)
    }
}

/// Endpoints in use, as far as the gateway says. A worker that never connected has none.
pub(crate) fn endpoints(view: &View, pod_uid: Option<&str>) -> Option<u32> {
    match view {
        View::Unknown => None,
        View::Absent => Some(0),
        View::Row(row) => match pod_uid {
            Some(uid) if row.pod_uid == uid || row.connected => {
                Some(row.active_endpoints.saturating_add(row.reserved_endpoints))
            }
            // The row tells of an earlier pod, which is gone.
            _ => Some(0),
        },
    }
}
