//! Tokens that the gateway mints for a worker: made, stored, made anew. The operator never reads a
//! token back: a crash between minting and storing leaves a token that nobody knows, and the next
//! pass has another one made.

use callmeter_api::{CallMeterWorker, labels};
use callmeter_proto::{Secret as SecretText, fleet as pb};
use k8s_openapi::api::core::v1::Secret;

use super::{Worker, build::build_secret, validate::ValidatedWorker};
use crate::{
    error::{Error, Result},
    writes::Posted,
};

/// Has the token minted and stored; safe to repeat after a crash at any point. Gives the gateway's
/// id of the worker.
pub(super) async fn mint(context: &Worker, valid: &ValidatedWorker) -> Result<String> {
    let shared = &context.shared;
    let (id, token) = shared.fleet.create_worker(record(valid)).await?;
    let token = if let Some(token) = token {
        token
    } else {
        // The record is there: either the Secret is too, or its token is lost for good.
        let asked = shared
            .writer
            .post("ask for the Secret", &build_secret(valid, None), true)
            .await?;
        if matches!(asked, Posted::Exists) {
            return Ok(id);
        }
        shared.fleet.regenerate_token(id.clone()).await?
    };
    store(context, valid, &token).await?;
    Ok(id)
}

/// A new token in place of a refused one.
pub(super) async fn rotate(context: &Worker, valid: &ValidatedWorker) -> Result<String> {
    let fleet = &context.shared.fleet;
    let (id, token) = fleet.create_worker(record(valid)).await?;
    let token = match token {
        Some(token) => token,
        None => fleet.regenerate_token(id.clone()).await?,
    };
    store(context, valid, &token).await?;
    Ok(id)
}

/// Writes a token that nobody else knows; whatever the Secret held before is dead.
async fn store(context: &Worker, valid: &ValidatedWorker, token: &SecretText) -> Result<()> {
    let writer = &context.shared.writer;
    writer
        .delete_named::<Secret>("delete the old token", &valid.namespace, &valid.token.name)
        .await?;
    match writer
        .post("store the token", &build_secret(valid, Some(token)), false)
        .await?
    {
        Posted::Created(_) => Ok(()),
        // Somebody was faster with a Secret of this name: the token in it is not this one.
        Posted::Exists => Err(Error::InvalidSpec {
            field: "spec.tokenSecretRef",
            message: format!(
                "a Secret `{}` that is not the operator's is in the way",
                valid.token.name
            ),
        }),
    }
}

/// Tells the gateway of a changed capacity.
pub(super) async fn update_record(
    context: &Worker,
    worker: &CallMeterWorker,
    valid: &ValidatedWorker,
) -> Result<()> {
    let status = worker.status.as_ref();
    let id = status.and_then(|status| status.gateway.as_ref()?.worker_id.clone());
    let changed =
        status.is_some_and(|status| status.observed_generation != worker.metadata.generation);
    let (Some(id), true) = (id, valid.claimed && changed && !valid.deleting) else {
        return Ok(());
    };
    let pb::CreateWorkerRequest {
        key: _,
        project: _,
        name: _,
        capacity,
        labels,
    } = record(valid);
    context
        .shared
        .fleet
        .update_worker(pb::UpdateWorkerRequest {
            id,
            capacity,
            labels,
        })
        .await
}

fn record(valid: &ValidatedWorker) -> pb::CreateWorkerRequest {
    let mut labels = std::collections::HashMap::from([(labels::POOL.to_owned(), valid.pool_key())]);
    if !valid.region.is_empty() {
        labels.insert("region".to_owned(), valid.region.clone());
    }
    pb::CreateWorkerRequest {
        key: valid.uid.clone(),
        project: valid.project.clone(),
        name: valid.name.clone(),
        capacity: valid.capacity.endpoints,
        labels,
    }
}
