//! What callmeter needs of a cluster, shown with small pods: names, Services, UDP between nodes,
//! volumes, logs, exec, port-forward, host ports, token reviews, the audit log.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall end")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

mod common;

use common::{await_condition, cluster, enabled, kubectl, kubectl_command, kubectl_input};

const LIMIT: Duration = Duration::from_secs(180);

/// A namespace of its own, gone when the test is over, however it ends.
struct Namespace(&'static str);

impl Namespace {
    fn new(name: &'static str) -> Self {
        let args = ["delete", "namespace", name, "--ignore-not-found", "--wait"];
        kubectl(&args);
        kubectl(&["create", "namespace", name]);
        let namespace = Self(name);
        // Pods are refused until their service account is there.
        namespace.kubectl(&[
            "wait",
            "--for=create",
            "serviceaccount/default",
            "--timeout=180s",
        ]);
        namespace
    }

    fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&[&["--namespace", self.0], args].concat())
    }

    fn apply(&self, yaml: &str) {
        kubectl_input(&["--namespace", self.0, "apply", "-f", "-"], yaml);
    }

    fn await_ready(&self, pods: &[&str]) {
        for pod in pods {
            let pod = format!("pod/{pod}");
            self.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=180s"]);
        }
    }

    fn exec(&self, pod: &str, script: &str) -> String {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }

    fn pod_ip(&self, pod: &str) -> String {
        self.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let args = [
            "delete",
            "namespace",
            self.0,
            "--wait=false",
            "--ignore-not-found",
        ];
        kubectl_command()
            .args(args)
            .stdout(Stdio::null())
            .status()
            .ok();
    }
}

/// A busybox pod on `node` that runs `script`.
fn pod(name: &str, node: &str, script: &str, more: &str) -> String {
    format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  tolerations: [{{key: callmeter.io/system, operator: Exists}}]
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: docker.io/callmeter/busybox:dev
      command: [sh, -c, '{script}']
{more}
---
"
    )
}

fn up() {
    cluster(&["up"]);
    cluster(&["images", "busybox", "peers"]);
}

/// SIP over UDP between pods, by address, name and Service, from the same and from another node.
#[test]
fn pods_reach_each_other_by_name_service_and_udp() {
    if !enabled() {
        return;
    }
    up();
    let space = Namespace::new("cluster-test-network");
    let serve = "echo hello > /tmp/index.html; httpd -f -p 8080 -h /tmp";
    let answerer = r"      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    - name: answerer
      image: docker.io/callmeter/peers:dev
      command: [sipp, -sn, uas, -nostdin, -p, '5060']
      # Of its kind there is none for UDP: the kernel lists port 0x13C4 once it is bound.
      readinessProbe:
        exec: {command: [grep, -q, ':13C4 ', /proc/net/udp, /proc/net/udp6]}
        periodSeconds: 1
";
    let services = r"
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports:
    - {name: http, port: 80, targetPort: 8080}
    - {name: sip, port: 5060, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: server}
  ports: [{name: sip, port: 5060, protocol: UDP}]
";
    let caller = |name, node| {
        pod(name, node, "sleep 100000", "").replace("callmeter/busybox", "callmeter/peers")
    };
    let server = pod("server", "worker-1", serve, answerer);
    // One beside the server on the same bridge, one on the other node.
    let (near, far) = (caller("near", "worker-1"), caller("far", "worker-2"));
    space.apply(&format!("{server}{near}{far}{services}"));
    space.await_ready(&["server", "near", "far"]);
    let ip = space.pod_ip("server");

    for from in ["near", "far"] {
        await_condition("the Service answers", LIMIT, || {
            space
                .exec(from, "curl -s -m 2 http://server || true")
                .trim()
                == "hello"
        });
        let service = "$(getent hosts server | cut -d\" \" -f1)";
        for target in [&ip, service] {
            // Exits with 0 only if all ten calls were set up and ended.
            let call =
                format!("cd /tmp && sipp -sn uac -nostdin -m 10 -d 100 -timeout 60s {target}");
            space.exec(
                from,
                &format!("{call} >/dev/null 2>&1 || (echo failed; exit 1)"),
            );
        }
    }
    let name = "headless.cluster-test-network.svc.cluster.local";
    let found = space.exec("far", &format!("nslookup {name}"));
    assert!(found.contains(&ip), "{found}");
    let unknown = space.exec("far", "nslookup example.com || true");
    assert!(unknown.contains("NXDOMAIN"), "{unknown}");

    // The machine itself reaches pods.
    TcpStream::connect_timeout(&format!("{ip}:8080").parse().unwrap(), LIMIT).unwrap();
}

