//! The real binary against a gateway peer over TLS: start, refusals, reconnects, health, drain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use callmeter_proto::worker::{
    Close, Fence, from_worker::Message as Up, to_worker::Message as Down,
};
use rustix::process::Signal;
use support::{
    eventually,
    gateway::TestGateway,
    ports,
    process::{TOKEN_BODY, Worker, environment, get},
};
use tonic::Status;

/// R1, R5, R8, R9, R12, R46 to R50, R88, R92
#[tokio::test]
async fn a_worker_presents_its_token_and_becomes_healthy() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let mut variables = environment(&gateway, ports);
    let more = [
        ("WORKER_NAME", "dc-frankfurt-01"),
        ("POD_NAMESPACE", "demo"),
        ("POD_NAME", "fra-0"),
        ("POD_UID", "u-1"),
        ("NODE_NAME", "n-1"),
        ("WORKER_LABELS", "callmeter.io/pool=demo/fra"),
    ];
    variables.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let worker = Worker::spawn(&variables);
    let mut peer = gateway.accept().await;
    // Not accepted yet: unhealthy, but alive.
    let early = eventually("the health port", async || {
        get(ports.health, "/health").await
    })
    .await;
    assert_eq!(early.0, 503);
    assert_eq!(get(ports.health, "/live").await.unwrap().0, 200);
    assert_eq!(peer.authorization, format!("Bearer cmw_{TOKEN_BODY}"));
    let hello = &peer.hello;
    assert_eq!(hello.protocol_version, callmeter_proto::PROTOCOL_VERSION);
    assert_eq!(
        (hello.instance_id.len(), hello.name.as_str()),
        (16, "dc-frankfurt-01")
    );
    // R27: 200 RTP ports hold 100 endpoints.
    assert_eq!(hello.capacity, 100);
    assert_eq!(hello.labels["callmeter.io/pool"], "demo/fra");
    let host = hello.host.as_ref().unwrap();
    assert_eq!(
        (host.pod_name.as_str(), host.node_name.as_str()),
        ("fra-0", "n-1")
    );
    let rtp = hello.rtp_ports.unwrap();
    assert_eq!(
        (rtp.first, rtp.last),
        (ports.rtp_first.into(), ports.rtp_last.into())
    );

    let heartbeat = peer.welcome().await;
    assert!(
        heartbeat.healthy && heartbeat.active_endpoints == 0,
        "{heartbeat:?}"
    );
    assert!(heartbeat.memory_mb > 1.0);
    let (status, body) = get(ports.health, "/health").await.unwrap();
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let fields: Vec<_> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(fields.len(), 3);
    assert_eq!(
        (body["status"].as_str(), body["connected"].as_bool()),
        (Some("healthy"), Some(true))
    );
    assert!(body["uptime"].is_u64());
    let metrics = get(ports.health, "/metrics").await.unwrap().1;
    assert!(
        metrics.contains("callmeter_worker_connected 1"),
        "{metrics}"
    );
    assert_eq!(get(ports.health, "/other").await.unwrap().0, 404);
    drop(worker);
}

/// R69
#[tokio::test]
async fn an_invalid_token_ends_the_process_with_its_exact_words() {
    let gateway = TestGateway::start().await;
    gateway.refuse(Some(Status::unauthenticated(
        "authentication failed: invalid token",
    )));
    let mut worker = Worker::spawn(&environment(&gateway, ports::block()));
    assert_eq!(worker.exit_code().await, 3);
    let log = worker.log();
    let errors: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["level"] == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert_eq!(errors[0]["message"], "authentication failed: invalid token");
    assert_eq!(worker.last_words(), "authentication failed: invalid token");
    assert!(!log.contains(TOKEN_BODY));
}

/// R70, R71, R72, R73: the worker stays up, says each change once, and comes back by itself.
#[tokio::test]
async fn disabled_and_duplicate_workers_keep_trying() {
    let mut gateway = TestGateway::start().await;
    gateway.refuse(Some(Status::permission_denied(
        "authentication failed: worker disabled",
    )));
    let ports = ports::block();
    let mut worker = Worker::spawn(&environment(&gateway, ports));
    worker.logs("authentication failed: worker disabled").await;
    assert_eq!(get(ports.health, "/health").await.unwrap().0, 503);
    assert_eq!(get(ports.health, "/live").await.unwrap().0, 200);
    let failures = "callmeter_worker_connection_failures_total{reason=\"worker_disabled\"} ";
    eventually("a second attempt", async || {
        let metrics = get(ports.health, "/metrics").await?.1;
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(failures))?;
        let count: u32 = count.parse().unwrap();
        (count >= 2).then_some(())
    })
    .await;
    gateway.refuse(Some(Status::already_exists(
        "authentication failed: duplicate connection",
    )));
    worker
        .logs("authentication failed: duplicate connection")
        .await;
    gateway.refuse(None);
    let _peer = gateway.welcome().await;
    assert_eq!(get(ports.health, "/health").await.unwrap().0, 200);
    let log = worker.log();
    for words in ["worker disabled", "duplicate connection"] {
        let said = log
            .lines()
            .filter(|l| l.contains(words) && l.contains("ERROR"))
            .count();
        assert_eq!(said, 1, "{log}");
    }
    assert!(worker.is_running());
}

