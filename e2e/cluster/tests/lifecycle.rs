//! Up, healing, failing and down, on the real machine. Takes down a cluster that runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall end")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod common;

use common::{await_condition, cluster, cluster_output, enabled, kubectl, kubectl_input};

const STATE: &str = "/var/lib/callmeter-cluster";
const NETNS: &str = "/run/netns";
const NAMESPACES: [&str; 4] = ["cm-cp", "cm-system", "cm-worker-1", "cm-worker-2"];
const CGROUPS: [&str; 4] = [
    "callmeter-cluster",
    "callmeter-system",
    "callmeter-worker-1",
    "callmeter-worker-2",
];
/// Beginnings of the addresses of nodes, pods and Services.
const RANGES: [&str; 3] = ["10.240.", "10.244.", "10.96."];
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// The kernel lets go of some things only a moment after their last user.
const GONE: Duration = Duration::from_secs(30);

/// Pods that leave mounts, links, cgroups and processes on every node.
const LOAD: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: load, namespace: default}
spec:
  selector: {matchLabels: {app: load}}
  template:
    metadata: {labels: {app: load}}
    spec:
      tolerations: [{operator: Exists}]
      containers:
        - name: sleeper
          image: docker.io/callmeter/busybox:dev
          command: [sleep, "100000"]
          volumeMounts: [{name: scratch, mountPath: /scratch}]
      volumes:
        - name: scratch
          emptyDir: {medium: Memory}
"#;

/// What a cluster could leave on the machine; what others do there meanwhile is not in it.
#[derive(Debug, PartialEq, Eq)]
struct Listing {
    processes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    routes: BTreeSet<String>,
    links: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    settings: BTreeSet<String>,
}

impl Listing {
    fn take() -> Self {
        Self {
            processes: processes(),
            mounts: mounts(),
            namespaces: names_in(NETNS)
                .into_iter()
                .filter(|name| NAMESPACES.contains(&name.as_str()))
                .collect(),
            routes: routes(),
            links: names_in("/sys/class/net")
                .into_iter()
                .filter(|name| name.starts_with("cm-") || name.starts_with("to-"))
                .collect(),
            cgroups: cgroups(),
            settings: [
                "vm/overcommit_memory",
                "vm/panic_on_oom",
                "kernel/panic",
                "kernel/panic_on_oops",
                "net/ipv4/ip_forward",
            ]
            .map(|name| {
                format!(
                    "{name}={}",
                    fs::read_to_string(format!("/proc/sys/{name}")).unwrap()
                )
            })
            .into(),
        }
    }
}

/// Below the cluster's folder, of its namespaces, and the folder that holds them.
fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .map(|line| line.split(' ').nth(4).unwrap().to_owned())
        .filter(|path| {
            let namespace = path.strip_prefix(NETNS).map(|name| name.trim_matches('/'));
            Path::new(path).starts_with(STATE)
                || namespace.is_some_and(|name| name.is_empty() || NAMESPACES.contains(&name))
        })
        .collect()
}

/// Through the cluster's links, and to its addresses.
fn routes() -> BTreeSet<String> {
    lines(Command::new("ip").args(["route", "show", "table", "all"]))
        .into_iter()
        .filter(|line| {
            let mut words = line.split(' ');
            words.any(|word| {
                word.starts_with("cm-") || RANGES.iter().any(|range| word.starts_with(range))
            })
        })
        .collect()
}

/// Those of components and nodes are named after the cluster, and what is below them with it.
fn cgroups() -> BTreeSet<String> {
    lines(Command::new("find").args(["/sys/fs/cgroup", "-type", "d"]))
        .into_iter()
        .filter(|path| path.split('/').any(|name| CGROUPS.contains(&name)))
        .collect()
}

/// Living processes that name the cluster's folder or one of its programs.
fn processes() -> BTreeSet<String> {
    let tools = common::program("kubelet").canonicalize().unwrap();
    let tools = tools.ancestors().nth(3).unwrap().display().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(STATE) || line.contains(&tools))
        .collect()
}