#[test]
fn a_claim_is_bound_and_its_volume_used_again() {
    if !enabled() {
        return;
    }
    up();
    let space = Namespace::new("cluster-test-volume");
    space.apply(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  nodeSelector: {callmeter.io/role: system}
  tolerations: [{key: callmeter.io/system, operator: Exists}]
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: main
      image: docker.io/callmeter/busybox:dev
      command: [sh, -c, "echo kept > /data/file && sleep 100000"]
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
      volumeMounts: [{name: data, mountPath: /data}]
  volumes:
    - name: data
      persistentVolumeClaim: {claimName: data}
"#,
    );
    space.await_ready(&["writer"]);
    assert_eq!(space.exec("writer", "cat /data/file").trim(), "kept");
    let claimed = ["get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}"];
    let volume = space.kubectl(&claimed);
    let path = kubectl(&["get", "pv", &volume, "-o", "jsonpath={.spec.local.path}"]);
    assert!(fs::exists(format!("{path}/file")).unwrap());

    kubectl(&["delete", "namespace", space.0, "--wait"]);
    // The `up` of another test may be faster than this one.
    let phase = || kubectl(&["get", "pv", &volume, "-o", "jsonpath={.status.phase}"]);
    await_condition("the claim is gone", LIMIT, || phase() != "Bound");
    cluster(&["up"]);
    await_condition("the volume is available", LIMIT, || phase() == "Available");
    assert!(!fs::exists(format!("{path}/file")).unwrap());
}

#[test]
fn logs_exec_and_port_forward_work() {
    if !enabled() {
        return;
    }
    up();
    let space = Namespace::new("cluster-test-streams");
    let serve = "echo started; echo forwarded > /tmp/index.html; httpd -f -p 8080 -h /tmp";
    let ready = "      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}";
    space.apply(&pod("server", "worker-2", serve, ready));
    space.await_ready(&["server"]);
    assert_eq!(space.kubectl(&["logs", "server"]).trim(), "started");
    assert_eq!(space.exec("server", "hostname").trim(), "server");

    let mut forward = kubectl_command()
        .args([
            "--namespace",
            space.0,
            "port-forward",
            "pod/server",
            ":8080",
        ])
        .args(["--address", "127.0.0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    // Kept open: kubectl ends when it cannot print what it does.
    let mut lines = BufReader::new(forward.stdout.take().unwrap());
    lines.read_line(&mut said).unwrap();
    let address = said.split_whitespace().nth(2).unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert!(answer.ends_with("forwarded\n"), "{answer}");
}

#[test]
fn host_ports_meet_on_one_node_only() {
    if !enabled() {
        return;
    }
    up();
    let space = Namespace::new("cluster-test-hostports");
    let ports = "      ports: [{containerPort: 5070, hostPort: 5070, protocol: UDP}]\n  \
                 hostNetwork: true";
    for (name, node) in [("one", "worker-1"), ("two", "worker-2")] {
        space.apply(&pod(name, node, "sleep 100000", ports));
    }
    space.await_ready(&["one", "two"]);
    assert_eq!(space.pod_ip("one"), "10.240.0.12");
    assert_eq!(space.pod_ip("two"), "10.240.0.13");

    space.apply(&pod("three", "worker-1", "sleep 100000", ports));
    let reason = "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}";
    await_condition("the scheduler says why", LIMIT, || {
        space
            .kubectl(&["get", "pod", "three", "-o", reason])
            .contains("free ports")
    });
}

/// Also the audit log: an observer sees who deleted a pod.
#[test]
fn tokens_are_reviewed_and_deletions_recorded() {
    if !enabled() {
        return;
    }
    up();
    let space = Namespace::new("cluster-test-tokens");
    let audience = "--audience=callmeter-gateway";
    let token = space.kubectl(&["create", "token", "default", audience]);
    let review = |audience: &str| {
        let object = format!(
            r#"{{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {{"token": "{}", "audiences": ["{audience}"]}}}}"#,
            token.trim()
        );
        let fields = "jsonpath={.status.authenticated} {.status.user.username}";
        kubectl_input(&["create", "-f", "-", "-o", fields], &object)
    };
    let known = review("callmeter-gateway");
    assert_eq!(
        known.trim(),
        "true system:serviceaccount:cluster-test-tokens:default"
    );
    assert!(!review("somebody-else").contains("true"));

    space.apply(&pod("victim", "worker-1", "sleep 100000", ""));
    space.await_ready(&["victim"]);
    space.kubectl(&["delete", "pod", "victim", "--wait"]);
    let status = cluster(&["status"]);
    let log = status
        .lines()
        .find_map(|line| line.strip_prefix("audit log"))
        .unwrap()
        .trim();
    let log = fs::read_to_string(log).unwrap();
    let seen = log.lines().any(|line| {
        [
            "\"verb\":\"delete\"",
            "cluster-test-tokens/pods/victim",
            "\"callmeter-admin\"",
        ]
        .iter()
        .all(|part| line.contains(part))
    });
    assert!(seen, "no record of the deletion");
    assert!(
        !log.contains(token.trim()),
        "a token stands in the audit log"
    );
}

#[test]
fn exec_runs_in_the_network_of_a_node() {
    if !enabled() {
        return;
    }
    up();
    let addresses = cluster(&["exec", "worker-2", "--", "ip", "-o", "-4", "address"]);
    assert!(addresses.contains("10.240.0.13/24"), "{addresses}");
    let images = cluster(&["exec", "worker-2", "--", "ctr", "images", "list", "-q"]);
    assert!(images.contains("docker.io/callmeter/pause:1"), "{images}");
    let bridge = cluster(&["exec", "control-plane", "--", "ip", "-o", "-4", "address"]);
    assert!(bridge.contains("10.240.0.1/24"), "{bridge}");
    let refused = common::cluster_output(&["exec", "worker-9", "--", "true"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("worker-9") && said.contains("worker-2"),
        "{said}"
    );
}
