//! A gateway that sends what it should not, in the middle of a call: every message × (truncated,
//! unknown, over the cap). The stream may break, the call never does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use callmeter_proto::worker::{
    Ack, Close, Direction, Fence, GroupPeers, HeartbeatAck, Outcome, ResumeVerdict, Role, Start,
    Stop, Unfence, Welcome, endpoint_event::What, from_worker::Message as Up,
    to_worker::Message as Down,
};
use support::{
    calm::calm,
    gateway::{HEARTBEAT, Peer, TestGateway, encoded},
    ports,
    process::{Worker, environment},
    run::{Group, Told, assert_complete, begin, finish},
    wire::{truncated, unknown_kind},
};

/// gRPC's limit on a received message, which the worker keeps.
const CAP: usize = 4 * 1024 * 1024;

/// Every message of a gateway, none of them empty.
fn messages() -> Vec<(&'static str, Down)> {
    let run = || "run-1".to_owned();
    let reason = || "a reason".to_owned();
    let peers = GroupPeers {
        group: "callers".into(),
        first: 0,
        peers: vec!["sip:x@127.0.0.1".into()],
    };
    let welcome = Welcome {
        worker_id: "w-1".into(),
        ..Welcome::default()
    };
    let fence = Fence {
        reason: reason(),
        ends_in_ms: Some(1000),
        fence_seq: 300,
    };
    let assign = Group::new("late", Role::Callee, 1).assign(9, "run-1");
    vec![
        ("Welcome", Down::Welcome(welcome)),
        ("Assign", Down::Assign(assign)),
        (
            "Start",
            Down::Start(Start {
                seq: 9,
                run: run(),
                peers: vec![peers],
            }),
        ),
        (
            "Stop",
            Down::Stop(Stop {
                seq: 9,
                run: run(),
                reason: reason(),
            }),
        ),
        ("Fence", Down::Fence(fence)),
        ("Unfence", Down::Unfence(Unfence { fence_seq: 300 })),
        ("Close", Down::Close(Close { reason: reason() })),
        (
            "Ack",
            Down::Ack(Ack {
                run: run(),
                seq: 300,
            }),
        ),
        ("HeartbeatAck", Down::HeartbeatAck(HeartbeatAck {})),
    ]
}

/// A message of that kind that is larger than the cap.
fn over_the_cap(message: Down) -> Option<Bytes> {
    let long = "x".repeat(CAP);
    let message = match message {
        Down::Welcome(welcome) => Down::Welcome(Welcome {
            name: long,
            ..welcome
        }),
        Down::Assign(mut assign) => {
            assign.run = long;
            Down::Assign(assign)
        }
        Down::Start(start) => Down::Start(Start { run: long, ..start }),
        Down::Stop(stop) => Down::Stop(Stop { run: long, ..stop }),
        Down::Fence(fence) => Down::Fence(Fence {
            reason: long,
            ..fence
        }),
        Down::Close(_) => Down::Close(Close { reason: long }),
        Down::Ack(ack) => Down::Ack(Ack { run: long, ..ack }),
        // They have no text that could grow.
        Down::Unfence(_) | Down::HeartbeatAck(_) => return None,
    };
    Some(encoded(message))
}

/// Reads until the worker gives the stream up. Nothing is confirmed, so all of it comes again.
async fn until_broken(mut peer: Peer) {
    support::soon("the worker ends the stream", async {
        while peer.read().await.is_some() {}
    })
    .await;
}

fn note(message: &Up, told: &mut Told, confirmed: &mut u64) {
    told.take(message);
    match message {
        Up::Events(events) => *confirmed = events.seq,
        Up::Samples(samples) => *confirmed = samples.seq,
        Up::RunEnded(ended) => *confirmed = ended.seq,
        _ => {}
    }
}

fn go_on(confirmed: u64) -> Welcome {
    let verdict = ResumeVerdict {
        run: "run-1".into(),
        go_on: true,
        acked_seq: confirmed,
    };
    Welcome {
        resume: vec![verdict],
        heartbeat_interval_ms: HEARTBEAT.as_millis() as u32,
        ..Welcome::default()
    }
}

/// R94: what is no message ends the stream, not the call: the worker comes back with its run and
/// what it measured is complete. What is only unknown is passed over.
#[test]
fn bad_messages_break_the_stream_and_no_call() {
    calm(bad_messages);
}

