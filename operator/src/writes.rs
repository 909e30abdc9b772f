//! Every write to the API server. Each asks first whether this process still leads.

use std::fmt::Debug;

use callmeter_api::{CallMeterWorker, CallTest, WorkerPool};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        autoscaling::v1::{Scale, ScaleSpec},
        core::v1::{ConfigMap, Pod, Secret},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    lease::Leadership,
    metrics::Metrics,
};

/// Who owns a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// What a pool makes and keeps as it should be.
    Pool,
    /// Status.
    Status,
    /// `replicas`, once, when it is absent.
    Replicas,
    /// `replicas`, at each decision.
    Autoscaler,
    /// What belongs to a drain.
    Drain,
}

impl Manager {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "callmeter-pool",
            Self::Status => "callmeter-status",
            Self::Replicas => "callmeter-replicas",
            Self::Autoscaler => "callmeter-autoscaler",
            Self::Drain => "callmeter-drain",
        }
    }
}

/// The answer to a POST of an object that must not exist yet.
#[derive(Debug)]
pub(crate) enum Posted<K> {
    /// It was made.
    Created(K),
    /// An object of this name was there.
    Exists,
}

/// A kind that is written.
pub(crate) trait Written:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
    /// Its plural name, for metrics.
    const RESOURCE: &'static str;
}

