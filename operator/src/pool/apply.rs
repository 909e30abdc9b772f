//! Carries out what was decided on a pool.

use callmeter_api::{CallMeterWorker, WorkerPool, labels, worker::DrainReason};
use callmeter_proto::fleet as pb;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Resource as _, ResourceExt as _, runtime::events::EventType};
use tracing::info;

use super::{
    build::{build_ca, build_worker, converge, drain_request},
    dereference::Inputs,
    plan::{NewWorker, Plan},
    validate::ValidatedPool,
};
use crate::{
    context::Context,
    error::{Error, Result},
    writes::{Manager, Posted},
};

/// Carries the plan out. Each step can be repeated: names follow from tokens, drains are applied,
/// deletions name the UID.
pub(crate) async fn carry_out(
    context: &Context,
    on: &WorkerPool,
    pool: &ValidatedPool,
    inputs: &Inputs,
    plan: &Plan,
) -> Result<()> {
    let Plan {
        create,
        cancel,
        drain,
        remove,
        lacking: _,
        held_elsewhere: _,
    } = plan;
    let find = |name: &String| inputs.workers.get(name);
    for worker in remove.iter().filter_map(find) {
        context
            .writer
            .delete("delete a drained worker", worker.as_ref(), None)
            .await?;
        info!(
            namespace = pool.namespace,
            pool = pool.name,
            worker = worker.name_any(),
            "a drained worker is removed"
        );
    }
    for worker in cancel.iter().filter_map(find) {
        let fields = drain_request(None);
        context
            .writer
            .apply("take a drain back", Manager::Drain, worker.as_ref(), fields)
            .await?;
        info!(
            namespace = pool.namespace,
            pool = pool.name,
            worker = worker.name_any(),
            "a drain is taken back"
        );
    }
    for worker in drain.iter().filter_map(find) {
        let fields = drain_request(Some(DrainReason::ScaleDown));
        context
            .writer
            .apply(
                "ask a worker to drain",
                Manager::Drain,
                worker.as_ref(),
                fields,
            )
            .await?;
        info!(
            namespace = pool.namespace,
            pool = pool.name,
            worker = worker.name_any(),
            "a worker is to drain"
        );
        let note =
            "the pool has more workers than it asks for; this one loses least by going".to_owned();
        context
            .event(worker.as_ref(), EventType::Normal, "VictimSelected", note)
            .await;
    }
    let mut blocks = inputs.blocks.clone();
    for new in create {
        let worker = build_worker(pool, new, &blocks);
        blocks.push(worker.spec.network.block);
        make(context, on, pool, new, &worker).await?;
    }
    Ok(())
}

async fn make(
    context: &Context,
    on: &WorkerPool,
    pool: &ValidatedPool,
    new: &NewWorker,
    worker: &CallMeterWorker,
) -> Result<()> {
    match context.writer.post("make a worker", worker, false).await? {
        Posted::Created(made) => {
            info!(
                namespace = pool.namespace,
                pool = pool.name,
                worker = new.name,
                "a worker is made"
            );
            let note = format!(
                "worker {} for the token {}/{}",
                new.name, new.token.name, new.token.key
            );
            context
                .event_about(
                    on,
                    Some(made.object_ref(&())),
                    EventType::Normal,
                    "Created",
                    note,
                )
                .await;
            Ok(())
        }
        Posted::Exists => {
            let api = Api::<CallMeterWorker>::namespaced(context.client.clone(), &pool.namespace);
            let found = api
                .get_opt(&new.name)
                .await
                .map_err(Error::kube("read a worker"))?;
            match found {
                Some(found)
                    if found
                        .owner_references()
                        .iter()
                        .any(|owner| owner.uid == pool.uid) =>
                {
                    Ok(())
                }
                // One of an earlier pool of this name that is on its way out.
                Some(found) if found.metadata.deletion_timestamp.is_some() => Ok(()),
                None => Ok(()),
                Some(_) => Err(Error::InvalidSpec {
                    field: "metadata.name",
                    message: format!(
                        "a worker `{}` that is not this pool's is in the way",
                        new.name
                    ),
                }),
            }
        }
    }
}

