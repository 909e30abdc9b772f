//! A gateway's session side on loopback, with real TLS, real gRPC and a real database; the run
//! layer's end of the link is held by the test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callmeter_gateway::auth::Auth;
use callmeter_gateway::ensure_tls::{Bundle, renewed};
use callmeter_gateway::fleet_service::FleetService;
use callmeter_gateway::keys::{KeyFiles, Keys};
use callmeter_gateway::link::{
    InstanceId, Load, RunHandle, SESSION_EVENTS, SessionEvent, WorkerId, WorkerStatus,
};
use callmeter_gateway::sessions::{CreateWorker, Sessions};
use callmeter_gateway::store::{Role, Store};
use callmeter_gateway::tls::{Certificate, listen};
use callmeter_gateway::worker_service::WorkerService;
use callmeter_proto::fleet::fleet_client::FleetClient;
use callmeter_proto::worker::worker_gateway_client::WorkerGatewayClient;
use callmeter_proto::worker::{
    FromWorker, Heartbeat, Hello, HostFacts, ResumeRun, ResumeVerdict, ToWorker, Welcome,
    from_worker, to_worker,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Certificate as Ca, Channel, ClientTlsConfig, Server};
use tonic::{Request, Status, Streaming};

/// Every wait of a test ends by then.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the run layer's end of the link has seen, and what it answers.
#[derive(Debug, Default)]
pub(crate) struct RunSide {
    pub(crate) seen: Mutex<Vec<String>>,
    pub(crate) loads: Mutex<HashMap<WorkerId, Load>>,
}

pub(crate) struct Gateway {
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    pub(crate) auth: Auth,
    pub(crate) run_side: Arc<RunSide>,
    pub(crate) worker_addr: SocketAddr,
    pub(crate) fleet_addr: SocketAddr,
    pub(crate) ca: String,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    streams: TaskTracker,
}

impl Gateway {
    /// Starts on the database and keys of a directory, making them if they are absent.
    pub(crate) async fn start(dir: &Path) -> Self {
        let store = Store::open(&dir.join("callmeter.db")).await.unwrap();
        let keys = Keys::load(&KeyFiles::beside(dir), &store).await.unwrap();
        let bundle: Bundle = renewed(
            None,
            &["localhost".to_owned()],
            std::time::SystemTime::now(),
        )
        .unwrap()
        .unwrap();
        std::fs::write(dir.join("tls.crt"), &bundle.cert).unwrap();
        std::fs::write(dir.join("tls.key"), bundle.key.expose()).unwrap();
        let certificate = Certificate::load(&dir.join("tls.crt"), &dir.join("tls.key")).unwrap();

        let (shutdown, mut tasks, streams) =
            (CancellationToken::new(), JoinSet::new(), TaskTracker::new());
        let (events, inbox) = mpsc::channel(SESSION_EVENTS);
        let (sessions, task) = Sessions::start(
            store.clone(),
            keys.pepper.clone(),
            events.clone(),
            shutdown.clone(),
        )
        .await
        .unwrap();
        tasks.spawn(task);
        let run_side = Arc::new(RunSide::default());
        let (loads_out, loads) = watch::channel(Arc::default());
        tasks.spawn(run_layer(Arc::clone(&run_side), inbox, loads_out));
        let (commands, _) = mpsc::channel(1);
        let runs = RunHandle::new(commands, loads, watch::channel(Arc::default()).1);

        let auth = Auth::new(store.clone(), keys.pepper.clone(), None);
        let any = "127.0.0.1:0".parse().unwrap();
        let (incoming, accepting) = listen(any, Some(&certificate), b"h2").await.unwrap();
        let worker_addr = incoming.address();
        tasks.spawn(accepting);
        let service = WorkerService::new(
            sessions.clone(),
            store.clone(),
            keys.pepper.clone(),
            events,
            streams.clone(),
        );
        let done = shutdown.clone();
        tasks.spawn(async move {
            let server = Server::builder().add_service(service.into_server());
            server
                .serve_with_incoming_shutdown(incoming, done.cancelled())
                .await
                .unwrap();
        });
        let (incoming, accepting) = listen(any, Some(&certificate), b"h2").await.unwrap();
        let fleet_addr = incoming.address();
        tasks.spawn(accepting);
        let service = FleetService::new(auth.clone(), sessions.clone(), runs, shutdown.clone());
        let done = shutdown.clone();
        tasks.spawn(async move {
            let server = Server::builder().add_service(service.into_server());
            server
                .serve_with_incoming_shutdown(incoming, done.cancelled())
                .await
                .unwrap();
        });
        Self {
            store,
            sessions,
            auth,
            run_side,
            worker_addr,
            fleet_addr,
            ca: bundle.ca_cert,
            shutdown,
            tasks,
            streams,
        }
    }

