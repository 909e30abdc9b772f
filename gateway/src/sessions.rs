//! The session layer: one task applies the rules of [`crate::session`]; this is the handle to it.
//!
//! The run layer may call what does not wait ([`Sessions::send`], [`Sessions::worker`],
//! [`Sessions::workers`], [`Sessions::changes`]) from its own loop. The other functions wait for
//! the task, which in turn waits for the run layer to take its events: not for that loop.

mod actor;
mod directory;
mod error;
mod guard;
mod outbound;
mod records;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use callmeter_proto::WorkerToken;
use callmeter_proto::worker::{ResumeRun, ResumeVerdict, ToWorker};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::keys::Pepper;
use crate::link::{InstanceId, Load, RefusalReason, SessionEvent, WorkerId, WorkerInfo};
use crate::session::{HelloFacts, Now, Registry};
use crate::store::Store;
use crate::token::mint_worker_token;

use actor::{Actor, Command};
use directory::Directory;
pub use error::SessionsError;
pub(crate) use error::check_labels;
pub use guard::StreamGuard;
use outbound::Connections;
pub use outbound::{NotConnected, Outgoing};

/// Length of the task's queue; callers wait when it is full.
const COMMANDS: usize = 1024;

/// The time on both clocks.
pub fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: unix_ms(),
    }
}

/// Unix time in milliseconds.
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// A worker record to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateWorker {
    /// Organisation slug of the caller.
    pub organisation: String,
    /// Project slug; empty: `default`.
    pub project: String,
    /// The caller's own key; empty: made by a person.
    pub key: String,
    /// Display name.
    pub name: String,
    /// Configured capacity, endpoints.
    pub capacity: u32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who asks, for the record and the log.
    pub created_by: String,
}

/// A worker record was made, or was there.
#[derive(Debug)]
pub struct CreatedWorker {
    /// The record.
    pub id: WorkerId,
    /// Its token, shown in the first answer only (R60).
    pub token: Option<WorkerToken>,
}

/// A fence holds, and this is what the worker still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceAnswer {
    /// Number of the fence.
    pub seq: u64,
    /// Read after the fence.
    pub load: Load,
}

/// A process was let in.
#[derive(Debug)]
pub struct Admission {
    /// The worker now.
    pub info: Arc<WorkerInfo>,
    /// What to send to the worker after its Welcome.
    pub outgoing: Outgoing,
    /// The run layer's verdicts on the resumed runs.
    pub verdicts: oneshot::Receiver<Vec<ResumeVerdict>>,
    /// Reports what the stream brings; dropping it reports its end.
    pub stream: StreamGuard,
}

/// Why a process was not let in.
#[derive(Debug)]
pub enum Refused {
    /// By the rules.
    Rules(RefusalReason),
    /// The gateway cannot tell now; the worker tries again.
    Unavailable,
}

/// Handle to the session layer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    commands: mpsc::Sender<Command>,
    directory: Arc<Directory>,
    connections: Arc<Connections>,
    store: Store,
    pepper: Pepper,
}

impl Sessions {
    /// Loads the stored state and makes the handle and the task, which ends when `shutdown` is
    /// cancelled and all its streams were told.
    pub async fn start(
        store: Store,
        pepper: Pepper,
        events: mpsc::Sender<SessionEvent>,
        shutdown: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), SessionsError> {
        let registry = Registry::restore(
            now(),
            store.all_workers().await?,
            store.all_sessions().await?,
        );
        let directory = Arc::new(Directory::new(registry.infos()));
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let connections = Arc::new(Connections::default());
        let sessions = Self {
            commands,
            directory,
            connections,
            store,
            pepper,
        };
        let actor = Actor::new(registry, &sessions, events);
        Ok((sessions, actor.run(inbox, shutdown)))
    }

    /// Sends to the live stream of a process; never waits.
    pub fn send(
        &self,
        id: WorkerId,
        instance: InstanceId,
        message: ToWorker,
    ) -> Result<(), NotConnected> {
        self.connections.send(id, instance, message)
    }

    /// A worker as it is now, of any organisation.
    pub fn worker(&self, id: WorkerId) -> Option<Arc<WorkerInfo>> {
        self.directory.read().get(&id).cloned()
    }

    /// A worker of an organisation.
    pub fn worker_of(
        &self,
        organisation: &str,
        id: WorkerId,
    ) -> Result<Arc<WorkerInfo>, SessionsError> {
        self.worker(id)
            .filter(|info| info.organisation == organisation)
            .ok_or_else(|| SessionsError::NoWorker(id.to_string()))
    }

    /// All workers as they are now, of all organisations, in no order.
    pub fn workers(&self) -> Vec<Arc<WorkerInfo>> {
        self.directory.read().values().cloned().collect()
    }

