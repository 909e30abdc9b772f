//! What a worker reports; written only when it differs.

mod conditions;

use callmeter_api::{
    CallMeterWorker,
    condition::{self, Reason, Status, Type},
    worker::{
        CallMeterWorkerStatus, GatewayStatus, PodRef, SignalSource, TokenState, WorkerLoad,
        WorkerPhase,
    },
};
use callmeter_proto::fleet::{WorkerRow, WorkerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::{controller::Action, events::EventType};

use super::{
    Worker,
    apply::Applied,
    dereference::Inputs,
    token::{self, TokenVerdict},
    validate::ValidatedWorker,
};
use crate::{error::Result, fleet::View, pool::member};

/// How often a worker is looked at though nothing was heard of it.
const RESYNC: std::time::Duration = std::time::Duration::from_secs(300);

/// Writes the status if it differs, tells of what changed, and says when to look again.
pub(crate) async fn write(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    inputs: &Inputs,
    applied: Applied,
) -> Result<Action> {
    let action = match applied.again.map(std::time::Duration::try_from) {
        Some(Ok(wait)) => Action::requeue(wait.clamp(std::time::Duration::from_millis(20), RESYNC)),
        _ => Action::requeue(RESYNC),
    };
    if applied.skip_status {
        return Ok(action);
    }
    let before = worker.status.clone().unwrap_or_default();
    let after = build(worker, valid, inputs, &applied);
    if after == before {
        return Ok(action);
    }
    let answer = context
        .shared
        .writer
        .status("report on the worker", worker, &after)
        .await?;
    context.written.keep(answer);
    tell(context, worker, valid, &before, &after).await;
    Ok(action)
}

/// The status as it is to be; a pure function.
fn build(
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    inputs: &Inputs,
    applied: &Applied,
) -> CallMeterWorkerStatus {
    let before = worker.status.clone().unwrap_or_default();
    let pod = inputs.pod.as_ref();
    let verdict = token::judge(pod, &inputs.view);
    let row = match &inputs.view {
        View::Row(row) => Some(row.as_ref()),
        View::Unknown | View::Absent => None,
    };
    // A row that tells of an earlier pod says nothing of this one.
    let own_row = row.filter(|row| pod.is_some_and(|pod| pod.uid == row.pod_uid));
    let link = Link::new(valid, inputs, own_row);
    let load = load(inputs, own_row);
    let desired = conditions::conditions(&conditions::Seen {
        valid,
        inputs,
        applied,
        verdict: &verdict,
        link: &link,
        load,
        row: own_row,
    });
    let phase = phase(valid, inputs, applied, &verdict, own_row, &link);
    let known_id = before
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.worker_id.clone());
    CallMeterWorkerStatus {
        observed_generation: worker.metadata.generation,
        phase: Some(phase),
        gateway: Some(GatewayStatus {
            worker_id: applied
                .minted
                .clone()
                .or(known_id)
                .or_else(|| row.map(|row| row.id.clone())),
            state: row.map(state).or_else(|| {
                link.keeps
                    .then(|| before.gateway.as_ref()?.state.clone())
                    .flatten()
            }),
            connected: link.connected == Status::True,
            source: link.source,
        }),
        token: if applied.minted.is_some() {
            Some(TokenState::Stored)
        } else {
            before.token
        },
        load: Some(load),
        pod_ref: pod.map(|pod| PodRef {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            node_name: pod.node.clone(),
            host_ip: pod.host_ip.clone(),
        }),
        revision: pod.and_then(|pod| pod.revision.clone()),
        drain: applied.drain.clone(),
        restarts: match (&applied.restarted, verdict.status) {
            (Some(restarts), _) => Some(restarts.clone()),
            (None, Status::True) => None,
            (None, _) => before.restarts,
        },
        conditions: condition::merge(
            &before.conditions,
            desired,
            worker.metadata.generation,
            &Time(inputs.now),
        ),
    }
}

/// Whether the worker is connected, and who says so.
struct Link {
    connected: Status,
    source: SignalSource,
    /// The gateway cannot be asked now; what it said last is kept.
    keeps: bool,
    reason: Reason,
    message: &'static str,
}