    /// Stops as the binary does; the database stays.
    pub(crate) async fn stop(self) {
        let Self {
            store,
            sessions,
            shutdown,
            mut tasks,
            streams,
            ..
        } = self;
        shutdown.cancel();
        streams.close();
        let ended = async {
            streams.wait().await;
            drop(sessions);
            while tasks.join_next().await.is_some() {}
            store.close().await;
        };
        timeout(DEADLINE, ended).await.expect("the gateway stops");
    }

    pub(crate) async fn channel(
        &self,
        addr: SocketAddr,
    ) -> Result<Channel, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Ca::from_pem(&self.ca))
            .domain_name("localhost");
        Channel::from_shared(format!("https://{addr}"))
            .unwrap()
            .tls_config(tls)?
            .connect()
            .await
    }

    pub(crate) async fn fleet(&self, role: Role) -> Fleet {
        self.fleet_of("default", role).await
    }

    pub(crate) async fn fleet_of(&self, organisation: &str, role: Role) -> Fleet {
        let (_, key) = self
            .auth
            .make_key(organisation, "test", role)
            .await
            .unwrap();
        let client = FleetClient::new(self.channel(self.fleet_addr).await.unwrap());
        Fleet {
            client,
            key: key.expose().to_owned(),
        }
    }

    /// A worker record and its token.
    pub(crate) async fn worker(&self, name: &str) -> (WorkerId, String) {
        let request = CreateWorker {
            organisation: "default".into(),
            name: name.into(),
            capacity: 100,
            created_by: "test".into(),
            ..CreateWorker::default()
        };
        let created = self.sessions.create_worker(request).await.unwrap();
        (created.id, created.token.unwrap().expose().to_owned())
    }

    /// Waits until a worker has a status.
    pub(crate) async fn until(&self, id: WorkerId, status: WorkerStatus) {
        let mut changes = self.sessions.changes();
        let reached = async {
            while self.sessions.worker(id).map(|info| info.status) != Some(status) {
                changes.changed().await.unwrap();
            }
        };
        let reached = timeout(DEADLINE, reached).await;
        let now = self.sessions.worker(id).map(|info| info.status);
        assert!(reached.is_ok(), "{id} is {now:?}, not {status:?}");
    }

    /// Connects as a process would; the stream after the Welcome.
    pub(crate) async fn connect(
        &self,
        token: &str,
        instance: InstanceId,
    ) -> Result<Stream, Status> {
        self.connect_with(token, hello(instance)).await
    }

    pub(crate) async fn connect_with(&self, token: &str, hello: Hello) -> Result<Stream, Status> {
        let channel = self.channel(self.worker_addr).await.unwrap();
        let (up, messages) = mpsc::channel(64);
        up.send(from(from_worker::Message::Hello(hello)))
            .await
            .unwrap();
        let mut request = Request::new(ReceiverStream::new(messages));
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut client = WorkerGatewayClient::new(channel);
        let answer = client.connect(request);
        let mut down = timeout(DEADLINE, answer)
            .await
            .expect("an answer to Connect")?
            .into_inner();
        let first = timeout(DEADLINE, down.message())
            .await
            .expect("a Welcome")?;
        let Some(to_worker::Message::Welcome(welcome)) = first.and_then(|m| m.message) else {
            panic!("no Welcome");
        };
        Ok(Stream { up, down, welcome })
    }
}

