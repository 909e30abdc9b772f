//! The workers of a pool.

use callmeter_api::{
    CallMeterWorker, WorkerPool, labels,
    worker::{CallMeterWorkerSpec, DesiredState, PortBlock, WorkerNetwork, WorkerNetworkMode},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use serde_json::{Value, json};

use crate::pool::{
    plan::NewWorker,
    validate::{TokenSource, ValidatedPool},
};

/// A worker of the pool for one token; `blocks` are those in use on nodes.
pub(crate) fn build_worker(
    pool: &ValidatedPool,
    new: &NewWorker,
    blocks: &[PortBlock],
) -> CallMeterWorker {
    let NewWorker { name, token, slot } = new;
    let mut worker =
        CallMeterWorker::new(name, spec(pool, token.clone(), block(pool, None, blocks)));
    let mut labels = vec![
        (labels::POOL, pool.name.clone()),
        (labels::MANAGED_BY, labels::OPERATOR.to_owned()),
    ];
    labels.extend(slot.map(|slot| (labels::SLOT, slot.to_string())));
    worker.metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(pool.namespace.clone()),
        labels: Some(
            labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        ),
        finalizers: Some(vec![labels::DRAIN_FINALIZER.to_owned()]),
        owner_references: Some(vec![OwnerReference {
            api_version: WorkerPool::api_version(&()).into_owned(),
            kind: WorkerPool::kind(&()).into_owned(),
            name: pool.name.clone(),
            uid: pool.uid.clone(),
            controller: Some(true),
            // Nobody's deletion waits here: the finalizers see to it that a worker is drained first.
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    worker
}

/// The fields to apply to a worker that exists, if any differs from what the pool asks for. Its
/// token, its drain request and a block that still fits stay. A running pod keeps the template it
/// was made from.
pub(crate) fn converge(
    pool: &ValidatedPool,
    worker: &CallMeterWorker,
    blocks: &[PortBlock],
) -> Option<Value> {
    let mut wanted = spec(
        pool,
        worker.spec.token_secret_ref.clone(),
        block(pool, Some(&worker.spec.network), blocks),
    );
    wanted.desired_state = worker.spec.desired_state;
    wanted.drain_reason = worker.spec.drain_reason;
    wanted.claimed = worker.spec.claimed;
    if wanted == worker.spec || worker.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut fields = json!(wanted);
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("desiredState");
        fields.remove("drainReason");
    }
    Some(json!({ "spec": fields }))
}

fn spec(
    pool: &ValidatedPool,
    token: callmeter_api::pool::TokenSecretRef,
    block: PortBlock,
) -> CallMeterWorkerSpec {
    CallMeterWorkerSpec {
        token_secret_ref: token,
        claimed: pool.tokens == TokenSource::Claim,
        desired_state: DesiredState::Active,
        drain_reason: None,
        capacity: pool.capacity,
        network: WorkerNetwork {
            mode: pool.mode,
            block,
            bind_ip: pool.network.bind_ip.clone(),
            sdp_ip: pool.network.sdp_ip.clone(),
            external_ip: pool.network.external_ip.clone(),
        },
        drain: pool.drain,
        gateway: pool.gateway.clone(),
        project: pool.project.clone(),
        region: pool.region.clone(),
        revision: pool.revision.clone(),
        template: pool.template.clone(),
    }
}

fn block(pool: &ValidatedPool, current: Option<&WorkerNetwork>, blocks: &[PortBlock]) -> PortBlock {
    match (pool.mode, current) {
        (WorkerNetworkMode::Pod, _) => pool.grid.first(),
        (WorkerNetworkMode::HostNetwork, Some(current))
            if current.mode == WorkerNetworkMode::HostNetwork
                && pool.grid.holds(&current.block) =>
        {
            current.block
        }
        (WorkerNetworkMode::HostNetwork, _) => pool.grid.least_used(blocks),
    }
}

/// A worker's drain request, or the end of one.
pub(crate) fn drain_request(reason: Option<callmeter_api::worker::DrainReason>) -> Value {
    match reason {
        Some(reason) => json!({"spec": {"desiredState": "Drain", "drainReason": reason.as_str()}}),
        // Fields that are no longer applied fall back to their defaults.
        None => json!({"spec": {}}),
    }
}

#[cfg(test)]
mod tests {
    use callmeter_api::pool::TokenSecretRef;

    use super::*;
    use crate::pool::validate::tests::valid;

    fn new(slot: Option<u32>) -> NewWorker {
        NewWorker {
            name: "fra-aaaaaaaa".into(),
            token: TokenSecretRef {
                name: "cmw-1".into(),
                key: "token".into(),
            },
            slot,
        }
    }

    #[test]
    fn a_worker_with_an_existing_token() {
        let pool = valid(
            "{capacity: {endpointsPerWorker: 25}, tokens: {secrets: [{name: cmw-1, key: token}]}}",
        );
        insta::assert_yaml_snapshot!(build_worker(&pool, &new(None), &[]));
    }

    #[test]
    fn a_worker_with_a_minted_token_on_its_node() {
        let pool = valid("{capacity: {endpointsPerWorker: 500}, region: eu-west}");
        let first = build_worker(&pool, &new(Some(0)), &[]).spec.network.block;
        insta::assert_yaml_snapshot!(build_worker(&pool, &new(Some(1)), &[first]));
    }

    #[test]
    fn a_worker_that_is_as_asked_for_is_not_written() {
        let pool = valid("{capacity: {endpointsPerWorker: 500}}");
        let mut worker = build_worker(&pool, &new(Some(0)), &[]);
        assert_eq!(converge(&pool, &worker, &[worker.spec.network.block]), None);
        worker.spec.desired_state = DesiredState::Drain;
        assert_eq!(converge(&pool, &worker, &[]), None);
    }

    #[test]
    fn drain_settings_are_applied_and_the_block_and_the_token_stay() {
        let before = valid("{capacity: {endpointsPerWorker: 400}}");
        let worker = build_worker(&before, &new(Some(0)), &[]);
        let after = valid(
            "{capacity: {endpointsPerWorker: 400}, drain: {timeout: 1h}, template: {log: {level: debug}}}",
        );
        let fields = converge(&after, &worker, &[worker.spec.network.block]).unwrap();
        assert_eq!(fields["spec"]["drain"]["timeout"], "1h");
        assert_eq!(fields["spec"]["template"]["log"]["level"], "debug");
        assert_eq!(
            fields["spec"]["network"]["block"],
            json!(worker.spec.network.block)
        );
        assert_eq!(fields["spec"]["tokenSecretRef"]["name"], "cmw-1");
        assert!(fields["spec"].get("desiredState").is_none());
    }

    #[test]
    fn a_wider_worker_gets_another_block() {
        let narrow = valid("{capacity: {endpointsPerWorker: 150}}");
        let worker = build_worker(&narrow, &new(Some(0)), &[]);
        let wide = valid("{capacity: {endpointsPerWorker: 400}}");
        let fields = converge(&wide, &worker, &[]).unwrap();
        let width = |value: &Value| {
            value["rtpEnd"].as_u64().unwrap() - value["rtpStart"].as_u64().unwrap() + 1
        };
        assert_eq!(width(&fields["spec"]["network"]["block"]), 900);
    }
}
