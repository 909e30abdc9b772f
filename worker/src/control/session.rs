//! What a worker knows about its gateway: runs, their delivery, fences. Pure: no socket, no clock.
//!
//! Contract: feed it what arrives ([`Session::from_gateway`], [`Session::from_shards`],
//! [`Session::connected`], [`Session::disconnected`], [`Session::signal`]) and the time
//! ([`Session::handle_timeout`], due at [`Session::next_timeout`]); after each call drain
//! [`Session::poll_command`], and [`Session::poll_transmit`] as far as the stream takes messages.

mod identity;
mod incoming;
mod run;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use callmeter_proto::worker::{DrainRequest, FromWorker, Hello, Welcome, from_worker::Message};
pub use identity::Identity;
use run::Run;

use super::drain::{Drain, DrainStep, Load};
use crate::signalling::{Command, Report, StopCause};

/// Calls go on without a gateway as long as their measurements can be kept for it; past this time
/// nobody could stop them or learn of them, and endpoints end with outcome TIMEOUT.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(300);

/// Something an operator should read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A message of the gateway was not applied, and why.
    Ignored(String),
    /// Assigned or ended work.
    Work(String),
}

/// The session core.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    runs: BTreeMap<String, Run>,
    drain: Drain,
    connected: bool,
    down_since: Instant,
    gave_up: bool,
    unnumbered: VecDeque<Message>,
    commands: VecDeque<Command>,
    notices: VecDeque<Notice>,
    catalogue_version: u32,
    rows_dropped: u64,
}

impl Session {
    /// A session that has no gateway yet.
    pub fn new(
        now: Instant,
        identity: Identity,
        drain_timeout: Duration,
        catalogue_version: u32,
    ) -> Self {
        Self {
            identity,
            runs: BTreeMap::new(),
            drain: Drain::new(drain_timeout),
            connected: false,
            down_since: now,
            gave_up: false,
            unnumbered: VecDeque::new(),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
            catalogue_version,
            rows_dropped: 0,
        }
    }

    /// The first message of a stream.
    pub fn hello(&self) -> Hello {
        let resume = self
            .runs
            .iter()
            .map(|(run, state)| state.delivery.resume(run))
            .collect();
        Hello {
            resume,
            ..self.identity.hello.clone()
        }
    }

    /// The gateway accepted the stream.
    pub fn connected(&mut self, now: Instant, welcome: &Welcome) {
        self.connected = true;
        self.gave_up = false;
        self.unnumbered.clear();
        match &welcome.fence {
            Some(fence) => self
                .drain
                .fence(now, fence.ends_in_ms.map(Duration::from_millis)),
            None => self.drain.unfence(),
        }
        let verdicts: BTreeMap<_, _> = welcome
            .resume
            .iter()
            .map(|verdict| (verdict.run.as_str(), verdict))
            .collect();
        let mut over = Vec::new();
        for (name, run) in &mut self.runs {
            match verdicts.get(name.as_str()).filter(|verdict| verdict.go_on) {
                Some(verdict) => {
                    run.delivery.acked(verdict.acked_seq);
                    run.delivery.rewind();
                }
                None => over.push(name.clone()),
            }
        }
        for name in over {
            self.forget(&name, "the gateway has ended it");
        }
        self.forget_delivered();
        if self.drain.signalled() {
            self.request_drain(now);
        }
    }

    /// The stream is gone.
    pub fn disconnected(&mut self, now: Instant) {
        if self.connected {
            self.connected = false;
            self.down_since = now;
        }
        self.unnumbered.clear();
    }

    /// SIGTERM or SIGINT; true for the first.
    pub fn signal(&mut self, now: Instant) -> bool {
        let first = self.drain.signal(now);
        if first && self.connected {
            self.request_drain(now);
        }
        first
    }

    /// A message of the signalling shards.
    pub fn from_shards(&mut self, report: Report) {
        let (Report::Events { run: name, .. }
        | Report::Rows { run: name, .. }
        | Report::RowsLost { run: name, .. }
        | Report::ShareEnded { run: name, .. }) = &report;
        // A forgotten run's last words have no reader.
        let Some(run) = self.runs.get_mut(name) else {
            return;
        };
        match report {
            Report::Events { run: name, events } => run.events(name, events),
            Report::Rows {
                run: name,
                second,
                rows,
            } => {
                self.rows_dropped += run.rows(&name, second, self.catalogue_version, rows);
            }
            Report::RowsLost { run: _, rows } => {
                self.rows_dropped += rows;
                run.delivery.lost_rows(rows);
            }
            Report::ShareEnded {
                run: _,
                group,
                first,
                calls,
            } => {
                run.share_ended(&group, first, calls);
                self.finish_ended();
            }
        }
    }

