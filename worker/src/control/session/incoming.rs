//! What the gateway says on an accepted stream: each message is applied once and confirmed.

use std::time::{Duration, Instant};

use callmeter_proto::worker::{Ack, Assign, from_worker::Message, to_worker};

use super::{Notice, Session, run::Run};
use crate::{
    control::delivery::Incoming,
    signalling::{Command, StopCause},
};

impl Session {
    /// A message of an accepted stream.
    pub fn from_gateway(&mut self, now: Instant, message: to_worker::Message) {
        use to_worker::Message as Down;
        match message {
            Down::Assign(assign) => self.assign(now, assign),
            Down::Start(start) => {
                if self.apply(&start.run, start.seq) {
                    if let Some(run) = self.runs.get_mut(&start.run) {
                        run.start();
                    }
                    let command = Command::Start {
                        run: start.run.clone(),
                        peers: start.peers,
                    };
                    self.commands.push_back(command);
                }
                self.confirm(&start.run, start.seq);
                self.finish_ended();
            }
            Down::Stop(stop) => {
                if self.apply(&stop.run, stop.seq) {
                    self.stop(&stop.run, &StopCause::Requested(stop.reason));
                }
                self.confirm(&stop.run, stop.seq);
                self.finish_ended();
            }
            Down::Fence(fence) => {
                self.drain
                    .fence(now, fence.ends_in_ms.map(Duration::from_millis));
                let left = fence
                    .ends_in_ms
                    .map_or_else(|| "none".into(), |ms| format!("{} s", ms / 1000));
                let note = format!("fenced ({}), deadline {left}", fence.reason);
                self.notices.push_back(Notice::Work(note));
            }
            Down::Unfence(_) => {
                self.drain.unfence();
                self.notices.push_back(Notice::Work("fence lifted".into()));
            }
            Down::Ack(ack) => {
                if let Some(run) = self.runs.get_mut(&ack.run) {
                    run.delivery.acked(ack.seq);
                }
                self.forget_delivered();
            }
            Down::Welcome(_) => self.ignore("a second Welcome".into()),
            // Answers to heartbeats and the end of the stream are the link's business.
            Down::HeartbeatAck(_) | Down::Close(_) => {}
        }
    }

    fn assign(&mut self, now: Instant, assign: Assign) {
        let (name, seq) = (assign.run.clone(), assign.seq);
        if !self.runs.contains_key(&name) && seq != 1 {
            self.ignore(format!(
                "assignment {seq} of run {name}, which is not known"
            ));
            return;
        }
        let fresh = || Run::new(now);
        let run = self.runs.entry(name.clone()).or_insert_with(fresh);
        if run.delivery.incoming(seq) == Incoming::Apply {
            let Assign { group, count, .. } = &assign;
            if let Some(problem) = run.refusal(&assign) {
                let note = format!("assignment {seq} of run {name}: group {group}: {problem}");
                self.notices.push_back(Notice::Ignored(note));
            } else {
                let note = format!("run {name}: group {group} assigned, {count} endpoints");
                self.notices.push_back(Notice::Work(note));
                run.assign(now, &assign);
                self.commands.push_back(Command::Assign(Box::new(assign)));
            }
        }
        self.confirm(&name, seq);
    }

    fn apply(&mut self, name: &str, seq: u64) -> bool {
        let Some(run) = self.runs.get_mut(name) else {
            self.ignore(format!("message {seq} of run {name}, which is not known"));
            return false;
        };
        match run.delivery.incoming(seq) {
            Incoming::Apply => true,
            Incoming::Duplicate => false,
            Incoming::Gap => {
                let note = format!("message {seq} of run {name}: an earlier one is missing");
                self.ignore(note);
                false
            }
        }
    }

    /// Confirms what is applied; a message of an unknown run is confirmed, else it comes for ever.
    fn confirm(&mut self, name: &str, seq: u64) {
        let seq = self
            .runs
            .get(name)
            .map_or(seq, |run| run.delivery.applied());
        self.unnumbered.push_back(Message::Ack(Ack {
            run: name.to_owned(),
            seq,
        }));
    }

    fn ignore(&mut self, what: String) {
        self.notices.push_back(Notice::Ignored(what));
    }
}
