mod losses;
mod parts;
mod told;
mod way;

use std::time::{Duration, Instant};

use callmeter_api::calltest::RunPhase;
use callmeter_proto::worker::endpoint_event::What;
use callmeter_proto::worker::to_worker::Message;
use callmeter_proto::worker::{self, Outcome, Phase};

use super::secrets::{GroupSecrets, RunSecrets};
use super::*;
use crate::definition::{self, Format};
use crate::keys::SealKey;
use crate::link::{InstanceId, Load, WorkerId};
use crate::scheduler::{Decision, Share};
use crate::session::Now;
use crate::store::{RunProgress, RunRecord};

const TEST: &str = "
duration: 60s
groups:
  - {name: answerers, endpoints: 2, role: callee}
  - {name: callers, endpoints: 3, role: caller, target: {group: answerers}, call: {duration: 5s}}
";
const REGISTERED: &str = "
duration: 60s
groups:
  - {name: answerers, endpoints: 2, role: callee, registrar: {domain: pbx}, accounts: {pattern: 'a{n}', password: hunter2}}
  - {name: callers, endpoints: 3, role: caller, target: {group: answerers}, registrar: {domain: pbx}, accounts: {pattern: 'c{n}', password: hunter2}}
";
const INSTANCE: InstanceId = InstanceId([7; 16]);

/// One run in virtual time; worker 1 carries the answerers, worker 2 the callers.
struct Bench {
    run: Run,
    now: Now,
    secrets: RunSecrets,
    sent: Vec<(WorkerId, Message)>,
    outcomes: Vec<OutcomeRow>,
    saves: usize,
    reports: usize,
    seq: [u64; 3],
}

fn id(n: u8) -> WorkerId {
    WorkerId(uuid::Uuid::from_bytes([n; 16]))
}

fn share(group: usize, worker: u8, first: u32, count: u32) -> Share {
    Share {
        group,
        worker: id(worker).to_string(),
        first,
        count,
    }
}

impl Bench {
    fn waiting(text: &str) -> Self {
        let (test, inline, _) = definition::parse(text, Format::Yaml, "").unwrap();
        let groups = (0..test.groups.len())
            .map(|g| GroupSecrets {
                accounts: inline.of(g).unwrap_or_default().to_vec(),
                tls: None,
            })
            .collect();
        let secrets = RunSecrets {
            groups,
            warnings: vec![],
        };
        let identity = RunIdentity {
            id: "run".into(),
            organisation: "default".into(),
            project: "default".into(),
            namespace: String::new(),
            name: "test".into(),
            created_ms: 1_000,
        };
        let now = Now {
            instant: Instant::now(),
            unix_ms: 1_000,
        };
        let run = Run::new(identity, test, now);
        Self {
            run,
            now,
            secrets,
            sent: vec![],
            outcomes: vec![],
            saves: 0,
            reports: 0,
            seq: [0; 3],
        }
    }

    fn placed(text: &str, shares: Vec<Share>) -> Self {
        let mut bench = Self::waiting(text);
        let known =
            |text: &str| Some((text.parse().unwrap(), INSTANCE, format!("w{}", &text[..1])));
        bench.run.decided(Decision::Place(shares), known, bench.now);
        assert_eq!(bench.run.poll_output(), Some(Output::ReadSecrets));
        bench
    }

