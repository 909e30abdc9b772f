//! `callmeter.worker.v1` on the gateway's side: lets a process in or refuses it with the exact
//! message, then carries its stream.

use std::time::Duration;

use callmeter_proto::worker::worker_gateway_server::{WorkerGateway, WorkerGatewayServer};
use callmeter_proto::worker::{
    Fence, FromWorker, HeartbeatAck, Hello, ResumeRun, ResumeVerdict, ToWorker, Welcome,
    from_worker, to_worker,
};
use callmeter_proto::{INVALID_TOKEN, PROTOCOL_VERSION, WorkerToken};
use futures::{Stream, StreamExt as _, stream};
use std::pin::Pin;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::keys::Pepper;
use crate::link::{
    HostInfo, InstanceId, RefusalReason, RunMessage, SessionEvent, Vitals, WorkerInfo,
};
use crate::session::{Heartbeat, HelloFacts};
use crate::sessions::{Admission, Outgoing, Refused, Sessions, StreamGuard, unix_ms};
use crate::store::Store;
use crate::token::bearer;

/// How often a worker sends a heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Workers of the previous protocol version are served too.
const OLDEST_PROTOCOL: u32 = if PROTOCOL_VERSION > 1 {
    PROTOCOL_VERSION - 1
} else {
    PROTOCOL_VERSION
};
/// The largest message a worker may send.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// A connection that says nothing for this long is no worker.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long the run layer may take to judge resumed runs. A worker gives connecting and the Welcome
/// 20 s together.
const VERDICTS_WITHIN: Duration = Duration::from_secs(8);
/// Limits on what a Hello may carry.
const MAX_RESUMED: usize = 10_000;
const MAX_LABELS: usize = 64;
const MAX_NAME: usize = 253;
const MAX_TEXT: usize = 512;

/// The service workers dial into.
#[derive(Debug)]
pub struct WorkerService {
    sessions: Sessions,
    store: Store,
    pepper: Pepper,
    events: mpsc::Sender<SessionEvent>,
    streams: TaskTracker,
}

impl WorkerService {
    /// `streams` owns the tasks that read the streams; await it at shutdown.
    pub fn new(
        sessions: Sessions,
        store: Store,
        pepper: Pepper,
        events: mpsc::Sender<SessionEvent>,
        streams: TaskTracker,
    ) -> Self {
        Self {
            sessions,
            store,
            pepper,
            events,
            streams,
        }
    }

    /// The service with its limits.
    pub fn into_server(self) -> WorkerGatewayServer<Self> {
        WorkerGatewayServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The record a token belongs to, before anything else is read.
    async fn authenticate(
        &self,
        header: Option<&[u8]>,
    ) -> Result<([u8; 32], crate::link::WorkerId), Status> {
        let invalid = || Status::unauthenticated(INVALID_TOKEN);
        let token = bearer(header).ok_or_else(invalid)?;
        let token = WorkerToken::parse(token.expose()).map_err(|_| invalid())?;
        let hash = self.pepper.hash(token.expose());
        let owner = self.store.token_owner(&hash).await.map_err(|failed| {
            tracing::error!(
                error = &failed as &dyn std::error::Error,
                "the store failed"
            );
            Status::unavailable("the gateway cannot check the token now")
        })?;
        match owner {
            Some(owner) if owner.revoked => {
                tracing::warn!(worker = %owner.id, "{INVALID_TOKEN}: it was regenerated");
                self.sessions.note_invalid_token(owner.id).await;
                Err(invalid())
            }
            Some(owner) => Ok((hash, owner.id)),
            None => {
                tracing::warn!("{INVALID_TOKEN}: no worker has it");
                Err(invalid())
            }
        }
    }
}

#[tonic::async_trait]
impl WorkerGateway for WorkerService {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<ToWorker, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let header = request
            .metadata()
            .get("authorization")
            .map(tonic::metadata::MetadataValue::as_encoded_bytes);
        let (token_hash, id) = self.authenticate(header).await?;
        let mut inbound = request.into_inner();
        let hello = first_message(&mut inbound).await?;
        let (facts, resume) = check_hello(hello, token_hash)?;
        let runs: Vec<_> = resume.iter().map(|run| run.run.clone()).collect();
        let admission = self
            .sessions
            .admit(id, facts, resume)
            .await
            .map_err(|refused| match refused {
                Refused::Rules(reason) => refusal(reason),
                Refused::Unavailable => {
                    Status::unavailable("the gateway cannot accept the worker now")
                }
            })?;
        let Admission {
            info,
            outgoing,
            verdicts,
            stream: guard,
        } = admission;
        self.streams
            .spawn(read_stream(inbound, guard, self.events.clone(), &outgoing));
        let welcome = stream::once(async move {
            let verdicts = verdicts_on(&runs, verdicts, VERDICTS_WITHIN).await?;
            Ok(to_worker(to_worker::Message::Welcome(welcome(
                &info, verdicts,
            ))))
        });
        Ok(Response::new(Box::pin(
            welcome.chain(outgoing.into_stream()),
        )))
    }
}

