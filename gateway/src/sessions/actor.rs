//! The task of the session layer: takes commands one by one, applies the rules, stores what they
//! say, then tells others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use callmeter_proto::worker::{Fence, ResumeRun, ResumeVerdict, ToWorker, Unfence, to_worker};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::outbound::{Connection, Connections};
use super::{
    COMMANDS, CreateWorker, Directory, FenceAnswer, Refused, Sessions, SessionsError, now,
};
use crate::link::{InstanceId, Load, RefusalReason, SessionEvent, WorkerId};
use crate::session::{Accepted, CloseReason, Heartbeat, HelloFacts, Now, Output, Registry};
use crate::store::{NewWorker, Store, StoreError, StoredFence};

/// How often silence and absence are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Commands taken before a tick looks for silence; more than may wait in and before the queue.
const BACKLOG: usize = 16 * COMMANDS;

type Reply<T> = oneshot::Sender<T>;
type Admitted = (Accepted, oneshot::Receiver<Vec<ResumeVerdict>>);

#[derive(Debug)]
pub(super) enum Command {
    Hello {
        id: WorkerId,
        hello: HelloFacts,
        resume: Vec<ResumeRun>,
        connection: Connection,
        now: Now,
        reply: Reply<Result<Admitted, Refused>>,
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

/// A fence whose effect the run layer confirmed.
struct Confirmed {
    id: WorkerId,
    seq: u64,
    load: Option<Load>,
    reply: Option<Reply<Result<FenceAnswer, SessionsError>>>,
}

pub(super) struct Actor {
    registry: Registry,
    store: Store,
    directory: Arc<Directory>,
    connections: Arc<Connections>,
    events: mpsc::Sender<SessionEvent>,
    confirmations: JoinSet<Confirmed>,
    /// Callers whose fence the next `Fenced` output is about.
    fence_replies: VecDeque<Reply<Result<FenceAnswer, SessionsError>>>,
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
            fence_replies: VecDeque::new(),
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
                connection,
                now,
                reply,
            } => {
                self.hello(id, hello, resume, connection, now, reply).await;
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
        connection: Connection,
        now: Now,
        reply: Reply<Result<Admitted, Refused>>,
    ) {
        let (instance, host) = (hello.instance, hello.host.clone());
        let accepted = match self.registry.hello(now, id, hello) {
            Ok(accepted) => accepted,
            Err(reason) => {
                tracing::warn!(worker = %id, %instance, pod = host.pod_name, "{}", reason.message());
                let _ = self.settle().await;
                let _ = reply.send(Err(Refused::Rules(reason)));
                return;
            }
        };
        let epoch = accepted.epoch;
        if self.settle().await.is_err() {
            // Not stored, a restart could let two in: better to refuse now.
            self.registry.disconnected(now, id, epoch);
            let _ = self.settle().await;
            let _ = reply.send(Err(Refused::Unavailable));
            return;
        }
        self.connections.open(id, epoch, connection);
        let info = Arc::clone(&accepted.info);
        self.directory.put(Arc::clone(&info));
        tracing::info!(
            worker = %id, name = info.name, %instance, epoch, pod = host.pod_name, resumed = resume.len(),
            "worker connected"
        );
        let (verdicts, answer) = oneshot::channel();
        self.emit(SessionEvent::Connected {
            worker: info,
            resume,
            reply: verdicts,
        })
        .await;
        if reply.send(Ok((accepted, answer))).is_err() {
            self.connections.close(id, epoch, None);
            self.registry.disconnected(now, id, epoch);
            let _ = self.settle().await;
        }
    }

    async fn create(
        &mut self,
        request: CreateWorker,
        token_hash: [u8; 32],
    ) -> Result<(WorkerId, bool), SessionsError> {
        let CreateWorker {
            organisation,
            project,
            key,
            name,
            capacity,
            labels,
            created_by,
        } = request;
        let tenant = self.store.tenant(&organisation);
        if !key.is_empty()
            && let Some(existing) = tenant.worker_by_key(&key).await?
        {
            return Ok((existing.id, false));
        }
        let id = WorkerId::random();
        let created_ms = now().unix_ms;
        let new = NewWorker {
            id,
            project,
            key,
            name,
            capacity,
            labels,
            token_hash,
            created_by,
            created_ms,
        };
        let record = tenant.insert_worker(&new).await?;
        tracing::info!(worker = %id, name = new.name, project = new.project, by = new.created_by, "worker created");
        self.registry.insert(record);
        self.settle().await?;
        Ok((id, true))
    }

    async fn update(
        &mut self,
        id: WorkerId,
        capacity: u32,
        labels: BTreeMap<String, String>,
    ) -> Result<(), SessionsError> {
        let same = |r: &crate::store::WorkerRecord| r.capacity == capacity && r.labels == labels;
        if self.registry.record(id).is_some_and(same) {
            return Ok(());
        }
        self.store.set_capacity(id, capacity, &labels).await?;
        tracing::info!(worker = %id, capacity, "worker updated");
        self.registry.update(id, capacity, labels);
        Ok(self.settle().await?)
    }

    async fn delete(&mut self, id: WorkerId) -> Result<(), SessionsError> {
        self.store.delete_worker(id).await?;
        tracing::info!(worker = %id, "worker deleted");
        self.registry.remove(now(), id);
        Ok(self.settle().await?)
    }

    async fn regenerate(
        &mut self,
        id: WorkerId,
        token_hash: [u8; 32],
    ) -> Result<(), SessionsError> {
        self.store.set_token(id, &token_hash).await?;
        tracing::info!(worker = %id, "token regenerated");
        self.registry.token_replaced(now(), id, token_hash);
        Ok(self.settle().await?)
    }

    async fn set_disabled(&mut self, id: WorkerId, disabled: bool) -> Result<(), SessionsError> {
        if self
            .registry
            .record(id)
            .is_some_and(|record| record.disabled == disabled)
        {
            return Ok(());
        }
        self.store.set_disabled(id, disabled).await?;
        tracing::info!(worker = %id, disabled, "worker disabled or enabled");
        self.registry.set_disabled(now(), id, disabled);
        Ok(self.settle().await?)
    }

    async fn fence(
        &mut self,
        id: WorkerId,
        instance: InstanceId,
        reason: &str,
        ends_in_ms: Option<u64>,
        reply: Reply<Result<FenceAnswer, SessionsError>>,
    ) {
        match self.registry.fence(now(), id, instance, reason, ends_in_ms) {
            Ok(_) => {
                self.fence_replies.push_back(reply);
                if let Err(failed) = self.settle().await
                    && let Some(reply) = self.fence_replies.pop_back()
                {
                    let _ = reply.send(Err(failed.into()));
                }
            }
            Err(refused) => {
                let _ = reply.send(Err(SessionsError::fence(refused, id, instance)));
            }
        }
    }

    async fn confirm(&mut self, confirmed: Confirmed) {
        let Confirmed {
            id,
            seq,
            load,
            reply,
        } = confirmed;
        let answer = match load {
            Some(load) => {
                self.registry.confirm_fence(id, seq);
                let _ = self.settle().await;
                Ok(FenceAnswer { seq, load })
            }
            None => Err(SessionsError::Stopping),
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// Carries out what the rules want. The first failure of the store is told, and the rest is
    /// carried out all the same: the state in memory is the stricter one.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let mut result = Ok(());
        while let Some(output) = self.registry.poll_output() {
            let stored = match output {
                Output::StoreSession(session) => self.store.put_session(&session).await,
                Output::EndSession {
                    worker,
                    epoch,
                    last_seen_ms,
                } => {
                    tracing::info!(%worker, epoch, "worker disconnected");
                    self.store.end_session(worker, epoch, last_seen_ms).await
                }
                Output::StoreFence { worker, seq, fence } => {
                    self.log_fence(worker, seq, fence.as_ref());
                    self.store.set_fence(worker, seq, fence.as_ref()).await
                }
                Output::StoreRefusal { worker, refusal } => {
                    self.store.set_refusal(worker, &refusal).await
                }
                told => {
                    self.tell(told, result.is_ok()).await;
                    Ok(())
                }
            };
            if let Err(failed) = stored {
                tracing::error!(
                    error = &failed as &dyn std::error::Error,
                    "the store failed"
                );
                result = result.and(Err(failed));
            }
        }
        result
    }

    fn log_fence(&self, id: WorkerId, fence: u64, set: Option<&StoredFence>) {
        let name = self.registry.record(id).map_or("", |record| &record.name);
        let Some(StoredFence {
            instance,
            reason,
            deadline_unix_ms,
        }) = set
        else {
            tracing::info!(worker = %id, name, fence, "fence lifted");
            return;
        };
        tracing::info!(
            worker = %id, name, %instance, fence, reason, deadline_unix_ms, "worker fenced"
        );
    }

    async fn tell(&mut self, output: Output, stored: bool) {
        match output {
            Output::SendFence {
                worker,
                epoch,
                fence,
                sent_unix_ms,
            } => {
                let ends_in_ms = fence
                    .deadline_unix_ms
                    .map(|at| at.saturating_sub(sent_unix_ms).max(0) as u64);
                let fence = Fence {
                    reason: fence.reason,
                    ends_in_ms,
                    fence_seq: fence.seq,
                };
                self.connections
                    .send_on(worker, epoch, message(to_worker::Message::Fence(fence)));
            }
            Output::SendUnfence { worker, epoch, seq } => {
                let unfence = Unfence { fence_seq: seq };
                self.connections.send_on(
                    worker,
                    epoch,
                    message(to_worker::Message::Unfence(unfence)),
                );
            }
            Output::Close {
                worker,
                epoch,
                reason,
            } => self.connections.close(worker, epoch, Some(reason)),
            Output::Changed(info) => {
                self.directory.put(Arc::clone(&info));
                self.emit(SessionEvent::Changed { worker: info }).await;
            }
            Output::Updated(info) => self.directory.put(info),
            Output::Fenced { worker, seq } if stored => self.read_load(worker, seq).await,
            Output::Lost { worker, instance } => {
                tracing::warn!(%worker, %instance, "worker process lost");
                self.emit(SessionEvent::Lost {
                    worker_id: worker,
                    instance,
                })
                .await;
            }
            Output::Removed { worker } => self.directory.remove(worker),
            // Stored by `settle`, or a fence that is not: it is not confirmed.
            Output::StoreSession(_)
            | Output::EndSession { .. }
            | Output::StoreFence { .. }
            | Output::StoreRefusal { .. }
            | Output::Fenced { .. } => {}
        }
    }

    async fn read_load(&mut self, id: WorkerId, seq: u64) {
        let (answer, load) = oneshot::channel();
        self.emit(SessionEvent::ReadLoad {
            worker_id: id,
            reply: answer,
        })
        .await;
        let reply = self.fence_replies.pop_front();
        self.confirmations.spawn(async move {
            Confirmed {
                id,
                seq,
                load: load.await.ok(),
                reply,
            }
        });
    }

    async fn emit(&self, event: SessionEvent) {
        // The run layer ends only when the gateway does.
        let _ = self.events.send(event).await;
    }
}

fn message(message: to_worker::Message) -> ToWorker {
    ToWorker {
        message: Some(message),
    }
}
