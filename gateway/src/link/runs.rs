//! Requests to the run layer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use callmeter_proto::{Secret, fleet};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Load, WorkerId};

/// A test to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitRun {
    /// Organisation slug of the caller.
    pub organisation: String,
    /// The caller's own key; the same key answers with the same run. Empty: none.
    pub key: String,
    /// Project slug.
    pub project: String,
    /// Namespace pool names without a slash and Secret references are of; empty: none.
    pub namespace: String,
    /// Name for people.
    pub name: String,
    /// `CallTestSpec` as JSON; accounts given with it make it a secret.
    pub definition_json: Secret,
}

/// A pool as room to grow; counts for 60 s after its last registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRegistration {
    /// Organisation slug of the caller.
    pub organisation: String,
    /// `namespace/name`.
    pub key: String,
    /// Project slug.
    pub project: String,
    /// Region; empty: none.
    pub region: String,
    /// Labels of the pool.
    pub labels: BTreeMap<String, String>,
    /// Endpoints each worker of the pool carries.
    pub endpoints_per_worker: u32,
    /// The most workers it can come to.
    pub max_workers: u32,
    /// Workers it has now, draining ones left out.
    pub live_workers: u32,
}

/// Why the run layer refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A field is not acceptable; the text names field, value and what is accepted.
    #[error("{0}")]
    Invalid(String),
    /// No such run in this organisation.
    #[error("run: \"{0}\" does not exist; accepted: the id of a run of this organisation")]
    NoRun(String),
    /// The store failed or the gateway is stopping; the caller tries again.
    #[error("runs are not available: {0}")]
    Unavailable(String),
}

impl RunError {
    /// No run has this id; it is shown as far as it could be one.
    pub fn no_run(id: &str) -> Self {
        Self::NoRun(id.chars().filter(|c| !c.is_control()).take(64).collect())
    }
}

/// Queued endpoints by organisation and pool key.
pub type Demand = BTreeMap<(String, String), fleet::PoolDemand>;

/// A request to the run layer.
#[derive(Debug)]
pub enum RunCommand {
    /// Accept a test.
    Submit(SubmitRun, oneshot::Sender<Result<String, RunError>>),
    /// Stop a run: hang up and report.
    Stop {
        /// Organisation slug of the caller.
        organisation: String,
        /// Run id.
        run: String,
        /// Why, for people.
        reason: String,
        /// The answer.
        reply: oneshot::Sender<Result<(), RunError>>,
    },
    /// Follow a run.
    Watch {
        /// Organisation slug of the caller.
        organisation: String,
        /// Run id.
        run: String,
        /// The state now and from now on; the sender is dropped when the run is over.
        reply: oneshot::Sender<Result<watch::Receiver<fleet::RunState>, RunError>>,
    },
    /// Register a pool or renew its registration.
    UpsertPool(PoolRegistration, oneshot::Sender<Result<(), RunError>>),
    /// Forget a pool.
    DeletePool {
        /// Organisation slug of the caller.
        organisation: String,
        /// `namespace/name`.
        key: String,
        /// The answer.
        reply: oneshot::Sender<Result<(), RunError>>,
    },
}

/// How everyone else reaches the run layer; cheap to clone.
#[derive(Debug, Clone)]
pub struct RunHandle {
    commands: mpsc::Sender<RunCommand>,
    loads: watch::Receiver<Arc<HashMap<WorkerId, Load>>>,
    demand: watch::Receiver<Arc<Demand>>,
}

impl RunHandle {
    /// Joins the ends the run layer gives out.
    pub fn new(
        commands: mpsc::Sender<RunCommand>,
        loads: watch::Receiver<Arc<HashMap<WorkerId, Load>>>,
        demand: watch::Receiver<Arc<Demand>>,
    ) -> Self {
        Self {
            commands,
            loads,
            demand,
        }
    }

    /// Submits a test; answers with the run's id.
    pub async fn submit(&self, request: SubmitRun) -> Result<String, RunError> {
        self.ask(|reply| RunCommand::Submit(request, reply)).await
    }

    /// Stops a run; a run that is over already is no error.
    pub async fn stop(&self, organisation: &str, run: &str, reason: &str) -> Result<(), RunError> {
        let (organisation, run, reason) =
            (organisation.to_owned(), run.to_owned(), reason.to_owned());
        self.ask(|reply| RunCommand::Stop {
            organisation,
            run,
            reason,
            reply,
        })
        .await
    }

    /// The state of a run, now and from now on.
    pub async fn watch(
        &self,
        organisation: &str,
        run: &str,
    ) -> Result<watch::Receiver<fleet::RunState>, RunError> {
        let (organisation, run) = (organisation.to_owned(), run.to_owned());
        self.ask(|reply| RunCommand::Watch {
            organisation,
            run,
            reply,
        })
        .await
    }

    /// Registers a pool or renews its registration.
    pub async fn upsert_pool(&self, pool: PoolRegistration) -> Result<(), RunError> {
        self.ask(|reply| RunCommand::UpsertPool(pool, reply)).await
    }

    /// Forgets a pool; an unknown one is no error.
    pub async fn delete_pool(&self, organisation: &str, key: &str) -> Result<(), RunError> {
        let (organisation, key) = (organisation.to_owned(), key.to_owned());
        self.ask(|reply| RunCommand::DeletePool {
            organisation,
            key,
            reply,
        })
        .await
    }

    /// Loads of all workers that carry or are promised anything.
    pub fn loads(&self) -> watch::Receiver<Arc<HashMap<WorkerId, Load>>> {
        self.loads.clone()
    }

    /// Demand of all pools that have any.
    pub fn demand(&self) -> watch::Receiver<Arc<Demand>> {
        self.demand.clone()
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, RunError>>) -> RunCommand,
    ) -> Result<T, RunError> {
        let stopping = || RunError::Unavailable("the gateway is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}
