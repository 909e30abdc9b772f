//! R35 to R40: what a healthy run writes at each of the five levels.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use callmeter_proto::worker::{Direction, Fence, Role, to_worker::Message as Down};
use rustix::process::Signal;
use support::{
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{TOKEN_BODY, Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The log of a worker from its start over a run to its drained end, as level and message, and what
/// the worker told of the run.
async fn log_of_a_healthy_run(level: &'static str) -> (Vec<(String, String)>, Told) {
    let mut gateway = TestGateway::start().await;
    let mut variables = environment(&gateway, ports::block());
    variables.retain(|(name, _)| name != "LOG_LEVEL");
    variables.push(("LOG_LEVEL".into(), level.into()));
    let mut worker = Worker::spawn(&variables);
    let mut peer = gateway.welcome().await;
    let groups = [
        Group::new("callees", Role::Callee, 1),
        Group::new("callers", Role::Caller, 1),
    ]
    .map(|group| Group {
        run_ms: 2500,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, Duration::from_secs(60)).await;
    assert_eq!(told.failed(), Vec::<String>::new(), "{level}");
    assert_complete(&told);
    worker.signal(Signal::TERM);
    peer.send(Down::Fence(Fence::default())).await;
    peer.until_closed().await;
    assert_eq!(worker.exit_code().await, 0, "{level}");
    let log = worker.log();
    assert!(
        !log.contains(TOKEN_BODY),
        "{level}: the token is in the log"
    );
    let log = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("level"), text("message"))
        })
        .collect();
    (log, told)
}

#[test]
fn each_level_writes_its_own_and_the_more_severe_ones() {
    calm(each_level);
}

async fn each_level() {
    let run = |rank: usize| log_of_a_healthy_run(LEVELS[rank]);
    let (error, warn, info, debug, trace) = tokio::join!(run(0), run(1), run(2), run(3), run(4));
    let (trace, told) = trace;
    let logs = [error.0, warn.0, info.0, debug.0, trace];
    for (rank, (level, log)) in LEVELS.iter().zip(&logs).enumerate() {
        let allowed: BTreeSet<String> = LEVELS[..=rank].iter().map(|l| l.to_uppercase()).collect();
        let used: BTreeSet<String> = log.iter().map(|(level, _)| level.clone()).collect();
        assert!(used.is_subset(&allowed), "{level}: {used:?}");
    }
    let [error, warn, info, debug, trace] = &logs;
    // R36, R37: nothing failed and nothing was out of order.
    assert_eq!((error, warn), (&vec![], &vec![]));

    // R38: what happened to the worker and its work, once each.
    let times = |log: &[(String, String)], text: &str| {
        log.iter()
            .filter(|(_, message)| message.contains(text))
            .count()
    };
    for event in [
        "worker started",
        "connected to the gateway",
        "run run-1: group callers assigned, 1 endpoints",
        "run run-1 ended",
        "draining: no new work",
        "drained",
    ] {
        for (level, log) in [("info", info), ("debug", debug), ("trace", trace)] {
            assert_eq!(times(log, event), 1, "{level}: {event}");
        }
    }
    // It does not grow with packets or messages.
    assert!(info.len() < 25, "{} lines at info", info.len());

    // R39: more of the same events, still no message or packet.
    let of = |log: &[(String, String)], level: &str| log.iter().filter(|(l, _)| l == level).count();
    assert!(of(debug, "DEBUG") > 0);
    assert!(debug.len() < 60, "{} lines at debug", debug.len());
    for log in [info, debug] {
        assert_eq!(
            (times(log, "INVITE sip:"), times(log, "RTP packet")),
            (0, 0)
        );
    }

    // R40: messages and packets.
    assert!(of(trace, "DEBUG") > 0 && of(trace, "INFO") > 0);
    assert!(times(trace, "INVITE sip:") >= 2, "sent and received");
    // Of both ends each one, sent and received.
    let packets = ["callees", "callers"].map(|group| {
        told.sum(group, "packets_sent", Direction::Send)
            + told.sum(group, "packets_received", Direction::Recv)
    });
    let logged = times(trace, "RTP packet") as i64;
    assert!(packets.iter().all(|packets| *packets > 0), "{packets:?}");
    assert!(
        packets.iter().sum::<i64>() <= logged,
        "{packets:?}, {logged} logged"
    );
}
