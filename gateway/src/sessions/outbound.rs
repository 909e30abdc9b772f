//! The sending half of the live streams: a bounded queue each, and a way to end the stream that
//! does not wait behind it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};

use callmeter_proto::worker::{Close, ToWorker, to_worker};
use futures::Stream;
use futures::stream;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::link::{InstanceId, WorkerId};
use crate::session::CloseReason;

/// Messages that may wait for one worker; more means it does not read.
const QUEUE: usize = 1024;

/// The process has no live stream (or does not read it); what was to be sent waits for its resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("worker is not connected")]
pub struct NotConnected;

/// The near end of a stream.
#[derive(Debug)]
pub(super) struct Connection {
    instance: InstanceId,
    epoch: u64,
    queue: mpsc::Sender<ToWorker>,
    close: watch::Sender<Option<CloseReason>>,
}

/// What goes to the worker after its Welcome.
#[derive(Debug)]
pub struct Outgoing {
    queue: mpsc::Receiver<ToWorker>,
    closed: watch::Receiver<Option<CloseReason>>,
    reply: mpsc::WeakSender<ToWorker>,
}

impl Connection {
    pub(super) fn new(instance: InstanceId, epoch: u64) -> (Self, Outgoing) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (close, closed) = watch::channel(None);
        let outgoing = Outgoing {
            queue: receiver,
            closed,
            reply: queue.downgrade(),
        };
        (
            Self {
                instance,
                epoch,
                queue,
                close,
            },
            outgoing,
        )
    }
}

impl Outgoing {
    /// Resolves when the stream is to end.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.clone();
        async move {
            // A dropped connection ends the stream as well.
            let _ = closed.wait_for(Option::is_some).await;
        }
    }

    /// For answers that concern the stream itself; the message is dropped when the queue is full.
    pub fn reply(&self) -> impl Fn(ToWorker) + Send + 'static {
        let queue = self.reply.clone();
        move |message| {
            if let Some(queue) = queue.upgrade() {
                let _ = queue.try_send(message);
            }
        }
    }

    /// The messages, then, when the gateway ends the stream, `Close` and the status of the reason.
    pub fn into_stream(self) -> Pin<Box<dyn Stream<Item = Result<ToWorker, Status>> + Send>> {
        enum State {
            Open(Outgoing),
            Closing(Status),
            Done,
        }
        Box::pin(stream::unfold(
            State::Open(self),
            async |state| match state {
                State::Open(mut open) => {
                    let next = tokio::select! {
                        biased;
                        reason = open.closed.wait_for(Option::is_some) => Err(reason.ok().and_then(|reason| *reason)),
                        message = open.queue.recv() => Ok(message),
                    };
                    let reason = match next {
                        Ok(message) => {
                            return message.map(|message| (Ok(message), State::Open(open)));
                        }
                        Err(reason) => reason,
                    };
                    let status = status(reason?);
                    let message = to_worker::Message::Close(Close {
                        reason: status.message().to_owned(),
                    });
                    Some((
                        Ok(ToWorker {
                            message: Some(message),
                        }),
                        State::Closing(status),
                    ))
                }
                State::Closing(status) => Some((Err(status), State::Done)),
                State::Done => None,
            },
        ))
    }
}

/// The status a stream ends with; the same exact messages as refusals where they apply.
fn status(reason: CloseReason) -> Status {
    match reason {
        CloseReason::Replaced => Status::aborted("replaced by a newer stream of the same process"),
        CloseReason::TokenReplaced | CloseReason::Deleted => {
            Status::unauthenticated(callmeter_proto::INVALID_TOKEN)
        }
        CloseReason::Disabled => Status::permission_denied(callmeter_proto::WORKER_DISABLED),
        CloseReason::Silent => Status::deadline_exceeded("no heartbeat for 60 s"),
        CloseReason::NotReading => {
            Status::resource_exhausted("the worker does not read what it is sent")
        }
        CloseReason::Stopping => Status::unavailable("the gateway is stopping"),
    }
}

/// The live streams by worker.
#[derive(Debug, Default)]
pub(super) struct Connections(RwLock<HashMap<WorkerId, Connection>>);

impl Connections {
    /// Makes a stream the live one of its worker.
    pub(super) fn open(&self, id: WorkerId, connection: Connection) {
        let mut connections = self.0.write().unwrap_or_else(PoisonError::into_inner);
        connections.insert(id, connection);
    }

    /// Ends a stream if it is still the live one.
    pub(super) fn close(&self, id: WorkerId, epoch: u64, reason: Option<CloseReason>) {
        let mut connections = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if connections
            .get(&id)
            .is_some_and(|connection| connection.epoch == epoch)
            && let Some(connection) = connections.remove(&id)
            && reason.is_some()
        {
            connection.close.send_replace(reason);
        }
    }

    /// Ends every stream.
    pub(super) fn close_all(&self, reason: CloseReason) {
        let mut connections = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (_, connection) in connections.drain() {
            connection.close.send_replace(Some(reason));
        }
    }

    pub(super) fn send(
        &self,
        id: WorkerId,
        instance: InstanceId,
        message: ToWorker,
    ) -> Result<(), NotConnected> {
        let connections = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let connection = connections
            .get(&id)
            .filter(|c| c.instance == instance)
            .ok_or(NotConnected)?;
        connection.queue.try_send(message).map_err(|failed| {
            if let mpsc::error::TrySendError::Full(_) = failed {
                tracing::warn!(worker = %id, "worker does not read: its stream is ended");
                connection.close.send_replace(Some(CloseReason::NotReading));
            }
            NotConnected
        })
    }

    /// Sends within one stream.
    pub(super) fn send_on(&self, id: WorkerId, epoch: u64, message: ToWorker) {
        let instance = {
            let connections = self.0.read().unwrap_or_else(PoisonError::into_inner);
            connections
                .get(&id)
                .filter(|c| c.epoch == epoch)
                .map(|c| c.instance)
        };
        if let Some(instance) = instance {
            // What cannot be sent now is told by the next Welcome.
            let _ = self.send(id, instance, message);
        }
    }
}