/// The exact refusal of the contract.
fn refusal(reason: RefusalReason) -> Status {
    match reason {
        RefusalReason::InvalidToken => Status::unauthenticated(reason.message()),
        RefusalReason::WorkerDisabled => Status::permission_denied(reason.message()),
        RefusalReason::DuplicateConnection => Status::already_exists(reason.message()),
    }
}

async fn first_message(inbound: &mut Streaming<FromWorker>) -> Result<Hello, Status> {
    let accepted = "the first message must be Hello, within 10 s";
    match timeout(HELLO_WITHIN, inbound.message()).await {
        Ok(Ok(Some(FromWorker {
            message: Some(from_worker::Message::Hello(hello)),
        }))) => Ok(hello),
        Ok(Ok(_)) => Err(Status::invalid_argument(accepted)),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded(accepted)),
    }
}

/// Checks a Hello and takes out what the session layer needs.
fn check_hello(hello: Hello, token_hash: [u8; 32]) -> Result<(HelloFacts, Vec<ResumeRun>), Status> {
    let Hello {
        protocol_version,
        software_version,
        instance_id,
        name,
        capacity,
        codecs: _,
        transports: _,
        sip_ports: _,
        rtp_ports: _,
        host,
        labels,
        resume,
    } = hello;
    if !(OLDEST_PROTOCOL..=PROTOCOL_VERSION).contains(&protocol_version) {
        let gateway = env!("CARGO_PKG_VERSION");
        return Err(Status::failed_precondition(format!(
            "protocol_version: worker {software_version:.32} speaks {protocol_version}; \
             accepted by gateway {gateway}: {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}"
        )));
    }
    let length = instance_id.len();
    let instance = instance_id.try_into().map(InstanceId).map_err(|_| {
        Status::invalid_argument(format!("instance_id: {length} bytes; accepted: 16 bytes"))
    })?;
    let long_label = labels
        .iter()
        .any(|(key, value)| key.len() > MAX_TEXT || value.len() > MAX_TEXT);
    if labels.len() > MAX_LABELS || long_label {
        let count = labels.len();
        return Err(Status::invalid_argument(format!(
            "labels: {count}; accepted: at most {MAX_LABELS}, keys and values of at most {MAX_TEXT} bytes"
        )));
    }
    if resume.len() > MAX_RESUMED {
        let count = resume.len();
        return Err(Status::invalid_argument(format!(
            "resume: {count} runs; accepted: at most {MAX_RESUMED}"
        )));
    }
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let length = name.len();
        return Err(Status::invalid_argument(format!(
            "name: {length} bytes; accepted: at most {MAX_NAME} printable bytes"
        )));
    }
    let host = host.unwrap_or_default();
    let texts = [
        ("hostname", &host.hostname),
        ("pod_namespace", &host.pod_namespace),
        ("pod_name", &host.pod_name),
        ("pod_uid", &host.pod_uid),
        ("node_name", &host.node_name),
        ("software_version", &software_version),
    ];
    if let Some((field, text)) = texts.into_iter().find(|(_, text)| text.len() > MAX_TEXT) {
        let length = text.len();
        return Err(Status::invalid_argument(format!(
            "{field}: {length} bytes; accepted: at most {MAX_TEXT}"
        )));
    }
    let host = HostInfo {
        hostname: host.hostname,
        pod_namespace: host.pod_namespace,
        pod_name: host.pod_name,
        pod_uid: host.pod_uid,
        node_name: host.node_name,
        software_version,
    };
    let labels = labels.into_iter().collect();
    Ok((
        HelloFacts {
            token_hash,
            instance,
            name,
            capacity,
            host,
            labels,
        },
        resume,
    ))
}

/// The run layer's verdict on each resumed run; one it leaves out is over. Without its answer nothing
/// is said of any: a worker would end calls of runs that go on, so it is to try again.
async fn verdicts_on(
    runs: &[String],
    answer: oneshot::Receiver<Vec<ResumeVerdict>>,
    within: Duration,
) -> Result<Vec<ResumeVerdict>, Status> {
    let mut verdicts = match timeout(within, answer).await {
        Ok(Ok(verdicts)) => verdicts,
        Ok(Err(_)) | Err(_) if runs.is_empty() => Vec::new(),
        Ok(Err(_)) | Err(_) => {
            return Err(Status::unavailable(
                "the gateway cannot judge the resumed runs now",
            ));
        }
    };
    for run in runs {
        if !verdicts.iter().any(|verdict| verdict.run == *run) {
            verdicts.push(ResumeVerdict {
                run: run.clone(),
                go_on: false,
                acked_seq: 0,
            });
        }
    }
    Ok(verdicts)
}