/// Brings existing workers to what the pool asks for now.
pub(crate) async fn converge_workers(
    context: &Context,
    pool: &ValidatedPool,
    inputs: &Inputs,
) -> Result<()> {
    let mut blocks = inputs.blocks.clone();
    for worker in inputs.workers.values() {
        if let Some(fields) = converge(pool, worker, &blocks) {
            let applied = context
                .writer
                .apply(
                    "bring a worker up to date",
                    Manager::Pool,
                    worker.as_ref(),
                    fields,
                )
                .await?;
            blocks.push(applied.spec.network.block);
        }
    }
    Ok(())
}

/// Keeps the copy of the gateway's CA in the pool's namespace. One that somebody else keeps there,
/// as the chart does in its own namespace, is left alone.
pub(crate) async fn keep_ca(context: &Context, namespace: &str) -> Result<()> {
    let Some(path) = &context.settings.gateway_ca_file else {
        return Ok(());
    };
    let certificates = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::File {
            path: path.display().to_string(),
            source,
        })?;
    let wanted = build_ca(namespace, &certificates);
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let found = api
        .get_opt(labels::GATEWAY_CA)
        .await
        .map_err(Error::kube("read the copy of the gateway's CA"))?;
    match found {
        None => context
            .writer
            .post("copy the gateway's CA", &wanted, false)
            .await
            .map(drop),
        Some(found) if is_ours(&found) && found.data != wanted.data => {
            let fields = serde_json::json!({"data": wanted.data});
            context
                .writer
                .apply("copy the gateway's CA", Manager::Pool, &found, fields)
                .await
                .map(drop)
        }
        Some(_) => Ok(()),
    }
}

fn is_ours(map: &ConfigMap) -> bool {
    map.labels()
        .get(labels::MANAGED_BY)
        .is_some_and(|by| by == labels::OPERATOR)
}

/// Deletes the copy with the last pool of a namespace.
pub(crate) async fn drop_ca(context: &Context, namespace: &str) -> Result<()> {
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let found = api
        .get_opt(labels::GATEWAY_CA)
        .await
        .map_err(Error::kube("read the copy of the gateway's CA"))?;
    match found {
        Some(found) if is_ours(&found) => {
            context
                .writer
                .delete("delete the copy of the gateway's CA", &found, None)
                .await
        }
        _ => Ok(()),
    }
}

/// Tells the gateway that the pool is there and how far it can grow.
pub(crate) async fn register(
    context: &Context,
    pool: &ValidatedPool,
    inputs: &Inputs,
    desired: u32,
) -> Result<()> {
    let live = inputs.members.iter().filter(|m| m.is_live()).count() as u32;
    let most = pool
        .autoscaling
        .as_ref()
        .map_or(desired, |autoscaling| autoscaling.max_replicas);
    let mut labels = std::collections::HashMap::from([(labels::POOL.to_owned(), pool.key())]);
    if !pool.region.is_empty() {
        labels.insert("region".to_owned(), pool.region.clone());
    }
    context
        .fleet
        .upsert_pool(pb::UpsertPoolRequest {
            key: pool.key(),
            project: pool.project.clone(),
            region: pool.region.clone(),
            labels,
            endpoints_per_worker: pool.capacity.endpoints,
            max_workers: most.min(pool.tokens.limit().unwrap_or(u32::MAX)),
            live_workers: live,
        })
        .await
}

/// Deletes records at the gateway that were made for workers of this pool that do not exist. The
/// records are read before the workers: a record is only ever made for a worker that exists.
pub(crate) async fn drop_orphans(context: &Context, pool: &ValidatedPool) -> Result<()> {
    let Some(records) = context.fleet.index().made_for(&pool.key()) else {
        return Ok(());
    };
    if records.is_empty() {
        return Ok(());
    }
    let live = super::dereference::live(context, pool).await?;
    for (id, key) in records {
        if !live.members.iter().any(|member| member.uid == key) {
            info!(
                namespace = pool.namespace,
                pool = pool.name,
                id,
                "a record at the gateway has no worker; it is deleted"
            );
            context.fleet.delete_worker(id).await?;
        }
    }
    Ok(())
}
