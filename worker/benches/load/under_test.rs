//! The worker under test, and the gateway's end of its stream: everything is confirmed and counted.

use std::{
    collections::BTreeSet,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::Command,
};

use callmeter_metrics::{MetricId, id};
use callmeter_proto::worker::{
    Assign, Outcome, RunEnded, Start, Stop, endpoint_event::What, from_worker::Message as Up,
    to_worker::Message as Down,
};
use tokio::time::Instant;

use super::{
    machine::Cores,
    media::Scheduling,
    support::{
        gateway::{Peer, TestGateway},
        ports::Ports,
        process::{Worker, environment},
        run::{Group, begin},
    },
};

/// Where the worker is; no other test or program uses this loopback address.
pub(crate) const WORKER: &str = "127.66.0.1";
/// Where its far ends are.
pub(crate) const FAR: &str = "127.66.0.2";
/// How long 50,000 endpoints may take until the run starts.
const START_WITHIN_MS: u32 = 120_000;
/// Reasons of failed calls that are kept.
const REASONS: usize = 5;

/// A worker process on the core under test.
pub(crate) struct UnderTest {
    pub(crate) worker: Worker,
    pub(crate) tally: Tally,
    peer: Peer,
    _gateway: TestGateway,
}

/// What the worker said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) metrics: BTreeSet<u32>,
    pub(crate) packets_lost: f64,
    pub(crate) limited_rows: u64,
    pub(crate) scores: u64,
    pub(crate) round_trips: u64,
    /// Largest 99th percentile of an endpoint's second, in milliseconds.
    pub lateness_p99_ms: f64,
    pub(crate) retransmissions: f64,
    pub(crate) calls_ended: u64,
    pub(crate) calls_failed: u64,
    /// Endpoints that are READY, and those that have ended.
    pub(crate) ready: u64,
    pub(crate) ended_early: u64,
    pub(crate) reasons: Vec<String>,
    pub(crate) ended: Option<RunEnded>,
}

impl Tally {
    fn take(&mut self, message: &Up) {
        match message {
            Up::Samples(samples) => {
                for row in &samples.rows {
                    self.rows += 1;
                    self.limited_rows += u64::from(row.generator_limited);
                    for value in &row.values {
                        self.take_value(MetricId(value.metric), value.value);
                    }
                }
            }
            Up::Events(events) => {
                for event in &events.events {
                    self.take_event(event.what.as_ref());
                }
            }
            Up::RunEnded(ended) => self.ended = Some(ended.clone()),
            _ => {}
        }
    }

    fn take_event(&mut self, what: Option<&What>) {
        match what {
            Some(What::CallEnded(call)) => {
                self.calls_ended += 1;
                if call.outcome() != Outcome::Success {
                    self.failed(format!("{:?}: {}", call.outcome(), call.detail));
                }
            }
            Some(What::Ready(_)) => self.ready += 1,
            Some(What::Ended(_)) => self.ended_early += 1,
            Some(What::Phase(_)) | None => {}
        }
    }

    /// Whether every call succeeded and nothing was sent again.
    pub(crate) fn judge(&self) -> Result<(), String> {
        if self.calls_failed == 0 && self.retransmissions == 0.0 {
            return Ok(());
        }
        Err(format!(
            "the worker says: {} of {} calls failed ({}), {} messages were sent again",
            self.calls_failed,
            self.calls_ended,
            self.reasons.join("; "),
            self.retransmissions
        ))
    }

