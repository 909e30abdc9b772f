//! Pools: from a number of workers to `CallMeterWorker` objects.

mod apply;
pub(crate) mod autoscale;
mod build;
mod dereference;
mod measure;
pub(crate) mod member;
pub(crate) mod plan;
mod scale;
mod status;
pub(crate) mod validate;
pub(crate) mod victims;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callmeter_api::{WorkerPool, labels};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt as _,
    core::DeserializeGuard,
    runtime::{controller::Action, reflector::Store},
};
use tracing::info;

use self::{autoscale::History, status::Outcome, validate::ValidatedPool};
use crate::{
    context::{Context, Written},
    error::{Error, Result, readable},
};

const CONTROLLER: &str = "pool";
/// The gateway forgets a registration after 60 s.
const RENEWAL: Duration = Duration::from_secs(20);
/// How often the gateway's records are compared with the workers.
const COMPARISON: Duration = Duration::from_secs(60);

/// What the controller of pools keeps beside the shared context.
pub(crate) struct Pools {
    pub(crate) shared: Arc<Context>,
    pub(crate) written: Written<WorkerPool>,
    /// All pools, to know the last one of a namespace.
    pub(crate) store: Store<DeserializeGuard<WorkerPool>>,
    pub(crate) memory: Memory,
}

/// What is remembered of each pool while the process lives, by UID.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    history: History,
    registered: Option<(Instant, u32, u32)>,
    compared: Option<Instant>,
}

impl Memory {
    fn with<T>(&self, uid: &str, work: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(pools.entry(uid.to_owned()).or_default())
    }

