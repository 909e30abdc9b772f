//! A peer for the worker's end of the protocol: TLS, authentication by header, one test in charge
//! of every stream. It decides nothing by itself.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use callmeter_proto::worker::{
    Ack, FromWorker, Heartbeat, HeartbeatAck, Hello, ToWorker, Welcome, from_worker::Message as Up,
    to_worker::Message as Down,
};
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, StreamingService},
    transport::{Identity, Server, ServerTlsConfig},
};

use super::{soon, wire::Wire};

/// A gateway's own default: a worker holds one that is silent for three of these for gone, and a
/// busy machine may hold a test up for longer than three of the shortest.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The gateway's side of one stream.
pub struct Peer {
    pub hello: Hello,
    pub authorization: String,
    down: mpsc::Sender<Result<Bytes, Status>>,
    up: Streaming<Bytes>,
}

/// A TLS server on loopback; its address survives [`TestGateway::stop`] and
/// [`TestGateway::restart`].
pub struct TestGateway {
    address: SocketAddr,
    folder: TempDir,
    identity: Identity,
    accepted: mpsc::Receiver<Peer>,
    service: Service,
    server: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Service {
    accepted: mpsc::Sender<Peer>,
    refusal: Arc<Mutex<Option<Status>>>,
}

impl TestGateway {
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let identity = Identity::from_pem(leaf.pem(), key.serialize_pem());
        let (accepted_in, accepted) = mpsc::channel(16);
        let service = Service {
            accepted: accepted_in,
            refusal: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut gateway = Self {
            address,
            folder,
            identity,
            accepted,
            service,
            server: None,
        };
        gateway.serve(listener);
        gateway
    }

    fn serve(&mut self, listener: TcpListener) {
        let service = self.service.clone();
        let tls = ServerTlsConfig::new().identity(self.identity.clone());
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(service);
        self.server = Some(tokio::spawn(async move {
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        }));
    }

    /// Ends the server and breaks its connections.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Listens again on the same address.
    pub async fn restart(&mut self) {
        let listener = super::eventually("the address is free", async || {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(self.address).ok()?;
            socket.listen(64).ok()
        })
        .await;
        self.serve(listener);
    }

    /// `host:port` for `CLOUD_URL`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The certificate to trust.
    pub fn ca_file(&self) -> PathBuf {
        Path::join(self.folder.path(), "ca.pem")
    }

    /// Refuses every new stream with this status; none: accepts again.
    pub fn refuse(&self, status: Option<Status>) {
        *self.service.refusal.lock().unwrap() = status;
    }

    /// The next stream a worker opens.
    pub async fn accept(&mut self) -> Peer {
        soon("a worker connects", self.accepted.recv())
            .await
            .unwrap()
    }

    /// Whether no stream got as far as its Hello.
    pub fn is_untouched(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }

    /// The next stream, welcomed, and its first heartbeat.
    pub async fn welcome(&mut self) -> Peer {
        let mut peer = self.accept().await;
        peer.welcome().await;
        peer
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl Peer {
    pub async fn send(&self, message: Down) {
        self.send_raw(encoded(message)).await;
    }

    /// Sends what may be no message.
    pub async fn send_raw(&self, bytes: Bytes) {
        self.down.send(Ok(bytes)).await.unwrap();
    }

    /// Ends the stream with a status.
    pub async fn fail(&self, status: Status) {
        self.down.send(Err(status)).await.unwrap();
    }

    /// Accepts the worker and waits for its first heartbeat.
    pub async fn welcome(&mut self) -> Heartbeat {
        self.welcome_every(HEARTBEAT).await
    }

    /// The same with another interval of heartbeats.
    pub async fn welcome_every(&mut self, interval: Duration) -> Heartbeat {
        let welcome = Welcome {
            worker_id: "w-1".into(),
            name: "test".into(),
            effective_capacity: 50,
            heartbeat_interval_ms: interval.as_millis() as u32,
            ..Welcome::default()
        };
        self.send(Down::Welcome(welcome)).await;
        self.until("the first heartbeat", |message| match message {
            Up::Heartbeat(heartbeat) => Some(heartbeat.clone()),
            _ => None,
        })
        .await
    }

    /// The next message; heartbeats are answered and run messages confirmed on the way.
    pub async fn next(&mut self) -> Option<Up> {
        let message = self.next_unconfirmed().await?;
        let ack = match &message {
            Up::Events(events) => Some((events.run.clone(), events.seq)),
            Up::Samples(samples) => Some((samples.run.clone(), samples.seq)),
            Up::RunEnded(ended) => Some((ended.run.clone(), ended.seq)),
            _ => None,
        };
        if let Some((run, seq)) = ack {
            self.send(Down::Ack(Ack { run, seq })).await;
        }
        Some(message)
    }

    /// The next message; run messages stay unconfirmed.
    pub async fn next_unconfirmed(&mut self) -> Option<Up> {
        let message = self.read().await?;
        if let Up::Heartbeat(_) = &message {
            self.send(Down::HeartbeatAck(HeartbeatAck {})).await;
        }
        Some(message)
    }

    /// The next message; nothing is answered.
    pub async fn read(&mut self) -> Option<Up> {
        decoded(&self.up.message().await.ok()??)
    }

    /// Reads on until `wanted` finds what it looks for.
    pub async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Up) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let message = self
                    .next()
                    .await
                    .unwrap_or_else(|| panic!("stream ended: {what}"));
                if let Some(found) = wanted(&message) {
                    return found;
                }
            }
        })
        .await
    }

    /// Reads on until the worker ends the stream.
    pub async fn until_closed(&mut self) {
        soon("the worker ends the stream", async {
            while self.next().await.is_some() {}
        })
        .await;
    }
}

/// The bytes of a message of the gateway.
pub fn encoded(message: Down) -> Bytes {
    let message = ToWorker {
        message: Some(message),
    };
    message.encode_to_vec().into()
}

fn decoded(bytes: &[u8]) -> Option<Up> {
    FromWorker::decode(bytes).unwrap().message
}

impl NamedService for Service {
    const NAME: &'static str = "callmeter.worker.v1.WorkerGateway";
}

impl tonic::codegen::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(Grpc::new(Wire).streaming(service, request).await) })
    }
}

impl StreamingService<Bytes> for Service {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Answer<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.connect(request).await })
    }
}

impl Service {
    async fn connect(
        self,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Response<ReceiverStream<Result<Bytes, Status>>>, Status> {
        let header = request.metadata().get("authorization");
        let authorization = header
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let refusal = self.refusal.lock().unwrap().clone();
        if let Some(status) = refusal {
            return Err(status);
        }
        let mut up = request.into_inner();
        let first = up.message().await?;
        let Some(Up::Hello(hello)) = first.and_then(|bytes| decoded(&bytes)) else {
            return Err(Status::invalid_argument("the first message is not Hello"));
        };
        let (down, messages) = mpsc::channel(64);
        let peer = Peer {
            hello,
            authorization,
            down,
            up,
        };
        self.accepted
            .send(peer)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
