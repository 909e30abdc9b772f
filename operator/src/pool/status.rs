//! What a pool reports; written only when it differs.

mod conditions;

use callmeter_api::{
    WorkerPool,
    condition::{self, Desired, Reason, Type},
    pool::{
        AutoscalingStatus, EndpointsStatus, LoadBucket, ResourcesStatus, TokensStatus,
        WorkerPoolStatus,
    },
    worker::WorkerNetworkMode,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    autoscale::Decision,
    dereference::Inputs,
    member::Member,
    plan::Plan,
    validate::{TokenSource, ValidatedPool},
};
use crate::fleet::Demand;

/// What a pass found out, beside the inputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Workers asked for.
    pub(crate) desired: u32,
    pub(crate) plan: Plan,
    /// The autoscaler's decision; absent without autoscaling.
    pub(crate) decision: Option<Decision>,
    /// Why the gateway was not told of the pool.
    pub(crate) unregistered: Option<String>,
}

/// The status as it is to be; a pure function.
pub(crate) fn build(
    on: &WorkerPool,
    pool: &ValidatedPool,
    inputs: &Inputs,
    outcome: &Outcome,
) -> WorkerPoolStatus {
    let before = on.status.clone().unwrap_or_default();
    let members = &inputs.members;
    let count = |test: &dyn Fn(&Member) -> bool| members.iter().filter(|m| test(m)).count() as u32;
    let queued = match inputs.demand {
        Demand::Fresh { queued, .. } => queued,
        Demand::Stale => before.queued_endpoints,
    };
    let running: Vec<&str> = inputs
        .workers
        .values()
        .filter_map(|worker| worker.status.as_ref()?.revision.as_deref())
        .filter(|revision| *revision != pool.revision)
        .collect();
    WorkerPoolStatus {
        observed_generation: on.metadata.generation,
        replicas: count(&Member::is_live),
        ready_replicas: count(&|m| m.is_live() && m.ready),
        available_replicas: count(&|m| m.is_live() && m.ready && m.drain.is_none()),
        updated_replicas: count(&|m| m.is_live() && m.updated),
        updated_ready_replicas: count(&|m| m.is_live() && m.updated && m.ready),
        busy_replicas: count(&|m| !m.drained && m.is_busy()),
        draining_replicas: count(&|m| !m.drained && m.drain.is_some()),
        terminating_replicas: count(&|m| m.terminating),
        unschedulable_replicas: count(&|m| m.unschedulable),
        selector: format!("{}={}", callmeter_api::labels::POOL, pool.name),
        endpoints: Some(endpoints(pool, members)),
        resources: Some(ResourcesStatus {
            requests: pool.resources.requests.clone().unwrap_or_default(),
            limits: pool.resources.limits.clone().unwrap_or_default(),
        }),
        network: Some(
            match pool.mode {
                WorkerNetworkMode::Pod => "Pod",
                WorkerNetworkMode::HostNetwork => "HostNetwork",
            }
            .to_owned(),
        ),
        queued_endpoints: queued,
        tokens: Some(tokens(pool, inputs, outcome)),
        current_revision: Some(
            running
                .first()
                .map_or_else(|| pool.revision.clone(), |r| (*r).to_owned()),
        ),
        update_revision: Some(pool.revision.clone()),
        autoscaling: outcome
            .decision
            .as_ref()
            .map(|decision| autoscaling(&before, decision, inputs)),
        conditions: condition::merge(
            &before.conditions,
            conditions::conditions(pool, inputs, outcome),
            on.metadata.generation,
            &Time(inputs.now),
        ),
    }
}

/// The status of a pool that cannot be acted on: what is there stays as it was reported.
pub(crate) fn invalid(on: &WorkerPool, message: &str, now: &Time) -> WorkerPoolStatus {
    let mut status = on.status.clone().unwrap_or_default();
    status.observed_generation = on.metadata.generation;
    status.selector = format!(
        "{}={}",
        callmeter_api::labels::POOL,
        on.metadata.name.as_deref().unwrap_or_default()
    );
    let mut desired = vec![Desired::new(
        Type::Degraded,
        true,
        Reason::ValidationFailed,
        message,
    )];
    if message.contains("spec.network.ports") {
        desired.push(Desired::new(
            Type::PortsAllocatable,
            false,
            Reason::WindowTooSmall,
            message,
        ));
    }
    status.conditions = condition::merge(&status.conditions, desired, on.metadata.generation, now);
    status
}

fn endpoints(pool: &ValidatedPool, members: &[Member]) -> EndpointsStatus {
    let of = |m: &Member| {
        if m.effective_capacity > 0 {
            m.effective_capacity.min(pool.capacity.endpoints)
        } else {
            pool.capacity.endpoints
        }
    };
    let capacity = members.iter().filter(|m| m.is_live()).map(of).sum();
    let working: Vec<&Member> = members
        .iter()
        .filter(|m| m.is_live() && m.ready && m.drain.is_none())
        .collect();
    let available: u32 = working.iter().map(|m| of(m)).sum();
    let used: Option<u32> = working.iter().map(|m| m.endpoints).sum();
    let load = match used {
        None => LoadBucket::Unknown,
        Some(0) => LoadBucket::Idle,
        Some(used) if used >= available => LoadBucket::Full,
        Some(used) if used > available / 2 => LoadBucket::High,
        Some(_) => LoadBucket::Low,
    };
    EndpointsStatus {
        capacity,
        available,
        load,
    }
}

fn tokens(pool: &ValidatedPool, inputs: &Inputs, outcome: &Outcome) -> TokensStatus {
    let leased = inputs.members.len() as u32;
    let invalid = inputs.members.iter().filter(|m| m.token_refused).count() as u32;
    match &pool.tokens {
        TokenSource::Secrets(secrets) => {
            let free = secrets.iter().filter(|t| {
                !inputs.elsewhere.contains(*t) && !inputs.members.iter().any(|m| m.token == **t)
            });
            TokensStatus {
                total: secrets.len() as u32,
                leased,
                free: free.count() as u32,
                invalid,
            }
        }
        TokenSource::Claim => {
            let most = pool
                .autoscaling
                .as_ref()
                .map_or(outcome.desired, |a| a.max_replicas);
            TokensStatus {
                total: leased,
                leased,
                free: most.saturating_sub(leased),
                invalid,
            }
        }
    }
}

fn autoscaling(
    before: &WorkerPoolStatus,
    decision: &Decision,
    inputs: &Inputs,
) -> AutoscalingStatus {
    let known = before.autoscaling.as_ref();
    let changed = known.is_none_or(|known| known.desired != decision.desired);
    let now = || Some(Time(inputs.now));
    AutoscalingStatus {
        desired: decision.desired,
        last_scale_time: match known {
            Some(known) if !changed => known.last_scale_time.clone(),
            Some(_) => now(),
            None => None,
        },
        last_decision: decision.text.clone(),
        signal_stale_since: if decision.fresh {
            None
        } else {
            known
                .and_then(|known| known.signal_stale_since.clone())
                .or_else(now)
        },
    }
}

#[cfg(test)]
mod tests;