macro_rules! written {
    ($($kind:ty => $plural:literal),+ $(,)?) => {
        $(impl Written for $kind { const RESOURCE: &'static str = $plural; })+
    };
}

written! {
    CallMeterWorker => "callmeterworkers",
    CallTest => "calltests",
    ConfigMap => "configmaps",
    Pod => "pods",
    Secret => "secrets",
    WorkerPool => "workerpools",
}

/// The client for writes.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    leadership: Leadership,
    metrics: Metrics,
}

impl Writer {
    pub(crate) fn new(client: Client, leadership: Leadership, metrics: Metrics) -> Self {
        Self {
            client,
            leadership,
            metrics,
        }
    }

    fn api<K: Written>(&self, namespace: &str) -> Result<Api<K>> {
        self.leadership.check()?;
        Ok(Api::namespaced(self.client.clone(), namespace))
    }

    fn count<T>(&self, verb: &str, resource: &str, answer: &kube::Result<T>) {
        let code = match answer {
            Ok(_) => "2xx",
            Err(kube::Error::Api(status)) if status.code < 500 => "4xx",
            Err(kube::Error::Api(_)) => "5xx",
            Err(_) => "none",
        };
        self.metrics
            .api_writes
            .with_label_values(&[verb, resource, code])
            .inc();
    }

    /// POST: the object must not exist yet.
    pub(crate) async fn post<K: Written>(
        &self,
        what: &'static str,
        object: &K,
        dry_run: bool,
    ) -> Result<Posted<K>> {
        let params = PostParams {
            dry_run,
            field_manager: Some(Manager::Pool.as_str().to_owned()),
        };
        let api = self.api::<K>(&object.namespace().unwrap_or_default())?;
        let answer = api.create(&params, object).await;
        self.count("create", K::RESOURCE, &answer);
        match answer {
            Ok(created) => Ok(Posted::Created(created)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Posted::Exists),
            Err(error) => Err(Error::kube(what)(error)),
        }
    }

    /// Server-side apply of some fields of an object that exists: its UID goes along, so that one
    /// of the same name that came later is refused.
    pub(crate) async fn apply<K: Written>(
        &self,
        what: &'static str,
        manager: Manager,
        on: &K,
        fields: Value,
    ) -> Result<K> {
        let (namespace, name, body) = patch_body(on, fields);
        let params = PatchParams::apply(manager.as_str()).force();
        let api = self.api::<K>(&namespace)?;
        let answer = api.patch(&name, &params, &Patch::Apply(&body)).await;
        self.count("apply", K::RESOURCE, &answer);
        answer.map_err(Error::kube(what))
    }

    /// Server-side apply of the status.
    pub(crate) async fn status<K: Written, S: Serialize>(
        &self,
        what: &'static str,
        on: &K,
        status: &S,
    ) -> Result<K> {
        let (namespace, name, body) = patch_body(on, json!({"status": status}));
        let params = PatchParams::apply(Manager::Status.as_str()).force();
        let api = self.api::<K>(&namespace)?;
        let answer = api.patch_status(&name, &params, &Patch::Apply(&body)).await;
        self.count("apply", K::RESOURCE, &answer);
        answer.map_err(Error::kube(what))
    }

    /// Sets or removes one finalizer, leaving those of others.
    pub(crate) async fn finalizer<K: Written>(
        &self,
        what: &'static str,
        on: &K,
        finalizer: &str,
        present: bool,
    ) -> Result<K> {
        let mut finalizers = on.finalizers().to_vec();
        finalizers.retain(|known| known != finalizer);
        if present {
            finalizers.push(finalizer.to_owned());
        }
        // With the version it was read at: two writers of this list would lose one's entry.
        let body = json!({"metadata": {
            "uid": on.uid(),
            "resourceVersion": on.resource_version(),
            "finalizers": finalizers,
        }});
        let params = PatchParams {
            field_manager: Some(Manager::Pool.as_str().to_owned()),
            ..PatchParams::default()
        };
        let api = self.api::<K>(&on.namespace().unwrap_or_default())?;
        let answer = api
            .patch(&on.name_any(), &params, &Patch::Merge(&body))
            .await;
        self.count("patch", K::RESOURCE, &answer);
        answer.map_err(Error::kube(what))
    }

    /// Deletes this very object; one that is gone or was made anew is no error. `grace` in seconds.
    pub(crate) async fn delete<K: Written>(
        &self,
        what: &'static str,
        object: &K,
        grace: Option<u32>,
    ) -> Result<()> {
        let mut params = DeleteParams::background().preconditions(Preconditions {
            uid: object.uid(),
            resource_version: None,
        });
        params.grace_period_seconds = grace;
        self.delete_by::<K>(
            what,
            &object.namespace().unwrap_or_default(),
            &object.name_any(),
            &params,
        )
        .await
    }

    /// Deletes by name; one that is gone is no error.
    pub(crate) async fn delete_named<K: Written>(
        &self,
        what: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<()> {
        self.delete_by::<K>(what, namespace, name, &DeleteParams::background())
            .await
    }

    async fn delete_by<K: Written>(
        &self,
        what: &'static str,
        namespace: &str,
        name: &str,
        params: &DeleteParams,
    ) -> Result<()> {
        let answer = self.api::<K>(namespace)?.delete(name, params).await;
        self.count("delete", K::RESOURCE, &answer);
        match answer {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                Ok(())
            }
            Err(error) => Err(Error::kube(what)(error)),
        }
    }

    /// `replicas` by PUT on `/scale`, on the version that was decided on. `None`: it has changed
    /// since.
    pub(crate) async fn scale(
        &self,
        manager: Manager,
        pool: &WorkerPool,
        replicas: u32,
    ) -> Result<Option<()>> {
        let namespace = pool.namespace().unwrap_or_default();
        let scale = Scale {
            metadata: ObjectMeta {
                name: pool.metadata.name.clone(),
                namespace: Some(namespace.clone()),
                uid: pool.uid(),
                resource_version: pool.resource_version(),
                ..ObjectMeta::default()
            },
            spec: Some(ScaleSpec {
                replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            }),
            status: None,
        };
        let params = PostParams {
            dry_run: false,
            field_manager: Some(manager.as_str().to_owned()),
        };
        let answer = self
            .api::<WorkerPool>(&namespace)?
            .replace_scale(&pool.name_any(), &params, &scale)
            .await;
        self.count("update", "workerpools/scale", &answer);
        match answer {
            Ok(_) => Ok(Some(())),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(None),
            Err(error) => Err(Error::kube("set the number of workers")(error)),
        }
    }
}

/// The fields with what identifies the object.
fn patch_body<K: Written>(on: &K, mut fields: Value) -> (String, String, Value) {
    let (namespace, name) = (on.namespace().unwrap_or_default(), on.name_any());
    if let Some(body) = fields.as_object_mut() {
        body.insert("apiVersion".to_owned(), K::api_version(&()).into());
        body.insert("kind".to_owned(), K::kind(&()).into());
        let metadata = body.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), name.clone().into());
            metadata.insert("namespace".to_owned(), namespace.clone().into());
            metadata.insert("uid".to_owned(), on.uid().into());
        }
    }
    (namespace, name, fields)
}

#[cfg(test)]
mod tests;