    /// All workers of an organisation, by name.
    pub fn workers_of(&self, organisation: &str) -> Vec<Arc<WorkerInfo>> {
        let mut rows = self.workers();
        rows.retain(|info| info.organisation == organisation);
        rows.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        rows
    }

    /// Wakes whenever a worker changed, appeared or went.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.directory.subscribe()
    }

    /// Makes a worker record; with a key that exists, answers with that record and no token.
    pub async fn create_worker(
        &self,
        request: CreateWorker,
    ) -> Result<CreatedWorker, SessionsError> {
        let request = error::checked(request)?;
        let tenant = self.store.tenant(&request.organisation);
        let projects = tenant.projects().await?;
        if !projects.contains(&request.project) {
            let accepted = projects.join(", ");
            return Err(SessionsError::Invalid {
                field: "project",
                value: request.project,
                accepted,
            });
        }
        let token = mint_worker_token()?;
        let token_hash = self.pepper.hash(token.expose());
        let (id, made) = self
            .ask(|reply| Command::Create {
                request,
                token_hash,
                reply,
            })
            .await??;
        Ok(CreatedWorker {
            id,
            token: made.then_some(token),
        })
    }

    /// Sets capacity and labels of a record.
    pub async fn update_worker(
        &self,
        organisation: &str,
        id: WorkerId,
        capacity: u32,
        labels: BTreeMap<String, String>,
    ) -> Result<(), SessionsError> {
        error::check_capacity(capacity)?;
        check_labels(&labels)?;
        self.worker_of(organisation, id)?;
        self.ask(|reply| Command::Update {
            id,
            capacity,
            labels,
            reply,
        })
        .await?
    }

    /// Ends a record and its token; its live stream is closed (R65). An unknown one is no error.
    pub async fn delete_worker(
        &self,
        organisation: &str,
        id: WorkerId,
    ) -> Result<(), SessionsError> {
        if self.worker_of(organisation, id).is_err() {
            return Ok(());
        }
        self.ask(|reply| Command::Delete { id, reply }).await?
    }

    /// Gives a record a new token; the old one dies at once, and its live stream with it (R65).
    pub async fn regenerate_token(
        &self,
        organisation: &str,
        id: WorkerId,
    ) -> Result<WorkerToken, SessionsError> {
        self.worker_of(organisation, id)?;
        let token = mint_worker_token()?;
        let token_hash = self.pepper.hash(token.expose());
        self.ask(|reply| Command::Regenerate {
            id,
            token_hash,
            reply,
        })
        .await??;
        Ok(token)
    }

    /// Disables or enables a record; its live stream is closed (R70, R72).
    pub async fn set_disabled(
        &self,
        organisation: &str,
        id: WorkerId,
        disabled: bool,
    ) -> Result<(), SessionsError> {
        self.worker_of(organisation, id)?;
        self.ask(|reply| Command::SetDisabled {
            id,
            disabled,
            reply,
        })
        .await?
    }

    /// Fences a process and answers with its load, read after the fence.
    pub async fn fence(
        &self,
        organisation: &str,
        id: WorkerId,
        instance: InstanceId,
        reason: String,
        ends_in_ms: Option<u64>,
    ) -> Result<FenceAnswer, SessionsError> {
        self.worker_of(organisation, id)?;
        self.ask(|reply| Command::Fence {
            id,
            instance,
            reason,
            ends_in_ms,
            reply,
        })
        .await?
    }

    /// Lifts the fence of a process; without one there is nothing to do.
    pub async fn unfence(
        &self,
        organisation: &str,
        id: WorkerId,
        instance: InstanceId,
    ) -> Result<(), SessionsError> {
        self.worker_of(organisation, id)?;
        self.ask(|reply| Command::Unfence {
            id,
            instance,
            reply,
        })
        .await?
    }

    /// Asks to let a process in.
    pub async fn admit(
        &self,
        id: WorkerId,
        hello: HelloFacts,
        resume: Vec<ResumeRun>,
    ) -> Result<Admission, Refused> {
        let now = now();
        self.ask(|reply| Command::Hello {
            id,
            hello,
            resume,
            now,
            reply,
        })
        .await
        .map_err(|_| Refused::Unavailable)?
    }

    /// Records that an old token of a record was refused.
    pub async fn note_invalid_token(&self, id: WorkerId) {
        // Only display: a stopping gateway need not record it.
        let _ = self
            .commands
            .send(Command::NoteInvalidToken { id, now: now() })
            .await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, SessionsError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| SessionsError::Stopping)?;
        answer.await.map_err(|_| SessionsError::Stopping)
    }
}
