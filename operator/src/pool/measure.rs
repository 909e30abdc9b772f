//! Metrics of a pool.

use callmeter_api::condition::{Status, Type};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{dereference::Inputs, member::Member, validate::ValidatedPool};
use crate::{fleet::Demand, metrics::Metrics};

const STATES: [&str; 6] = [
    "live",
    "ready",
    "busy",
    "draining",
    "terminating",
    "unschedulable",
];
const KINDS: [&str; 3] = ["capacity", "active", "queued"];
const TOKENS: [&str; 2] = ["leased", "refused"];
const STATUSES: [Status; 3] = [Status::True, Status::False, Status::Unknown];

/// Figures that move with every call belong here, not into the status.
pub(super) fn pool(metrics: &Metrics, pool: &ValidatedPool, inputs: &Inputs) {
    let (namespace, name) = (pool.namespace.as_str(), pool.name.as_str());
    let members = &inputs.members;
    let count = |test: &dyn Fn(&Member) -> bool| members.iter().filter(|m| test(m)).count() as i64;
    let states = [
        count(&Member::is_live),
        count(&|m| m.is_live() && m.ready),
        count(&|m| !m.drained && m.is_busy()),
        count(&|m| !m.drained && m.drain.is_some()),
        count(&|m| m.terminating),
        count(&|m| m.unschedulable),
    ];
    for (state, value) in STATES.into_iter().zip(states) {
        metrics
            .pool_replicas
            .with_label_values(&[namespace, name, state])
            .set(value);
    }
    let capacity = states[0] * i64::from(pool.capacity.endpoints);
    if let Demand::Fresh { active, queued } = inputs.demand {
        for (kind, value) in KINDS
            .into_iter()
            .zip([capacity, active.into(), queued.into()])
        {
            metrics
                .pool_endpoints
                .with_label_values(&[namespace, name, kind])
                .set(value);
        }
    }
    for (state, value) in TOKENS
        .into_iter()
        .zip([members.len() as i64, count(&|m| m.token_refused)])
    {
        metrics
            .pool_tokens
            .with_label_values(&[namespace, name, state])
            .set(value);
    }
}

/// One series per condition and status, 1 for the status it has.
pub(super) fn conditions(metrics: &Metrics, pool: &ValidatedPool, conditions: &[Condition]) {
    for condition in conditions {
        for status in STATUSES {
            let labels = [
                pool.namespace.as_str(),
                &pool.name,
                &condition.type_,
                status.as_str(),
            ];
            metrics
                .pool_condition
                .with_label_values(&labels)
                .set((condition.status == status.as_str()).into());
        }
    }
}

/// A pool that is gone has no series.
pub(super) fn forget(metrics: &Metrics, namespace: &str, name: &str) {
    // A series that was never set is no error.
    for state in STATES {
        let _ = metrics
            .pool_replicas
            .remove_label_values(&[namespace, name, state]);
    }
    for kind in KINDS {
        let _ = metrics
            .pool_endpoints
            .remove_label_values(&[namespace, name, kind]);
    }
    for state in TOKENS {
        let _ = metrics
            .pool_tokens
            .remove_label_values(&[namespace, name, state]);
    }
    for type_ in Type::ALL {
        for status in STATUSES {
            let _ = metrics.pool_condition.remove_label_values(&[
                namespace,
                name,
                type_.as_str(),
                status.as_str(),
            ]);
        }
    }
}
