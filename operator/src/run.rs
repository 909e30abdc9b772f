//! Puts the parts together and runs them until the process is told to end or loses its lease.

mod scope;

use std::{
    fmt::Debug,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use callmeter_api::{CallMeterWorker, CallTest, WorkerPool, labels};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        Controller,
        controller::{self, Action},
        events::{Recorder, Reporter},
        reflector::{ObjectRef, Store},
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use self::scope::Scope;
use crate::{
    args::RunArgs,
    calltest::{self, Tests, Watches},
    context::{Backoff, Context, Settings, Written},
    ended,
    error::Error,
    fleet::{self, Fleet, FleetConfig, Index, Triggers},
    http,
    lease::{Elector, Leadership},
    metrics::Metrics,
    pool::{self, Memory, Pools},
    worker::{self, Worker},
    writes::Writer,
};

/// Objects named for a pass and not yet taken.
const QUEUE: usize = 1024;
/// How long a stopping process waits for its passes.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Runs the operator.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    // Another part of the process may have been faster with the same one.
    let _ = provider.install_default();
    let metrics = Metrics::new().context("register the metrics")?;
    let stop = CancellationToken::new();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    serve(&args, &metrics, &stop, &mut tasks).await?;

    let client = Client::try_default().await.context("find the API server")?;
    let leadership = Leadership::default();
    let mut elector = Elector::new(
        client.clone(),
        &args.namespace,
        args.pod_name.clone(),
        leadership.clone(),
    );
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    tokio::select! {
        () = elector.acquire() => info!(holder = args.pod_name, "holds the lease"),
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        ended = tasks.join_next() => bail!("a server ended: {}", ended::reason(ended)),
    }
    metrics.leader.set(1);
    start(&args, client, &leadership, &metrics, &stop, &mut tasks);

    let outcome = tokio::select! {
        () = elector.hold() => Err(anyhow::anyhow!("the lease is lost")),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of the operator ended: {}", ended::reason(ended))),
    };
    metrics.leader.set(0);
    if let Err(reason) = &outcome {
        error!(reason = %reason, "ends");
    } else {
        info!("was told to end");
    }
    stop.cancel();
    let ended = tokio::time::timeout(SHUTDOWN, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    if ended.is_err() {
        error!("parts of the operator did not end in time");
    }
    if outcome.is_ok() {
        elector.release().await.context("give the lease back")?;
    }
    outcome
}

/// Starts the servers of metrics and health.
async fn serve(
    args: &RunArgs,
    metrics: &Metrics,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let bind = async |what: &str, addr| {
        TcpListener::bind(addr).await.with_context(|| {
            format!("--{what}: cannot listen on `{addr}`; accepted: a free address and port")
        })
    };
    let metrics_listener = bind("metrics-addr", args.metrics_addr).await?;
    let health_listener = bind("health-addr", args.health_addr).await?;
    let (beat, tick) = watch::channel(Instant::now());
    let stopped = stop.clone();
    tasks.spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_secs(2));
        loop {
            tokio::select! {
                () = stopped.cancelled() => return Ok(()),
                _ = interval.tick() => drop(beat.send_replace(Instant::now())),
            }
        }
    });
    let (metrics, stopped) = (metrics.clone(), stop.clone());
    tasks.spawn(async move {
        http::metrics(metrics_listener, metrics, stopped)
            .await
            .context("serve the metrics")
    });
    let stopped = stop.clone();
    tasks.spawn(async move {
        http::health(health_listener, tick, stopped)
            .await
            .context("serve health")
    });
    Ok(())
}

