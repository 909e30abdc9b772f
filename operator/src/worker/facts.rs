//! What a worker's pod says of itself.

use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod},
    jiff::Timestamp,
};
use kube::ResourceExt as _;

use super::build::CONTAINER;

/// A worker's pod, as decisions see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodFacts {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) terminating: bool,
    /// It has ended for good: evicted by its node, or its node was shut down.
    pub(crate) ended: bool,
    pub(crate) node: Option<String>,
    pub(crate) host_ip: Option<String>,
    pub(crate) ready: bool,
    /// There is a process.
    pub(crate) running: bool,
    /// Why no node takes it.
    pub(crate) unschedulable: Option<String>,
    /// Why its container does not start, as the kubelet calls it, with its message.
    pub(crate) waiting: Option<(String, String)>,
    /// How its container last ended.
    pub(crate) exit: Option<Exit>,
    /// Template it was made from.
    pub(crate) revision: Option<String>,
    pub(crate) safe_to_evict: bool,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) at: Option<Timestamp>,
    /// It has not been started again.
    pub(crate) current: bool,
}

impl PodFacts {
    /// Why no node takes the pod, in the scheduler's words, while none does.
    pub(crate) fn homeless(&self) -> Option<&str> {
        self.unschedulable
            .as_deref()
            .filter(|_| self.node.is_none())
    }

    pub(crate) fn new(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let unschedulable = conditions
            .iter()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False")
            .map(|c| c.message.clone().unwrap_or_default());
        let container = status
            .container_statuses
            .unwrap_or_default()
            .into_iter()
            .find(|container| container.name == CONTAINER);
        let waiting = container
            .as_ref()
            .and_then(|c| c.state.as_ref()?.waiting.clone())
            .map(|w| (w.reason.unwrap_or_default(), w.message.unwrap_or_default()));
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            ended: matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            host_ip: status.host_ip,
            ready: container.as_ref().is_some_and(|c| c.ready),
            running: container
                .as_ref()
                .is_some_and(|c| c.state.as_ref().is_some_and(|s| s.running.is_some())),
            unschedulable,
            waiting,
            exit: container.as_ref().and_then(exit),
            revision: pod.labels().get(callmeter_api::labels::REVISION).cloned(),
            safe_to_evict: pod
                .annotations()
                .get(callmeter_api::labels::SAFE_TO_EVICT)
                .is_some_and(|v| v == "true"),
        }
    }
}

fn exit(container: &ContainerStatus) -> Option<Exit> {
    let of = |terminated: &ContainerStateTerminated, current| Exit {
        code: terminated.exit_code,
        message: terminated.message.clone().unwrap_or_default(),
        at: terminated.finished_at.as_ref().map(|time| time.0),
        current,
    };
    let now = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let running = container
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some());
    now.map(|t| of(t, true))
        .or_else(|| last.map(|t| of(t, !running)))
}
