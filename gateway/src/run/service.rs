//! The task that owns all runs.
//!
//! It takes what the session layer tells, requests of the fleet and REST services, and a tick each
//! second; gives them to the runs; then stores, sends and publishes what came of it. A failing
//! store ends the task, and with it the process: what was not stored is not confirmed to any
//! worker, so the next start goes on where the store ends.

mod commands;
mod finish;
mod messages;
mod publish;
mod screen;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use callmeter_api::calltest::RunPhase;
use callmeter_proto::fleet;
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::secrets::{RunSecrets, SecretReader};
use super::state::{Output, Run};
use super::{StoredRun, restore};
use crate::definition::InlineAccounts;
use crate::keys::{NoRandomness, SealKey};
use crate::link::{Demand, Load, PoolRegistration, RunCommand, RunHandle, SessionEvent, WorkerId};
use crate::results::{LiveFigures, RunResults};
use crate::session::LOST_AFTER;
use crate::sessions::{self, Sessions};
use crate::store::{Store, StoreError, StoredOutcome};

/// Requests that may wait.
const COMMANDS: usize = 256;
/// Events taken at once; their effects are stored, then sent, together.
const BATCH: usize = 256;
const TICK: Duration = Duration::from_secs(1);

/// Why a run cannot start whose reader panicked; the panic itself may repeat what it read.
const READER_FAILED: &str = "accounts and certificates cannot be read: an error in the gateway";

/// Why the task ended.
#[derive(Debug, thiserror::Error)]
pub enum RunServiceError {
    /// The store failed.
    #[error("store runs")]
    Store(#[from] StoreError),
    /// Nothing can be sealed.
    #[error("seal the messages of a run")]
    Seal(#[from] NoRandomness),
}

/// What the run layer works with.
#[derive(Debug)]
pub struct RunConfig {
    /// The database.
    pub store: Store,
    /// For accounts and messages at rest.
    pub seal: SealKey,
    /// The session layer.
    pub sessions: Sessions,
    /// Where accounts and certificates come from.
    pub secrets: SecretReader,
    /// What the session layer tells.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// Live figures of all started runs by organisation and id, once a second.
pub type Live = watch::Receiver<Arc<HashMap<(String, String), LiveFigures>>>;

/// The task; see the module.
#[derive(Debug)]
pub struct RunService {
    store: Store,
    seal: SealKey,
    sessions: Sessions,
    secrets: SecretReader,
    events: mpsc::Receiver<SessionEvent>,
    commands: mpsc::Receiver<RunCommand>,
    runs: HashMap<String, Entry>,
    /// By organisation and key, with the time of the registration.
    pools: BTreeMap<(String, String), (PoolRegistration, Instant)>,
    reads: JoinSet<SecretsRead>,
    /// The run that each of them is for.
    reading: HashMap<task::Id, String>,
    /// Runs that were touched since the last round of outputs.
    touched: HashSet<String>,
    /// The scheduler is to look again.
    schedule: bool,
    /// No run is called impossible before: workers and pools that were there report again after a
    /// start.
    settled: Instant,
    demand_sent: Option<Instant>,
    loads: watch::Sender<Arc<HashMap<WorkerId, Load>>>,
    demand: watch::Sender<Arc<Demand>>,
    live: watch::Sender<Arc<HashMap<(String, String), LiveFigures>>>,
}

/// What a run needs of Secrets, or why it cannot be read.
type SecretsRead = Result<RunSecrets, String>;

/// One run of the task.
#[derive(Debug)]
struct Entry {
    run: Run,
    results: RunResults,
    inline: InlineAccounts,
    state: watch::Sender<fleet::RunState>,
    /// Something came late of a lost worker: the results are made anew from the store at the end.
    late: bool,
    /// Status last published.
    shown: RunPhase,
}

impl RunService {
    /// Loads what is stored and makes the handles.
    pub async fn start(config: RunConfig) -> Result<(RunHandle, Live, Self), RunServiceError> {
        let RunConfig {
            store,
            seal,
            sessions,
            secrets,
            events,
        } = config;
        let now = sessions::now();
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (loads, demand, live) = (
            watch::Sender::default(),
            watch::Sender::default(),
            watch::Sender::default(),
        );
        let handle = RunHandle::new(commands, loads.subscribe(), demand.subscribe());
        let figures = live.subscribe();
        let mut service = Self {
            store,
            seal,
            sessions,
            secrets,
            events,
            commands: inbox,
            runs: HashMap::new(),
            pools: BTreeMap::new(),
            reads: JoinSet::new(),
            reading: HashMap::new(),
            touched: HashSet::new(),
            schedule: true,
            settled: now.instant,
            demand_sent: None,
            loads,
            demand,
            live,
        };
        service.restore().await?;
        let known = service
            .sessions
            .workers()
            .iter()
            .any(|w| w.instance.is_some() && !w.disabled);
        if known || !service.pools.is_empty() {
            service.settled = now.instant + LOST_AFTER;
        }
        Ok((handle, figures, service))
    }

    /// Runs until `shutdown` or until the store fails. What is stored goes on at the next start.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunServiceError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        self.settle(false).await?;
        loop {
            let mut ticked = false;
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                taken = self.events.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    for event in batch.drain(..) {
                        self.session_event(event).await?;
                    }
                }
                Some(command) = self.commands.recv() => self.command(command).await?,
                Some(ended) = self.reads.join_next_with_id() => self.read_ended(ended),
                _ = tick.tick() => {
                    ticked = true;
                    self.tick();
                }
            }
            self.settle(ticked).await?;
        }
    }