fn welcome(info: &WorkerInfo, resume: Vec<ResumeVerdict>) -> Welcome {
    let fence = info.fence.as_ref().map(|fence| Fence {
        reason: fence.reason.clone(),
        ends_in_ms: fence
            .deadline_unix_ms
            .map(|at| at.saturating_sub(unix_ms()).max(0) as u64),
        fence_seq: fence.seq,
    });
    Welcome {
        worker_id: info.id.to_string(),
        name: info.name.clone(),
        organisation: info.organisation.clone(),
        project: info.project.clone(),
        effective_capacity: info.effective_capacity,
        heartbeat_interval_ms: HEARTBEAT_INTERVAL.as_millis() as u32,
        fence,
        resume,
        gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn to_worker(message: to_worker::Message) -> ToWorker {
    ToWorker {
        message: Some(message),
    }
}

/// Reads a stream until it ends or the gateway ends it; the guard tells the end.
fn read_stream(
    mut inbound: Streaming<FromWorker>,
    guard: StreamGuard,
    events: mpsc::Sender<SessionEvent>,
    outgoing: &Outgoing,
) -> impl Future<Output = ()> + Send + 'static {
    let (closed, reply) = (outgoing.closed(), outgoing.reply());
    let reading = async move {
        let (worker_id, instance) = guard.worker();
        loop {
            let message = match inbound.message().await {
                Ok(Some(FromWorker {
                    message: Some(message),
                })) => message,
                // A message of a newer minor version.
                Ok(Some(FromWorker { message: None })) => continue,
                Ok(None) => break,
                Err(status) => {
                    tracing::debug!(worker = %worker_id, %status, "stream broke");
                    break;
                }
            };
            let about_run = match message {
                from_worker::Message::Ack(ack) => RunMessage::Ack(ack),
                from_worker::Message::Events(events) => RunMessage::Events(events),
                from_worker::Message::Samples(samples) => RunMessage::Samples(samples),
                from_worker::Message::RunEnded(ended) => RunMessage::RunEnded(ended),
                from_worker::Message::Heartbeat(heartbeat) => {
                    guard.heartbeat(heartbeat_facts(heartbeat)).await;
                    reply(to_worker(to_worker::Message::HeartbeatAck(HeartbeatAck {})));
                    continue;
                }
                from_worker::Message::DrainRequest(drain) => {
                    guard.drain_request(drain.reason, drain.ends_in_ms).await;
                    continue;
                }
                from_worker::Message::Hello(_) => {
                    tracing::warn!(worker = %worker_id, "a second Hello on a stream ends it");
                    break;
                }
            };
            let event = SessionEvent::Message {
                worker_id,
                instance,
                message: about_run,
            };
            if events.send(event).await.is_err() {
                break;
            }
        }
    };
    async move {
        tokio::select! {
            () = closed => {}
            () = reading => {}
        }
    }
}

fn heartbeat_facts(heartbeat: callmeter_proto::worker::Heartbeat) -> Heartbeat {
    let callmeter_proto::worker::Heartbeat {
        active_endpoints,
        healthy,
        mut unhealthy_reason,
        cpu_percent,
        tx_lateness_p99_ms,
        memory_mb,
    } = heartbeat;
    unhealthy_reason.truncate(unhealthy_reason.floor_char_boundary(MAX_TEXT));
    let vitals = Vitals {
        active_endpoints,
        unhealthy_reason,
        cpu_percent,
        tx_lateness_p99_ms,
        memory_mb,
    };
    Heartbeat { healthy, vitals }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn verdict(run: &str, go_on: bool, acked_seq: u64) -> ResumeVerdict {
        ResumeVerdict {
            run: run.into(),
            go_on,
            acked_seq,
        }
    }

    #[tokio::test]
    async fn a_run_layer_that_does_not_answer_ends_no_run() {
        let runs = ["r".to_owned()];
        let (slow, answer) = oneshot::channel();
        let refused = verdicts_on(&runs, answer, Duration::ZERO)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(slow.is_closed());
        let (gone, answer) = oneshot::channel();
        drop(gone);
        let refused = verdicts_on(&runs, answer, VERDICTS_WITHIN)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_worker_without_runs_needs_no_verdict() {
        let (_slow, answer) = oneshot::channel();
        let verdicts = verdicts_on(&[], answer, Duration::ZERO).await;
        assert_eq!(verdicts.unwrap(), []);
    }

    #[tokio::test]
    async fn a_run_the_run_layer_leaves_out_is_over() {
        let (reply, answer) = oneshot::channel();
        reply.send(vec![verdict("a", true, 7)]).unwrap();
        let runs = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            verdicts_on(&runs, answer, VERDICTS_WITHIN).await.unwrap(),
            [verdict("a", true, 7), verdict("b", false, 0)]
        );
    }
}
