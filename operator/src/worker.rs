//! Workers: from a `CallMeterWorker` to its token and its pod, and back when it goes.

mod apply;
mod build;
mod claim;
mod decide;
mod dereference;
mod drain;
mod facts;
mod status;
mod token;
mod validate;

use std::sync::Arc;

use callmeter_api::CallMeterWorker;
use kube::{core::DeserializeGuard, runtime::controller::Action};

use crate::{
    context::{Context, Written},
    error::{Error, Result, readable},
};

const CONTROLLER: &str = "worker";

/// What the controller of workers keeps beside the shared context.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Context>,
    pub(crate) written: Written<CallMeterWorker>,
}

/// One pass over one worker.
pub(crate) async fn reconcile(
    guard: Arc<DeserializeGuard<CallMeterWorker>>,
    context: Arc<Worker>,
) -> Result<Action> {
    let worker = readable("CallMeterWorker", &guard)?;
    context
        .shared
        .reconcile(CONTROLLER, worker, Box::pin(pass(&context, worker)))
        .await
}

/// What to do after a failed pass.
pub(crate) fn error_policy(
    guard: &DeserializeGuard<CallMeterWorker>,
    error: &Error,
    context: &Worker,
) -> Action {
    context.shared.failed(CONTROLLER, guard, error)
}

async fn pass(context: &Worker, seen: &CallMeterWorker) -> Result<Action> {
    let worker = context.written.newest(Arc::new(seen.clone()));
    let inputs = dereference::dereference(&context.shared, &worker);
    let valid = validate::validate(&worker, &context.shared.settings)?;
    let decision = decide::decide(&worker, &valid, &inputs);
    let applied = apply::apply(context, &worker, &valid, &inputs, decision).await?;
    status::write(context, &worker, &valid, &inputs, applied).await
}
