//! `spec.replicas`: what it should be, and the one way it is written.

use callmeter_api::WorkerPool;
use kube::runtime::events::EventType;
use tracing::info;

use super::{
    Pools,
    autoscale::{self, Decision, History},
    dereference::Inputs,
    validate::ValidatedPool,
};
use crate::{error::Result, writes::Manager};

/// How many workers the pool should have: the autoscaler's decision, else what is written, else
/// what there is.
pub(super) fn decide(
    pool: &ValidatedPool,
    inputs: &Inputs,
    history: &mut History,
) -> (Option<Decision>, u32) {
    let live = inputs.members.iter().filter(|m| m.is_live()).count() as u32;
    let Some(limits) = &pool.autoscaling else {
        let absent = if live > 0 { live } else { 1 };
        return (None, pool.replicas.unwrap_or(absent));
    };
    let granted = inputs
        .members
        .iter()
        .filter(|m| m.ready && m.effective_capacity > 0)
        .map(|m| m.effective_capacity)
        .min();
    let decision = autoscale::decide(
        &autoscale::Inputs {
            limits,
            current: pool
                .replicas
                .unwrap_or(live)
                .clamp(limits.min_replicas, limits.max_replicas),
            per_worker: granted
                .unwrap_or(pool.capacity.endpoints)
                .min(pool.capacity.endpoints),
            demand: inputs.demand,
            tokens: pool.tokens.limit(),
            now: inputs.clock,
        },
        history,
    );
    let desired = decision.desired;
    (Some(decision), desired)
}

/// Writes it by PUT on `/scale`, on the version that was decided on. False: the pool has changed
/// since, and nothing was written.
pub(super) async fn write(
    context: &Pools,
    on: &WorkerPool,
    pool: &ValidatedPool,
    decision: Option<&Decision>,
    desired: u32,
) -> Result<bool> {
    let shared = &context.shared;
    let manager = if decision.is_some() && pool.replicas.is_some() {
        Manager::Autoscaler
    } else {
        Manager::Replicas
    };
    let before = pool.replicas;
    if shared.writer.scale(manager, on, desired).await?.is_none() {
        return Ok(false);
    }
    let Some(decision) = decision else {
        return Ok(true);
    };
    let direction = match before {
        Some(before) if before < desired => "up",
        Some(before) if before > desired => "down",
        _ => "initial",
    };
    shared
        .metrics
        .scale_decisions
        .with_label_values(&[direction, decision.limited.as_str()])
        .inc();
    info!(
        namespace = pool.namespace,
        pool = pool.name,
        decision = decision.text,
        "the number of workers is set"
    );
    let ours = on
        .status
        .as_ref()
        .and_then(|status| status.autoscaling.as_ref())
        .map(|a| a.desired);
    if let (Some(before), Some(ours)) = (before, ours)
        && before != ours
        && let Some(manager) = foreign_manager(on)
    {
        let note = format!(
            "{manager} set spec.replicas to {before}; spec.autoscaling decides: {}",
            decision.text
        );
        shared
            .event(on, EventType::Warning, "ReplicasOverwritten", note)
            .await;
    }
    let reason = match direction {
        "up" => "ScaledUp",
        "down" => "ScaledDown",
        _ => return Ok(true),
    };
    shared
        .event(on, EventType::Normal, reason, decision.text.clone())
        .await;
    Ok(true)
}

/// Who owns `spec.replicas`, if it is not the operator.
fn foreign_manager(pool: &WorkerPool) -> Option<String> {
    let owns = |fields: &serde_json::Value| fields.pointer("/f:spec/f:replicas").is_some();
    pool.metadata
        .managed_fields
        .as_ref()?
        .iter()
        .find_map(|entry| {
            let fields = entry.fields_v1.as_ref()?;
            let manager = entry.manager.clone()?;
            let ours = [Manager::Autoscaler, Manager::Replicas]
                .iter()
                .any(|m| m.as_str() == manager);
            (owns(&fields.0) && !ours).then_some(manager)
        })
}