    fn dispatched(text: &str) -> Self {
        let mut bench = Self::placed(text, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
        bench.dispatch();
        bench
    }

    fn started(text: &str) -> Self {
        let mut bench = Self::dispatched(text);
        bench.ready(1, "answerers", 2);
        bench.ready(2, "callers", 3);
        assert!(bench.run.started_ms.is_some());
        bench.sent.clear();
        bench
    }

    fn dispatch(&mut self) {
        self.run.dispatch(&self.secrets, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.run.poll_output() {
            match output {
                Output::Send {
                    worker,
                    instance,
                    message,
                } => {
                    assert!(
                        instance == INSTANCE && self.saves > 0,
                        "stored before it is sent"
                    );
                    self.sent.push((worker, message.message.unwrap()));
                }
                Output::Save => self.saves += 1,
                Output::Outcomes(rows) => self.outcomes.extend(rows),
                Output::Over => self.reports += 1,
                Output::ReadSecrets => panic!("read once"),
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix_ms += seconds as i64 * 1_000;
        self.run.handle_timeout(self.now);
        self.drain();
    }

    fn events(&mut self, worker: u8, events: Vec<worker::EndpointEvent>) {
        self.seq[usize::from(worker)] += 1;
        let seq = self.seq[usize::from(worker)];
        let message = worker::EndpointEvents {
            seq,
            run: "run".into(),
            events,
        };
        self.outcomes
            .extend(self.run.outcomes_of(id(worker), &message));
        self.run.apply_events(id(worker), &message, self.now);
        self.drain();
    }

    fn event(&mut self, worker: u8, group: &str, endpoint: u32, call: u32, what: What) {
        let event = worker::EndpointEvent {
            group: group.into(),
            endpoint,
            call,
            what: Some(what),
            at_us: 0,
        };
        self.events(worker, vec![event]);
    }

    fn ready(&mut self, worker: u8, group: &str, endpoints: u32) {
        for endpoint in 0..endpoints {
            let registered = self
                .run
                .test
                .groups
                .iter()
                .any(|g| g.name == group && g.registers());
            let ready = worker::Ready {
                contact: format!("sip:{endpoint}@10.0.0.{worker}:5060"),
                aor: if registered {
                    format!("sip:a{}@pbx", endpoint + 1)
                } else {
                    String::new()
                },
            };
            self.event(worker, group, endpoint, 0, What::Ready(ready));
        }
    }

    fn end(&mut self, worker: u8, group: &str, endpoint: u32, outcome: Outcome) {
        let ended = worker::EndpointEnded {
            outcome: outcome.into(),
            detail: String::new(),
        };
        self.event(worker, group, endpoint, 0, What::Ended(ended));
    }

    fn run_ended(&mut self, worker: u8, group: &str, ended: &worker::RunEnded, differ: u32) {
        self.seq[usize::from(worker)] += 1;
        let ended = worker::RunEnded {
            seq: self.seq[usize::from(worker)],
            run: "run".into(),
            ..ended.clone()
        };
        let owed = self.run.owed(id(worker)).into_iter();
        let losses: Vec<_> = owed
            .map(|share| {
                let differ = if share.name == group { differ } else { 0 };
                (share, differ)
            })
            .collect();
        self.run
            .apply_run_ended(id(worker), &ended, &losses, self.now);
        self.run.advance(self.now);
        self.drain();
    }

    fn finish(&mut self) {
        for endpoint in 0..2 {
            self.end(1, "answerers", endpoint, Outcome::Success);
        }
        for endpoint in 0..3 {
            self.end(2, "callers", endpoint, Outcome::Success);
        }
        self.run_ended(1, "answerers", &worker::RunEnded::default(), 0);
        self.run_ended(2, "callers", &worker::RunEnded::default(), 0);
    }

    fn load(&self, worker: u8) -> Load {
        self.run
            .loads()
            .get(&id(worker))
            .copied()
            .unwrap_or_default()
    }

    /// What was sent since the last call, in short.
    fn told(&mut self) -> Vec<String> {
        let short = |(worker, message): (WorkerId, Message)| {
            let what = match message {
                Message::Assign(a) => format!("assign {} #{}", a.group, a.seq),
                Message::Start(s) => format!("start #{}", s.seq),
                Message::Stop(s) => format!("stop #{}", s.seq),
                other => panic!("{other:?}"),
            };
            format!("{}: {what}", &worker.to_string()[1..2])
        };
        self.sent.drain(..).map(short).collect()
    }

    /// The run out of what is stored of it, with all the rows events left.
    fn restarted(&self) -> Run {
        let seal = SealKey::new([3; 32]);
        let RunProgress {
            status,
            stage,
            reason,
            started_ms,
            ended_ms,
            partial_reasons,
            warnings,
            failed,
            stopped,
            shares,
            mut links,
        } = self.run.progress(&seal).unwrap();
        for link in &mut links {
            link.applied = self.run.applied(link.worker, link.instance).unwrap();
        }
        let (_, inline, spec) = definition::parse(TEST, Format::Yaml, "").unwrap();
        assert!(inline.is_empty());
        let record = RunRecord {
            id: "run".into(),
            organisation: "default".into(),
            project: "default".into(),
            namespace: String::new(),
            name: "test".into(),
            definition: serde_json::to_string(&spec).unwrap(),
            accounts: None,
            status: status.into(),
            stage: stage.into(),
            reason,
            created_ms: 1_000,
            started_ms,
            ended_ms,
            partial_reasons,
            warnings,
            failed,
            stopped,
            summary: None,
            verdict: String::new(),
        };
        let mut endpoints = Vec::new();
        let mut outcomes = Vec::new();
        for (group, all) in self.run.endpoints.iter().enumerate() {
            for (endpoint, state) in all.iter().enumerate() {
                let mut row = self.run.endpoint_row(group, endpoint as u32);
                row.state.ended = None;
                if let Some(outcome) = state.ended {
                    let row = OutcomeRow {
                        group: 0,
                        endpoint: endpoint as u32,
                        call: 0,
                        outcome,
                        sip_status: 0,
                        detail: String::new(),
                        outgoing: false,
                        completed: false,
                    };
                    let group = self.run.test.groups[group].name.clone();
                    outcomes.push(crate::store::StoredOutcome { group, row });
                }
                endpoints.push(row);
            }
        }
        Run::restore(
            StoredRun {
                record,
                shares,
                links,
                endpoints,
                outcomes,
            },
            &seal,
            self.now,
        )
        .unwrap()
    }
}
