//! R105: a hundred runs on one worker process leave nothing: no socket, file, thread, timer,
//! registration or transaction, and memory stays flat.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use callmeter_proto::worker::{Role, from_worker::Message as Up, to_worker::Message as Down};
use support::{
    gateway::{Peer, TestGateway},
    inspect::{idle_descriptors, open_descriptors, udp_ports},
    ports,
    process::{Worker, environment, get},
    run::{Group, Told, assert_complete, settled, start_of},
};

const RUNS: u32 = 100;
/// After so many the allocator, the buffers and the queues have their size.
const WARM: u32 = 20;
/// Runs at a time: two endpoints each.
const AT_ONCE: usize = 20;
/// What an allocator does not give back at once: 1.0 MB here from run 20 to 100, 0.1 MB per further
/// hundred. A run's rows and events take close to 200 KB; kept, they would be 16 MB after 80 runs.
/// What is smaller (a stream takes 5 KiB) is found by its gauge, its socket or its port.
const GROWTH_MB: f64 = 3.0;
/// The worker keeps SIP sockets for 32 s; everything else goes at once.
const CLOSED_WITHIN: Duration = Duration::from_secs(45);

fn groups() -> [Group; 2] {
    [
        Group::new("callees", Role::Callee, 1),
        Group::new("callers", Role::Caller, 1),
    ]
    .map(|group| Group {
        call_ms: 1000,
        run_ms: 2500,
        ..group
    })
}

/// Drives runs `first..=last`, [`AT_ONCE`] at a time, each to its confirmed end.
async fn drive(peer: &mut Peer, first: u32, last: u32) {
    let mut waiting = (first..=last).map(|n| format!("run-{n}"));
    let mut running: BTreeMap<String, (Told, bool)> = BTreeMap::new();
    let driven = async {
        loop {
            while running.len() < AT_ONCE
                && let Some(run) = waiting.next()
            {
                for (seq, group) in (1..).zip(groups()) {
                    peer.send(Down::Assign(group.assign(seq, &run))).await;
                }
                running.insert(run, (Told::default(), false));
            }
            if running.is_empty() {
                return;
            }
            let message = peer.next().await.expect("the stream goes on");
            let run = match &message {
                Up::Events(events) => events.run.clone(),
                Up::Samples(samples) => samples.run.clone(),
                Up::RunEnded(ended) => ended.run.clone(),
                _ => continue,
            };
            let (told, started) = running.get_mut(&run).expect("a run of ours");
            told.take(&message);
            if !*started && settled(told) == 2 {
                *started = true;
                peer.send(Down::Start(start_of(told, 3, &run, &groups())))
                    .await;
            }
            if told.ended.is_some() {
                assert_eq!(told.failed(), Vec::<String>::new(), "{run}");
                assert_eq!(told.calls("callers").len(), 1, "{run}");
                assert_complete(told);
                running.remove(&run);
            }
        }
    };
    let driven = tokio::time::timeout(Duration::from_secs(120), driven).await;
    assert!(driven.is_ok(), "runs {first} to {last} have not ended");
}

/// What `/proc` and the worker itself say of what it holds.
#[derive(Debug, PartialEq)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    udp_ports: Vec<u16>,
    /// Gauges that are not zero, by name with labels.
    gauges: BTreeSet<String>,
}

/// Gauges of work at hand; others (connected, lateness) are of the process.
const GAUGES: [&str; 5] = [
    "endpoints_active",
    "runs_active",
    "streams_open",
    "sample_rows_buffered",
    "signalling_held",
];

async fn holdings(worker: &Worker, health: u16) -> Holdings {
    let metrics = get(health, "/metrics").await.expect("metrics").1;
    let held = metrics.lines().filter(|line| {
        let name = line.strip_prefix("callmeter_worker_").unwrap_or_default();
        GAUGES.iter().any(|gauge| name.starts_with(gauge)) && !line.ends_with(" 0")
    });
    Holdings {
        descriptors: open_descriptors(worker),
        threads: std::fs::read_dir(worker.proc_folder().join("task"))
            .unwrap()
            .count(),
        udp_ports: udp_ports(worker),
        gauges: held.map(str::to_owned).collect(),
    }
}

/// Resident memory in MB (2^20 bytes).
fn resident_mb(worker: &Worker) -> f64 {
    let status = std::fs::read_to_string(worker.proc_folder().join("status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib / 1024.0
}

#[tokio::test]
async fn a_hundred_runs_leave_nothing() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::wide();
    let mut variables = environment(&gateway, ports);
    variables.retain(|(name, _)| name != "LOG_LEVEL");
    let mut worker = Worker::spawn(&variables);
    let mut peer = gateway.welcome().await;
    let descriptors = idle_descriptors(&worker, ports.sip_first).await;
    let fresh = support::eventually("nothing but the idle SIP port is held", async || {
        // The question for metrics has a descriptor, too, for a moment.
        let now = holdings(&worker, ports.health).await;
        (now.descriptors == descriptors && now.udp_ports == [ports.sip_first]).then_some(now)
    })
    .await;
    assert_eq!(fresh.gauges, BTreeSet::new());

    drive(&mut peer, 1, WARM).await;
    let during = holdings(&worker, ports.health).await;
    // What must be gone later is there now: sockets, shares and timers of the runs just ended.
    assert!(during.descriptors > fresh.descriptors + 20, "{during:?}");
    assert!(!during.gauges.is_empty(), "{during:?}");
    let warm = resident_mb(&worker);

    drive(&mut peer, WARM + 1, RUNS).await;
    let mut last = None;
    let closed = async {
        loop {
            let message = tokio::time::timeout(Duration::from_millis(200), peer.next());
            assert!(
                !matches!(message.await, Ok(None)),
                "the worker ended the stream"
            );
            let now = holdings(&worker, ports.health).await;
            if now == fresh {
                return;
            }
            last = Some(now);
        }
    };
    let closed = tokio::time::timeout(CLOSED_WITHIN, closed).await;
    assert!(closed.is_ok(), "{last:#?} instead of {fresh:#?}");
    let end = resident_mb(&worker);
    println!("resident: {warm:.2} MB after {WARM} runs, {end:.2} MB after {RUNS}");
    assert!(
        end < warm + GROWTH_MB,
        "{warm:.2} MB after {WARM} runs, {end:.2} MB after {RUNS}"
    );

    // Nor does the session know of any: a new stream resumes nothing.
    drop(peer);
    let peer = gateway.accept().await;
    assert_eq!(peer.hello.resume.len(), 0, "{:?}", peer.hello.resume);
    assert!(worker.is_running());
}
