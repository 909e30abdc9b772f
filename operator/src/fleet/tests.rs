//! A gateway that answers what is no message: each answer of the fleet API × (truncated, of an
//! unknown kind, over the cap). The operator takes none of it for a fact and goes on.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use callmeter_proto::fleet as pb;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::Service,
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};

use super::{
    client::MAX_ANSWER,
    watch::{watch_demand, watch_workers},
    *,
};
use crate::{error::Error, metrics::Metrics};

#[path = "../../../crates/proto/tests/support/wire.rs"]
mod codec;

use codec::{Wire, truncated, unknown_kind};

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// Answers every request with the same bytes.
#[derive(Clone)]
struct Says(Bytes);

impl NamedService for Says {
    const NAME: &'static str = "callmeter.fleet.v1.Fleet";
}

impl UnaryService<Bytes> for Says {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl Service<http::Request<Body>> for Says {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let says = self.clone();
        Box::pin(async move { Ok(Grpc::new(Wire).unary(says, request).await) })
    }
}

/// A client of a gateway that says `answer` to everything.
async fn fleet(answer: Bytes) -> Fleet {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = Server::builder().add_service(Says(answer));
    tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
    let config = FleetConfig {
        url,
        ca_file: None,
        // Any file that holds a word will do.
        token_file: "/proc/self/comm".into(),
    };
    Fleet::new(config, Index::default())
}

/// The answer's bytes without the last one, as one of a kind nobody knows, and as one too large.
fn hostile(answer: &impl prost::Message) -> [(&'static str, Bytes); 3] {
    [
        ("truncated", truncated(&answer.encode_to_vec())),
        ("of an unknown kind", unknown_kind()),
        ("over the cap", Bytes::from(vec![0; MAX_ANSWER + 1])),
    ]
}

fn code(error: &Error) -> Option<Code> {
    match error {
        Error::Gateway { source, .. } => Some(source.code()),
        _ => None,
    }
}

/// The statuses that each kind of rubbish may end in.
fn refused(kind: &str, error: &Error) {
    let accepted: &[Code] = match kind {
        "over the cap" => &[Code::OutOfRange, Code::ResourceExhausted],
        "truncated" => &[Code::Internal, Code::DataLoss],
        _ => &[Code::DataLoss],
    };
    let code = code(error).unwrap_or_else(|| panic!("{kind}: {error:?}"));
    assert!(accepted.contains(&code), "{kind}: {error:?}");
}

#[tokio::test]
async fn an_answer_without_what_was_asked_for_is_an_error() {
    let token = format!("cmw_{}", "0123456789abcdef".repeat(4));
    let created = pb::CreateWorkerResponse {
        id: "w1".into(),
        token: token.clone(),
    };
    for (kind, answer) in hostile(&created) {
        let request = pb::CreateWorkerRequest::default();
        let error = fleet(answer)
            .await
            .create_worker(request)
            .await
            .unwrap_err();
        refused(kind, &error);
    }
    let regenerated = pb::RegenerateTokenResponse {
        token: token.clone(),
    };
    for (kind, answer) in hostile(&regenerated) {
        let asked = fleet(answer).await.regenerate_token("w1".into()).await;
        refused(kind, &asked.unwrap_err());
    }
    let submitted = pb::SubmitRunResponse { run: "r1".into() };
    for (kind, answer) in hostile(&submitted) {
        let request = pb::SubmitRunRequest::default();
        let error = fleet(answer).await.submit_run(request).await.unwrap_err();
        refused(kind, &error);
    }
    let fenced = pb::FenceResponse {
        fence_seq: 7,
        ..pb::FenceResponse::default()
    };
    for (kind, answer) in hostile(&fenced) {
        let answer = fleet(answer).await.fence(pb::FenceRequest::default()).await;
        match answer {
            Err(error) => refused(kind, &error),
            // No fence is known by it: the worker counts as not fenced, and is fenced again.
            Ok(fence) => assert_eq!((kind, fence.fence_seq), ("of an unknown kind", 0)),
        }
    }
    // The same path with what was meant.
    let good = Bytes::from(created.encode_to_vec());
    let request = pb::CreateWorkerRequest::default();
    let (id, given) = fleet(good).await.create_worker(request).await.unwrap();
    assert_eq!(
        (id.as_str(), given.unwrap().expose()),
        ("w1", token.as_str())
    );
}

/// A token of another form would be a Secret that no worker starts with.
#[tokio::test]
async fn what_is_no_worker_token_is_not_stored() {
    for token in ["", "cmw_short", &format!("cmc_{}", "0".repeat(64))] {
        let answer = pb::RegenerateTokenResponse {
            token: token.into(),
        };
        let answer = Bytes::from(answer.encode_to_vec());
        let error = fleet(answer).await.regenerate_token("w1".into()).await;
        let told = error.unwrap_err().chain();
        assert!(told.contains("accepted: cmw_"), "{told}");
        assert!(token.is_empty() || !told.contains(token), "{told}");
    }
}

#[tokio::test]
async fn rubbish_on_a_watch_ends_it_and_leaves_no_fact() {
    let (pools, _pools) = mpsc::channel(4);
    let (workers, _workers) = mpsc::channel(4);
    let triggers = Triggers { pools, workers };
    let metrics = Metrics::new().unwrap();
    let row = pb::WorkerRow {
        id: "w1".into(),
        name: "fra-aaaaaaaa".into(),
        connected: true,
        ..pb::WorkerRow::default()
    };
    let report = pb::WatchWorkersResponse {
        snapshot: true,
        workers: vec![row],
        ..pb::WatchWorkersResponse::default()
    };
    for (kind, answer) in hostile(&report) {
        let fleet = fleet(answer).await;
        let watched = tokio::time::timeout(DEADLINE, watch_workers(&fleet, &triggers, &metrics));
        match watched.await.expect("the watch ends") {
            Err(error) => refused(kind, &error),
            Ok(()) => assert_eq!(kind, "of an unknown kind"),
        }
        assert!(!fleet.index().is_live(), "{kind}: taken for a live watch");
        let view = fleet.index().worker(Some("w1"), "uid", None);
        assert!(!matches!(view, View::Row(_)), "{kind}: {view:?}");
    }
    let demand = pb::WatchDemandResponse {
        pools: vec![pb::PoolDemand {
            pool: "demo/fra".into(),
            queued_endpoints: 40,
            ..pb::PoolDemand::default()
        }],
    };
    for (kind, answer) in hostile(&demand) {
        let fleet = fleet(answer).await;
        let watched = tokio::time::timeout(DEADLINE, watch_demand(&fleet, &triggers));
        match watched.await.expect("the watch ends") {
            Err(error) => refused(kind, &error),
            Ok(()) => assert_eq!(kind, "of an unknown kind"),
        }
        let demand = fleet.index().demand("demo/fra", std::time::Instant::now());
        let queued = matches!(demand, Demand::Fresh { queued, .. } if queued > 0);
        assert!(!queued, "{kind}: {demand:?}");
    }
}