async fn bad_messages() {
    let mut gateway = TestGateway::start().await;
    let mut worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let groups = [
        Group::new("callees", Role::Callee, 2),
        Group::new("callers", Role::Caller, 2),
    ]
    .map(|group| Group {
        call_ms: 40_000,
        run_ms: 60_000,
        ..group
    });
    let mut told = begin(&mut peer, "run-1", &groups).await;
    let mut confirmed = 0;
    let in_call = Some(What::Phase(callmeter_proto::worker::Phase::Incall.into()));
    peer.until("calls are up", |message| {
        note(message, &mut told, &mut confirmed);
        let up = told.events.iter().filter(|event| event.what == in_call);
        (up.count() == 4).then_some(())
    })
    .await;

    let mut bad = Vec::new();
    for (name, message) in messages() {
        bad.push((name, "truncated", truncated(&encoded(message.clone()))));
        if let Some(bytes) = over_the_cap(message) {
            bad.push((name, "over the cap", bytes));
        }
    }
    bad.push(("none", "no protobuf", Bytes::from_static(&[0xff; 16])));
    for (name, kind, bytes) in bad {
        peer.send_raw(bytes).await;
        until_broken(peer).await;
        assert!(worker.is_running(), "{name} {kind}");
        peer = gateway.accept().await;
        let resume = &peer.hello.resume;
        assert_eq!(resume.len(), 1, "{name} {kind}: the run goes on");
        assert_eq!(resume[0].last_applied_seq, 3, "{name} {kind}: not applied");
        peer.send(Down::Welcome(go_on(confirmed))).await;
    }

    // What this version does not know is passed over, and the stream goes on.
    peer.send_raw(unknown_kind()).await;
    peer.send_raw(Bytes::new()).await;
    let stop = Stop {
        seq: 4,
        run: "run-1".into(),
        reason: "seen enough".into(),
    };
    peer.send(Down::Stop(stop)).await;
    let ended = finish(&mut peer, &mut told, Duration::from_secs(30)).await;
    assert!(!ended.forced);
    assert_eq!(told.failed(), Vec::<String>::new());
    assert_complete(&told);
    for (from, to) in [("callers", "callees"), ("callees", "callers")] {
        let sent = told.sum(from, "packets_sent", Direction::Send);
        let received = told.sum(to, "packets_received", Direction::Recv);
        assert!(sent > 100, "{sent} packets");
        assert_eq!(sent, received, "{from} to {to}");
    }
}

/// Enumerations and fields this version does not know are refused by field, in the endpoint's own
/// end, and the run ends.
#[tokio::test]
async fn an_assignment_with_unknown_values_is_refused_by_field() {
    type Spoil = fn(&mut callmeter_proto::worker::Assign);
    let cases: [(Spoil, &str); 9] = [
        (
            |a| a.role = 77,
            "role is \"77\"; accepted: caller, callee or both",
        ),
        (
            |a| a.role = 0,
            "role is \"0\"; accepted: caller, callee or both",
        ),
        (
            |a| a.audio = None,
            "audio is \"\"; accepted: codec and packet time",
        ),
        (
            |a| a.call = None,
            "call is \"\"; accepted: duration and ring time",
        ),
        (
            |a| a.audio.as_mut().unwrap().codec = "opus".into(),
            "audio.codec is \"opus\"; accepted: pcma or pcmu",
        ),
        (
            |a| a.audio.as_mut().unwrap().dscp = 64,
            "audio.dscp is \"64\"; accepted: 0 to 63",
        ),
        (
            |a| a.audio.as_mut().unwrap().ptime_ms = u32::MAX,
            "audio.ptime_ms is \"4294967295\"; accepted: 10 to 200 in steps of 10",
        ),
        (
            |a| a.group = "x".repeat(254),
            "group is \"254\"; accepted: a name of 1 to 253 bytes",
        ),
        (
            |a| a.peers = vec!["sip:x@127.0.0.1".into(); 3],
            "peers is \"3\"; accepted: none, or one per endpoint",
        ),
    ];
    let mut gateway = TestGateway::start().await;
    let mut worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    for (number, (spoil, wanted)) in cases.into_iter().enumerate() {
        let run = format!("run-{number}");
        let mut assign = Group::new("callers", Role::Caller, 1).assign(1, &run);
        spoil(&mut assign);
        peer.send(Down::Assign(assign)).await;
        let (outcome, detail) = peer
            .until(wanted, |message| match message {
                Up::Events(events) if events.run == run => {
                    events.events.iter().find_map(|event| match &event.what {
                        Some(What::Ended(end)) => Some((end.outcome(), end.detail.clone())),
                        _ => None,
                    })
                }
                _ => None,
            })
            .await;
        assert_eq!(outcome, Outcome::Oserror, "{detail}");
        assert!(detail.ends_with(wanted), "{detail}");
        peer.send(Down::Start(Start {
            seq: 2,
            run: run.clone(),
            peers: Vec::new(),
        }))
        .await;
        let is_end = |message: &Up| matches!(message, Up::RunEnded(end) if end.run == run);
        peer.until("RunEnded", |message| is_end(message).then_some(()))
            .await;
    }
    assert!(worker.is_running());
}
