//! What a pass over a worker needs beside the worker itself.

use callmeter_api::CallMeterWorker;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::facts::PodFacts;
use crate::{context::Context, fleet::View};

/// What is seen of a worker now.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) now: Timestamp,
    pub(crate) pod: Option<PodFacts>,
    pub(crate) view: View,
}

/// Reads the caches; no request is made.
pub(crate) fn dereference(context: &Context, worker: &CallMeterWorker) -> Inputs {
    let (namespace, name) = (worker.namespace().unwrap_or_default(), worker.name_any());
    let uid = worker.uid().unwrap_or_default();
    let pod = context
        .pods
        .get(&ObjectRef::<Pod>::new(&name).within(&namespace))
        .filter(|pod| is_owned_by(pod, &uid))
        .map(|pod| PodFacts::new(&pod));
    let id = worker
        .status
        .as_ref()
        .and_then(|status| status.gateway.as_ref()?.worker_id.as_deref());
    let view = context
        .fleet
        .index()
        .worker(id, &uid, pod.as_ref().map(|pod| pod.uid.as_str()));
    Inputs {
        now: Timestamp::now(),
        pod,
        view,
    }
}

/// Whether an object belongs to the one with this UID.
pub(crate) fn is_owned_by(pod: &Pod, uid: &str) -> bool {
    pod.owner_references().iter().any(|owner| owner.uid == uid)
}
