//! The task of the session layer: takes commands one by one, applies the rules, stores what they
//! say, then tells others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callmeter_proto::worker::ResumeRun;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::directory::Directory;
use super::guard::StreamGuard;
use super::outbound::{Connection, Connections};
use super::{
    Admission, COMMANDS, CreateWorker, FenceAnswer, Refused, Sessions, SessionsError, now,
};
use crate::link::{InstanceId, Load, RefusalReason, SessionEvent, WorkerId};
use crate::session::{Accepted, CloseReason, Heartbeat, HelloFacts, Now, Registry};
use crate::store::Store;

/// How often silence and absence are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Commands taken before a tick looks for silence; more than may wait in and before the queue.
const BACKLOG: usize = 16 * COMMANDS;

pub(super) type Reply<T> = oneshot::Sender<T>;

#[derive(Debug)]
pub(super) enum Command {
    Hello {
        id: WorkerId,
        hello: HelloFacts,
        resume: Vec<ResumeRun>,
        now: Now,
        reply: Reply<Result<Admission, Refused>>,
    },
    NoteInvalidToken {
        id: WorkerId,
        now: Now,
    },
    Heartbeat {
        id: WorkerId,
        epoch: u64,
        heartbeat: Heartbeat,
        now: Now,
    },
    Drain {
        id: WorkerId,
        epoch: u64,
        reason: String,
        ends_in_ms: u64,
        now: Now,
    },
    Disconnected {
        id: WorkerId,
        epoch: u64,
        now: Now,
    },
    Create {
        request: CreateWorker,
        token_hash: [u8; 32],
        reply: Reply<Result<(WorkerId, bool), SessionsError>>,
    },
    Update {
        id: WorkerId,
        capacity: u32,
        labels: BTreeMap<String, String>,
        reply: Reply<Result<(), SessionsError>>,
    },
    Delete {
        id: WorkerId,
        reply: Reply<Result<(), SessionsError>>,
    },
    Regenerate {
        id: WorkerId,
        token_hash: [u8; 32],
        reply: Reply<Result<(), SessionsError>>,
    },
    SetDisabled {
        id: WorkerId,
        disabled: bool,
        reply: Reply<Result<(), SessionsError>>,
    },
    Fence {
        id: WorkerId,
        instance: InstanceId,
        reason: String,
        ends_in_ms: Option<u64>,
        reply: Reply<Result<FenceAnswer, SessionsError>>,
    },
    Unfence {
        id: WorkerId,
        instance: InstanceId,
        reply: Reply<Result<(), SessionsError>>,
    },
}

/// A fence whose effect the run layer confirmed; no load: it ended before it could.
pub(super) struct Confirmed {
    pub(super) id: WorkerId,
    pub(super) seq: u64,
    pub(super) load: Option<Load>,
    pub(super) reply: Option<Reply<Result<FenceAnswer, SessionsError>>>,
}

pub(super) struct Actor {
    pub(super) registry: Registry,
    pub(super) store: Store,
    pub(super) directory: Arc<Directory>,
    pub(super) connections: Arc<Connections>,
    pub(super) events: mpsc::Sender<SessionEvent>,
    pub(super) confirmations: JoinSet<Confirmed>,
    /// Who waits for the fence the next `Fenced` output is about.
    pub(super) fence_reply: Option<Reply<Result<FenceAnswer, SessionsError>>>,
    /// For the guards of streams; weak, so that the task ends with the last handle.
    commands: mpsc::WeakSender<Command>,
}