/// Answers what the run layer must answer, and remembers what it was told.
async fn run_layer(
    side: Arc<RunSide>,
    mut inbox: mpsc::Receiver<SessionEvent>,
    loads: watch::Sender<Arc<HashMap<WorkerId, Load>>>,
) {
    while let Some(event) = inbox.recv().await {
        let seen = match event {
            SessionEvent::Connected {
                worker,
                resume,
                reply,
            } => {
                let verdict = |run: &ResumeRun| ResumeVerdict {
                    run: run.run.clone(),
                    go_on: true,
                    acked_seq: 7,
                };
                let known = resume
                    .iter()
                    .filter(|run| run.run == "known")
                    .map(verdict)
                    .collect();
                let _ = reply.send(known);
                format!("connected {}", worker.name)
            }
            SessionEvent::Message { message, .. } => format!("message {message:?}"),
            SessionEvent::Changed { worker } => {
                format!("changed {:?} fenced={}", worker.status, worker.fenced)
            }
            SessionEvent::ReadLoad { worker_id, reply } => {
                let now = side.loads.lock().unwrap().clone();
                let load = now.get(&worker_id).copied().unwrap_or_default();
                loads.send_replace(Arc::new(now));
                let _ = reply.send(load);
                "read load".to_owned()
            }
            SessionEvent::Lost { instance, .. } => format!("lost {instance}"),
        };
        side.seen.lock().unwrap().push(seen);
    }
}

impl RunSide {
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A fleet client with its key.
pub(crate) struct Fleet {
    pub(crate) client: FleetClient<Channel>,
    pub(crate) key: String,
}

impl Fleet {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(
            "authorization",
            format!("Bearer {}", self.key).parse().unwrap(),
        );
        request
    }
}

/// A live stream seen from the worker.
pub(crate) struct Stream {
    pub(crate) up: mpsc::Sender<FromWorker>,
    pub(crate) down: Streaming<ToWorker>,
    pub(crate) welcome: Welcome,
}

impl Stream {
    pub(crate) async fn send(&self, message: from_worker::Message) {
        self.up.send(from(message)).await.unwrap();
    }

    pub(crate) async fn beat(&self, healthy: bool) {
        self.send(from_worker::Message::Heartbeat(Heartbeat {
            healthy,
            ..Heartbeat::default()
        }))
        .await;
    }

    pub(crate) async fn next(&mut self) -> Result<Option<to_worker::Message>, Status> {
        let next = timeout(DEADLINE, self.down.message())
            .await
            .expect("a message from the gateway")?;
        Ok(next.and_then(|m| m.message))
    }

    /// The next message that is no answer to a heartbeat.
    pub(crate) async fn next_order(&mut self) -> Result<Option<to_worker::Message>, Status> {
        loop {
            match self.next().await? {
                Some(to_worker::Message::HeartbeatAck(_)) => {}
                other => return Ok(other),
            }
        }
    }
}

/// What comes of `work`, and how long it took by a clock that stands still while this thread, which
/// runs the gateway too, gets no time of the machine.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    const TICK: Duration = Duration::from_millis(10);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Duration::ZERO;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return (done, took),
            _ = ticks.tick() => took += TICK,
        }
    }
}

pub(crate) fn from(message: from_worker::Message) -> FromWorker {
    FromWorker {
        message: Some(message),
    }
}

pub(crate) fn hello(instance: InstanceId) -> Hello {
    Hello {
        protocol_version: callmeter_proto::PROTOCOL_VERSION,
        software_version: "0.1.0".into(),
        instance_id: instance.0.to_vec(),
        host: Some(HostFacts {
            pod_uid: format!("uid-{instance}"),
            ..HostFacts::default()
        }),
        ..Hello::default()
    }
}
