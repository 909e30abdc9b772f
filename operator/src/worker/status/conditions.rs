//! The conditions of a worker.

use callmeter_api::{
    condition::{Desired, Reason, Status, Type},
    worker::{DrainReason, PortBlock, WorkerLoad, WorkerNetworkMode},
};
use callmeter_proto::fleet::{WorkerRow, WorkerStatus};

use super::Link;
use crate::worker::{
    apply::Applied, dereference::Inputs, drain, facts::PodFacts, token::TokenVerdict,
    validate::ValidatedWorker,
};

/// What conditions are made from.
pub(super) struct Seen<'a> {
    pub(super) valid: &'a ValidatedWorker,
    pub(super) inputs: &'a Inputs,
    pub(super) applied: &'a Applied,
    pub(super) verdict: &'a TokenVerdict,
    pub(super) link: &'a Link,
    pub(super) load: WorkerLoad,
    /// The gateway's row, if it tells of this pod.
    pub(super) row: Option<&'a WorkerRow>,
}

/// All conditions of a worker.
pub(super) fn conditions(seen: &Seen<'_>) -> Vec<Desired> {
    let Seen {
        valid,
        inputs,
        applied,
        verdict,
        link,
        load,
        row,
    } = seen;
    let pod = inputs.pod.as_ref();
    let mut all = vec![
        ready(seen),
        Desired::new(
            Type::TokenValid,
            verdict.status,
            verdict.reason,
            verdict.message,
        ),
        scheduled(pod),
        Desired::new(
            Type::GatewayConnected,
            link.connected,
            link.reason,
            link.message,
        ),
        match load {
            WorkerLoad::Unknown => Desired::new(
                Type::Busy,
                Status::Unknown,
                Reason::GatewayUnreachable,
                "counts as busy",
            ),
            WorkerLoad::Idle => Desired::new(Type::Busy, false, Reason::Idle, ""),
            WorkerLoad::Busy | WorkerLoad::Full => {
                Desired::new(Type::Busy, true, Reason::EndpointsInUse, "")
            }
        },
        draining(seen),
    ];
    all.extend(ports(valid, pod));
    if let Some(revision) = pod.and_then(|pod| pod.revision.as_ref()) {
        all.push(if *revision == valid.revision {
            Desired::new(Type::UpToDate, true, Reason::CurrentTemplate, "")
        } else {
            let message =
                "its pod is of an older template; deleting the pod brings the current one";
            Desired::new(Type::UpToDate, false, Reason::OutdatedTemplate, message)
        });
    }
    if let Some(row) = row.filter(|row| row.connected && row.effective_capacity > 0) {
        let (asked, granted) = (valid.capacity.endpoints, row.effective_capacity);
        all.push(if granted < asked {
            let message = format!("{asked} endpoints asked for, {granted} granted by the gateway");
            Desired::new(
                Type::CapacityMismatch,
                true,
                Reason::CapacityReduced,
                message,
            )
        } else {
            Desired::new(Type::CapacityMismatch, false, Reason::CapacityGranted, "")
        });
    }
    if applied
        .drain
        .as_ref()
        .is_some_and(|record| drain::is_stuck(record, inputs.now))
    {
        let message = "the deadline has passed and the worker is still there; \
            the annotation callmeter.io/force-drain: \"true\" ends it";
        all.push(Desired::new(
            Type::DrainStuck,
            true,
            Reason::DeadlinePassed,
            message,
        ));
    }
    if valid.deleting {
        all.push(Desired::new(
            Type::Deleting,
            true,
            Reason::Deleted,
            "is drained before it goes",
        ));
    }
    all
}

