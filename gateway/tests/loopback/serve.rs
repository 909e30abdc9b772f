//! The whole gateway in one process, plain on loopback: both layers and all three services.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::common::timed;
use callmeter_gateway::args::Data;
use callmeter_gateway::auth::Auth;
use callmeter_gateway::serve::Serve;
use callmeter_gateway::store::Role;
use callmeter_proto::fleet::fleet_client::FleetClient;
use callmeter_proto::fleet::{
    CreateWorkerRequest, FenceRequest, StopRunRequest, SubmitRunRequest, UpsertPoolRequest,
    WatchDemandRequest, WatchRunRequest, WatchWorkersRequest, WorkerStatus,
};
use callmeter_proto::worker::worker_gateway_client::WorkerGatewayClient;
use callmeter_proto::worker::{FromWorker, Heartbeat, Hello, from_worker, to_worker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// A start writes the database anew.
const READY: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    workers: SocketAddr,
    fleet: SocketAddr,
    rest: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

fn data(dir: &Path) -> Data {
    Data {
        data_dir: dir.to_owned(),
        pepper_file: None,
        seal_key_file: None,
    }
}

/// An address that nobody listens on and no connection takes: the host is this gateway's alone.
async fn free_address(host: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

async fn start(dir: &Path) -> Running {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let host = Ipv4Addr::new(127, 77, 9, NEXT.fetch_add(1, Ordering::Relaxed));
    let (workers, fleet, rest) = (
        free_address(host).await,
        free_address(host).await,
        free_address(host).await,
    );
    let serve = Serve {
        data: data(dir),
        tls_cert: None,
        tls_key: None,
        workers_addr: workers,
        fleet_addr: fleet,
        rest_addr: rest,
        fleet_subjects: Vec::new(),
    };
    let (stop, stopped) = oneshot::channel();
    let mut task = tokio::spawn(serve.run_until(async {
        let _ = stopped.await;
    }));
    let ready = async {
        while !get(rest, "/readyz")
            .await
            .is_ok_and(|answer| answer.contains("200 OK"))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = &mut task => panic!("the gateway ended: {ended:?}"),
        ready = timeout(READY, ready) => ready.expect("the gateway is ready"),
    }
    Running {
        workers,
        fleet,
        rest,
        stop,
        task,
    }
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// A key made beside the running gateway, as `keys create` does.
async fn key(dir: &Path) -> String {
    let (store, keys) = data(dir).open().await.unwrap();
    let auth = Auth::new(store.clone(), keys.pepper, None);
    let (_, text) = auth.make_key("default", "test", Role::Owner).await.unwrap();
    store.close().await;
    text.expose().to_owned()
}

fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

/// R88, R90, R91, R92, R93
#[tokio::test]
async fn one_process_serves_workers_operators_and_people_and_stops_with_streams_open() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path()).await;
    assert!(
        get(gateway.rest, "/healthz")
            .await
            .unwrap()
            .contains("200 OK")
    );
    assert!(
        get(gateway.rest, "/api/v1/workers")
            .await
            .unwrap()
            .contains("401 Unauthorized")
    );

    let key = key(dir.path()).await;
    let mut fleet = FleetClient::new(channel(gateway.fleet).await);
    let create = CreateWorkerRequest {
        key: "uid".into(),
        name: "fra-0".into(),
        capacity: 10,
        labels: [("callmeter.io/pool".to_owned(), "demo/fra".to_owned())].into(),
        ..CreateWorkerRequest::default()
    };
    let made = fleet
        .create_worker(with_key(&key, create))
        .await
        .unwrap()
        .into_inner();

    let instance = vec![7; 16];
    let hello = Hello {
        protocol_version: callmeter_proto::PROTOCOL_VERSION,
        instance_id: instance.clone(),
        ..Hello::default()
    };
    let (up, messages) = mpsc::channel(8);
    for message in [
        from_worker::Message::Hello(hello),
        from_worker::Message::Heartbeat(Heartbeat {
            healthy: true,
            ..Heartbeat::default()
        }),
    ] {
        let message = Some(message);
        up.send(FromWorker { message }).await.unwrap();
    }
    let mut worker = WorkerGatewayClient::new(channel(gateway.workers).await);
    let connect = with_key(&made.token, ReceiverStream::new(messages));
    let mut down = worker.connect(connect).await.unwrap().into_inner();
    let first = down.message().await.unwrap().unwrap().message;
    assert!(matches!(first, Some(to_worker::Message::Welcome(_))));

    let watch = WatchWorkersRequest::default();
    let mut rows = fleet
        .watch_workers(with_key(&key, watch))
        .await
        .unwrap()
        .into_inner();
    let online = async {
        loop {
            let next = rows.message().await.unwrap().unwrap();
            let mut statuses = next
                .workers
                .iter()
                .map(callmeter_proto::fleet::WorkerRow::status);
            if statuses.any(|status| status == WorkerStatus::Online) {
                break;
            }
        }
    };
    timeout(DEADLINE, online)
        .await
        .expect("the worker is ONLINE");

    // The real run layer answers a fence, and the requests that are its own.
    let fence = FenceRequest {
        id: made.id,
        instance,
        ..FenceRequest::default()
    };
    let fenced = fleet
        .fence(with_key(&key, fence))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            fenced.fence_seq,
            fenced.active_endpoints,
            fenced.reserved_endpoints
        ),
        (1, 0, 0)
    );
    let pool = UpsertPoolRequest {
        key: "demo/fra".into(),
        endpoints_per_worker: 10,
        max_workers: 2,
        ..UpsertPoolRequest::default()
    };
    fleet.upsert_pool(with_key(&key, pool)).await.unwrap();
    let submit = SubmitRunRequest {
        key: "test".into(),
        definition_json: "{".into(),
        ..SubmitRunRequest::default()
    };
    let refused = fleet.submit_run(with_key(&key, submit)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let watch = WatchRunRequest { run: "none".into() };
    let refused = fleet.watch_run(with_key(&key, watch)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    let stop = StopRunRequest {
        run: "none".into(),
        ..StopRunRequest::default()
    };
    let refused = fleet.stop_run(with_key(&key, stop)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    let watch = WatchDemandRequest::default();
    let mut demand = fleet
        .watch_demand(with_key(&key, watch))
        .await
        .unwrap()
        .into_inner();
    timeout(DEADLINE, demand.message())
        .await
        .expect("demand is told at once")
        .unwrap();

    gateway.stop.send(()).unwrap();
    let (stopped, took) = timed(timeout(DEADLINE, gateway.task)).await;
    stopped.expect("the gateway stops").unwrap().unwrap();
    // Not since its time to stop, 10 s, was over.
    assert!(took < Duration::from_secs(5), "{took:?}");
    let ended = async {
        loop {
            if let Err(status) = down.message().await {
                return status;
            }
        }
    };
    let ended = timeout(DEADLINE, ended).await.expect("the worker is told");
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unavailable, "the gateway is stopping")
    );
    drop(up);
}

#[tokio::test]
async fn an_address_in_use_or_open_to_others_without_tls_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path()).await;
    let serve = |workers_addr| Serve {
        data: data(dir.path()),
        tls_cert: None,
        tls_key: None,
        workers_addr,
        fleet_addr: "127.0.0.1:0".parse().unwrap(),
        rest_addr: "127.0.0.1:0".parse().unwrap(),
        fleet_subjects: Vec::new(),
    };
    let taken = serve(gateway.workers)
        .run_until(std::future::pending())
        .await
        .unwrap_err();
    assert!(
        format!("{taken:#}").starts_with(&format!("listen on {}: ", gateway.workers)),
        "{taken:#}"
    );
    let open = serve("0.0.0.0:0".parse().unwrap())
        .run_until(std::future::pending())
        .await
        .unwrap_err();
    assert!(
        open.to_string()
            .contains("0.0.0.0:0 is not a loopback address"),
        "{open:#}"
    );
    gateway.stop.send(()).unwrap();
    timeout(DEADLINE, gateway.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