    /// Lets time pass; says whether the process may end.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        for run in self.runs.values_mut() {
            run.expire(now);
        }
        self.finish_ended();
        if !self.connected && !self.gave_up && now >= self.down_since + GATEWAY_PATIENCE {
            self.gave_up = true;
            self.stop_all(&StopCause::GatewayLost);
        }
        match self.drain.step(now, self.load()) {
            DrainStep::Wait => false,
            DrainStep::Cut => {
                self.stop_all(&StopCause::DrainDeadline);
                false
            }
            DrainStep::Exit => true,
        }
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let patience =
            (!self.connected && !self.gave_up).then(|| self.down_since + GATEWAY_PATIENCE);
        let starts = self.runs.values().filter_map(Run::start_deadline).min();
        [patience, self.drain.next_timeout(), starts]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next command to the shards.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next line for the log.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether [`Session::poll_transmit`] has a message.
    pub fn has_transmit(&self) -> bool {
        self.connected
            && (!self.unnumbered.is_empty()
                || self.runs.values().any(|run| run.delivery.has_unwritten()))
    }

    /// The next message for the stream; only while connected.
    pub fn poll_transmit(&mut self) -> Option<FromWorker> {
        if !self.connected {
            return None;
        }
        if let Some(message) = self.unnumbered.pop_front() {
            return Some(FromWorker {
                message: Some(message),
            });
        }
        self.runs
            .values_mut()
            .find_map(|run| run.delivery.write_next())
    }

    /// Ends all endpoints whose gateway will never come back.
    pub fn stop_all(&mut self, cause: &StopCause) {
        let active: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.is_active())
            .map(|(n, _)| n.clone())
            .collect();
        for name in active {
            self.stop(&name, cause);
        }
    }

    /// Endpoints assigned and not yet ended.
    pub fn active_endpoints(&self) -> u32 {
        self.runs.values().map(Run::active_endpoints).sum()
    }

    /// Runs whose endpoints still work.
    pub fn active_runs(&self) -> usize {
        self.runs.values().filter(|run| run.is_active()).count()
    }

    /// Rows waiting for the gateway's confirmation.
    pub fn rows_buffered(&self) -> usize {
        self.runs
            .values()
            .map(|run| run.delivery.rows_buffered())
            .sum()
    }

    /// Rows given up since the call before.
    pub fn take_rows_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.rows_dropped)
    }

    fn load(&self) -> Load {
        Load {
            active_runs: self.active_runs(),
            unconfirmed: self.runs.values().any(|run| !run.delivery.all_confirmed()),
            connected: self.connected,
        }
    }

    fn stop(&mut self, name: &str, cause: &StopCause) {
        if let Some(run) = self.runs.get_mut(name) {
            run.stop(cause);
            let command = Command::Stop {
                run: name.to_owned(),
                cause: cause.clone(),
            };
            self.commands.push_back(command);
        }
    }

    /// The run is over for the gateway: end its endpoints, keep nothing of it.
    fn forget(&mut self, name: &str, why: &str) {
        if let Some(run) = self.runs.remove(name) {
            if run.is_active() {
                let cause = StopCause::Requested(why.to_owned());
                self.commands.push_back(Command::Stop {
                    run: name.to_owned(),
                    cause,
                });
            }
            self.notices
                .push_back(Notice::Work(format!("run {name} dropped: {why}")));
        }
    }

    fn finish_ended(&mut self) {
        for (name, run) in &mut self.runs {
            if let Some(totals) = run.finish(name) {
                let note = format!("run {name} ended: {totals}");
                self.notices.push_back(Notice::Work(note));
            }
        }
    }

    fn forget_delivered(&mut self) {
        self.runs.retain(|_, run| !run.is_delivered());
    }

    fn request_drain(&mut self, now: Instant) {
        let ends_in_ms = self.drain.own_time_left(now).as_millis() as u64;
        let request = DrainRequest {
            reason: "SIGTERM".into(),
            ends_in_ms,
        };
        self.unnumbered.push_back(Message::DrainRequest(request));
    }
}

#[cfg(test)]
mod tests;
