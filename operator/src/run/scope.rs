//! Where objects are looked after: one namespace, or all of them.

use std::fmt::Debug;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        Controller, WatchStreamExt as _, controller,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

/// Passes of one controller at a time.
const CONCURRENCY: u16 = 16;

/// Where objects are looked after.
pub(super) struct Scope {
    pub(super) client: Client,
    pub(super) namespace: Option<String>,
}

impl Scope {
    /// One kind of them.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// A store, and the stream that fills it and tells of each object it has taken in.
    pub(super) fn reflect<K>(
        &self,
        label: &str,
    ) -> (Store<K>, impl futures::Stream<Item = K> + Send + use<K>)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (store, writer) = reflector::store::<K>();
        let config = watcher::Config::default().any_semantic().labels(label);
        let stream = watcher(self.api::<K>(), config)
            .default_backoff()
            .reflect(writer)
            .touched_objects()
            .filter_map(|object| async move {
                object
                    .inspect_err(|error| debug!(error = %error, "a watch starts anew"))
                    .ok()
            });
        (store, stream)
    }

    /// A controller of one kind, which is also told what to look at by `triggers`.
    pub(super) fn controller<K>(
        &self,
        triggers: mpsc::Receiver<ObjectRef<DeserializeGuard<K>>>,
    ) -> Controller<DeserializeGuard<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        Controller::new(
            self.api::<DeserializeGuard<K>>(),
            watcher::Config::default().any_semantic(),
        )
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_on(ReceiverStream::new(triggers))
    }
}
