//! Carries out one decision on a worker.

mod pod;

use callmeter_api::{
    CallMeterWorker,
    condition::Reason,
    labels,
    worker::{DrainStatus, RestartStatus},
};
use callmeter_proto::fleet as pb;
use k8s_openapi::{
    api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration,
};
use kube::runtime::events::EventType;
use tracing::{info, warn};

use self::pod::{allow_eviction, create_pod, delete_pod};
use super::{
    Worker, claim, decide::Decision, dereference::Inputs, drain::DrainStep,
    validate::ValidatedWorker,
};
use crate::error::{Error, Result};

/// What a pass has changed, for the status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// The object is gone, or has to be read again before its status is written.
    pub(crate) skip_status: bool,
    /// The drain as it is to be recorded.
    pub(crate) drain: Option<DrainStatus>,
    /// Its token is stored, under this record of the gateway.
    pub(crate) minted: Option<String>,
    /// Its pod was deleted because its token was refused.
    pub(crate) restarted: Option<RestartStatus>,
    /// Why its pod cannot be made.
    pub(crate) blocked: Option<(Reason, String)>,
    /// When to look again.
    pub(crate) again: Option<SignedDuration>,
}

/// Carries the decision out.
pub(crate) async fn apply(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    inputs: &Inputs,
    decision: Decision,
) -> Result<Applied> {
    let writer = &context.shared.writer;
    let mut applied = Applied {
        drain: worker
            .status
            .as_ref()
            .and_then(|status| status.drain.clone()),
        ..Applied::default()
    };
    match decision {
        Decision::AddFinalizer => {
            let kept = writer
                .finalizer(
                    "keep the worker until it is drained",
                    worker,
                    labels::DRAIN_FINALIZER,
                    true,
                )
                .await?;
            context.written.keep(kept);
            applied.skip_status = true;
            applied.again = Some(SignedDuration::ZERO);
        }
        Decision::Finish { forced } => {
            finish(context, worker, valid, forced).await?;
            applied.skip_status = true;
        }
        Decision::Drain(record, step) => {
            drain(context, worker, valid, inputs, record, step, &mut applied).await?;
        }
        Decision::Undrain { fenced } => {
            if let Some((id, instance)) = fenced {
                context
                    .shared
                    .fleet
                    .unfence(pb::UnfenceRequest { id, instance })
                    .await?;
                allow_eviction(context, worker, inputs, false).await?;
            }
            info!(
                namespace = valid.namespace,
                worker = valid.name,
                "a drain was taken back"
            );
            applied.drain = None;
        }
        Decision::Mint => match claim::mint(context, valid).await {
            Ok(id) => {
                applied.minted = Some(id);
                applied.again = Some(SignedDuration::ZERO);
            }
            Err(error @ Error::Gateway { .. }) => {
                warn!(
                    namespace = valid.namespace,
                    worker = valid.name,
                    error = error.chain(),
                    "a worker waits for its token"
                );
                let message =
                    "its token cannot be minted while the gateway cannot be asked".to_owned();
                applied.blocked = Some((Reason::GatewayUnreachable, message));
                applied.again = Some(SignedDuration::from_secs(3));
            }
            Err(error) => return Err(error),
        },
        Decision::CreatePod => create_pod(context, worker, valid, &mut applied).await?,
        Decision::ReplacePod { rotate, why } => {
            if rotate {
                applied.minted = Some(claim::rotate(context, valid).await?);
            }
            delete_pod(context, worker, inputs, Some(1)).await?;
            let tries = worker
                .status
                .as_ref()
                .and_then(|s| s.restarts.as_ref())
                .map_or(0, |r| r.consecutive);
            applied.restarted = Some(RestartStatus {
                consecutive: tries.saturating_add(1),
                next_attempt: None,
                last_error: why.to_owned(),
            });
            let note = format!("its pod is replaced so that it reads its token again: {why}");
            context
                .shared
                .event(worker, EventType::Warning, "Replaced", note)
                .await;
        }
        Decision::DeleteEndedPod => {
            delete_pod(context, worker, inputs, None).await?;
            context
                .shared
                .event(
                    worker,
                    EventType::Normal,
                    "Replaced",
                    "its pod was ended by its node".to_owned(),
                )
                .await;
        }
        Decision::Wait(time) => applied.again = Some(time),
        Decision::Steady => claim::update_record(context, worker, valid).await?,
    }
    Ok(applied)
}

