//! Peers that write what is no message: every message of both protocols × (truncated, unknown, over
//! the cap). The peer is answered, the gateway goes on.

#[path = "../../../crates/proto/tests/support/wire.rs"]
mod codec;

use bytes::Bytes;
use callmeter_gateway::link::{InstanceId, WorkerStatus};
use callmeter_gateway::store::Role;
use callmeter_proto::fleet;
use callmeter_proto::worker::{
    Ack, DrainRequest, EndpointEvent, EndpointEvents, FromWorker, Heartbeat, Hello, RunEnded,
    SampleRow, Samples, from_worker::Message, to_worker,
};
use codec::{Wire, truncated, unknown_kind};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::common::{DEADLINE, Gateway, hello};

const A: InstanceId = InstanceId([0xa; 16]);
/// The gateway's limit on a message.
const CAP: usize = 4 * 1024 * 1024;
const CONNECT: &str = "/callmeter.worker.v1.WorkerGateway/Connect";

fn bytes(message: Message) -> Bytes {
    let message = FromWorker {
        message: Some(message),
    };
    message.encode_to_vec().into()
}

/// A stream on which a worker may write anything, its first message already on it.
async fn connect(
    gateway: &Gateway,
    token: &str,
    first: Bytes,
) -> Result<(mpsc::Sender<Bytes>, Streaming<Bytes>), Status> {
    let (up, messages) = mpsc::channel(16);
    up.send(first).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(messages));
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    let mut client = Grpc::new(gateway.channel(gateway.worker_addr).await.unwrap());
    client.ready().await.unwrap();
    let answer = client.streaming(request, PathAndQuery::from_static(CONNECT), Wire);
    let down = timeout(DEADLINE, answer).await.expect("an answer")?;
    Ok((up, down.into_inner()))
}

/// The status a stream ends with; what comes before it is passed over.
async fn end_of(mut down: Streaming<Bytes>) -> Result<(), Status> {
    let read = async {
        while down.message().await?.is_some() {}
        Ok(())
    };
    timeout(DEADLINE, read).await.expect("the stream ends")
}

/// The first message of a stream that is no Hello, or half of one.
#[tokio::test]
async fn a_stream_that_does_not_begin_with_a_hello_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let good = bytes(Message::Hello(hello(A)));
    let huge = Hello {
        name: "x".repeat(CAP),
        ..hello(A)
    };
    let invalid = "the first message must be Hello, within 10 s";
    let cases = [
        (
            "truncated",
            truncated(&good),
            Code::Internal,
            "failed to decode",
        ),
        (
            "no protobuf",
            Bytes::from_static(&[0xff; 9]),
            Code::Internal,
            "failed to decode",
        ),
        (
            "over the cap",
            bytes(Message::Hello(huge)),
            Code::OutOfRange,
            "message length too large",
        ),
        ("unknown", unknown_kind(), Code::InvalidArgument, invalid),
        ("empty", Bytes::new(), Code::InvalidArgument, invalid),
        (
            "another",
            bytes(Message::Heartbeat(Heartbeat::default())),
            Code::InvalidArgument,
            invalid,
        ),
    ];
    for (what, first, code, message) in cases {
        let refused = match connect(&gateway, &token, first).await {
            Err(refused) => refused,
            Ok((_up, down)) => end_of(down).await.unwrap_err(),
        };
        assert_eq!(refused.code(), code, "{what}: {refused}");
        assert!(refused.message().contains(message), "{what}: {refused}");
        assert!(!gateway.sessions.worker(id).unwrap().connected, "{what}");
    }
    gateway.connect(&token, A).await.unwrap();
    gateway.stop().await;
}

