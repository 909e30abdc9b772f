//! One stream per run that goes on: the gateway's reports of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use callmeter_api::{CallTest, calltest::RunPhase};
use callmeter_proto::fleet::RunState;
use kube::{ResourceExt as _, core::DeserializeGuard, runtime::reflector::ObjectRef};
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{debug, warn};

use crate::{
    error::{Error, Result},
    fleet::Fleet,
};

/// The status follows a run at most this often, but for its phase.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
/// Between two tries to open a stream.
const RETRY: Duration = Duration::from_secs(2);
/// A stream that is silent for this long is opened again, which brings the state at once.
const SILENCE: Duration = Duration::from_secs(60);

type Trigger = mpsc::Sender<ObjectRef<DeserializeGuard<CallTest>>>;

/// What the gateway said last of a run.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) enum Report {
    /// Nothing yet.
    #[default]
    None,
    /// It does not know the run.
    Unknown,
    /// Its state.
    State(Box<RunState>),
}

/// The streams of all runs, by the UID of their test.
#[derive(Clone)]
pub(crate) struct Watches {
    runs: Arc<Mutex<HashMap<String, Watched>>>,
    trigger: Trigger,
}

#[derive(Default)]
struct Watched {
    report: Report,
    written: Option<Instant>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Watches {
    pub(crate) fn new(trigger: Trigger) -> Self {
        Self {
            runs: Arc::default(),
            trigger,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Watched>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the stream of a run unless it is open.
    pub(crate) fn ensure(&self, fleet: &Fleet, test: &CallTest, run: &str) {
        let uid = test.uid().unwrap_or_default();
        let mut runs = self.lock();
        let watched = runs.entry(uid.clone()).or_default();
        if watched.task.is_some() {
            return;
        }
        let object = ObjectRef::new(&test.name_any()).within(&test.namespace().unwrap_or_default());
        let follow = follow(self.clone(), fleet.clone(), uid, run.to_owned(), object);
        watched.task = Some(tokio::spawn(follow));
    }

    /// What was said last.
    pub(crate) fn report(&self, uid: &str) -> Report {
        self.lock()
            .get(uid)
            .map_or(Report::None, |watched| watched.report.clone())
    }

    /// How long ago the status was written by this process.
    pub(crate) fn since_write(&self, uid: &str) -> Option<Duration> {
        self.lock().get(uid)?.written.map(|at| at.elapsed())
    }

    /// The status was written.
    pub(crate) fn wrote(&self, uid: &str) {
        if let Some(watched) = self.lock().get_mut(uid) {
            watched.written = Some(Instant::now());
        }
    }

    /// Ends the stream of a test that is gone or over.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn put(&self, uid: &str, report: Report) {
        if let Some(watched) = self.lock().get_mut(uid) {
            watched.report = report;
        }
    }
}

/// Follows a run to its end.
async fn follow(
    watches: Watches,
    fleet: Fleet,
    uid: String,
    run: String,
    object: ObjectRef<DeserializeGuard<CallTest>>,
) {
    loop {
        match stream(&watches, &fleet, &uid, &run, &object).await {
            Ok(true) => return,
            Ok(false) => debug!(run, "the gateway ended the stream of a run"),
            Err(Error::Gateway { source, .. }) if source.code() == tonic::Code::NotFound => {
                watches.put(&uid, Report::Unknown);
                let _ = watches.trigger.send(object.clone()).await;
                return;
            }
            Err(error) => warn!(run, error = error.chain(), "the stream of a run is down"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One stream; whether the run is over.
async fn stream(
    watches: &Watches,
    fleet: &Fleet,
    uid: &str,
    run: &str,
    object: &ObjectRef<DeserializeGuard<CallTest>>,
) -> Result<bool> {
    let mut stream = fleet.watch_run(run.to_owned()).await?;
    loop {
        let next = tokio::time::timeout(SILENCE, stream.message()).await;
        let Ok(message) = next else { return Ok(false) };
        let Some(state) = message.map_err(Error::gateway("read the state of the run"))? else {
            return Ok(false);
        };
        let over = RunPhase::parse(&state.status).is_some_and(RunPhase::is_final);
        watches.put(uid, Report::State(Box::new(state)));
        // A closed channel means that the process ends.
        let _ = watches.trigger.send(object.clone()).await;
        if over {
            return Ok(true);
        }
    }
}