    /// What is due by time.
    fn tick(&mut self) {
        let now = sessions::now();
        for (id, entry) in &mut self.runs {
            if entry
                .run
                .next_timeout()
                .is_some_and(|due| due <= now.instant)
            {
                entry.run.handle_timeout(now);
                self.touched.insert(id.clone());
            }
            self.schedule |= entry.run.demand().is_some();
        }
    }

    /// Carries out what the runs want until they want nothing more, then tells the others.
    async fn settle(&mut self, ticked: bool) -> Result<(), RunServiceError> {
        loop {
            let touched: Vec<String> = self.touched.drain().collect();
            if touched.is_empty() && !self.schedule {
                break;
            }
            for id in touched {
                self.carry_out(&id).await?;
            }
            if std::mem::take(&mut self.schedule) {
                self.schedule_round();
            }
        }
        self.publish(ticked);
        Ok(())
    }

    async fn carry_out(&mut self, id: &str) -> Result<(), RunServiceError> {
        let mut saved = false;
        loop {
            let Some(entry) = self.runs.get_mut(id) else {
                return Ok(());
            };
            let Some(output) = entry.run.poll_output() else {
                return Ok(());
            };
            match output {
                // One save holds everything up to now, later outputs of this round included.
                Output::Save if saved => {}
                Output::Save => {
                    saved = true;
                    let progress = entry.run.progress(&self.seal)?;
                    self.store.save_run(id, &progress).await?;
                }
                Output::Outcomes(rows) => {
                    entry.results.add_outcomes(&rows);
                    let groups = &entry.run.test().groups;
                    let stored: Vec<StoredOutcome> = rows
                        .into_iter()
                        .map(|row| StoredOutcome {
                            group: groups[row.group].name.clone(),
                            row,
                        })
                        .collect();
                    self.store.insert_outcomes(id, &stored).await?;
                    self.schedule = true;
                }
                Output::ReadSecrets => {
                    let (reader, run) = (self.secrets.clone(), id.to_owned());
                    let (test, inline) = (entry.run.test().clone(), entry.inline.clone());
                    let read = self
                        .reads
                        .spawn(async move { reader.read(&test, &inline, SystemTime::now()).await });
                    self.reading.insert(read.id(), run);
                }
                Output::Send {
                    worker,
                    instance,
                    message,
                } => {
                    // Away or not reading: it gets the message when it resumes.
                    let _ = self.sessions.send(worker, instance, message);
                }
                Output::Over => {
                    self.finish(id).await?;
                    self.schedule = true;
                }
            }
        }
    }

