//! What is done with the pod of a worker.

use callmeter_api::{CallMeterWorker, condition::Reason};
use k8s_openapi::{api::core::v1::Pod, jiff::SignedDuration};
use kube::{Api, ResourceExt as _, runtime::events::EventType};
use serde_json::json;

use super::Applied;
use crate::{
    error::{Error, Result},
    worker::{
        Worker,
        build::{self, build_pod},
        dereference::{Inputs, is_owned_by},
        validate::ValidatedWorker,
    },
    writes::{Manager, Posted},
};

/// Makes the worker's pod, or says why it cannot be made.
pub(super) async fn create_pod(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
    applied: &mut Applied,
) -> Result<()> {
    let shared = &context.shared;
    match shared
        .writer
        .post("make the worker's pod", &build_pod(valid), false)
        .await
    {
        Ok(Posted::Created(_)) => {
            shared
                .event(
                    worker,
                    EventType::Normal,
                    "Created",
                    "its pod was made".to_owned(),
                )
                .await;
        }
        Ok(Posted::Exists) => {
            // The old pod of this name ends, or the watch has not shown the new one yet.
            let api = Api::<Pod>::namespaced(shared.client.clone(), &valid.namespace);
            let found = api
                .get_opt(&valid.name)
                .await
                .map_err(Error::kube("read the worker's pod"))?;
            let foreign = found.is_some_and(|pod| {
                !is_owned_by(&pod, &valid.uid) && pod.metadata.deletion_timestamp.is_none()
            });
            if foreign {
                let message = format!(
                    "a pod `{}` that is not this worker's is in the way",
                    valid.name
                );
                applied.blocked = Some((Reason::ValidationFailed, message));
            }
            applied.again = Some(SignedDuration::from_secs(2));
        }
        Err(error) => {
            let Some(status) = error.status().filter(|status| status.is_forbidden()) else {
                return Err(error);
            };
            let (reason, message) = if status.message.contains("violates PodSecurity") {
                let advice = format!(
                    "kubectl label namespace {} pod-security.kubernetes.io/enforce=privileged",
                    valid.namespace
                );
                (
                    Reason::PodSecurityForbidden,
                    format!("host ports are forbidden in this namespace; to allow them: {advice}"),
                )
            } else if status.message.contains("exceeded quota") {
                (Reason::QuotaExceeded, status.message.clone())
            } else {
                return Err(error);
            };
            applied.blocked = Some((reason, message));
            applied.again = Some(SignedDuration::from_secs(30));
        }
    }
    Ok(())
}

/// The pod as an object to write on: the UID makes sure that it is this one.
fn pod_ref(worker: &CallMeterWorker, inputs: &Inputs) -> Option<Pod> {
    let facts = inputs.pod.as_ref()?;
    let mut pod = Pod::default();
    pod.metadata.namespace = worker.namespace();
    pod.metadata.name = Some(facts.name.clone());
    pod.metadata.uid = Some(facts.uid.clone());
    Some(pod)
}

/// Deletes the worker's pod, if it has one.
pub(super) async fn delete_pod(
    context: &Worker,
    worker: &CallMeterWorker,
    inputs: &Inputs,
    grace: Option<u32>,
) -> Result<()> {
    match pod_ref(worker, inputs) {
        Some(pod) => {
            context
                .shared
                .writer
                .delete("delete the worker's pod", &pod, grace)
                .await
        }
        None => Ok(()),
    }
}

/// Tells autoscalers of nodes whether the pod may be moved.
pub(super) async fn allow_eviction(
    context: &Worker,
    worker: &CallMeterWorker,
    inputs: &Inputs,
    allowed: bool,
) -> Result<()> {
    let Some(pod) = pod_ref(worker, inputs) else {
        return Ok(());
    };
    if inputs
        .pod
        .as_ref()
        .is_some_and(|facts| facts.safe_to_evict == allowed)
    {
        return Ok(());
    }
    let fields = json!({"metadata": {"annotations": build::eviction_annotations(allowed)}});
    let answer = context
        .shared
        .writer
        .apply(
            "mark the pod for node autoscalers",
            Manager::Drain,
            &pod,
            fields,
        )
        .await;
    match answer {
        Err(error)
            if error
                .status()
                .is_some_and(|s| s.is_conflict() || s.is_not_found()) =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}
