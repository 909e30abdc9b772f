//! The worker protocol over real TLS on loopback.

use std::time::Duration;

use crate::common::{DEADLINE, Gateway, hello, timed};
use callmeter_gateway::link::{InstanceId, RefusalReason, WorkerStatus};
use callmeter_proto::worker::{
    Ack, DrainRequest, EndpointEvents, Hello, ResumeRun, Stop, ToWorker, from_worker, to_worker,
};
use callmeter_proto::{DUPLICATE_CONNECTION, INVALID_TOKEN};
use tokio::time::timeout;
use tonic::Code;

const A: InstanceId = InstanceId([0xa; 16]);
const B: InstanceId = InstanceId([0xb; 16]);

/// R91, R92, R93, R122
#[tokio::test]
async fn a_worker_with_its_token_comes_online_and_carries_messages_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let mut stream = gateway.connect(&token, A).await.unwrap();
    let welcome = &stream.welcome;
    assert_eq!(welcome.worker_id, id.to_string());
    assert_eq!(
        (welcome.name.as_str(), welcome.organisation.as_str()),
        ("w1", "default")
    );
    assert_eq!(
        (welcome.effective_capacity, welcome.heartbeat_interval_ms),
        (100, 10_000)
    );
    assert_eq!(welcome.fence, None);
    stream.beat(true).await;
    assert!(matches!(
        stream.next().await,
        Ok(Some(to_worker::Message::HeartbeatAck(_)))
    ));
    gateway.until(id, WorkerStatus::Online).await;

    let stop = Stop {
        seq: 1,
        run: "r".into(),
        reason: "test".into(),
    };
    let message = ToWorker {
        message: Some(to_worker::Message::Stop(stop.clone())),
    };
    gateway.sessions.send(id, A, message.clone()).unwrap();
    assert_eq!(
        stream.next_order().await.unwrap(),
        Some(to_worker::Message::Stop(stop))
    );
    assert!(
        gateway.sessions.send(id, B, message).is_err(),
        "another process has no stream"
    );

    stream
        .send(from_worker::Message::Ack(Ack {
            run: "r".into(),
            seq: 1,
        }))
        .await;
    let events = EndpointEvents {
        seq: 1,
        run: "r".into(),
        events: Vec::new(),
    };
    stream.send(from_worker::Message::Events(events)).await;
    let arrived = async {
        while gateway
            .run_side
            .seen()
            .iter()
            .filter(|seen| seen.starts_with("message"))
            .count()
            < 2
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, arrived)
        .await
        .expect("both messages reach the run layer");
    let seen = gateway.run_side.seen();
    assert_eq!(seen[1], "connected w1", "{seen:?}");
    gateway.stop().await;
}

/// R63, R71, R73
#[tokio::test]
async fn a_second_process_is_refused_until_the_first_connection_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let first = gateway.connect(&token, A).await.unwrap();
    first.beat(true).await;
    gateway.until(id, WorkerStatus::Online).await;
    let refused = gateway.connect(&token, B).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::AlreadyExists, DUPLICATE_CONNECTION)
    );
    let refusal = gateway
        .sessions
        .worker(id)
        .unwrap()
        .last_refusal
        .clone()
        .unwrap();
    assert_eq!(
        (refusal.reason, refusal.pod_uid),
        (RefusalReason::DuplicateConnection, format!("uid-{B}"))
    );
    assert_eq!(
        gateway.sessions.worker(id).unwrap().status,
        WorkerStatus::Online,
        "the first one stays"
    );
    drop(first);
    gateway.until(id, WorkerStatus::Offline).await;
    gateway.connect(&token, B).await.unwrap();
    assert!(gateway.run_side.seen().contains(&format!("lost {A}")));
    gateway.stop().await;
}

/// R94
#[tokio::test]
async fn the_same_process_reconnects_and_its_old_stream_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (_, token) = gateway.worker("w1").await;
    let mut old = gateway.connect(&token, A).await.unwrap();
    let resume = |run: &str| ResumeRun {
        run: run.into(),
        last_applied_seq: 1,
        last_sent_seq: 9,
    };
    let again = Hello {
        resume: vec![resume("known"), resume("unknown")],
        ..hello(A)
    };
    let new = gateway.connect_with(&token, again).await.unwrap();
    assert!(matches!(
        old.next_order().await,
        Ok(Some(to_worker::Message::Close(_)))
    ));
    assert_eq!(old.next_order().await.unwrap_err().code(), Code::Aborted);
    let verdicts: Vec<_> = new
        .welcome
        .resume
        .iter()
        .map(|v| (v.run.as_str(), v.go_on, v.acked_seq))
        .collect();
    assert_eq!(
        verdicts,
        [("known", true, 7), ("unknown", false, 0)],
        "what nobody judges is over"
    );
    gateway.stop().await;
}

