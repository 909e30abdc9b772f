//! What a pass over a pool needs beside the pool itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use callmeter_api::{
    CallMeterWorker, labels,
    pool::TokenSecretRef,
    worker::{PortBlock, WorkerNetworkMode},
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{member::Member, validate::ValidatedPool};
use crate::{
    context::Context,
    error::{Error, Result},
    fleet::Demand,
};

/// What is seen of a pool now.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) now: Timestamp,
    pub(crate) clock: Instant,
    /// Its workers, by name.
    pub(crate) workers: BTreeMap<String, Arc<CallMeterWorker>>,
    pub(crate) members: Vec<Member>,
    /// Tokens that workers of other pools of the namespace hold.
    pub(crate) elsewhere: BTreeSet<TokenSecretRef>,
    /// Blocks of all workers on the network of their node, whatever their pool.
    pub(crate) blocks: Vec<PortBlock>,
    pub(crate) demand: Demand,
    /// The gateway's stream of workers is open.
    pub(crate) gateway_live: bool,
}

/// From the caches; they may be a moment behind.
pub(crate) fn cached(context: &Context, pool: &ValidatedPool) -> Inputs {
    let all = context
        .workers
        .state()
        .into_iter()
        .filter_map(|guard| guard.0.as_ref().ok().cloned().map(Arc::new));
    collect(context, pool, all.collect())
}

/// From the API server: what is acted on must not be a moment behind.
pub(crate) async fn live(context: &Context, pool: &ValidatedPool) -> Result<Inputs> {
    let api = Api::<CallMeterWorker>::namespaced(context.client.clone(), &pool.namespace);
    let list = api
        .list(&ListParams::default())
        .await
        .map_err(Error::kube("list the workers"))?;
    let mut all: Vec<Arc<CallMeterWorker>> = list.items.into_iter().map(Arc::new).collect();
    // Other namespaces matter only for the choice of a block, which a moment's age does not harm.
    let others = context
        .workers
        .state()
        .into_iter()
        .filter_map(|guard| guard.0.as_ref().ok().cloned().map(Arc::new));
    all.extend(others.filter(|worker| worker.namespace().as_deref() != Some(&pool.namespace)));
    Ok(collect(context, pool, all))
}

fn collect(context: &Context, pool: &ValidatedPool, all: Vec<Arc<CallMeterWorker>>) -> Inputs {
    let clock = Instant::now();
    let mut inputs = Inputs {
        now: Timestamp::now(),
        clock,
        workers: BTreeMap::new(),
        members: Vec::new(),
        elsewhere: BTreeSet::new(),
        blocks: Vec::new(),
        demand: context.fleet.index().demand(&pool.key(), clock),
        gateway_live: context.fleet.index().is_live(),
    };
    for worker in all {
        if worker.spec.network.mode == WorkerNetworkMode::HostNetwork {
            inputs.blocks.push(worker.spec.network.block);
        }
        if worker.namespace().as_deref() != Some(&pool.namespace) {
            continue;
        }
        let ours = worker
            .owner_references()
            .iter()
            .any(|owner| owner.uid == pool.uid);
        if ours && worker.labels().get(labels::POOL) == Some(&pool.name) {
            let id = worker
                .status
                .as_ref()
                .and_then(|s| s.gateway.as_ref()?.worker_id.as_deref());
            let pod = worker
                .status
                .as_ref()
                .and_then(|s| s.pod_ref.as_ref())
                .map(|pod| pod.uid.as_str());
            let view = context
                .fleet
                .index()
                .worker(id, &worker.uid().unwrap_or_default(), pod);
            inputs
                .members
                .push(Member::new(&worker, &view, &pool.revision));
            inputs.workers.insert(worker.name_any(), worker);
        } else {
            inputs
                .elsewhere
                .insert(worker.spec.token_secret_ref.clone());
        }
    }
    inputs.members.sort_by(|a, b| a.name.cmp(&b.name));
    inputs
}