    /// A panic in the reader ends its run only: Secrets are what users write, and the gateway would
    /// meet the same one after each restart.
    fn read_ended(&mut self, ended: Result<(task::Id, SecretsRead), JoinError>) {
        let (id, secrets) = match ended {
            Ok((id, secrets)) => (id, secrets),
            Err(error) => (error.id(), Err(READER_FAILED.to_owned())),
        };
        if let Some(run) = self.reading.remove(&id) {
            self.secrets_read(&run, secrets);
        }
    }

    fn secrets_read(&mut self, id: &str, secrets: SecretsRead) {
        let now = sessions::now();
        let Some(entry) = self.runs.get_mut(id) else {
            return;
        };
        let carriers: Vec<_> = entry.run.carriers().collect();
        let gone = carriers.iter().find(|(worker, instance)| {
            let info = self.sessions.worker(*worker);
            !info.is_some_and(|i| i.takes_work() && i.instance == Some(*instance))
        });
        match (secrets, gone) {
            (Err(reason), _) => entry.run.cannot_run(reason, now),
            (Ok(_), Some((worker, _))) => {
                entry.run.unplace(*worker);
                self.schedule = true;
            }
            (Ok(secrets), None) => {
                for warning in &secrets.warnings {
                    tracing::warn!(run = id, "{warning}");
                }
                entry.run.dispatch(&secrets, now);
            }
        }
        self.touched.insert(id.to_owned());
    }

    /// Goes on with what is stored.
    async fn restore(&mut self) -> Result<(), RunServiceError> {
        let now = sessions::now();
        for (pool, renewed_ms) in self.store.pools().await? {
            let age = Duration::from_millis(now.unix_ms.saturating_sub(renewed_ms).max(0) as u64);
            if let Some(renewed) = now.instant.checked_sub(age) {
                let key = (pool.organisation.clone(), pool.key.clone());
                self.pools.insert(key, (pool, renewed));
            }
        }
        for record in self.store.open_runs().await? {
            let id = record.id.clone();
            let stored = self.stored(record).await?;
            match self.entry(stored).await? {
                Ok(mut entry) => {
                    // Of a process that has a successor nothing more can come.
                    let gone: Vec<_> = entry
                        .run
                        .carriers()
                        .filter(|(worker, instance)| {
                            let known = self.sessions.worker(*worker);
                            known.and_then(|info| info.instance) != Some(*instance)
                        })
                        .collect();
                    entry.run.resume(&gone, now);
                    tracing::info!(run = %id, status = entry.run.status().as_str(), "run goes on");
                    self.touched.insert(id.clone());
                    self.runs.insert(id, entry);
                }
                Err(error) => {
                    tracing::error!(run = %id, error = %error, "run cannot go on after a restart");
                    let reason = format!("could not go on after a restart of the gateway: {error}");
                    self.store.fail_run(&id, &reason, now.unix_ms).await?;
                }
            }
        }
        Ok(())
    }

    async fn stored(&self, record: crate::store::RunRecord) -> Result<StoredRun, StoreError> {
        let id = record.id.clone();
        Ok(StoredRun {
            record,
            shares: self.store.shares(&id).await?,
            links: self.store.links(&id).await?,
            endpoints: self.store.endpoints(&id).await?,
            outcomes: self.store.outcomes(&id).await?,
        })
    }

    /// A run of the task out of its rows.
    async fn entry(
        &self,
        stored: StoredRun,
    ) -> Result<Result<Entry, restore::RestoreError>, StoreError> {
        let inline = restore::unseal_accounts(stored.record.accounts.as_deref(), &self.seal);
        let restored = Run::restore(stored, &self.seal, sessions::now());
        Ok(match (restored, inline) {
            (Ok(run), Ok(inline)) => {
                let results = self.stored_results(&run).await?;
                let state = watch::Sender::new(run.state(&results, &[], ""));
                let shown = run.status();
                Ok(Entry {
                    run,
                    results,
                    inline,
                    state,
                    late: false,
                    shown,
                })
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        })
    }
}
