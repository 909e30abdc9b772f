use callmeter_api::{
    pool::{MANAGED_ENV, Media, Ports},
    worker::WorkerNetworkMode,
};

use super::*;
use crate::{ports::Grid, worker::validate::tests::valid};

fn on_host(endpoints: u32) -> ValidatedWorker {
    let mut worker = valid(&format!(
        "{{spec: {{capacity: {{endpoints: {endpoints}}}}}}}"
    ));
    worker.network.mode = WorkerNetworkMode::HostNetwork;
    worker.network.block = Grid::new(&Ports::default(), endpoints, Media::Audio)
        .unwrap()
        .first();
    worker
}

#[test]
fn a_small_pod_with_a_network_of_its_own() {
    insta::assert_yaml_snapshot!(build_pod(&valid("{}")));
}

#[test]
fn a_pod_of_500_endpoints_on_the_network_of_its_node() {
    insta::assert_yaml_snapshot!(build_pod(&on_host(500)));
}

/// R74–R78, R83: the documented sizes, and the host network above 100 endpoints.
#[test]
fn pods_of_the_documented_sizes() {
    let sizes = [25, 50, 100, 200, 500].map(|endpoints| {
        let worker = if endpoints > 100 {
            on_host(endpoints)
        } else {
            valid(&format!(
                "{{spec: {{capacity: {{endpoints: {endpoints}}}}}}}"
            ))
        };
        let spec = build_pod(&worker).spec.unwrap();
        let container = &spec.containers[0];
        let ports = container.ports.iter().flatten();
        serde_json::json!({
            "endpoints": endpoints,
            "hostNetwork": spec.host_network.unwrap_or(false),
            "hostPorts": ports.filter(|port| port.host_port.is_some()).count(),
            "resources": container.resources,
        })
    });
    insta::assert_yaml_snapshot!(sizes);
}

#[test]
fn a_pod_with_everything_a_user_may_set() {
    let template = r"
spec:
  gateway: {url: 'wg.example:443', caConfigMap: my-ca}
  network: {bindIP: 10.0.1.50, sdpIP: 203.0.113.10, externalIP: 203.0.113.10}
  template:
    image: {repository: r.example/worker, tag: '1.2', pullPolicy: Always, pullSecrets: [pull]}
    resources: {requests: {cpu: '3'}, limits: {memory: 3Gi}}
    log: {level: debug, format: pretty}
    env:
      - {name: TZ, value: UTC}
      - {name: PROXY, valueFrom: {configMapKeyRef: {name: net, key: proxy}}}
    nodeSelector: {role: voice}
    tolerations: [{key: voice, operator: Exists}]
    topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
";
    insta::assert_yaml_snapshot!(build_pod(&valid(template)));
}

/// R33
#[test]
fn addresses_behind_a_nat_reach_the_worker() {
    let pod = build_pod(&valid(
        "{spec: {network: {bindIP: 10.0.1.50, sdpIP: 203.0.113.10, externalIP: 203.0.113.10}}}",
    ));
    let env = pod.spec.unwrap().containers.remove(0).env.unwrap();
    let value = |name: &str| {
        env.iter()
            .find(|e| e.name == name)
            .and_then(|e| e.value.clone())
            .unwrap()
    };
    assert_eq!(
        (value("SIP_IP"), value("MEDIA_IP")),
        ("10.0.1.50".into(), "10.0.1.50".into())
    );
    assert_eq!(
        (value("SDP_IP"), value("EXTERNAL_IP")),
        ("203.0.113.10".into(), "203.0.113.10".into())
    );
}

#[test]
fn every_variable_the_operator_sets_is_refused_in_templates() {
    let worker = valid("{spec: {network: {sdpIP: 1.1.1.1, externalIP: 1.1.1.1}}}");
    for variable in environment(&worker) {
        assert!(
            MANAGED_ENV.contains(&variable.name.as_str()),
            "{}",
            variable.name
        );
    }
}

/// R7
#[test]
fn the_token_is_referred_to_and_never_written() {
    let env = environment(&valid("{}"));
    let token = env.iter().find(|e| e.name == "WORKER_TOKEN").unwrap();
    assert!(token.value.is_none());
    assert!(token.value_from.as_ref().unwrap().secret_key_ref.is_some());
}

#[test]
fn two_workers_never_share_a_claimed_port_and_all_they_use_is_covered() {
    let grid = Grid::new(&Ports::default(), 500, Media::Audio).unwrap();
    let first = grid.first();
    let second = grid.least_used(&[first]);
    let claimed = |block| {
        let ports = ports(block, true);
        ports
            .into_iter()
            .map(|p| (p.host_port.unwrap(), p.protocol.unwrap()))
            .collect::<Vec<_>>()
    };
    let (a, b) = (claimed(&first), claimed(&second));
    assert_eq!(a.len(), 14);
    assert!(a.iter().all(|port| !b.contains(port)));
}