/// R60, R65, R66
#[tokio::test]
async fn a_regenerated_token_kills_the_live_connection_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, old) = gateway.worker("w1").await;
    let mut stream = gateway.connect(&old, A).await.unwrap();
    let new = gateway
        .sessions
        .regenerate_token("default", id)
        .await
        .unwrap();
    let ended = async {
        loop {
            match stream.next_order().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a status"),
                Err(status) => break status,
            }
        }
    };
    let (ended, took) = timed(ended).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unauthenticated, INVALID_TOKEN)
    );
    let refused = gateway.connect(&old, A).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, INVALID_TOKEN)
    );
    gateway.connect(new.expose(), A).await.unwrap();
    let refusal = gateway
        .sessions
        .worker(id)
        .unwrap()
        .last_refusal
        .clone()
        .unwrap();
    assert_eq!(
        refusal.reason,
        RefusalReason::InvalidToken,
        "the old token names its record"
    );
    gateway.stop().await;
}

/// R63, R124
#[tokio::test]
async fn a_restart_keeps_the_fence_and_lets_no_second_process_in() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let mut stream = gateway.connect(&token, A).await.unwrap();
    stream.beat(true).await;
    gateway.until(id, WorkerStatus::Online).await;
    let fenced = gateway
        .sessions
        .fence("default", id, A, "scale down".into(), Some(600_000))
        .await
        .unwrap();
    let Ok(Some(to_worker::Message::Fence(fence))) = stream.next_order().await else {
        panic!("no Fence")
    };
    assert_eq!(
        (fence.fence_seq, fence.reason.as_str()),
        (fenced.seq, "scale down")
    );
    gateway.stop().await;
    let ended = loop {
        if let Err(status) = stream.next_order().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);

    let gateway = Gateway::start(dir.path()).await;
    let refused = gateway.connect(&token, B).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::AlreadyExists, DUPLICATE_CONNECTION)
    );
    let stream = gateway.connect(&token, A).await.unwrap();
    let fence = stream.welcome.fence.clone().unwrap();
    assert_eq!(fence.fence_seq, fenced.seq);
    let left = fence.ends_in_ms.unwrap();
    assert!((500_000..600_000).contains(&left), "{left}");
    stream.beat(true).await;
    gateway.until(id, WorkerStatus::Draining).await;
    gateway.sessions.unfence("default", id, A).await.unwrap();
    gateway.until(id, WorkerStatus::Online).await;
    gateway.stop().await;
}

/// R124
#[tokio::test]
async fn a_drain_request_fences_the_process_and_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let mut stream = gateway.connect(&token, A).await.unwrap();
    stream.beat(true).await;
    gateway.until(id, WorkerStatus::Online).await;
    let drain = DrainRequest {
        reason: "SIGTERM".into(),
        ends_in_ms: 60_000,
    };
    stream.send(from_worker::Message::DrainRequest(drain)).await;
    let Ok(Some(to_worker::Message::Fence(fence))) = stream.next_order().await else {
        panic!("no Fence")
    };
    assert_eq!((fence.reason.as_str(), fence.fence_seq), ("SIGTERM", 1));
    gateway.until(id, WorkerStatus::Draining).await;
    gateway.stop().await;
}

/// R61
#[tokio::test]
async fn no_file_of_the_gateway_holds_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    gateway.connect(&token, A).await.unwrap();
    let second = gateway
        .sessions
        .regenerate_token("default", id)
        .await
        .unwrap();
    let (_, key) = gateway
        .auth
        .make_key("default", "k", callmeter_gateway::store::Role::Owner)
        .await
        .unwrap();
    let search = || {
        let mut files = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let content = std::fs::read(&path).unwrap();
            files += 1;
            for secret in [token.as_str(), second.expose(), key.expose()] {
                let body = &secret[4..];
                let raw = hex::decode(body).unwrap();
                for needle in [body.as_bytes(), &raw] {
                    let hits = content
                        .windows(needle.len())
                        .filter(|window| *window == needle)
                        .count();
                    assert_eq!(hits, 0, "{}", path.display());
                }
            }
            // The search itself works: the record's name is found where it is stored.
            if path.extension().is_some_and(|e| e == "db-wal") {
                assert!(
                    content.windows(2).any(|window| window == b"w1"),
                    "the search finds what is there"
                );
            }
        }
        files
    };
    assert!(
        search() >= 5,
        "database, its log, pepper, seal key, certificate"
    );
    gateway.stop().await;
    search();
}