/// Every message of a worker, none of them empty.
fn messages() -> Vec<(&'static str, Message)> {
    let run = || "run-1".to_owned();
    let row = SampleRow {
        group: "g".into(),
        ..SampleRow::default()
    };
    let event = EndpointEvent {
        group: "g".into(),
        ..EndpointEvent::default()
    };
    let heartbeat = Heartbeat {
        unhealthy_reason: "x".into(),
        ..Heartbeat::default()
    };
    vec![
        ("Hello", Message::Hello(hello(A))),
        ("Heartbeat", Message::Heartbeat(heartbeat)),
        (
            "Ack",
            Message::Ack(Ack {
                run: run(),
                seq: 300,
            }),
        ),
        (
            "EndpointEvents",
            Message::Events(EndpointEvents {
                seq: 1,
                run: run(),
                events: vec![event],
            }),
        ),
        (
            "Samples",
            Message::Samples(Samples {
                seq: 1,
                run: run(),
                rows: vec![row],
                ..Samples::default()
            }),
        ),
        (
            "RunEnded",
            Message::RunEnded(RunEnded {
                seq: 1,
                run: run(),
                last_seq: 300,
                ..RunEnded::default()
            }),
        ),
        (
            "DrainRequest",
            Message::DrainRequest(DrainRequest {
                reason: "SIGTERM".into(),
                ends_in_ms: 300,
            }),
        ),
    ]
}

/// A message of that kind that is larger than the cap.
fn over_the_cap(message: Message) -> Bytes {
    let long = "x".repeat(CAP);
    bytes(match message {
        Message::Hello(hello) => Message::Hello(Hello {
            name: long,
            ..hello
        }),
        Message::Heartbeat(heartbeat) => Message::Heartbeat(Heartbeat {
            unhealthy_reason: long,
            ..heartbeat
        }),
        Message::Ack(ack) => Message::Ack(Ack { run: long, ..ack }),
        Message::Events(events) => Message::Events(EndpointEvents {
            run: long,
            ..events
        }),
        Message::Samples(samples) => Message::Samples(Samples {
            run: long,
            ..samples
        }),
        Message::RunEnded(ended) => Message::RunEnded(RunEnded { run: long, ..ended }),
        Message::DrainRequest(drain) => Message::DrainRequest(DrainRequest {
            reason: long,
            ..drain
        }),
    })
}

/// R94: what is no message ends the stream; the same process is let in again at once.
#[tokio::test]
async fn bad_messages_end_the_stream_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let other = gateway.worker("w2").await;
    let mut bystander = gateway
        .connect(&other.1, InstanceId([0xb; 16]))
        .await
        .unwrap();
    let first = || bytes(Message::Hello(hello(A)));
    for (name, message) in messages() {
        for (kind, bad) in [
            ("truncated", truncated(&bytes(message.clone()))),
            ("over the cap", over_the_cap(message.clone())),
        ] {
            let (up, down) = connect(&gateway, &token, first()).await.unwrap();
            up.send(bad).await.unwrap();
            // With which status depends on who is first to see it; that it ends does not.
            let _ = end_of(down).await;
            gateway.until(id, WorkerStatus::Offline).await;
            assert!(
                gateway.sessions.worker(other.0).unwrap().connected,
                "{name} {kind}"
            );
        }
    }
    // What this version does not know is passed over.
    let (up, mut down) = connect(&gateway, &token, first()).await.unwrap();
    up.send(unknown_kind()).await.unwrap();
    up.send(Bytes::new()).await.unwrap();
    let beat = Heartbeat {
        healthy: true,
        ..Heartbeat::default()
    };
    up.send(bytes(Message::Heartbeat(beat))).await.unwrap();
    gateway.until(id, WorkerStatus::Online).await;
    let welcome = timeout(DEADLINE, down.message()).await.unwrap().unwrap();
    assert!(welcome.is_some());
    // A second Hello ends the stream.
    up.send(first()).await.unwrap();
    let _ = end_of(down).await;
    gateway.until(id, WorkerStatus::Offline).await;
    bystander.beat(true).await;
    assert!(matches!(
        bystander.next().await,
        Ok(Some(to_worker::Message::HeartbeatAck(_)))
    ));
    gateway.stop().await;
}

