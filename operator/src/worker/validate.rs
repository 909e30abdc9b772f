//! What a worker is, checked once and with every default filled in.

use callmeter_api::{
    CallMeterWorker, labels,
    pool::{Image, PodTemplate, TokenSecretRef},
    worker::{
        CallMeterWorkerSpec, DesiredState, DrainReason, WorkerCapacity, WorkerDrain, WorkerNetwork,
    },
};
use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::ResourceExt as _;

use crate::{
    context::Settings,
    error::{Error, Result},
    pool::validate::is_own_gateway,
    sizing,
};

/// A worker that can be acted on.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedWorker {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) pool: String,
    pub(crate) deleting: bool,
    /// Its token was minted for it.
    pub(crate) claimed: bool,
    pub(crate) token: TokenSecretRef,
    /// Who asked it to drain; `None`: it takes work.
    pub(crate) drain_reason: Option<DrainReason>,
    /// Its drain ends now.
    pub(crate) force: bool,
    pub(crate) capacity: WorkerCapacity,
    pub(crate) network: WorkerNetwork,
    pub(crate) drain: WorkerDrain,
    /// `host:port`
    pub(crate) gateway_url: String,
    /// The `ConfigMap` with the gateway's CA; `None`: the worker's system knows it.
    pub(crate) ca_config_map: Option<String>,
    /// Whether the operator can ask that gateway.
    pub(crate) own_gateway: bool,
    pub(crate) project: String,
    pub(crate) region: String,
    pub(crate) revision: String,
    pub(crate) image: String,
    pub(crate) resources: ResourceRequirements,
    pub(crate) template: PodTemplate,
}

impl ValidatedWorker {
    /// How the gateway knows its pool.
    pub(crate) fn pool_key(&self) -> String {
        format!("{}/{}", self.namespace, self.pool)
    }
}

/// Checks a worker against what the schema cannot see.
pub(crate) fn validate(worker: &CallMeterWorker, settings: &Settings) -> Result<ValidatedWorker> {
    let CallMeterWorkerSpec {
        token_secret_ref,
        claimed,
        desired_state,
        drain_reason,
        capacity,
        network,
        drain,
        gateway,
        project,
        region,
        revision,
        template,
    } = worker.spec.clone();
    let Some(pool) = worker.labels().get(labels::POOL).cloned() else {
        return Err(Error::InvalidSpec {
            field: "metadata.labels",
            message: format!(
                "`{}` is missing; workers are made by a WorkerPool",
                labels::POOL
            ),
        });
    };
    let resources = match &template.resources {
        Some(resources) => resources.clone(),
        None => sizing::documented(capacity.endpoints, capacity.media).ok_or_else(|| {
            Error::InvalidSpec {
                field: "spec.capacity.endpoints",
                message: format!(
                    "{} is above 500 and needs spec.template.resources",
                    capacity.endpoints
                ),
            }
        })?,
    };
    let own_gateway = is_own_gateway(&gateway, &settings.gateway_url);
    let ca_config_map = if !gateway.ca_config_map.is_empty() {
        Some(gateway.ca_config_map)
    } else if own_gateway && settings.gateway_ca_file.is_some() {
        Some(labels::GATEWAY_CA.to_owned())
    } else {
        None
    };
    Ok(ValidatedWorker {
        namespace: worker.namespace().unwrap_or_default(),
        name: worker.name_any(),
        uid: worker.uid().unwrap_or_default(),
        pool,
        deleting: worker.metadata.deletion_timestamp.is_some(),
        claimed,
        token: token_secret_ref,
        drain_reason: (desired_state == DesiredState::Drain)
            .then(|| drain_reason.unwrap_or(DrainReason::User)),
        force: worker
            .annotations()
            .get(labels::FORCE_DRAIN)
            .is_some_and(|value| value == "true"),
        capacity,
        network,
        drain,
        gateway_url: if gateway.url.is_empty() {
            settings.gateway_url.clone()
        } else {
            gateway.url
        },
        ca_config_map,
        own_gateway,
        project,
        region,
        revision,
        image: image(&template.image, &settings.worker_image),
        resources,
        template,
    })
}

fn image(image: &Image, default: &str) -> String {
    match (&image.repository, &image.digest, &image.tag) {
        (Some(repository), Some(digest), _) => format!("{repository}@{digest}"),
        (Some(repository), None, Some(tag)) => format!("{repository}:{tag}"),
        _ => default.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            gateway_url: "gateway.callmeter:443".into(),
            gateway_ca_file: Some("/ca/ca.crt".into()),
            worker_image: "callmeter/worker:latest".into(),
            project: "default".into(),
        }
    }

    pub(crate) fn worker(changes: &str) -> CallMeterWorker {
        let base = r"
apiVersion: callmeter.io/v1alpha1
kind: CallMeterWorker
metadata: {name: fra-aaaaaaaa, namespace: demo, uid: worker-uid, labels: {callmeter.io/pool: fra}, finalizers: [callmeter.io/drain]}
spec:
  tokenSecretRef: {name: cmw-1, key: token}
  capacity: {endpoints: 25, media: Audio}
  network: {mode: Pod, block: {rtpStart: 10000, rtpEnd: 10099, sipStart: 5060, sipEnd: 5079, health: 3030}}
  drain: {timeout: 20m, onTimeout: Terminate, quietPeriod: 5s}
  project: default
  revision: abc
";
        let mut value: serde_json::Value = serde_yaml::from_str(base).unwrap();
        let patch: serde_json::Value = serde_yaml::from_str(changes).unwrap();
        merge(&mut value, &patch);
        serde_json::from_value(value).unwrap()
    }

    fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
        match patch {
            serde_json::Value::Object(fields) if target.is_object() => {
                for (key, value) in fields {
                    merge(&mut target[key], value);
                }
            }
            other => *target = other.clone(),
        }
    }

    pub(crate) fn valid(changes: &str) -> ValidatedWorker {
        validate(&worker(changes), &settings()).unwrap()
    }

    #[test]
    fn images_by_tag_digest_and_default() {
        assert_eq!(valid("{}").image, "callmeter/worker:latest");
        let tagged = "{spec: {template: {image: {repository: r.example/w, tag: '1'}}}}";
        assert_eq!(valid(tagged).image, "r.example/w:1");
        let digest = "{spec: {template: {image: {repository: r.example/w, digest: 'sha256:ab'}}}}";
        assert_eq!(valid(digest).image, "r.example/w@sha256:ab");
    }

    #[test]
    fn the_ca_follows_the_gateway() {
        assert_eq!(
            valid("{}").ca_config_map.as_deref(),
            Some("callmeter-gateway-ca")
        );
        let other = valid("{spec: {gateway: {url: 'other:443'}}}");
        assert_eq!((other.ca_config_map, other.own_gateway), (None, false));
        let named = valid("{spec: {gateway: {url: 'other:443', caConfigMap: ca}}}");
        assert_eq!(named.ca_config_map.as_deref(), Some("ca"));
    }

    #[test]
    fn a_worker_without_its_pool_is_refused() {
        let mut orphan = worker("{}");
        orphan.metadata.labels = None;
        let refusal = validate(&orphan, &settings()).unwrap_err();
        assert!(
            refusal.is_permanent() && refusal.to_string().contains("callmeter.io/pool"),
            "{refusal}"
        );
    }
}