/// R49, R94
#[tokio::test]
async fn a_lost_gateway_is_found_again() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let worker = Worker::spawn(&environment(&gateway, ports));
    let peer = gateway.welcome().await;
    let instance = peer.hello.instance_id.clone();
    drop(peer);
    gateway.stop().await;
    let body = eventually("disconnected", async || {
        let (status, body) = get(ports.health, "/health").await?;
        body.contains("\"connected\":false")
            .then_some((status, body))
    })
    .await;
    // Within the minute of grace.
    assert_eq!(body.0, 200, "{}", body.1);
    gateway.restart().await;
    let peer = gateway.welcome().await;
    assert_eq!(peer.hello.instance_id, instance);
    // A close by the gateway is no end, either.
    peer.send(Down::Close(Close {
        reason: "restart".into(),
    }))
    .await;
    let again = gateway.welcome().await;
    assert_eq!(again.hello.instance_id, instance);
    assert!(worker.log().contains("closed by the gateway: restart"));
}

/// A process that was stopped for longer than its gateway may be silent keeps its stream.
#[tokio::test]
async fn a_stopped_worker_does_not_hold_its_gateway_for_silent() {
    let mut gateway = TestGateway::start().await;
    let worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.accept().await;
    peer.welcome_every(Duration::from_secs(1)).await;
    // The worker has heard the answer to the first heartbeat by now, and hears none to this one.
    while !matches!(peer.read().await.unwrap(), Up::Heartbeat(_)) {}
    worker.signal(Signal::STOP);
    // Three heartbeats of a second are missed.
    tokio::time::sleep(Duration::from_secs(4)).await;
    worker.signal(Signal::CONT);
    for _ in 0..3 {
        peer.until("a heartbeat on the same stream", |message| {
            matches!(message, Up::Heartbeat(_)).then_some(())
        })
        .await;
    }
}

/// R90: a gateway of another authority is not trusted, and gets no token.
#[tokio::test]
async fn a_gateway_with_a_foreign_certificate_gets_nothing() {
    let mut gateway = TestGateway::start().await;
    let other = TestGateway::start().await;
    let mut variables = environment(&gateway, ports::block());
    for (name, value) in &mut variables {
        if name == "CLOUD_CA_FILE" {
            *value = other.ca_file().display().to_string();
        }
    }
    let worker = Worker::spawn(&variables);
    worker.logs("gateway connection failed").await;
    worker.logs("certificate").await;
    assert!(gateway.is_untouched());
}

/// R27: a range too small for 100 endpoints is said, and the gateway is told what it holds.
#[tokio::test]
async fn a_small_port_range_lowers_the_capacity() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let mut variables = environment(&gateway, ports);
    let last = (ports.rtp_first + 19).to_string();
    variables.retain(|(name, _)| name != "RTP_PORT_MAX");
    variables.push(("RTP_PORT_MAX".into(), last));
    let worker = Worker::spawn(&variables);
    let mut peer = gateway.accept().await;
    assert_eq!(peer.hello.capacity, 10);
    peer.welcome().await;
    worker
        .logs("hold 10 audio endpoints; 100 endpoints need 200 ports")
        .await;
}

/// R124: an idle worker asks to be fenced and goes; SIGINT is the same.
#[tokio::test]
async fn an_idle_worker_drains_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = TestGateway::start().await;
        let mut worker = Worker::spawn(&environment(&gateway, ports::block()));
        let mut peer = gateway.welcome().await;
        worker.signal(signal);
        let request = peer
            .until("a DrainRequest", |message| match message {
                Up::DrainRequest(request) => Some(request.clone()),
                _ => None,
            })
            .await;
        assert!(request.ends_in_ms > 1_190_000, "{request:?}");
        assert!(worker.is_running());
        peer.send(Down::Fence(Fence::default())).await;
        peer.until_closed().await;
        assert_eq!(worker.exit_code().await, 0);
    }
}

/// A worker that never reached its gateway drains as well.
#[tokio::test]
async fn a_worker_without_a_gateway_drains() {
    let mut gateway = TestGateway::start().await;
    gateway.stop().await;
    let mut worker = Worker::spawn(&environment(&gateway, ports::block()));
    worker.logs("gateway connection failed").await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.exit_code().await, 0);
}

/// R30, R54: a taken health port is reported, the process ends.
#[tokio::test]
async fn a_taken_health_port_is_reported() {
    let gateway = TestGateway::start().await;
    let ports = ports::block();
    let _taken = std::net::TcpListener::bind(("0.0.0.0", ports.health)).unwrap();
    let mut worker = Worker::spawn(&environment(&gateway, ports));
    assert_eq!(worker.exit_code().await, 1);
    let wanted = format!("HEALTH_PORT {} cannot be opened", ports.health);
    assert!(
        worker.last_words().contains(&wanted),
        "{}",
        worker.last_words()
    );
}

/// R43: colours for people.
#[tokio::test]
async fn the_pretty_log_is_coloured() {
    let mut gateway = TestGateway::start().await;
    let mut variables = environment(&gateway, ports::block());
    variables.push(("LOG_FORMAT".into(), "pretty".into()));
    let worker = Worker::spawn(&variables);
    let _peer = gateway.welcome().await;
    worker.logs("connected to the gateway").await;
    assert!(worker.log().contains("\u{1b}["));
}