fn names_in(dir: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

fn lines(command: &mut Command) -> BTreeSet<String> {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Name and process id of every component that runs, from `status`.
fn running() -> Vec<(String, i32)> {
    let status = String::from_utf8(cluster_output(&["status"]).stdout).unwrap();
    status
        .lines()
        .filter_map(|line| {
            let (name, state) = line.split_once(' ')?;
            let pid = state.trim().strip_prefix("running, pid ")?.parse().ok()?;
            Some((name.to_owned(), pid))
        })
        .collect()
}

/// As [`running`], of a whole cluster.
fn components() -> Vec<(String, i32)> {
    let found = running();
    assert_eq!(found.len(), 13, "{found:?}");
    found
}

fn kill(name: &str) {
    let all = running();
    let (_, pid) = all.iter().find(|(other, _)| other == name).unwrap();
    kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
    await_condition(&format!("{name} has ended"), GONE, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        // The state follows the name in brackets; a zombie's parent has not asked for it yet.
        stat.map_or(true, |stat| {
            stat.rsplit_once(") ").unwrap().1.starts_with('Z')
        })
    });
}

fn assert_nothing_left(before: &Listing, after_what: &str) {
    let start = Instant::now();
    let mut after = Listing::take();
    while *before != after && start.elapsed() < GONE {
        thread::sleep(Duration::from_millis(500));
        after = Listing::take();
    }
    assert_eq!(before, &after, "left behind after {after_what}");
    let left = names_in(STATE);
    assert!(
        left.iter().all(|name| name == "logs"),
        "{left:?} left in {STATE}"
    );
}

#[test]
fn nothing_is_left_and_what_ended_comes_back() {
    if !enabled() {
        return;
    }
    cluster(&["down"]);
    // A cache filled beforehand, so that the time told below is the cluster's own.
    cluster(&["build"]);
    let before = Listing::take();

    let forwarding = fs::read_to_string(FORWARDING).unwrap();
    let start = Instant::now();
    cluster(&["up"]);
    eprintln!("up took {:?}", start.elapsed());
    // Pods' packets get no further than the machine itself, unless it forwarded before.
    assert_eq!(fs::read_to_string(FORWARDING).unwrap(), forwarding);
    let running = Listing::take();
    assert!(!running.mounts.is_subset(&before.mounts), "{running:?}");
    assert!(!running.links.is_subset(&before.links), "{running:?}");
    assert!(!running.routes.is_subset(&before.routes), "{running:?}");
    assert!(!running.cgroups.is_subset(&before.cgroups), "{running:?}");
    cluster(&["images", "busybox"]);
    kubectl_input(&["apply", "-f", "-"], LOAD);
    kubectl(&["rollout", "status", "daemonset/load", "--timeout=180s"]);
    let names: Vec<_> = components().into_iter().map(|(name, _)| name).collect();

    heals(&names);
    failure_names_the_component();
    ups_exclude_each_other();

    for name in &names {
        kill(name);
    }
    cluster(&["down"]);
    assert_nothing_left(&before, "kill -9 of every component");

    for name in &names {
        cluster(&["up"]);
        kill(name);
        cluster(&["down"]);
        assert_nothing_left(&before, &format!("kill -9 of {name}"));
    }
    interrupted(&before);
}

/// After `kill -9` of each component, `up` restarts that one, and the pods live on.
fn heals(names: &[String]) {
    let pods = || {
        kubectl(&[
            "get",
            "pods",
            "-l",
            "app=load",
            "-o",
            "jsonpath={..containerID}",
        ])
    };
    let started = pods();
    for name in names {
        let before = components();
        kill(name);
        let output = cluster_output(&["up"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "after kill -9 of {name}: {said}");
        let after = components();
        for ((other, old), (_, new)) in before.iter().zip(&after) {
            assert_eq!(
                old != new,
                other == name,
                "{other} after kill -9 of {name}\n{said}"
            );
        }
    }
    assert_eq!(pods(), started, "containers were restarted");
}

/// etcd cannot have its port back: `up` says so, with its log, and fails.
fn failure_names_the_component() {
    kill("etcd");
    let squatter = listen_in("/run/netns/cm-cp", "127.0.0.1:2379");
    let output = cluster_output(&["up"]);
    drop(squatter);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("component etcd failed"), "{said}");
    assert!(
        said.contains("address already in use"),
        "the log is missing: {said}"
    );
    cluster(&["up"]);
}

/// A listener inside a network namespace; only the thread that makes it goes there.
fn listen_in(netns: &str, address: &str) -> TcpListener {
    let netns = File::open(netns).unwrap();
    let inside = move || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(netns.as_fd(), kind).unwrap();
        let mut listener = None;
        await_condition("the address is free", GONE, || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        listener.unwrap()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

/// Two at once: one waits, both end well, and nothing runs twice.
fn ups_exclude_each_other() {
    kill("kube-scheduler");
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_cluster"))
            .arg("up")
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut one, mut other) = (start(), start());
    assert!(one.wait().unwrap().success());
    assert!(other.wait().unwrap().success());
    let schedulers = processes()
        .into_iter()
        .filter(|line| line.contains("kube-scheduler "))
        .count();
    assert_eq!(schedulers, 1);
}

/// `up` is killed in the middle: `down` finds what it had started.
fn interrupted(before: &Listing) {
    let mut up = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .arg("up")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("started etcd")));
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(Path::new("/run/netns/cm-cp").exists());
    cluster(&["down"]);
    assert_nothing_left(before, "an interrupted up");
}
