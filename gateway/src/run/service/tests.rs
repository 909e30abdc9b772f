//! The task with the real store and the real session layer; workers are the protocol's types.

mod cases;
mod hostile;
mod restarts;

use std::time::Duration;

use callmeter_proto::worker::endpoint_event::What;
use callmeter_proto::worker::to_worker::Message;
use callmeter_proto::worker::{self, Direction, Outcome, ToWorker};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Status;

use super::*;
use crate::keys::{KeyFiles, Keys};
use crate::link::{InstanceId, RunMessage, SESSION_EVENTS, SubmitRun};
use crate::session::{Heartbeat, HelloFacts};
use crate::sessions::{CreateWorker, StreamGuard};

const WITHIN: Duration = Duration::from_secs(20);
const INSTANCE: InstanceId = InstanceId([7; 16]);
const TEST: &str = r#"{"duration": "60s", "groups": [{"name": "g", "endpoints": 2, "role": "callee", "target": {"external": true}}],
    "expect": [{"metric": "mos", "min": 4}]}"#;

struct Bench {
    folder: TempDir,
    store: Store,
    sessions: Sessions,
    runs: RunHandle,
    /// What the session layer would tell; the test may tell more.
    events: mpsc::Sender<SessionEvent>,
    task: JoinHandle<Result<(), RunServiceError>>,
    shutdown: CancellationToken,
}

/// A connected worker process.
struct Worker {
    id: WorkerId,
    outgoing: BoxStream<'static, Result<ToWorker, Status>>,
    verdicts: Vec<worker::ResumeVerdict>,
    _stream: StreamGuard,
}

/// `rows` as the worker counts them, of endpoint 0.
fn run_ended(run: &str, seq: u64, rows: u64) -> RunMessage {
    let share = worker::ShareTotals {
        group: "g".into(),
        first: 0,
        count: 2,
        calls: vec![worker::OutcomeCount {
            outcome: Outcome::Success.into(),
            calls: 1,
        }],
        rows_per_endpoint: vec![rows, 0],
    };
    RunMessage::RunEnded(worker::RunEnded {
        seq,
        run: run.into(),
        shares: vec![share],
        ..Default::default()
    })
}

impl Bench {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    async fn on(folder: TempDir) -> Self {
        Self::with(folder, SecretReader::new(None)).await
    }

    async fn with(folder: TempDir, secrets: SecretReader) -> Self {
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        let keys = Keys::load(&KeyFiles::beside(folder.path()), &store)
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let (events, inbox) = mpsc::channel(SESSION_EVENTS);
        let (sessions, task) = Sessions::start(
            store.clone(),
            keys.pepper.clone(),
            events.clone(),
            shutdown.clone(),
        )
        .await
        .unwrap();
        tokio::spawn(task);
        let config = RunConfig {
            store: store.clone(),
            seal: keys.seal.clone(),
            sessions: sessions.clone(),
            secrets,
            events: inbox,
        };
        let (runs, _, service) = RunService::start(config).await.unwrap();
        let task = tokio::spawn(service.run(shutdown.clone()));
        Self {
            folder,
            store,
            sessions,
            runs,
            events,
            task,
            shutdown,
        }
    }

    /// Stops, and starts again on what is stored.
    async fn restart(self) -> Self {
        self.shutdown.cancel();
        timeout(WITHIN, self.task).await.unwrap().unwrap().unwrap();
        self.store.close().await;
        Self::on(self.folder).await
    }

    async fn record(&self) -> WorkerId {
        let request = CreateWorker {
            organisation: "default".into(),
            name: "w".into(),
            capacity: 10,
            created_by: "test".into(),
            ..CreateWorker::default()
        };
        self.sessions.create_worker(request).await.unwrap().id
    }

    async fn connect(&self, id: WorkerId, resume: Vec<worker::ResumeRun>) -> Worker {
        let record = self
            .store
            .all_workers()
            .await
            .unwrap()
            .into_iter()
            .find(|r| r.id == id)
            .unwrap();
        let hello = HelloFacts {
            token_hash: record.token_hash,
            instance: INSTANCE,
            name: String::new(),
            capacity: 0,
            host: crate::link::HostInfo::default(),
            labels: BTreeMap::new(),
        };
        let admission = timeout(WITHIN, self.sessions.admit(id, hello, resume))
            .await
            .unwrap()
            .unwrap();
        admission
            .stream
            .heartbeat(Heartbeat {
                healthy: true,
                ..Heartbeat::default()
            })
            .await;
        let verdicts = timeout(WITHIN, admission.verdicts).await.unwrap().unwrap();
        // The verdicts may be there before the heartbeat counts; until then a run has no worker.
        let mut changes = self.sessions.changes();
        timeout(WITHIN, async {
            while !self.sessions.worker(id).unwrap().takes_work() {
                changes.changed().await.unwrap();
            }
        })
        .await
        .expect("ONLINE");
        Worker {
            id,
            outgoing: admission.outgoing.into_stream().boxed(),
            verdicts,
            _stream: admission.stream,
        }
    }

