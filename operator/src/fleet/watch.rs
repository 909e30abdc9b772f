//! Keeps the index as the gateway reports and asks for a reconcile of what changed.

use std::time::{Duration, Instant};

use callmeter_api::{CallMeterWorker, WorkerPool};
use callmeter_proto::fleet::{WatchDemandRequest, WatchWorkersRequest, WorkerRow};
use kube::{core::DeserializeGuard, runtime::reflector::ObjectRef};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Fleet, index::pool_of};
use crate::{
    error::{Error, Result},
    metrics::Metrics,
};

/// The state of a pool's demand is repeated at least every 10 s.
const DEMAND_SILENCE: Duration = Duration::from_secs(30);
/// Between two tries to open a stream, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Where objects are named that are to be reconciled. Bounded: a full one holds the watch back.
#[derive(Clone)]
pub(crate) struct Triggers {
    pub(crate) pools: mpsc::Sender<ObjectRef<DeserializeGuard<WorkerPool>>>,
    pub(crate) workers: mpsc::Sender<ObjectRef<DeserializeGuard<CallMeterWorker>>>,
}

/// Watches until the token is cancelled.
pub(crate) async fn run(
    fleet: Fleet,
    triggers: Triggers,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let workers = keep("workers", &metrics, || {
        watch_workers(&fleet, &triggers, &metrics)
    });
    let demand = keep("demand", &metrics, || watch_demand(&fleet, &triggers));
    tokio::select! {
        () = stop.cancelled() => {}
        () = workers => {}
        () = demand => {}
    }
}

/// Opens a stream again whenever it ends, after 0.5 s doubling to 10 s.
async fn keep<F>(what: &'static str, metrics: &Metrics, open: impl Fn() -> F)
where
    F: Future<Output = Result<()>>,
{
    let mut wait = Duration::from_millis(500);
    loop {
        let opened = Instant::now();
        match open().await {
            Ok(()) => info!(what, "the gateway ended a watch"),
            Err(error) => warn!(
                what,
                error = error.chain(),
                "a watch of the gateway is down"
            ),
        }
        if what == "workers" {
            metrics.gateway_connected.set(0);
        }
        if opened.elapsed() > LONGEST_WAIT {
            wait = Duration::from_millis(500);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

pub(super) async fn watch_workers(
    fleet: &Fleet,
    triggers: &Triggers,
    metrics: &Metrics,
) -> Result<()> {
    let result = read_workers(fleet, triggers, metrics).await;
    fleet.index().lost();
    result
}

async fn read_workers(fleet: &Fleet, triggers: &Triggers, metrics: &Metrics) -> Result<()> {
    let mut client = fleet.client().await?;
    let opening = client.watch_workers(WatchWorkersRequest::default());
    let mut stream = tokio::time::timeout(LONGEST_WAIT, opening)
        .await
        .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")))
        .map_err(Error::gateway("watch the gateway's workers"))?
        .into_inner();
    // Keep-alive of the connection ends the stream of a gateway that is gone.
    while let Some(report) = stream
        .message()
        .await
        .map_err(Error::gateway("read the gateway's workers"))?
    {
        metrics.gateway_connected.set(1);
        for row in fleet.index().take_workers(report) {
            tell(&row, triggers).await;
        }
    }
    Ok(())
}

/// A row concerns the worker of its pod and the pool it names. A closed channel means that the
/// process ends.
async fn tell(row: &WorkerRow, triggers: &Triggers) {
    if let Some((namespace, pool)) = pool_of(row).and_then(|pool| pool.split_once('/')) {
        let _ = triggers
            .pools
            .send(ObjectRef::new(pool).within(namespace))
            .await;
        let worker = if row.pod_name.is_empty() {
            &row.name
        } else {
            &row.pod_name
        };
        let _ = triggers
            .workers
            .send(ObjectRef::new(worker).within(namespace))
            .await;
    } else if !row.pod_name.is_empty() {
        let _ = triggers
            .workers
            .send(ObjectRef::new(&row.pod_name).within(&row.pod_namespace))
            .await;
    }
}

pub(super) async fn watch_demand(fleet: &Fleet, triggers: &Triggers) -> Result<()> {
    let mut client = fleet.client().await?;
    let opening = client.watch_demand(WatchDemandRequest::default());
    let mut stream = tokio::time::timeout(LONGEST_WAIT, opening)
        .await
        .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")))
        .map_err(Error::gateway("watch the demand"))?
        .into_inner();
    loop {
        let report = tokio::time::timeout(DEMAND_SILENCE, stream.message())
            .await
            .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("silent for 30 s")))
            .map_err(Error::gateway("read the demand"))?;
        let Some(report) = report else {
            return Ok(());
        };
        for pool in fleet.index().take_demand(report, Instant::now()) {
            if let Some((namespace, name)) = pool.split_once('/') {
                let _ = triggers
                    .pools
                    .send(ObjectRef::new(name).within(namespace))
                    .await;
            }
        }
    }
}