    fn forget(&self, uid: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

/// One pass over one pool.
pub(crate) async fn reconcile(
    guard: Arc<DeserializeGuard<WorkerPool>>,
    context: Arc<Pools>,
) -> Result<Action> {
    let pool = readable("WorkerPool", &guard)?;
    context
        .shared
        .reconcile(CONTROLLER, pool, Box::pin(pass(&context, pool)))
        .await
}

/// What to do after a failed pass.
pub(crate) fn error_policy(
    guard: &DeserializeGuard<WorkerPool>,
    error: &Error,
    context: &Pools,
) -> Action {
    context.shared.failed(CONTROLLER, guard, error)
}

async fn pass(context: &Pools, seen: &WorkerPool) -> Result<Action> {
    let shared = &context.shared;
    let on = context.written.newest(Arc::new(seen.clone()));
    let pool = match validate::validate(&on, &shared.settings.gateway_url) {
        Ok(pool) => pool,
        // A pool that is deleted has to go whatever is wrong with it; its workers are validated on
        // their own.
        Err(error) if on.metadata.deletion_timestamp.is_none() => {
            return refuse(context, &on, error).await;
        }
        Err(_) => return let_go(context, &on).await,
    };
    if pool.deleting {
        return delete(context, &on, &pool).await;
    }
    if !on.finalizers().iter().any(|f| f == labels::POOL_FINALIZER) {
        let kept = shared
            .writer
            .finalizer(
                "keep the pool until its workers are drained",
                on.as_ref(),
                labels::POOL_FINALIZER,
                true,
            )
            .await?;
        context.written.keep(kept);
        return Ok(Action::requeue(Duration::from_millis(20)));
    }
    if pool.own_gateway {
        apply::keep_ca(shared, &pool.namespace).await?;
    }
    let mut inputs = dereference::cached(shared, &pool);
    let (decision, desired) = context.memory.with(&pool.uid, |memory| {
        scale::decide(&pool, &inputs, &mut memory.history)
    });
    if !pool.paused && pool.replicas != Some(desired) {
        let kept = scale::write(context, &on, &pool, decision.as_ref(), desired).await?;
        if !kept {
            // The pool has changed since; its new version is decided on.
            return Ok(Action::requeue(Duration::from_millis(100)));
        }
    }
    let mut plan = plan::plan(
        &pool,
        desired,
        &inputs.members,
        &inputs.elsewhere,
        inputs.now.as_second(),
    );
    if !pool.paused {
        if !plan.is_empty() {
            // What is acted on is read anew, and decided anew.
            inputs = dereference::live(shared, &pool).await?;
            plan = plan::plan(
                &pool,
                desired,
                &inputs.members,
                &inputs.elsewhere,
                inputs.now.as_second(),
            );
            apply::carry_out(shared, &on, &pool, &inputs, &plan).await?;
        }
        apply::converge_workers(shared, &pool, &inputs).await?;
    }
    let unregistered = if pool.own_gateway {
        register(context, &pool, &inputs, desired).await
    } else {
        None
    };
    measure::pool(&shared.metrics, &pool, &inputs);
    let again = decision.as_ref().and_then(|decision| decision.again);
    let outcome = Outcome {
        desired,
        plan,
        decision,
        unregistered,
    };
    report(context, &on, &pool, &inputs, &outcome).await?;
    Ok(Action::requeue(again.map_or(RENEWAL, |again| {
        again.clamp(Duration::from_millis(100), RENEWAL)
    })))
}

/// Renews the registration, at once when it would differ; why that did not work, if it did not.
async fn register(
    context: &Pools,
    pool: &ValidatedPool,
    inputs: &dereference::Inputs,
    desired: u32,
) -> Option<String> {
    let live = inputs.members.iter().filter(|m| m.is_live()).count() as u32;
    let now = inputs.clock;
    let due = context.memory.with(&pool.uid, |memory| {
        memory.registered.is_none_or(|(at, known, most)| {
            known != live
                || most != desired
                || now.saturating_duration_since(at) + Duration::from_secs(1) >= RENEWAL
        })
    });
    if due {
        if let Err(error) = apply::register(&context.shared, pool, inputs, desired).await {
            return Some(error.chain());
        }
        context.memory.with(&pool.uid, |memory| {
            memory.registered = Some((now, live, desired));
        });
    }
    let compare = context.memory.with(&pool.uid, |memory| {
        memory
            .compared
            .is_none_or(|at| now.saturating_duration_since(at) >= COMPARISON)
    });
    if compare {
        if let Err(error) = apply::drop_orphans(&context.shared, pool).await {
            return Some(error.chain());
        }
        context
            .memory
            .with(&pool.uid, |memory| memory.compared = Some(now));
    }
    None
}

async fn report(
    context: &Pools,
    on: &WorkerPool,
    pool: &ValidatedPool,
    inputs: &dereference::Inputs,
    outcome: &Outcome,
) -> Result<()> {
    let status = status::build(on, pool, inputs, outcome);
    measure::conditions(&context.shared.metrics, pool, &status.conditions);
    if on.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let answer = context
        .shared
        .writer
        .status("report on the pool", on, &status)
        .await?;
    context.written.keep(answer);
    Ok(())
}

/// A pool that cannot be acted on says so and waits for a change.
async fn refuse(context: &Pools, on: &WorkerPool, error: Error) -> Result<Action> {
    let status = status::invalid(on, &error.chain(), &Time(Timestamp::now()));
    if on.status.as_ref() != Some(&status) {
        let answer = context
            .shared
            .writer
            .status("report on the pool", on, &status)
            .await?;
        context.written.keep(answer);
    }
    Err(error)
}

/// Deletes the workers, each of which is drained first, then the registration, then lets go.
async fn delete(context: &Pools, on: &WorkerPool, pool: &ValidatedPool) -> Result<Action> {
    let shared = &context.shared;
    if !on.finalizers().iter().any(|f| f == labels::POOL_FINALIZER) {
        return Ok(Action::await_change());
    }
    let inputs = dereference::live(shared, pool).await?;
    for (name, worker) in &inputs.workers {
        if worker.metadata.deletion_timestamp.is_none() {
            info!(
                namespace = pool.namespace,
                pool = pool.name,
                worker = name,
                "a worker of a deleted pool is to go"
            );
            shared
                .writer
                .delete("delete a worker of the pool", worker.as_ref(), None)
                .await?;
        }
    }
    if inputs.members.is_empty() {
        return let_go(context, on).await;
    }
    let outcome = Outcome::default();
    report(context, on, pool, &inputs, &outcome).await?;
    Ok(Action::requeue(RENEWAL))
}

/// Ends what the pool has beside its workers, and lets the object go.
async fn let_go(context: &Pools, on: &WorkerPool) -> Result<Action> {
    let shared = &context.shared;
    let (namespace, name) = (on.namespace().unwrap_or_default(), on.name_any());
    if !on.finalizers().iter().any(|f| f == labels::POOL_FINALIZER) {
        return Ok(Action::await_change());
    }
    // A registration that is not renewed ends by itself.
    if let Err(error) = shared
        .fleet
        .delete_pool(format!("{namespace}/{name}"))
        .await
    {
        info!(
            namespace,
            pool = name,
            error = error.chain(),
            "the registration of a deleted pool ends by itself"
        );
    }
    let others =
        context.store.state().iter().any(|other| {
            other.namespace().as_deref() == Some(&namespace) && other.name_any() != name
        });
    if !others {
        apply::drop_ca(shared, &namespace).await?;
    }
    let gone = shared
        .writer
        .finalizer("let the pool go", on, labels::POOL_FINALIZER, false)
        .await;
    match gone {
        Err(error) if error.status().is_some_and(kube::core::Status::is_not_found) => {}
        other => drop(other?),
    }
    let uid = on.uid().unwrap_or_default();
    context.memory.forget(&uid);
    context.written.forget(&uid);
    measure::forget(&shared.metrics, &namespace, &name);
    info!(namespace, pool = name, "a pool is gone");
    Ok(Action::await_change())
}