    fn failed(&mut self, reason: String) {
        self.calls_failed += 1;
        if self.reasons.len() < REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn take_value(&mut self, metric: MetricId, value: f64) {
        self.metrics.insert(metric.0);
        match metric {
            id::PACKETS_LOST => self.packets_lost += value,
            id::MOS => self.scores += 1,
            id::RTT_MS => self.round_trips += 1,
            id::TX_LATENESS_P99_MS => self.lateness_p99_ms = self.lateness_p99_ms.max(value),
            id::SIP_RETRANSMISSIONS | id::SIP_RETRANSMISSIONS_RECV => {
                self.retransmissions += value;
            }
            _ => {}
        }
    }
}

impl UnderTest {
    /// Starts a worker as its image does: without any capability, but the one that real-time
    /// scheduling takes if that is wanted.
    pub(crate) async fn start(cores: &Cores, scheduling: Scheduling) -> Self {
        // The worker would take the next port, and SIPp would call nobody.
        UdpSocket::bind((WORKER, 5060)).unwrap_or_else(|error| panic!("{WORKER}:5060: {error}"));
        let mut gateway = TestGateway::start().await;
        let ports = Ports {
            health: free_port(),
            sip_first: 5060,
            sip_last: 5160,
            rtp_first: 10_000,
            rtp_last: 65_535,
        };
        let mut variables = environment(&gateway, ports);
        let own = [("SIP_IP", WORKER), ("LOG_LEVEL", "info")];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut prefix = cores.on_tested();
        if rustix::process::geteuid().is_root() {
            let kept = match scheduling {
                Scheduling::Plain => "--bounding-set=-all",
                Scheduling::RealTime => "--bounding-set=-all,+sys_nice",
            };
            prefix.extend(["setpriv", "--inh-caps=-all", kept].map(str::to_owned));
        }
        let mut launcher = Command::new(&prefix[0]);
        launcher.args(&prefix[1..]);
        let worker = Worker::spawn_by(launcher, &variables);
        let peer = gateway.welcome().await;
        Self {
            worker,
            tally: Tally::default(),
            peer,
            _gateway: gateway,
        }
    }

    /// Its folder in /proc.
    pub(crate) fn proc_folder(&self) -> std::path::PathBuf {
        self.worker.proc_folder()
    }

    /// Assigns the groups of a run and starts it.
    pub(crate) async fn begin(&mut self, run: &str, groups: &[Group]) {
        self.tally = Tally::default();
        begin(&mut self.peer, run, groups).await;
    }

    /// Assigns the groups of a run.
    pub(crate) async fn assign(&mut self, run: &str, groups: &[Group]) {
        self.tally = Tally::default();
        for (group, seq) in groups.iter().zip(1..) {
            let assign = Assign {
                start_within_ms: START_WITHIN_MS,
                ..group.assign(seq, run)
            };
            self.peer.send(Down::Assign(assign)).await;
        }
    }

    /// Starts a run whose groups are assigned.
    pub(crate) async fn start_run(&mut self, run: &str, groups: &[Group]) {
        let start = Start {
            seq: groups.len() as u64 + 1,
            run: run.into(),
            ..Start::default()
        };
        self.peer.send(Down::Start(start)).await;
    }

    /// Reads what the worker says, for ever.
    pub(crate) async fn read(&mut self) {
        loop {
            let message = self.peer.next().await;
            let message = message
                .unwrap_or_else(|| panic!("the worker's stream has ended:\n{}", self.worker.log()));
            self.tally.take(&message);
        }
    }

    /// Reads what the worker says until then.
    pub(crate) async fn read_until(&mut self, at: Instant) {
        // Being out of time is what is wanted.
        let _ = tokio::time::timeout_at(at, self.read()).await;
    }

    /// Ends a run of one group.
    pub(crate) async fn stop(&mut self, run: &str) {
        let stop = Stop {
            // After Assign of its one group, and Start.
            seq: 3,
            run: run.into(),
            reason: "measured".into(),
        };
        self.peer.send(Down::Stop(stop)).await;
    }

    /// Reads on until the run has ended, 60 s at most.
    pub(crate) async fn finish(&mut self) -> RunEnded {
        let deadline = Instant::now() + std::time::Duration::from_secs(60);
        loop {
            if let Some(ended) = self.tally.ended.take() {
                return ended;
            }
            assert!(
                Instant::now() < deadline,
                "the run has not ended within 60 s:\n{}",
                self.worker.log()
            );
            let message = tokio::time::timeout_at(deadline, self.peer.next()).await;
            if let Ok(Some(message)) = message {
                self.tally.take(&message);
            }
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The path of a program.
pub(crate) fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| Path::join(&folder, name));
    found.into_iter().find(|candidate| candidate.exists())
}
