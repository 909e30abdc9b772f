//! The pod of a worker.

use std::collections::BTreeMap;

use callmeter_api::{
    labels,
    pool::{EnvVar as TemplateEnv, KeyRef, ValueFrom},
    worker::{PortBlock, WorkerNetworkMode},
};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapKeySelector, ConfigMapVolumeSource, Container, ContainerPort,
        EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference, ObjectFieldSelector,
        Pod, PodSecurityContext, PodSpec, Probe, SeccompProfile, SecretKeySelector,
        SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::owner;
use crate::{
    ports::{RTP_GRANULE, SIP_GRANULE, sentinels},
    worker::validate::ValidatedWorker,
};

/// Name of the one container.
pub(crate) const CONTAINER: &str = "worker";
/// User of the image.
const USER: i64 = 65532;
const CA_DIR: &str = "/etc/callmeter/gateway-ca";
/// A pod may take this much longer than its worker's drain.
const GRACE_MARGIN: u64 = 60;

/// The pod; a function of the worker alone.
pub(crate) fn build_pod(worker: &ValidatedWorker) -> Pod {
    let host_network = worker.network.mode == WorkerNetworkMode::HostNetwork;
    let grace = worker.drain.timeout.as_secs() + GRACE_MARGIN;
    Pod {
        metadata: ObjectMeta {
            name: Some(worker.name.clone()),
            namespace: Some(worker.namespace.clone()),
            labels: Some(pod_labels(worker)),
            // Flipped only when the gateway has fenced the worker.
            annotations: Some(eviction_annotations(false)),
            owner_references: Some(vec![owner(worker)]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            containers: vec![container(worker, host_network)],
            dns_policy: host_network.then(|| "ClusterFirstWithHostNet".to_owned()),
            host_network: host_network.then_some(true),
            image_pull_secrets: some(
                worker
                    .template
                    .image
                    .pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            node_selector: (!worker.template.node_selector.is_empty())
                .then(|| worker.template.node_selector.clone()),
            restart_policy: Some("Always".to_owned()),
            security_context: Some(PodSecurityContext {
                fs_group: Some(USER),
                run_as_group: Some(USER),
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(i64::try_from(grace).unwrap_or(i64::MAX)),
            tolerations: some(worker.template.tolerations.clone()),
            topology_spread_constraints: some(spread(worker)),
            volumes: worker
                .ca_config_map
                .as_ref()
                .map(|name| vec![ca_volume(name)]),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Whether autoscalers of nodes may move the pod.
pub(crate) fn eviction_annotations(allowed: bool) -> BTreeMap<String, String> {
    [
        (labels::SAFE_TO_EVICT.to_owned(), allowed.to_string()),
        (labels::DO_NOT_DISRUPT.to_owned(), (!allowed).to_string()),
    ]
    .into()
}

fn pod_labels(worker: &ValidatedWorker) -> BTreeMap<String, String> {
    [
        (labels::POOL, worker.pool.as_str()),
        (labels::WORKER, &worker.name),
        (labels::REVISION, &worker.revision),
        (labels::APP_NAME, labels::WORKER_APP),
        (labels::MANAGED_BY, labels::OPERATOR),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn container(worker: &ValidatedWorker, host_network: bool) -> Container {
    let PortBlock { health, .. } = worker.network.block;
    let health = i32::from(health);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(worker.image.clone()),
        image_pull_policy: Some(worker.template.image.pull_policy.as_str().to_owned()),
        env: Some(environment(worker)),
        ports: Some(ports(&worker.network.block, host_network)),
        resources: Some(worker.resources.clone()),
        // Ready follows the gateway, life does not: an outage of the gateway restarts nobody.
        readiness_probe: Some(probe("/health", health, 5, 3)),
        liveness_probe: Some(probe("/live", health, 10, 6)),
        startup_probe: Some(probe("/live", health, 2, 60)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: worker.ca_config_map.is_some().then(|| {
            vec![VolumeMount {
                name: "gateway-ca".to_owned(),
                mount_path: CA_DIR.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]
        }),
        ..Container::default()
    }
}

fn environment(worker: &ValidatedWorker) -> Vec<EnvVar> {
    let network = &worker.network;
    let PortBlock {
        rtp_start,
        rtp_end,
        sip_start,
        sip_end,
        health,
    } = network.block;
    let mut env = vec![
        EnvVar {
            name: "WORKER_TOKEN".to_owned(),
            value: None,
            value_from: Some(secret_key(&worker.token.name, &worker.token.key)),
        },
        text("CLOUD_URL", &worker.gateway_url),
    ];
    if worker.ca_config_map.is_some() {
        env.push(text(
            "CLOUD_CA_FILE",
            &format!("{CA_DIR}/{}", labels::CA_KEY),
        ));
    }
    env.push(text("HEALTH_PORT", &health.to_string()));
    for name in ["SIP_IP", "MEDIA_IP"] {
        env.push(if network.bind_ip.is_empty() {
            field(name, "status.podIP")
        } else {
            text(name, &network.bind_ip)
        });
    }
    for (name, value) in [
        ("SDP_IP", &network.sdp_ip),
        ("EXTERNAL_IP", &network.external_ip),
    ] {
        if !value.is_empty() {
            env.push(text(name, value));
        }
    }
    for (name, port) in [
        ("SIP_PORT_START", sip_start),
        ("SIP_PORT_END", sip_end),
        ("RTP_PORT_MIN", rtp_start),
        ("RTP_PORT_MAX", rtp_end),
    ] {
        env.push(text(name, &port.to_string()));
    }
    for (name, path) in [
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_NAME", "metadata.name"),
        ("POD_UID", "metadata.uid"),
        ("NODE_NAME", "spec.nodeName"),
    ] {
        env.push(field(name, path));
    }
    env.push(text(
        "WORKER_LABELS",
        &format!("{}={}", labels::POOL, worker.pool_key()),
    ));
    env.push(text("DRAIN_TIMEOUT", &worker.drain.timeout.to_string()));
    env.push(text("LOG_LEVEL", worker.template.log.level.as_str()));
    env.push(text("LOG_FORMAT", worker.template.log.format.as_str()));
    env.extend(worker.template.env.iter().map(user_variable));
    env
}

fn user_variable(variable: &TemplateEnv) -> EnvVar {
    let TemplateEnv {
        name,
        value,
        value_from,
    } = variable;
    let value_from = value_from.as_ref().and_then(|from| {
        let ValueFrom {
            secret_key_ref,
            config_map_key_ref,
        } = from;
        match (secret_key_ref, config_map_key_ref) {
            (Some(KeyRef { name, key }), _) => Some(secret_key(name, key)),
            (None, Some(KeyRef { name, key })) => Some(EnvVarSource {
                config_map_key_ref: Some(ConfigMapKeySelector {
                    name: name.clone(),
                    key: key.clone(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
            (None, None) => None,
        }
    });
    EnvVar {
        name: name.clone(),
        value: value.clone(),
        value_from,
    }
}

fn secret_key(name: &str, key: &str) -> EnvVarSource {
    EnvVarSource {
        secret_key_ref: Some(SecretKeySelector {
            name: name.to_owned(),
            key: key.to_owned(),
            optional: None,
        }),
        ..EnvVarSource::default()
    }
}

fn text(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// On the node's network the first port of each granule is claimed there, which keeps any other
/// owner of the granule off the node; SIP for UDP and TCP.
fn ports(block: &PortBlock, host_network: bool) -> Vec<ContainerPort> {
    let port = |name: Option<String>, port: u16, protocol: &str| ContainerPort {
        container_port: port.into(),
        host_port: host_network.then_some(port.into()),
        name,
        protocol: Some(protocol.to_owned()),
        host_ip: None,
    };
    let mut ports = vec![port(Some("health".to_owned()), block.health, "TCP")];
    if host_network {
        for first in sentinels(block.sip_start, block.sip_end, SIP_GRANULE) {
            ports.push(port(None, first, "UDP"));
            ports.push(port(None, first, "TCP"));
        }
        ports.extend(
            sentinels(block.rtp_start, block.rtp_end, RTP_GRANULE)
                .map(|first| port(None, first, "UDP")),
        );
    }
    ports
}

fn probe(path: &str, port: i32, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn spread(worker: &ValidatedWorker) -> Vec<TopologySpreadConstraint> {
    worker
        .template
        .topology_spread_constraints
        .clone()
        .unwrap_or_else(|| {
            vec![TopologySpreadConstraint {
                max_skew: 1,
                topology_key: "kubernetes.io/hostname".to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(LabelSelector {
                    match_labels: Some([(labels::POOL.to_owned(), worker.pool.clone())].into()),
                    ..LabelSelector::default()
                }),
                ..TopologySpreadConstraint::default()
            }]
        })
}

fn ca_volume(config_map: &str) -> Volume {
    Volume {
        name: "gateway-ca".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            items: Some(vec![KeyToPath {
                key: labels::CA_KEY.to_owned(),
                path: labels::CA_KEY.to_owned(),
                mode: None,
            }]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

#[cfg(test)]
mod tests;
