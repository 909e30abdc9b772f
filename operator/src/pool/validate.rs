//! What a pool asks for, checked once and with every default filled in.

use callmeter_api::{
    WorkerPool,
    pool::{
        Autoscaling, Gateway, Network, NetworkMode, PodTemplate, TokenSecretRef, WorkerPoolSpec,
    },
    worker::{WorkerCapacity, WorkerDrain, WorkerNetworkMode},
};
use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::ResourceExt as _;

use crate::{
    error::{Error, Result},
    ports::Grid,
    revision, sizing,
};

/// Above this many endpoints a worker uses its node's network.
const POD_NETWORK_LIMIT: u32 = 100;

/// A pool that can be acted on.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedPool {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) deleting: bool,
    pub(crate) paused: bool,
    /// `spec.replicas`; absent until somebody sets it.
    pub(crate) replicas: Option<u32>,
    pub(crate) project: String,
    pub(crate) region: String,
    pub(crate) capacity: WorkerCapacity,
    pub(crate) tokens: TokenSource,
    pub(crate) mode: WorkerNetworkMode,
    pub(crate) network: Network,
    pub(crate) grid: Grid,
    pub(crate) template: PodTemplate,
    pub(crate) resources: ResourceRequirements,
    pub(crate) drain: WorkerDrain,
    pub(crate) autoscaling: Option<Autoscaling>,
    pub(crate) gateway: Gateway,
    /// Whether it is the gateway whose fleet API the operator uses.
    pub(crate) own_gateway: bool,
    pub(crate) revision: String,
}

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// Existing Secrets.
    Secrets(Vec<TokenSecretRef>),
    /// Minted at the gateway.
    Claim,
}

impl TokenSource {
    /// How many workers there can be at most; `None`: no limit.
    pub(crate) fn limit(&self) -> Option<u32> {
        match self {
            Self::Secrets(secrets) => Some(secrets.len() as u32),
            Self::Claim => None,
        }
    }
}

