//! What all controllers share, and the frame around each reconcile.

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callmeter_api::CallMeterWorker;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
        reflector::Store,
    },
};
use tracing::{debug, info, warn};

use crate::{
    error::{Error, Result},
    fleet::Fleet,
    metrics::Metrics,
    writes::Writer,
};

/// No reconcile takes longer: the client alone would retry one request for minutes.
const RECONCILE_LIMIT: Duration = Duration::from_secs(45);
/// Longest wait between two tries of a failing reconcile.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// What the controllers were started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `host:port` of workers whose pool names no gateway.
    pub(crate) gateway_url: String,
    /// CA certificates that are copied into the namespaces of pools.
    pub(crate) gateway_ca_file: Option<PathBuf>,
    /// Image of workers whose pool names none.
    pub(crate) worker_image: String,
    /// The gateway's project of call tests.
    pub(crate) project: String,
}

/// What all controllers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) writer: Writer,
    pub(crate) settings: Settings,
    pub(crate) fleet: Fleet,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    /// All workers that are looked after.
    pub(crate) workers: Store<DeserializeGuard<CallMeterWorker>>,
    /// All pods of workers.
    pub(crate) pods: Store<Pod>,
    pub(crate) backoff: Backoff,
}

impl Context {
    /// Tells about an object; a lost event is only logged. Events of one object and reason are
    /// joined into a series that keeps its first note: what the note tells is part of the reason,
    /// or `about` another object.
    pub(crate) async fn event<K: Resource<DynamicType = ()>>(
        &self,
        on: &K,
        type_: EventType,
        reason: &'static str,
        note: String,
    ) {
        self.event_about(on, None, type_, reason, note).await;
    }

    /// The same with the other object that it is about.
    pub(crate) async fn event_about<K: Resource<DynamicType = ()>>(
        &self,
        on: &K,
        about: Option<ObjectReference>,
        type_: EventType,
        reason: &'static str,
        note: String,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: reason.to_owned(),
            secondary: about,
        };
        if let Err(error) = self.recorder.publish(&event, &on.object_ref(&())).await {
            debug!(error = %error, reason, "an event was not recorded");
        }
    }

    /// The frame of a reconcile: a limit on its time, its metrics, its backoff.
    pub(crate) async fn reconcile<K, F>(
        &self,
        controller: &'static str,
        object: &K,
        work: F,
    ) -> Result<Action>
    where
        K: Resource<DynamicType = ()>,
        F: Future<Output = Result<Action>>,
    {
        let started = Instant::now();
        let result = tokio::time::timeout(RECONCILE_LIMIT, work)
            .await
            .unwrap_or(Err(Error::Timeout(RECONCILE_LIMIT)));
        self.metrics
            .reconcile_duration
            .with_label_values(&[controller])
            .observe(started.elapsed().as_secs_f64());
        if result.is_ok() {
            self.backoff.succeeded(&object.uid().unwrap_or_default());
        }
        result
    }

    /// What to do after a failed reconcile.
    pub(crate) fn failed<K: Resource<DynamicType = ()>>(
        &self,
        controller: &'static str,
        object: &K,
        error: &Error,
    ) -> Action {
        self.metrics
            .reconcile_errors
            .with_label_values(&[controller, error.as_str()])
            .inc();
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if error.is_permanent() {
            info!(
                controller,
                namespace,
                name,
                error = error.chain(),
                "waits for a change of the object"
            );
            return Action::await_change();
        }
        let wait = self.backoff.failed(&object.uid().unwrap_or_default());
        if error.status().is_some_and(kube::core::Status::is_conflict) {
            debug!(
                controller,
                namespace,
                name,
                error = error.chain(),
                "the object has changed; tries again"
            );
        } else {
            warn!(
                controller,
                namespace,
                name,
                error = error.chain(),
                wait_ms = wait.as_millis() as u64,
                "a reconcile failed; tries again"
            );
        }
        Action::requeue(wait)
    }
}

/// Failures in a row of each object, and since when.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, (u32, Instant)>>);

impl Backoff {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u32, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// 0.5 s doubling to a minute, and up to a tenth more that depends on the object, so that
    /// objects that failed together do not come back together.
    fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.lock();
        let (count, _) = failures
            .entry(uid.to_owned())
            .or_insert_with(|| (0, Instant::now()));
        let wait = Duration::from_millis(500 << (*count).min(7)).min(LONGEST_BACKOFF);
        *count += 1;
        let spread = uid.bytes().fold(u32::from(*count as u8), |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        wait + wait * (spread % 100) / 1000
    }

    /// Since when an object fails without a success between.
    pub(crate) fn failing_since(&self, uid: &str) -> Option<Instant> {
        self.lock().get(uid).map(|(_, since)| *since)
    }
}

/// The last version of each object that this process wrote: a watch may still show an older one.
#[derive(Debug)]
pub(crate) struct Written<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource<DynamicType = ()>> Written<K> {
    /// The newer one of what a watch shows and what was written.
    pub(crate) fn newest(&self, seen: Arc<K>) -> Arc<K> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = seen.uid().unwrap_or_default();
        match written.get(&uid) {
            Some(ours) if version(ours.as_ref()) > version(seen.as_ref()) => Arc::clone(ours),
            Some(_) => {
                written.remove(&uid);
                seen
            }
            None => seen,
        }
    }

    /// Keeps the server's answer to a write.
    pub(crate) fn keep(&self, answer: K) -> Arc<K> {
        let answer = Arc::new(answer);
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(answer.uid().unwrap_or_default(), Arc::clone(&answer));
        answer
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

/// Resource versions of one kind grow; they are numbers in every API server there is.
fn version<K: Resource>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}