impl Actor {
    pub(super) fn new(
        registry: Registry,
        sessions: &Sessions,
        events: mpsc::Sender<SessionEvent>,
    ) -> Self {
        Self {
            registry,
            store: sessions.store.clone(),
            directory: Arc::clone(&sessions.directory),
            connections: Arc::clone(&sessions.connections),
            events,
            confirmations: JoinSet::new(),
            fence_reply: None,
            commands: sessions.commands.downgrade(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A store that fails was logged; the state in memory holds and the next write tries again.
        let _ = self.settle().await;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(confirmed) = self.confirmations.join_next() => {
                    if let Ok(confirmed) = confirmed {
                        self.confirm(confirmed).await;
                    }
                }
                _ = tick.tick() => {
                    // A heartbeat that waits in the queue is no silence.
                    for _ in 0..BACKLOG {
                        let Ok(command) = inbox.try_recv() else { break };
                        if shutdown.is_cancelled() {
                            break;
                        }
                        self.handle(command).await;
                    }
                    self.registry.handle_timeout(now());
                    let _ = self.settle().await;
                }
                command = inbox.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => break,
                },
            }
        }
        // Sessions stay stored as connected: their processes still hold their tokens.
        self.connections.close_all(CloseReason::Stopping);
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Hello {
                id,
                hello,
                resume,
                now,
                reply,
            } => {
                let _ = reply.send(self.hello(id, hello, resume, now).await);
            }
            Command::NoteInvalidToken { id, now } => {
                self.registry
                    .refused(now, id, RefusalReason::InvalidToken, "");
                let _ = self.settle().await;
            }
            Command::Heartbeat {
                id,
                epoch,
                heartbeat,
                now,
            } => {
                self.registry.heartbeat(now, id, epoch, heartbeat);
                let _ = self.settle().await;
            }
            Command::Drain {
                id,
                epoch,
                reason,
                ends_in_ms,
                now,
            } => {
                tracing::info!(worker = %id, reason, ends_in_ms, "worker asked to be drained");
                self.registry
                    .drain_request(now, id, epoch, &reason, ends_in_ms);
                let _ = self.settle().await;
            }
            Command::Disconnected { id, epoch, now } => {
                self.connections.close(id, epoch, None);
                self.registry.disconnected(now, id, epoch);
                let _ = self.settle().await;
            }
            Command::Create {
                request,
                token_hash,
                reply,
            } => {
                let _ = reply.send(self.create(request, token_hash).await);
            }
            Command::Update {
                id,
                capacity,
                labels,
                reply,
            } => {
                let _ = reply.send(self.update(id, capacity, labels).await);
            }
            Command::Delete { id, reply } => {
                let _ = reply.send(self.delete(id).await);
            }
            Command::Regenerate {
                id,
                token_hash,
                reply,
            } => {
                let _ = reply.send(self.regenerate(id, token_hash).await);
            }
            Command::SetDisabled {
                id,
                disabled,
                reply,
            } => {
                let _ = reply.send(self.set_disabled(id, disabled).await);
            }
            Command::Fence {
                id,
                instance,
                reason,
                ends_in_ms,
                reply,
            } => {
                self.fence(id, instance, &reason, ends_in_ms, reply).await;
            }
            Command::Unfence {
                id,
                instance,
                reply,
            } => {
                let lifted = self.registry.unfence(id, instance);
                let stored = self.settle().await.map_err(SessionsError::Store);
                let refused = |refused| SessionsError::fence(refused, id, instance);
                let _ = reply.send(lifted.map_err(refused).and(stored));
            }
        }
    }

    async fn hello(
        &mut self,
        id: WorkerId,
        hello: HelloFacts,
        resume: Vec<ResumeRun>,
        now: Now,
    ) -> Result<Admission, Refused> {
        // The last handle is gone: the gateway stops.
        let commands = self.commands.upgrade().ok_or(Refused::Unavailable)?;
        let (instance, host) = (hello.instance, hello.host.clone());
        let Accepted { epoch, info } = match self.registry.hello(now, id, hello) {
            Ok(accepted) => accepted,
            Err(reason) => {
                let message = reason.message();
                tracing::warn!(worker = %id, %instance, pod = host.pod_name, "{message}");
                let _ = self.settle().await;
                return Err(Refused::Rules(reason));
            }
        };
        // From here on whoever drops the guard reports the end of the stream.
        let stream = StreamGuard {
            id,
            epoch,
            instance,
            commands,
        };
        if self.settle().await.is_err() {
            // Not stored, a restart could let two in: better to refuse now.
            return Err(Refused::Unavailable);
        }
        let (connection, outgoing) = Connection::new(instance, epoch);
        self.connections.open(id, connection);
        self.directory.put(Arc::clone(&info));
        let (name, resumed) = (&info.name, resume.len());
        tracing::info!(
            worker = %id, name, %instance, epoch, pod = host.pod_name, resumed, "worker connected"
        );
        let (reply, verdicts) = oneshot::channel();
        self.emit(SessionEvent::Connected {
            worker: Arc::clone(&info),
            resume,
            reply,
        })
        .await;
        Ok(Admission {
            info,
            outgoing,
            verdicts,
            stream,
        })
    }
}
