//! One attempt at a gateway stream: TLS, the token, the bidirectional call (R88 to R92).

use std::{error::Error as _, time::Duration};

use callmeter_proto::{
    WorkerToken,
    worker::{FromWorker, Hello, from_worker, to_worker, worker_gateway_client},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::Refusal;
use crate::config::GatewayAddress;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages between the control task and the stream, per direction.
const QUEUE: usize = 64;

/// What a stream tells the control task.
#[derive(Debug)]
pub enum LinkEvent {
    /// A message of the gateway.
    Message(Box<to_worker::Message>),
    /// The gateway refused or ended the stream for a reason of its own.
    Refused(Refusal),
    /// The stream could not be opened or broke; the reason is for people.
    Lost(String),
}

/// Dials the gateway; every stream runs in a task of its own.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Endpoint,
    token: WorkerToken,
    tasks: JoinSet<()>,
}

/// The control task's ends of one stream. Dropping it ends the stream.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outbound: mpsc::Sender<FromWorker>,
    pub(super) events: mpsc::Receiver<LinkEvent>,
    task: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dialer {
    /// A dialer of `gateway` over TLS. `ca_pem` replaces the system's trust store.
    pub fn new(
        gateway: &GatewayAddress,
        token: WorkerToken,
        ca_pem: Option<Vec<u8>>,
    ) -> Result<Self, tonic::transport::Error> {
        let tls = match ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let endpoint = Endpoint::from_shared(format!("https://{}", gateway.authority()))?
            .tls_config(tls.domain_name(gateway.host.clone()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(Self {
            endpoint,
            token,
            tasks: JoinSet::new(),
        })
    }

    /// Begins an attempt; its outcome arrives as events.
    pub(super) fn dial(&mut self, hello: Hello) -> Link {
        // Finished attempts leave nothing behind.
        while self.tasks.try_join_next().is_some() {}
        let (outbound, queue) = mpsc::channel(QUEUE);
        let (events_in, events) = mpsc::channel(QUEUE);
        let attempt = stream(
            self.endpoint.clone(),
            self.token.clone(),
            hello,
            queue,
            events_in,
        );
        let task = self.tasks.spawn(attempt);
        Link {
            outbound,
            events,
            task,
        }
    }

    /// Ends the request stream once what it has queued is written, and waits for the gateway to
    /// end its own.
    pub(super) async fn close(mut self, mut link: Link, within: Duration) {
        let (closed, _) = mpsc::channel(1);
        link.outbound = closed;
        let ended = async { while link.events.recv().await.is_some() {} };
        // A gateway that does not answer is left behind.
        let _ = tokio::time::timeout(within, ended).await;
        self.tasks.shutdown().await;
    }
}

async fn stream(
    endpoint: Endpoint,
    token: WorkerToken,
    hello: Hello,
    queue: mpsc::Receiver<FromWorker>,
    events: mpsc::Sender<LinkEvent>,
) {
    let ended = match open(&endpoint, &token, hello, queue).await {
        Err(event) => event,
        Ok(mut down) => loop {
            match down.message().await {
                Ok(Some(message)) => {
                    let Some(message) = message.message else {
                        continue;
                    };
                    if events
                        .send(LinkEvent::Message(Box::new(message)))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Ok(None) => break LinkEvent::Lost("the gateway ended the stream".into()),
                Err(status) => break ended_by(&status),
            }
        },
    };
    // An error means that the control task has dropped the link, which ends it anyway.
    let _ = events.send(ended).await;
}

async fn open(
    endpoint: &Endpoint,
    token: &WorkerToken,
    hello: Hello,
    queue: mpsc::Receiver<FromWorker>,
) -> Result<tonic::Streaming<callmeter_proto::worker::ToWorker>, LinkEvent> {
    let channel: Channel = endpoint
        .connect()
        .await
        .map_err(|error| LinkEvent::Lost(causes(&error)))?;
    let first = FromWorker {
        message: Some(from_worker::Message::Hello(hello)),
    };
    let messages = tokio_stream::once(first).chain(ReceiverStream::new(queue));
    let mut request = Request::new(messages);
    let header = format!("Bearer {}", token.expose());
    let mut header = MetadataValue::try_from(header)
        .map_err(|_| LinkEvent::Lost("the token is no header value".into()))?;
    header.set_sensitive(true);
    request.metadata_mut().insert("authorization", header);
    let mut client = worker_gateway_client::WorkerGatewayClient::new(channel);
    let answer = client
        .connect(request)
        .await
        .map_err(|status| ended_by(&status))?;
    Ok(answer.into_inner())
}

fn ended_by(status: &Status) -> LinkEvent {
    if let Some(refusal) = Refusal::of(status) {
        return LinkEvent::Refused(refusal);
    }
    let mut text = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = status.source() {
        text = format!("{text}: {}", causes(source));
    }
    LinkEvent::Lost(text)
}

/// An error and its causes in one line; transport errors say little without them.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