    async fn submit(&self) -> String {
        self.submit_test("", TEST).await
    }

    async fn submit_test(&self, namespace: &str, test: &str) -> String {
        let request = SubmitRun {
            organisation: "default".into(),
            key: String::new(),
            project: String::new(),
            namespace: namespace.into(),
            name: "t".into(),
            definition_json: callmeter_proto::Secret::new(test),
        };
        self.runs.submit(request).await.unwrap()
    }

    async fn tell(&self, worker: &Worker, message: RunMessage) {
        let event = SessionEvent::Message {
            worker_id: worker.id,
            instance: INSTANCE,
            message,
        };
        self.events.send(event).await.unwrap();
    }

    async fn event(
        &self,
        worker: &Worker,
        run: &str,
        seq: u64,
        endpoint: u32,
        call: u32,
        what: What,
    ) {
        let event = worker::EndpointEvent {
            group: "g".into(),
            endpoint,
            call,
            what: Some(what),
            at_us: 0,
        };
        let events = worker::EndpointEvents {
            seq,
            run: run.into(),
            events: vec![event],
        };
        self.tell(worker, RunMessage::Events(events)).await;
    }

    async fn sample(&self, worker: &Worker, run: &str, seq: u64, mos: f64) {
        let row = worker::SampleRow {
            group: "g".into(),
            direction: Direction::Recv.into(),
            call: 1,
            values: vec![worker::MetricValue {
                metric: callmeter_metrics::id::MOS.0,
                value: mos,
            }],
            ..Default::default()
        };
        let samples = worker::Samples {
            seq,
            run: run.into(),
            second: 1,
            catalogue_version: 1,
            rows: vec![row],
        };
        self.tell(worker, RunMessage::Samples(samples)).await;
    }

    async fn ended(&self, worker: &Worker, run: &str, seq: u64, rows: u64) {
        self.tell(worker, run_ended(run, seq, rows)).await;
    }

    /// Everything up to the start, messages 1 and 2 of the worker, and call 1 of endpoint 0, 3.
    async fn started(&self, worker: &mut Worker) -> String {
        let run = self.submit().await;
        let Message::Assign(assign) = worker.next().await else {
            panic!()
        };
        assert_eq!(
            (assign.seq, assign.count, assign.accept_external),
            (1, 2, true)
        );
        for endpoint in 0..2 {
            let seq = u64::from(endpoint) + 1;
            self.event(
                worker,
                &run,
                seq,
                endpoint,
                0,
                What::Ready(worker::Ready::default()),
            )
            .await;
            assert_eq!(worker.acked().await, seq);
        }
        assert!(matches!(
            worker.next().await,
            Message::Start(worker::Start { seq: 2, .. })
        ));
        let end = worker::CallEnded {
            outcome: Outcome::Success.into(),
            ..Default::default()
        };
        self.event(worker, &run, 3, 0, 1, What::CallEnded(end))
            .await;
        assert_eq!(worker.acked().await, 3);
        run
    }

    async fn last(&self, run: &str) -> fleet::RunState {
        let mut state = self.runs.watch("default", run).await.unwrap();
        timeout(WITHIN, async { while state.changed().await.is_ok() {} })
            .await
            .unwrap();
        state.borrow().clone()
    }

    async fn over(&self, run: &str) -> fleet::RunState {
        let last = self.last(run).await;
        assert!(
            ["COMPLETED", "FAILED"].contains(&last.status.as_str()),
            "{last:?}"
        );
        last
    }

    async fn report(&self, run: &str) -> serde_json::Value {
        let record = self.store.run_by_id(run).await.unwrap().unwrap();
        serde_json::from_str(&record.summary.unwrap()).unwrap()
    }
}

impl Worker {
    async fn next(&mut self) -> Message {
        let next = timeout(WITHIN, self.outgoing.next())
            .await
            .expect("a message");
        next.unwrap().unwrap().message.unwrap()
    }

    async fn acked(&mut self) -> u64 {
        match self.next().await {
            Message::Ack(ack) => ack.seq,
            other => panic!("no Ack: {other:?}"),
        }
    }
}
