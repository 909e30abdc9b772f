use std::time::{Duration, Instant};

use callmeter_api::calltest::RunPhase;
use callmeter_proto::worker::endpoint_event::What;
use callmeter_proto::worker::to_worker::Message;
use callmeter_proto::worker::{self, Outcome, Phase};

use super::*;
use crate::definition::{self, Credentials, Format};
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
    accounts: Vec<Vec<Credentials>>,
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
        let accounts = (0..test.groups.len())
            .map(|g| {
                inline
                    .of(g)
                    .map(<[Credentials]>::to_vec)
                    .unwrap_or_default()
            })
            .collect();
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
            accounts,
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
        assert_eq!(bench.run.poll_output(), Some(Output::ReadAccounts));
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
        self.run.dispatch(&self.accounts, self.now);
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
                Output::ReadAccounts => panic!("read once"),
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

    fn run_ended(
        &mut self,
        worker: u8,
        group: &str,
        count: u32,
        ended: &worker::RunEnded,
        differ: u32,
    ) {
        self.seq[usize::from(worker)] += 1;
        let share = worker::ShareTotals {
            group: group.into(),
            count,
            ..Default::default()
        };
        let seq = self.seq[usize::from(worker)];
        let ended = worker::RunEnded {
            seq,
            run: "run".into(),
            shares: vec![share],
            ..ended.clone()
        };
        self.run
            .apply_run_ended(id(worker), &ended, &[differ], self.now);
        self.drain();
    }

    fn finish(&mut self) {
        for endpoint in 0..2 {
            self.end(1, "answerers", endpoint, Outcome::Success);
        }
        for endpoint in 0..3 {
            self.end(2, "callers", endpoint, Outcome::Success);
        }
        self.run_ended(1, "answerers", 2, &worker::RunEnded::default(), 0);
        self.run_ended(2, "callers", 3, &worker::RunEnded::default(), 0);
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

#[test]
fn callees_come_first_callers_when_they_are_ready_then_all_start() {
    let mut bench = Bench::dispatched(TEST);
    assert_eq!(bench.told(), ["1: assign answerers #1"]);
    assert_eq!(bench.run.status(), RunPhase::Running);
    assert_eq!(
        bench.run.reason,
        "waits at most 75 s until 2 of 2 endpoints of group answerers are ready"
    );
    bench.ready(1, "answerers", 1);
    assert!(bench.told().is_empty());
    bench.end(1, "answerers", 1, Outcome::RegistrationFailed);
    assert_eq!(bench.told(), ["2: assign callers #1"]);
    bench.ready(2, "callers", 3);
    let start = bench
        .sent
        .iter()
        .find_map(|(worker, message)| match message {
            Message::Start(start) if *worker == id(2) => Some(start.clone()),
            _ => None,
        });
    // Caller i calls callee i mod 2; the second callee failed.
    let peers = &start.unwrap().peers[0];
    assert_eq!((peers.group.as_str(), peers.first), ("callers", 0));
    assert_eq!(
        peers.peers,
        ["sip:0@10.0.0.1:5060", "", "sip:0@10.0.0.1:5060"]
    );
    assert_eq!(bench.told(), ["1: start #2", "2: start #2"]);
}

#[test]
fn registered_callees_are_called_by_their_address_of_record() {
    let mut bench = Bench::dispatched(REGISTERED);
    bench.ready(1, "answerers", 2);
    let Some((_, Message::Assign(assign))) = bench.sent.last().cloned() else {
        panic!()
    };
    assert_eq!(
        assign
            .accounts
            .iter()
            .map(|a| a.user.as_str())
            .collect::<Vec<_>>(),
        ["c1", "c2", "c3"]
    );
    assert_eq!(assign.accounts[0].password, "hunter2");
    bench.ready(2, "callers", 3);
    let Some((_, Message::Start(start))) = bench.sent.last() else {
        panic!()
    };
    assert_eq!(
        start.peers[0].peers,
        ["sip:a1@pbx", "sip:a2@pbx", "sip:a1@pbx"]
    );
}

#[test]
fn endpoints_that_are_never_ready_do_not_hold_the_run_for_ever() {
    let mut bench = Bench::dispatched(TEST);
    bench.ready(1, "answerers", 1);
    bench.told();
    bench.pass(75);
    assert_eq!(bench.told(), ["2: assign callers #1"]);
    bench.pass(75);
    assert_eq!(bench.told(), ["1: start #2", "2: start #2"]);
}

/// R139: a slot is released when its endpoint ends.
#[test]
fn reserved_then_active_then_free_endpoint_by_endpoint() {
    let mut bench = Bench::placed(TEST, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
    assert_eq!(bench.run.status(), RunPhase::Queued);
    assert_eq!(
        (bench.load(1), bench.load(2)),
        (
            Load {
                active: 0,
                reserved: 2
            },
            Load {
                active: 0,
                reserved: 3
            }
        )
    );
    bench.dispatch();
    // Callers still wait for their callees and count all the same.
    assert_eq!((bench.load(1).active, bench.load(2).active), (2, 3));
    bench.ready(1, "answerers", 2);
    bench.ready(2, "callers", 3);
    bench.end(2, "callers", 1, Outcome::Success);
    assert_eq!((bench.load(1).active, bench.load(2).active), (2, 2));
    bench.finish();
    assert_eq!(
        (bench.load(1), bench.load(2)),
        (Load::default(), Load::default())
    );
    assert_eq!(
        (bench.run.status(), bench.reports),
        (RunPhase::Completed, 1)
    );
    assert!(bench.run.is_whole());
}

/// R124: a fence returns what is reserved to the queue, and leaves what runs.
#[test]
fn a_fence_before_the_start_sends_the_whole_run_back_to_the_queue() {
    let mut bench = Bench::placed(TEST, vec![share(0, 1, 0, 2), share(1, 2, 0, 3)]);
    bench.run.unplace(id(2));
    assert_eq!(
        (bench.run.status(), bench.run.loads().len()),
        (RunPhase::Queued, 0)
    );
    assert!(bench.run.demand().unwrap().accepted);
    bench.dispatch();
    assert!(
        bench.told().is_empty(),
        "accounts that were read meanwhile start nothing"
    );
    let mut running = Bench::started(TEST);
    running.run.unplace(id(2));
    assert_eq!(
        (running.run.status(), running.load(2).active),
        (RunPhase::Running, 3)
    );
}

#[test]
fn what_a_worker_has_not_applied_is_sent_again_when_it_resumes() {
    let mut bench = Bench::started(TEST);
    bench.run.confirmed(id(2), INSTANCE, 1);
    let resume = worker::ResumeRun {
        run: "run".into(),
        last_applied_seq: 1,
        last_sent_seq: 9,
    };
    let verdict = bench
        .run
        .connected(id(2), INSTANCE, Some(&resume), bench.now)
        .unwrap();
    assert_eq!((verdict.go_on, verdict.acked_seq), (true, 3));
    bench.drain();
    assert_eq!(bench.told(), ["2: start #2"]);
    let resume = worker::ResumeRun {
        last_applied_seq: 2,
        ..resume
    };
    bench
        .run
        .connected(id(2), INSTANCE, Some(&resume), bench.now)
        .unwrap();
    bench.drain();
    assert!(bench.told().is_empty());
}

#[test]
fn a_worker_that_never_heard_of_the_run_hears_of_it_when_it_comes_back() {
    let mut bench = Bench::dispatched(TEST);
    bench.told();
    assert_eq!(bench.run.connected(id(1), INSTANCE, None, bench.now), None);
    bench.drain();
    assert_eq!(bench.told(), ["1: assign answerers #1"]);
}

#[test]
fn a_process_that_forgot_the_run_or_has_a_successor_is_lost() {
    for (instance, confirmed) in [(INSTANCE, 1), (InstanceId([8; 16]), 0)] {
        let mut bench = Bench::started(TEST);
        bench.run.confirmed(id(1), INSTANCE, confirmed);
        assert_eq!(bench.run.connected(id(1), instance, None, bench.now), None);
        bench.drain();
        assert_eq!(bench.run.partial[0].cause, Cause::WorkerLost);
    }
}

#[test]
fn a_group_that_lost_all_its_endpoints_fails_the_run_and_stops_the_rest() {
    let mut bench = Bench::started(TEST);
    bench.event(1, "answerers", 0, 1, What::Phase(Phase::Incall.into()));
    bench.end(1, "answerers", 1, Outcome::Success);
    bench.run.lost(id(1), INSTANCE, bench.now);
    bench.drain();
    assert_eq!(bench.told(), ["2: stop #3"]);
    assert_eq!(bench.run.status(), RunPhase::Stopping);
    let lost: Vec<(u32, u32, Outcome)> = bench
        .outcomes
        .iter()
        .map(|o| (o.endpoint, o.call, o.outcome))
        .collect();
    assert_eq!(
        lost,
        [
            (1, 0, Outcome::Success),
            (0, 1, Outcome::Timeout),
            (0, 0, Outcome::Timeout)
        ]
    );
    bench.run_ended(2, "callers", 3, &worker::RunEnded::default(), 0);
    assert_eq!(bench.run.status(), RunPhase::Failed);
    assert_eq!(
        bench.run.reason,
        "group answerers lost all its endpoints with worker w0"
    );
    let Partial {
        group,
        endpoints,
        cause,
        ..
    } = &bench.run.partial[0];
    assert_eq!(
        (group.as_str(), *endpoints, *cause),
        ("answerers", 1, Cause::WorkerLost)
    );
    assert!(!bench.run.is_whole());
    // Told twice, once is enough.
    bench.run.lost(id(1), INSTANCE, bench.now);
    assert_eq!((bench.run.partial.len(), bench.reports), (1, 1));
}

#[test]
fn a_group_with_another_worker_goes_on_partially() {
    let shares = vec![share(0, 1, 0, 1), share(0, 2, 1, 1), share(1, 2, 0, 3)];
    let mut bench = Bench::placed(TEST, shares);
    bench.dispatch();
    bench.run.lost(id(1), INSTANCE, bench.now);
    bench.drain();
    bench.event(2, "answerers", 1, 0, What::Ready(worker::Ready::default()));
    bench.ready(2, "callers", 3);
    assert_eq!(bench.run.status(), RunPhase::Running);
    assert!(bench.run.started_ms.is_some());
    bench.run_ended(2, "callers", 3, &worker::RunEnded::default(), 0);
    assert_eq!(
        (bench.run.status(), bench.run.partial.len()),
        (RunPhase::Completed, 1)
    );
}

#[test]
fn totals_that_differ_and_calls_that_were_cut_make_the_run_partial() {
    for (ended, differ, cause, endpoints) in [
        (worker::RunEnded::default(), 2, Cause::SamplesLost, 2),
        (
            worker::RunEnded {
                rows_dropped: 1,
                ..Default::default()
            },
            0,
            Cause::SamplesLost,
            3,
        ),
        (
            worker::RunEnded {
                forced: true,
                ..Default::default()
            },
            0,
            Cause::Forced,
            3,
        ),
    ] {
        let mut bench = Bench::started(TEST);
        bench.run_ended(1, "answerers", 2, &worker::RunEnded::default(), 0);
        bench.run_ended(2, "callers", 3, &ended, differ);
        assert_eq!(bench.run.status(), RunPhase::Completed);
        let [partial] = bench.run.partial.as_slice() else {
            panic!("{:?}", bench.run.partial)
        };
        assert_eq!(
            (partial.cause, partial.endpoints, partial.group.as_str()),
            (cause, endpoints, "callers")
        );
    }
}

#[test]
fn a_stop_reaches_who_was_told_of_the_run_and_nobody_else() {
    let mut bench = Bench::dispatched(TEST);
    bench.told();
    bench.run.stop("enough", bench.now);
    bench.drain();
    assert_eq!(bench.told(), ["1: stop #2"]);
    assert_eq!(
        (bench.run.status(), bench.load(2)),
        (RunPhase::Stopping, Load::default())
    );
    bench.run_ended(1, "answerers", 2, &worker::RunEnded::default(), 0);
    assert_eq!(
        (bench.run.status(), bench.run.reason.as_str()),
        (RunPhase::Completed, "stopped: enough")
    );
    assert!(
        bench.run.partial.is_empty() && !bench.run.is_whole(),
        "it never started"
    );
}

#[test]
fn a_waiting_run_ends_at_once_when_it_is_stopped() {
    let mut bench = Bench::waiting(TEST);
    bench.run.stop("enough", bench.now);
    bench.drain();
    assert_eq!(bench.run.status(), RunPhase::CannotRunForNow);
    assert_eq!(
        (bench.run.reason.as_str(), bench.reports),
        ("stopped before it started: enough", 1)
    );
}

#[test]
fn a_run_that_does_not_end_is_stopped_and_then_given_up() {
    let mut bench = Bench::started(TEST);
    bench.pass(60 + 89);
    assert!(bench.told().is_empty());
    bench.pass(1);
    assert_eq!(bench.told(), ["1: stop #3", "2: stop #3"]);
    bench.run_ended(1, "answerers", 2, &worker::RunEnded::default(), 0);
    bench.pass(60);
    assert_eq!(bench.run.status(), RunPhase::Failed);
    assert_eq!(bench.run.partial[0].cause, Cause::WorkerLost);
}

#[test]
fn events_of_endpoints_a_worker_does_not_carry_change_nothing() {
    let mut bench = Bench::started(TEST);
    for (worker, group, endpoint) in [
        (1, "callers", 0),
        (2, "callers", 3),
        (2, "nobody", 0),
        (9, "callers", 0),
    ] {
        let events = worker::EndpointEvents {
            events: vec![worker::EndpointEvent {
                group: group.into(),
                endpoint,
                what: Some(What::Ended(worker::EndpointEnded::default())),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(bench.run.outcomes_of(id(worker), &events).is_empty());
        assert!(
            bench
                .run
                .apply_events(id(worker), &events, bench.now)
                .is_empty()
        );
    }
    assert_eq!((bench.load(1).active, bench.load(2).active), (2, 3));
}

/// R94: at every stage a restarted gateway goes on as if nothing had happened.
#[test]
fn a_restart_at_any_stage_changes_nothing() {
    type Step = fn(&mut Bench);
    let steps: [Step; 9] = [
        |b| b.ready(1, "answerers", 2),
        |b| b.run.confirmed(id(1), INSTANCE, 1),
        |b| b.ready(2, "callers", 3),
        |b| b.run.confirmed(id(2), INSTANCE, 2),
        |b| b.event(2, "callers", 0, 1, What::Phase(Phase::Incall.into())),
        |b| b.end(2, "callers", 0, Outcome::Success),
        |b| b.run_ended(2, "callers", 3, &worker::RunEnded::default(), 1),
        |b| b.run.stop("enough", b.now),
        |b| b.run_ended(1, "answerers", 2, &worker::RunEnded::default(), 0),
    ];
    let mut bench = Bench::dispatched(TEST);
    for (n, step) in steps.iter().enumerate() {
        step(&mut bench);
        bench.drain();
        let mut restored = bench.restarted();
        restored.resume(bench.now);
        assert_eq!(restored.status(), bench.run.status(), "step {n}");
        assert_eq!(restored.links, bench.run.links, "step {n}");
        assert_eq!(restored.endpoints, bench.run.endpoints, "step {n}");
        assert_eq!(
            (&restored.partial, &restored.shares),
            (&bench.run.partial, &bench.run.shares),
            "step {n}"
        );
        assert_eq!(restored.loads(), bench.run.loads(), "step {n}");
        assert_eq!(
            restored.poll_output(),
            None,
            "step {n}: nothing is done twice"
        );
    }
    assert_eq!(bench.run.status(), RunPhase::Completed);
}

/// What followed from stored events but was not stored itself is done after the restart.
#[test]
fn a_restart_between_the_last_ready_and_the_next_step_takes_that_step() {
    let bench = Bench::dispatched(TEST);
    let mut half = bench.restarted();
    for endpoint in &mut half.endpoints[0] {
        endpoint.ready = Some(Reachable::default());
    }
    half.resume(bench.now);
    assert_eq!(half.poll_output(), Some(Output::Save));
    let Some(Output::Send {
        worker, message, ..
    }) = half.poll_output()
    else {
        panic!()
    };
    assert!(worker == id(2) && matches!(message.message, Some(Message::Assign(_))));
}