/// Starts watches and controllers.
fn start(
    args: &RunArgs,
    client: Client,
    leadership: &Leadership,
    metrics: &Metrics,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    let fleet = Fleet::new(
        FleetConfig {
            url: args.fleet_url.clone(),
            ca_file: args.fleet_ca_file.clone(),
            token_file: args.fleet_token_file.clone(),
        },
        Index::default(),
    );
    let (pools, pool_triggers) = mpsc::channel(QUEUE);
    let (workers, worker_triggers) = mpsc::channel(QUEUE);
    let (tests, test_triggers) = mpsc::channel(QUEUE);
    let triggers = Triggers { pools, workers };
    let scope = Scope {
        client: client.clone(),
        namespace: args.watch_namespace.clone(),
    };
    let mut parts = Parts { tasks, stop };

    let worker_store = parts.watch_workers(&scope, &triggers);
    let pod_store = parts.watch_pods(&scope, &triggers);
    let gateway = fleet::run(fleet.clone(), triggers, metrics.clone(), stop.clone());
    parts.spawn("watches of the gateway", gateway);

    let shared = Arc::new(Context {
        writer: Writer::new(client.clone(), leadership.clone(), metrics.clone()),
        settings: Settings {
            gateway_url: args.gateway_url.clone(),
            gateway_ca_file: args.gateway_ca_file.clone(),
            worker_image: args.worker_image.clone(),
            project: args.project.clone(),
        },
        fleet,
        metrics: metrics.clone(),
        recorder: Recorder::new(
            client.clone(),
            Reporter {
                controller: labels::OPERATOR.to_owned(),
                instance: Some(args.pod_name.clone()),
            },
        ),
        client,
        workers: worker_store,
        pods: pod_store,
        backoff: Backoff::default(),
    });
    let controller = scope.controller::<WorkerPool>(pool_triggers);
    let context = Pools {
        shared: Arc::clone(&shared),
        written: Written::default(),
        store: controller.store(),
        memory: Memory::default(),
    };
    parts.control(
        "controller of pools",
        controller,
        pool::reconcile,
        pool::error_policy,
        context,
    );

    let controller = scope.controller::<CallMeterWorker>(worker_triggers);
    let context = Worker {
        shared: Arc::clone(&shared),
        written: Written::default(),
    };
    parts.control(
        "controller of workers",
        controller,
        worker::reconcile,
        worker::error_policy,
        context,
    );

    let controller = scope.controller::<CallTest>(test_triggers);
    let context = Tests {
        shared,
        written: Written::default(),
        watches: Watches::new(tests),
    };
    parts.control(
        "controller of tests",
        controller,
        calltest::reconcile,
        calltest::error_policy,
        context,
    );
}

/// The tasks of the operator, each owned and awaited.
struct Parts<'a> {
    tasks: &'a mut JoinSet<anyhow::Result<()>>,
    stop: &'a CancellationToken,
}

impl Parts<'_> {
    /// Fills the store of workers; a change of one concerns its pool.
    fn watch_workers(
        &mut self,
        scope: &Scope,
        triggers: &Triggers,
    ) -> Store<DeserializeGuard<CallMeterWorker>> {
        let (store, stream) = scope.reflect::<DeserializeGuard<CallMeterWorker>>("");
        let pools = triggers.pools.clone();
        let tell = move |worker: DeserializeGuard<CallMeterWorker>| {
            let pools = pools.clone();
            let pool = worker.labels().get(labels::POOL).cloned();
            let namespace = worker.namespace().unwrap_or_default();
            async move {
                if let Some(pool) = pool {
                    let _ = pools.send(ObjectRef::new(&pool).within(&namespace)).await;
                }
            }
        };
        self.spawn("watch of workers", stream.for_each(tell));
        store
    }

    /// Fills the store of pods; a change of one concerns the worker of its name.
    fn watch_pods(&mut self, scope: &Scope, triggers: &Triggers) -> Store<Pod> {
        let (store, stream) = scope.reflect::<Pod>(labels::POOL);
        let workers = triggers.workers.clone();
        let tell = move |pod: Pod| {
            let workers = workers.clone();
            let worker =
                ObjectRef::new(&pod.name_any()).within(&pod.namespace().unwrap_or_default());
            async move { drop(workers.send(worker).await) }
        };
        self.spawn("watch of pods", stream.for_each(tell));
        store
    }

    /// Runs a controller until the process is to end; passes that have begun are finished.
    fn control<K, C, F>(
        &mut self,
        what: &'static str,
        controller: Controller<DeserializeGuard<K>>,
        reconcile: fn(Arc<DeserializeGuard<K>>, Arc<C>) -> F,
        error_policy: fn(&DeserializeGuard<K>, &Error, &C) -> Action,
        context: C,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        C: Send + Sync + 'static,
        F: Future<Output = Result<Action, Error>> + Send + 'static,
    {
        let stopped = self.stop.clone();
        let judge = move |object: Arc<_>, error: &Error, context: Arc<C>| {
            error_policy(&object, error, &context)
        };
        let passes = controller
            .graceful_shutdown_on(async move { stopped.cancelled().await })
            .run(reconcile, judge, Arc::new(context));
        // Failed passes are logged where they are judged; the rest are objects that have just gone.
        let ended = passes.for_each(|passed| async move {
            if let Err(
                error @ (controller::Error::QueueError(_) | controller::Error::RunnerError(_)),
            ) = passed
            {
                debug!(error = %error, "a watch of a controller starts anew");
            }
        });
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            ended.await;
            anyhow::ensure!(stop.is_cancelled(), "the {what} has ended");
            Ok(())
        });
    }

    /// Runs a part that may be dropped at any point; its own end ends the process.
    fn spawn(&mut self, what: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                () = part => Err(anyhow::anyhow!("the {what} has ended")),
            }
        });
    }
}