impl ValidatedPool {
    /// How the gateway knows the pool.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Whether a pool or worker dials into the gateway that the operator works with.
pub(crate) fn is_own_gateway(gateway: &Gateway, operator_url: &str) -> bool {
    gateway.url.is_empty() || gateway.url == operator_url
}

/// Checks a pool against what the schema cannot see.
pub(crate) fn validate(pool: &WorkerPool, gateway_url: &str) -> Result<ValidatedPool> {
    let WorkerPoolSpec {
        replicas,
        paused,
        project,
        region,
        capacity,
        tokens,
        network,
        template,
        drain,
        autoscaling,
        gateway,
    } = pool.spec.clone();
    let endpoints = capacity.endpoints_per_worker;
    let resources = match &template.resources {
        Some(resources) => resources.clone(),
        None => {
            sizing::documented(endpoints, capacity.media).ok_or_else(|| Error::InvalidSpec {
                field: "spec.capacity.endpointsPerWorker",
                message: format!("{endpoints} is above 500 and needs spec.template.resources"),
            })?
        }
    };
    let grid = Grid::new(&network.ports, endpoints, capacity.media).map_err(|refusal| {
        Error::InvalidSpec {
            field: "spec.network.ports",
            message: refusal.to_string(),
        }
    })?;
    let own_gateway = is_own_gateway(&gateway, gateway_url);
    let source = match (tokens.secrets, tokens.claim) {
        (Some(secrets), _) => TokenSource::Secrets(secrets),
        (None, _) if own_gateway => TokenSource::Claim,
        (None, _) => {
            return Err(Error::InvalidSpec {
                field: "spec.tokens.claim",
                message: format!(
                    "tokens of `{}` cannot be minted, only those of `{gateway_url}`; accepted: spec.tokens.secrets",
                    gateway.url
                ),
            });
        }
    };
    Ok(ValidatedPool {
        namespace: pool.namespace().unwrap_or_default(),
        name: pool.name_any(),
        uid: pool.uid().unwrap_or_default(),
        deleting: pool.metadata.deletion_timestamp.is_some(),
        paused,
        replicas,
        project,
        region,
        capacity: WorkerCapacity {
            endpoints,
            media: capacity.media,
        },
        tokens: source,
        mode: match network.mode {
            NetworkMode::HostNetwork => WorkerNetworkMode::HostNetwork,
            NetworkMode::Auto if endpoints > POD_NETWORK_LIMIT => WorkerNetworkMode::HostNetwork,
            NetworkMode::Auto | NetworkMode::Pod => WorkerNetworkMode::Pod,
        },
        revision: revision::of(&template, capacity, &network, &gateway),
        network,
        grid,
        template,
        resources,
        drain: WorkerDrain {
            timeout: drain.timeout,
            on_timeout: drain.on_timeout,
            quiet_period: drain.quiet_period,
        },
        autoscaling,
        own_gateway,
        gateway,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pool(spec: &str) -> WorkerPool {
        let mut pool: WorkerPool = serde_yaml::from_str(&format!(
            "apiVersion: callmeter.io/v1alpha1\nkind: WorkerPool\nmetadata: {{name: fra, namespace: demo, uid: pool-uid}}\nspec: {spec}"
        ))
        .unwrap();
        pool.metadata.generation = Some(1);
        pool
    }

    pub(crate) fn valid(spec: &str) -> ValidatedPool {
        validate(&pool(spec), "gateway.demo:443").unwrap()
    }

    #[test]
    fn a_pool_with_its_capacity_alone_is_complete() {
        let pool = valid("{capacity: {endpointsPerWorker: 25}}");
        assert_eq!(pool.tokens, TokenSource::Claim);
        assert_eq!(pool.mode, WorkerNetworkMode::Pod);
        assert_eq!(pool.key(), "demo/fra");
        assert!(pool.own_gateway && pool.replicas.is_none());
        assert_eq!(pool.drain.timeout.as_secs(), 1200);
    }

    #[test]
    fn the_node_network_begins_above_100_endpoints() {
        assert_eq!(
            valid("{capacity: {endpointsPerWorker: 100}}").mode,
            WorkerNetworkMode::Pod
        );
        assert_eq!(
            valid("{capacity: {endpointsPerWorker: 101}}").mode,
            WorkerNetworkMode::HostNetwork
        );
        let forced = "{capacity: {endpointsPerWorker: 200}, network: {mode: Pod, allowLargePodNetwork: true}}";
        assert_eq!(valid(forced).mode, WorkerNetworkMode::Pod);
    }

    #[test]
    fn tokens_of_another_gateway_cannot_be_minted() {
        let foreign = pool("{capacity: {endpointsPerWorker: 25}, gateway: {url: 'other:443'}}");
        let refusal = validate(&foreign, "gateway.demo:443").unwrap_err();
        assert!(refusal.is_permanent());
        assert!(
            refusal.to_string().contains("spec.tokens.secrets"),
            "{refusal}"
        );
        let with_secrets = "{capacity: {endpointsPerWorker: 25}, gateway: {url: 'other:443'}, tokens: {secrets: [{name: a, key: t}]}}";
        assert!(!valid(with_secrets).own_gateway);
        assert!(
            valid("{capacity: {endpointsPerWorker: 25}, gateway: {url: 'gateway.demo:443'}}")
                .own_gateway
        );
    }

    #[test]
    fn a_window_without_a_block_is_refused_by_name() {
        let narrow = pool(
            "{capacity: {endpointsPerWorker: 25}, network: {ports: {sip: {start: 5340, end: 5359}}}}",
        );
        let refusal = validate(&narrow, "g:1").unwrap_err().to_string();
        assert!(
            refusal.contains("spec.network.ports: the window sip"),
            "{refusal}"
        );
    }
}