async fn drain(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    inputs: &Inputs,
    mut record: DrainStatus,
    step: DrainStep,
    applied: &mut Applied,
) -> Result<()> {
    let reason = valid
        .drain_reason
        .map_or("Deleted", callmeter_api::worker::DrainReason::as_str);
    let waits_for = |record: &DrainStatus| record.blockers.first().cloned();
    let known = worker
        .status
        .as_ref()
        .and_then(|status| waits_for(status.drain.as_ref()?));
    if let Some(blocker) = waits_for(&record).filter(|blocker| known.as_ref() != Some(blocker)) {
        let about = deadline(&record);
        context
            .shared
            .event(
                worker,
                EventType::Normal,
                "DrainWaiting",
                format!("{blocker}{about}"),
            )
            .await;
    }
    match step {
        DrainStep::Record => applied.again = Some(SignedDuration::ZERO),
        DrainStep::Fence {
            id,
            instance,
            ends_in_ms,
        } => {
            let request = pb::FenceRequest {
                id,
                instance,
                reason: reason.to_owned(),
                ends_in_ms,
            };
            let first = record.fenced_at.is_none();
            let answer = context.shared.fleet.fence(request).await?;
            record.fence_seq = Some(answer.fence_seq);
            record.fenced_at = Some(Time(inputs.now));
            allow_eviction(context, worker, inputs, true).await?;
            if first {
                let used = answer
                    .active_endpoints
                    .saturating_add(answer.reserved_endpoints);
                let note = format!("takes no new work ({reason}); {used} endpoints were in use");
                context
                    .shared
                    .event(worker, EventType::Normal, "Fenced", note)
                    .await;
            }
            applied.again = Some(SignedDuration::from_secs(2));
        }
        DrainStep::Wait(time) => applied.again = Some(time),
        DrainStep::DeletePod { grace, forced } => {
            let metrics = &context.shared.metrics;
            let since = record
                .requested_at
                .as_ref()
                .map_or(inputs.now, |time| time.0);
            let outcome = if forced { "forced" } else { "idle" };
            let seconds = inputs.now.duration_since(since).as_secs_f64();
            delete_pod(context, worker, inputs, grace).await?;
            metrics
                .drain_duration
                .with_label_values(&[reason, outcome])
                .observe(seconds);
            if forced {
                metrics
                    .drain_forced
                    .with_label_values(&[&valid.namespace, &valid.pool])
                    .inc();
                let note = "its drain deadline has passed; its calls are hung up".to_owned();
                context
                    .shared
                    .event(worker, EventType::Warning, "DrainDeadline", note)
                    .await;
            } else {
                let note = "has nothing left to do; its pod is deleted".to_owned();
                context
                    .shared
                    .event(worker, EventType::Normal, "Drained", note)
                    .await;
            }
        }
        DrainStep::Terminating | DrainStep::Empty => {}
    }
    applied.drain = Some(record);
    Ok(())
}

fn deadline(record: &DrainStatus) -> String {
    record
        .deadline
        .as_ref()
        .map_or_else(String::new, |time| format!("; deadline {}", time.0))
}

/// Ends what the worker has outside the cluster, its Secret, and then the object.
async fn finish(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    forced: bool,
) -> Result<()> {
    let shared = &context.shared;
    if valid.claimed {
        let id = worker
            .status
            .as_ref()
            .and_then(|status| status.gateway.as_ref()?.worker_id.clone());
        if let Some(id) = id
            && let Err(error) = shared.fleet.delete_worker(id).await
        {
            // The gateway's record outlives the object at most until the pool compares them.
            let patience = std::time::Duration::from_secs(120);
            let given_up = forced
                || shared
                    .backoff
                    .failing_since(&valid.uid)
                    .is_some_and(|since| since.elapsed() > patience);
            if !given_up {
                return Err(error);
            }
            let note = format!(
                "its record at the gateway was not deleted: {}",
                error.chain()
            );
            shared
                .event(worker, EventType::Warning, "RecordLeft", note)
                .await;
        }
        // By name and before the object goes: the next worker of this name must not find it.
        shared
            .writer
            .delete_named::<Secret>(
                "delete the worker's token",
                &valid.namespace,
                &valid.token.name,
            )
            .await?;
    }
    if forced {
        let note = "was not drained in time; the object is let go".to_owned();
        shared
            .event(worker, EventType::Warning, "DrainDeadline", note)
            .await;
    }
    let let_go = shared
        .writer
        .finalizer("let the worker go", worker, labels::DRAIN_FINALIZER, false)
        .await;
    match let_go {
        Err(error) if error.status().is_some_and(kube::core::Status::is_not_found) => {}
        other => drop(other?),
    }
    context.written.forget(&valid.uid);
    info!(
        namespace = valid.namespace,
        worker = valid.name,
        forced,
        "a worker is gone"
    );
    Ok(())
}
