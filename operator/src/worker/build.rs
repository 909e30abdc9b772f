//! The objects a worker owns.

mod pod;
mod secret;

pub(crate) use pod::{CONTAINER, build_pod, eviction_annotations};
pub(crate) use secret::build_secret;

use callmeter_api::CallMeterWorker;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;

use super::validate::ValidatedWorker;

/// The worker as owner. It never blocks its deletion: a foreground deletion would delete the pod
/// before the worker is drained.
fn owner(worker: &ValidatedWorker) -> OwnerReference {
    OwnerReference {
        api_version: CallMeterWorker::api_version(&()).into_owned(),
        kind: CallMeterWorker::kind(&()).into_owned(),
        name: worker.name.clone(),
        uid: worker.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