/// A request and the same with one text that is larger than the cap.
fn both<M: prost::Message>(
    method: &'static str,
    short: &str,
    with: impl Fn(String) -> M,
) -> (&'static str, Bytes, Bytes) {
    let encoded = |text: String| Bytes::from(with(text).encode_to_vec());
    (method, encoded(short.to_owned()), encoded("x".repeat(CAP)))
}

/// Every request of the fleet API, none of them empty, and one that is larger than the cap.
fn requests() -> Vec<(&'static str, Bytes, Bytes)> {
    let id = "00000000-0000-4000-8000-000000000000";
    vec![
        both("CreateWorker", "w", |name| fleet::CreateWorkerRequest {
            key: "k".into(),
            name,
            ..Default::default()
        }),
        both("UpdateWorker", id, |id| fleet::UpdateWorkerRequest {
            id,
            capacity: 1,
            ..Default::default()
        }),
        both("DeleteWorker", id, |id| fleet::DeleteWorkerRequest { id }),
        both("RegenerateToken", id, |id| fleet::RegenerateTokenRequest {
            id,
        }),
        both("SetDisabled", id, |id| fleet::SetDisabledRequest {
            id,
            disabled: true,
        }),
        both("Fence", "a reason", |reason| fleet::FenceRequest {
            id: id.into(),
            instance: vec![1; 16],
            reason,
            ..Default::default()
        }),
        both("Unfence", id, |id| fleet::UnfenceRequest {
            id,
            instance: vec![1; 16],
        }),
        both("UpsertPool", "eu", |region| fleet::UpsertPoolRequest {
            key: "demo/fra".into(),
            region,
            endpoints_per_worker: 1,
            ..Default::default()
        }),
        both("DeletePool", "demo/fra", |key| fleet::DeletePoolRequest {
            key,
        }),
        both("WatchWorkers", "v", |value| fleet::WatchWorkersRequest {
            selector: [("k".to_owned(), value)].into(),
        }),
        both("WatchDemand", "demo/fra", |pool| {
            fleet::WatchDemandRequest { pools: vec![pool] }
        }),
        both("SubmitRun", "{}", |definition_json| {
            fleet::SubmitRunRequest {
                key: "k".into(),
                definition_json,
                ..Default::default()
            }
        }),
        both("StopRun", "a reason", |reason| fleet::StopRunRequest {
            run: id.into(),
            reason,
        }),
        both("WatchRun", id, |run| fleet::WatchRunRequest { run }),
    ]
}

/// Sends a fleet request as bytes; the refusal, if there is one.
async fn ask(channel: &Channel, key: &str, method: &str, message: Bytes) -> Option<Status> {
    let mut request = Request::new(message);
    let header = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path: PathAndQuery = format!("/callmeter.fleet.v1.Fleet/{method}")
        .parse()
        .unwrap();
    // A watch answers with a stream, and is refused the same way.
    let answer = client.server_streaming(request, path, Wire);
    timeout(DEADLINE, answer).await.expect("an answer").err()
}

#[tokio::test]
async fn every_fleet_request_that_is_no_message_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let fleet = gateway.fleet(Role::Admin).await;
    let channel = gateway.channel(gateway.fleet_addr).await.unwrap();
    for (method, good, huge) in requests() {
        for (kind, message, code) in [
            ("truncated", truncated(&good), Code::Internal),
            (
                "no protobuf",
                Bytes::from_static(&[0xff; 9]),
                Code::Internal,
            ),
            ("over the cap", huge, Code::OutOfRange),
        ] {
            let refused = ask(&channel, &fleet.key, method, message).await;
            let refused = refused.unwrap_or_else(|| panic!("{method} {kind} is taken"));
            assert_eq!(refused.code(), code, "{method} {kind}: {refused}");
        }
    }
    assert!(gateway.sessions.workers().is_empty(), "nothing was made");
    gateway.stop().await;
}