impl Link {
    fn new(valid: &ValidatedWorker, inputs: &Inputs, row: Option<&WorkerRow>) -> Self {
        let by_gateway = |connected, reason, message| Self {
            connected,
            source: SignalSource::Gateway,
            keeps: false,
            reason,
            message,
        };
        if valid.own_gateway && inputs.view != View::Unknown {
            return match row {
                Some(row) if row.connected => by_gateway(
                    Status::True,
                    Reason::Connected,
                    "the gateway has its connection",
                ),
                Some(_) => by_gateway(
                    Status::False,
                    Reason::Disconnected,
                    "the gateway has lost its connection",
                ),
                None => by_gateway(
                    Status::False,
                    Reason::NotRegistered,
                    "the gateway has not seen this pod yet",
                ),
            };
        }
        let ready = inputs.pod.as_ref().is_some_and(|pod| pod.ready);
        Self {
            connected: ready.into(),
            source: SignalSource::Pod,
            keeps: valid.own_gateway,
            reason: Reason::PodReadiness,
            message: "the gateway cannot be asked; the pod's readiness counts",
        }
    }
}

fn load(inputs: &Inputs, row: Option<&WorkerRow>) -> WorkerLoad {
    match member::endpoints(
        &inputs.view,
        inputs.pod.as_ref().map(|pod| pod.uid.as_str()),
    ) {
        None => WorkerLoad::Unknown,
        Some(0) => WorkerLoad::Idle,
        Some(used)
            if row.is_some_and(|row| {
                row.effective_capacity > 0 && used >= row.effective_capacity
            }) =>
        {
            WorkerLoad::Full
        }
        Some(_) => WorkerLoad::Busy,
    }
}

fn state(row: &WorkerRow) -> String {
    match row.status() {
        WorkerStatus::Online => "ONLINE",
        WorkerStatus::Draining => "DRAINING",
        WorkerStatus::Error => "ERROR",
        WorkerStatus::Offline | WorkerStatus::Unspecified => "OFFLINE",
    }
    .to_owned()
}

fn phase(
    valid: &ValidatedWorker,
    inputs: &Inputs,
    applied: &Applied,
    verdict: &TokenVerdict,
    row: Option<&WorkerRow>,
    link: &Link,
) -> WorkerPhase {
    let draining = valid.drain_reason.is_some() || valid.deleting;
    let Some(pod) = &inputs.pod else {
        return if draining
            && applied
                .drain
                .as_ref()
                .is_some_and(|d| d.requested_at.is_some())
        {
            WorkerPhase::Drained
        } else {
            WorkerPhase::Pending
        };
    };
    if draining || row.is_some_and(|row| row.fence_seq != 0 && row.connected) {
        return WorkerPhase::Draining;
    }
    if verdict.status == Status::False || row.is_some_and(|row| row.status() == WorkerStatus::Error)
    {
        return WorkerPhase::Error;
    }
    if link.connected == Status::True {
        return WorkerPhase::Online;
    }
    if pod.node.is_none() {
        WorkerPhase::Pending
    } else if row.is_some() {
        WorkerPhase::Offline
    } else {
        WorkerPhase::Starting
    }
}

/// Events and metrics of what changed.
async fn tell(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    before: &CallMeterWorkerStatus,
    after: &CallMeterWorkerStatus,
) {
    let shared = &context.shared;
    if before.phase != Some(WorkerPhase::Online) && after.phase == Some(WorkerPhase::Online) {
        shared
            .event(
                worker,
                EventType::Normal,
                "Online",
                "is connected and takes work".to_owned(),
            )
            .await;
    }
    let not = |status: &CallMeterWorkerStatus, type_: Type| {
        let mut conditions = status.conditions.iter();
        conditions
            .find(|c| c.type_ == type_.as_str() && c.status == "False")
            .map(|c| (c.reason.clone(), c.message.clone()))
    };
    if let Some((_, message)) = not(after, Type::PortsBound)
        && not(before, Type::PortsBound).is_none()
    {
        shared
            .metrics
            .port_conflicts
            .with_label_values(&[&valid.namespace, &valid.pool])
            .inc();
        shared
            .event(worker, EventType::Warning, "PortConflict", message)
            .await;
    }
    let refusal = |status: &CallMeterWorkerStatus| not(status, Type::TokenValid);
    if let Some((reason, message)) = refusal(after)
        && refusal(before).is_none_or(|(known, _)| known != reason)
    {
        shared
            .metrics
            .token_rejected
            .with_label_values(&[&reason])
            .inc();
        let event = if reason == Reason::DuplicateConnection.as_str() {
            "DuplicateConnection"
        } else {
            "TokenRejected"
        };
        shared
            .event(
                worker,
                EventType::Warning,
                event,
                format!("{reason}: {message}"),
            )
            .await;
    }
}

#[cfg(test)]
mod tests;
