//! What ends or outlives a run: signals, deadlines, a gateway that goes, a token that is revoked.

use callmeter_proto::worker::from_worker::Message as Up;
use callmeter_proto::worker::to_worker::Message as Down;
use callmeter_proto::worker::{Fence, Outcome, Welcome};
use rustix::process::Signal;

use crate::support::eventually;
use crate::support::gateway::{HEARTBEAT, Peer};
use crate::support::process::get;
use crate::support::run::{Group, Told, assert_complete, begin, finish};
use crate::{RUN_PATIENCE, pair, start, total, until_in_call};

/// R124: SIGTERM in a call cuts nothing; a second one neither.
#[tokio::test]
async fn sigterm_lets_calls_run_to_their_end() {
    let (_gateway, mut worker, mut peer, _) = start(&[]).await;
    let groups = pair(2).map(|group| Group {
        call_ms: 3000,
        run_ms: 5000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    until_in_call(&mut peer, &mut told).await;
    worker.signal(Signal::TERM);
    worker.signal(Signal::TERM);
    peer.until("a DrainRequest", |message| {
        told.take(message);
        matches!(message, Up::DrainRequest(_)).then_some(())
    })
    .await;
    peer.send(Down::Fence(Fence::default())).await;
    let ended = finish(&mut peer, &mut told, RUN_PATIENCE).await;
    assert!(!ended.forced && worker.is_running());
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(total(&ended, "callers", Outcome::Success), 2);
    assert_complete(&told);
    peer.until_closed().await;
    assert_eq!(worker.exit_code().await, 0);
}

/// At the deadline calls end by BYE with outcome TIMEOUT, the run is forced, the exit code is 0.
#[tokio::test]
async fn a_drain_deadline_ends_calls_by_force() {
    let (_gateway, mut worker, mut peer, _) = start(&[("DRAIN_TIMEOUT", "2s")]).await;
    let groups = pair(2).map(|group| Group {
        call_ms: 60_000,
        run_ms: 90_000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    until_in_call(&mut peer, &mut told).await;
    worker.signal(Signal::TERM);
    let ended = finish(&mut peer, &mut told, RUN_PATIENCE).await;
    assert!(ended.forced);
    assert_eq!(total(&ended, "callers", Outcome::Timeout), 2, "{ended:?}");
    assert_complete(&told);
    peer.until_closed().await;
    assert_eq!(worker.exit_code().await, 0);
}

/// R94, R104: a gateway that goes away for a while loses no figure and no call.
#[tokio::test]
async fn a_run_survives_the_loss_of_its_gateway() {
    let (mut gateway, _worker, mut peer, ports) = start(&[]).await;
    let groups = pair(2).map(|group| Group {
        call_ms: 6000,
        run_ms: 8000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    until_in_call(&mut peer, &mut told).await;
    let confirmed = highest_seq(&mut told, &mut peer).await;
    drop(peer);
    gateway.stop().await;
    // Four endpoints measure both directions: a second and what waited before it.
    let gauge = async |name: &str| {
        let metrics = get(ports.health, "/metrics").await?.1;
        let name = format!("callmeter_worker_{name} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name))?;
        line.parse::<u32>().ok()
    };
    let at_first = eventually("the worker is cut off", async || {
        (gauge("connected").await? == 0).then_some(())?;
        gauge("sample_rows_buffered").await
    })
    .await;
    eventually("a second of samples is buffered", async || {
        (gauge("sample_rows_buffered").await? >= at_first + 8).then_some(())
    })
    .await;
    gateway.restart().await;
    let mut peer = gateway.accept().await;
    let resume = peer.hello.resume.clone();
    assert_eq!(resume.len(), 1);
    assert_eq!(
        (resume[0].run.as_str(), resume[0].last_applied_seq),
        ("run-1", 3)
    );
    let verdict = callmeter_proto::worker::ResumeVerdict {
        run: "run-1".into(),
        go_on: true,
        acked_seq: confirmed,
    };
    let welcome = Welcome {
        resume: vec![verdict],
        heartbeat_interval_ms: HEARTBEAT.as_millis() as u32,
        ..Welcome::default()
    };
    peer.send(Down::Welcome(welcome)).await;
    let ended = finish(&mut peer, &mut told, RUN_PATIENCE).await;
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_eq!(total(&ended, "callers", Outcome::Success), 2);
    assert_complete(&told);
}

/// R69 in a run: nothing new, the calls end, then the documented exit.
#[tokio::test]
async fn a_token_revoked_in_a_call_ends_the_process_after_the_calls() {
    let (gateway, mut worker, mut peer, _) = start(&[]).await;
    let groups = pair(1).map(|group| Group {
        call_ms: 4000,
        run_ms: 6000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    until_in_call(&mut peer, &mut told).await;
    let refused = || tonic::Status::unauthenticated("authentication failed: invalid token");
    gateway.refuse(Some(refused()));
    peer.fail(refused()).await;
    worker.logs("authentication failed: invalid token").await;
    assert!(worker.is_running());
    assert_eq!(worker.exit_code().await, 3);
    // It ended by itself, not by force.
    assert!(worker.log().contains("run run-1 ended"), "{}", worker.log());
}

/// Reads up to the next batch of rows and says how far everything is confirmed.
async fn highest_seq(told: &mut Told, peer: &mut Peer) -> u64 {
    peer.until("rows", |message| {
        told.take(message);
        match message {
            Up::Samples(samples) => Some(samples.seq),
            _ => None,
        }
    })
    .await
}
