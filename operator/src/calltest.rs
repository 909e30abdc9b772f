//! Call tests: a `CallTest` becomes one run of the gateway, and the run's state its status.

mod apply;
mod decide;
mod dereference;
mod status;
mod validate;
mod watches;

use std::{sync::Arc, time::Duration};

use callmeter_api::CallTest;
use kube::{ResourceExt as _, core::DeserializeGuard, runtime::controller::Action};

pub(crate) use watches::Watches;

use crate::{
    context::{Context, Written},
    error::{Error, Result, readable},
};

const CONTROLLER: &str = "calltest";
/// How often a test is looked at though nothing was heard of it.
const RESYNC: Duration = Duration::from_secs(300);

/// What the controller of call tests keeps beside the shared context.
pub(crate) struct Tests {
    pub(crate) shared: Arc<Context>,
    pub(crate) written: Written<CallTest>,
    pub(crate) watches: Watches,
}

/// One pass over one test.
pub(crate) async fn reconcile(
    guard: Arc<DeserializeGuard<CallTest>>,
    context: Arc<Tests>,
) -> Result<Action> {
    let test = readable("CallTest", &guard)?;
    context
        .shared
        .reconcile(CONTROLLER, test, Box::pin(pass(&context, test)))
        .await
}

/// What to do after a failed pass.
pub(crate) fn error_policy(
    guard: &DeserializeGuard<CallTest>,
    error: &Error,
    context: &Tests,
) -> Action {
    context.shared.failed(CONTROLLER, guard, error)
}

async fn pass(context: &Tests, seen: &CallTest) -> Result<Action> {
    let test = context.written.newest(Arc::new(seen.clone()));
    let valid = validate::validate(&test, &context.shared.settings)?;
    let inputs = dereference::dereference(context, &test);
    let decision = decide::decide(&test, &inputs);
    let applied = apply::apply(context, &test, &valid, decision).await?;
    if applied.gone {
        context.watches.forget(&test.uid().unwrap_or_default());
        context.written.forget(&test.uid().unwrap_or_default());
        return Ok(Action::await_change());
    }
    status::write(context, &test, &inputs, applied).await
}