/// The first thing that keeps a worker from taking work.
fn ready(seen: &Seen<'_>) -> Desired {
    let Seen {
        valid,
        inputs,
        applied,
        verdict,
        link,
        load: _,
        row,
    } = seen;
    let not = |reason, message: &str| Desired::new(Type::Ready, false, reason, message);
    let fenced =
        row.is_some_and(|row| row.fence_seq != 0) || valid.drain_reason.is_some() || valid.deleting;
    if let Some((reason, message)) = &applied.blocked {
        not(*reason, message)
    } else if inputs.pod.is_none() {
        not(Reason::NoPod, "there is no pod yet")
    } else if let Some(why) = inputs.pod.as_ref().and_then(PodFacts::homeless) {
        match port_conflict(valid, why) {
            Some(message) => not(Reason::PortConflict, &message),
            None => not(Reason::Unschedulable, why),
        }
    } else if verdict.status == Status::False {
        not(verdict.reason, verdict.message)
    } else if link.connected != Status::True {
        not(link.reason, link.message)
    } else if fenced {
        not(drain_reason(valid), "takes no new work")
    } else if row.is_some_and(|row| row.status() == WorkerStatus::Error) {
        not(Reason::Unhealthy, "reports itself as unhealthy")
    } else {
        Desired::new(Type::Ready, true, Reason::Connected, "takes work")
    }
}

fn draining(seen: &Seen<'_>) -> Desired {
    let valid = seen.valid;
    if valid.drain_reason.is_none() && !valid.deleting {
        return Desired::new(Type::Draining, false, Reason::NotDraining, "");
    }
    let record = seen.applied.drain.clone().unwrap_or_default();
    let deadline = record
        .deadline
        .map_or_else(String::new, |time| format!("; deadline {}", time.0));
    let blockers = match record.blockers.as_slice() {
        [] => "nothing is in the way".to_owned(),
        some => some.join(", "),
    };
    Desired::new(
        Type::Draining,
        true,
        drain_reason(valid),
        format!("{blockers}{deadline}"),
    )
}

fn scheduled(pod: Option<&PodFacts>) -> Desired {
    let Some(pod) = pod else {
        return Desired::new(
            Type::PodScheduled,
            false,
            Reason::NoPod,
            "there is no pod yet",
        );
    };
    match (&pod.node, pod.homeless()) {
        (Some(_), _) => Desired::new(Type::PodScheduled, true, Reason::Scheduled, ""),
        (None, Some(why)) => Desired::new(Type::PodScheduled, false, Reason::Unschedulable, why),
        (None, None) => Desired::new(Type::PodScheduled, Status::Unknown, Reason::NotYetKnown, ""),
    }
}

/// On the host network ports are the node's: whether one keeps the worker's block for it.
fn ports(valid: &ValidatedWorker, pod: Option<&PodFacts>) -> Option<Desired> {
    if valid.network.mode != WorkerNetworkMode::HostNetwork {
        return None;
    }
    let pod = pod?;
    if pod.node.is_some() {
        return Some(Desired::new(
            Type::PortsBound,
            true,
            Reason::PortsClaimed,
            "",
        ));
    }
    let message = port_conflict(valid, pod.homeless()?)?;
    Some(Desired::new(
        Type::PortsBound,
        false,
        Reason::PortConflict,
        message,
    ))
}

/// What is taken, if the scheduler's reason is that ports are; it does not say which.
fn port_conflict(valid: &ValidatedWorker, why: &str) -> Option<String> {
    let PortBlock {
        rtp_start,
        rtp_end,
        sip_start,
        sip_end,
        health,
    } = valid.network.block;
    why.contains("free ports").then(|| {
        format!(
            "no node has all of the worker's ports free: RTP {rtp_start}-{rtp_end}, \
             SIP {sip_start}-{sip_end}, health {health}; the scheduler: {why}"
        )
    })
}

fn drain_reason(valid: &ValidatedWorker) -> Reason {
    match valid.drain_reason {
        Some(DrainReason::ScaleDown) => Reason::ScaleDown,
        Some(DrainReason::Update) => Reason::Update,
        Some(DrainReason::NodeDrain) => Reason::NodeDrain,
        Some(DrainReason::TokenRotation) => Reason::TokenRotation,
        Some(DrainReason::User) => Reason::User,
        None if valid.deleting => Reason::Deleted,
        // Fenced by the worker's own request, after SIGTERM to its container.
        None => Reason::NotDraining,
    }
}
