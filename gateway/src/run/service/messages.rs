//! What the session layer tells: connections, losses, and the workers' messages about runs.

use callmeter_proto::worker::{self, ResumeRun, ResumeVerdict, ToWorker, to_worker};

use super::{RunService, RunServiceError, screen};
use crate::link::{InstanceId, RunMessage, SessionEvent, WorkerId, WorkerInfo};
use crate::run::{OutcomeRow, Run};
use crate::sessions;
use crate::store::{
    Applied, EndpointRow, SampleRow, StoredOutcome, insert_samples, put_endpoints, put_outcomes,
    put_progress,
};

/// Where a message came from and which it is.
pub(super) struct Numbered<'a> {
    pub(super) run: &'a str,
    pub(super) worker: WorkerId,
    pub(super) instance: InstanceId,
    pub(super) seq: u64,
}

/// What is stored of one message.
#[derive(Default)]
struct Effect {
    endpoints: Vec<EndpointRow>,
    outcomes: Vec<StoredOutcome>,
    samples: Vec<SampleRow>,
}

impl RunService {
    pub(super) async fn session_event(
        &mut self,
        event: SessionEvent,
    ) -> Result<(), RunServiceError> {
        match event {
            SessionEvent::Connected {
                worker,
                resume,
                reply,
            } => {
                let verdicts = self.connected(&worker, &resume).await?;
                // A stream that is gone again asks anew when it comes back.
                let _ = reply.send(verdicts);
                self.schedule = true;
            }
            SessionEvent::Message {
                worker_id,
                instance,
                message,
            } => {
                self.message(worker_id, instance, message).await?;
            }
            SessionEvent::Changed { worker } => {
                if !worker.takes_work() {
                    self.each_run_of(worker.id, |run| run.unplace(worker.id));
                }
                self.schedule = true;
            }
            SessionEvent::ReadLoad { worker_id, reply } => {
                self.publish_loads();
                let load = self
                    .loads
                    .borrow()
                    .get(&worker_id)
                    .copied()
                    .unwrap_or_default();
                // Who asked is gone: nobody needs the answer.
                let _ = reply.send(load);
            }
            SessionEvent::Lost {
                worker_id,
                instance,
            } => {
                let now = sessions::now();
                self.each_run_of(worker_id, |run| run.lost(worker_id, instance, now));
                self.schedule = true;
            }
        }
        Ok(())
    }

    fn each_run_of(&mut self, worker: WorkerId, mut what: impl FnMut(&mut Run)) {
        for (id, entry) in &mut self.runs {
            if entry.run.loads().contains_key(&worker)
                || entry.run.carriers().any(|(w, _)| w == worker)
            {
                what(&mut entry.run);
                self.touched.insert(id.clone());
            }
        }
    }

    async fn connected(
        &mut self,
        worker: &WorkerInfo,
        resume: &[ResumeRun],
    ) -> Result<Vec<ResumeVerdict>, RunServiceError> {
        let Some(instance) = worker.instance else {
            return Ok(Vec::new());
        };
        let now = sessions::now();
        let mut verdicts = Vec::new();
        for (id, entry) in &mut self.runs {
            let of_run = resume.iter().find(|r| r.run == *id);
            if let Some(verdict) = entry.run.connected(worker.id, instance, of_run, now) {
                verdicts.push(verdict);
            }
            self.touched.insert(id.clone());
        }
        for resumed in resume {
            if verdicts.iter().any(|v| v.run == resumed.run) {
                continue;
            }
            // Over or unknown. What is missing of a run of ours is still taken; of any other
            // everything is confirmed unread, so that the worker forgets it.
            let ours = self.part_of(&resumed.run, worker.id, instance).await?;
            let acked_seq = if ours {
                self.store.applied_seq(&resumed.run, worker.id).await?
            } else {
                resumed.last_sent_seq
            };
            verdicts.push(ResumeVerdict {
                run: resumed.run.clone(),
                go_on: false,
                acked_seq,
            });
        }
        Ok(verdicts)
    }

    /// Whether a process carried a part of a run.
    async fn part_of(
        &self,
        run: &str,
        worker: WorkerId,
        instance: InstanceId,
    ) -> Result<bool, RunServiceError> {
        if let Some(entry) = self.runs.get(run) {
            return Ok(entry.run.applied(worker, instance).is_some());
        }
        let links = self.store.links(run).await?;
        Ok(links
            .iter()
            .any(|link| link.worker == worker && link.instance == instance))
    }

    async fn message(
        &mut self,
        worker: WorkerId,
        instance: InstanceId,
        mut message: RunMessage,
    ) -> Result<(), RunServiceError> {
        screen::bound_texts(&mut message);
        let (run, seq) = match &message {
            RunMessage::Ack(ack) => {
                if let Some(entry) = self.runs.get_mut(&ack.run) {
                    entry.run.confirmed(worker, instance, ack.seq);
                    self.touched.insert(ack.run.clone());
                }
                return Ok(());
            }
            RunMessage::Events(events) => (events.run.clone(), events.seq),
            RunMessage::Samples(samples) => (samples.run.clone(), samples.seq),
            RunMessage::RunEnded(ended) => (ended.run.clone(), ended.seq),
        };
        let from = Numbered {
            run: &run,
            worker,
            instance,
            seq,
        };
        if !self.part_of(&run, worker, instance).await? {
            tracing::warn!(%worker, run, "message about a run this process has no part in");
            self.acknowledge(&from);
            return Ok(());
        }
        let ended = match &message {
            RunMessage::RunEnded(ended) => Some((ended, self.losses(&from, ended).await?)),
            _ => None,
        };
        match self.store.apply(&run, worker, seq).await? {
            Applied::Duplicate => {}
            Applied::Gap { expected } => {
                tracing::error!(%worker, run, seq, expected, "messages of a worker are missing");
                return Ok(());
            }
            Applied::Next(mut tx) => {
                let effect = self.effect(&from, &message);
                put_endpoints(&mut tx, &run, &effect.endpoints).await?;
                put_outcomes(&mut tx, &run, &effect.outcomes).await?;
                insert_samples(&mut tx, &run, worker, &effect.samples).await?;
                if let Some((ended, losses)) = &ended
                    && let Some(progress) = self.run_ended(&from, ended, losses)?
                {
                    put_progress(&mut tx, &run, &progress).await?;
                }
                tx.commit()
                    .await
                    .map_err(crate::store::attempt("commit a message of a worker"))?;
                if ended.is_some() && !self.runs.contains_key(&run) {
                    self.report_again(&run).await?;
                }
            }
        }
        self.acknowledge(&from);
        Ok(())
    }

    /// Gives a message to its run; what is answered is stored before anything comes of it.
    fn effect(&mut self, from: &Numbered<'_>, message: &RunMessage) -> Effect {
        let mut effect = Effect::default();
        let mut samples = match message {
            RunMessage::Samples(samples) => screen::sample_rows(samples),
            _ => Vec::new(),
        };
        let Some(entry) = self.runs.get_mut(from.run) else {
            effect.samples = samples;
            return effect;
        };
        let refused = screen::refuse_foreign(&mut samples, &entry.run, from.worker);
        if refused > 0 {
            // Its totals count them, so that the run becomes partial.
            tracing::warn!(
                worker = %from.worker, run = from.run, rows = refused,
                "rows of no endpoint of this worker, or of no second of this run, are refused"
            );
        }
        let late = !entry.run.carriers().any(|(w, _)| w == from.worker);
        entry.late |= late;
        match message {
            RunMessage::Events(events) => {
                let mut rows = entry.run.outcomes_of(from.worker, events);
                if late {
                    // The endpoints ended with the loss of their worker; calls that did end count.
                    rows.retain(|row| row.call > 0);
                    entry.run.applied_samples(from.worker, events.seq);
                } else {
                    entry.results.add_outcomes(&rows);
                    for (group, endpoint) in
                        entry.run.apply_events(from.worker, events, sessions::now())
                    {
                        effect
                            .endpoints
                            .push(entry.run.endpoint_row(group, endpoint));
                    }
                }
                let name = |row: OutcomeRow| StoredOutcome {
                    group: entry.run.test().groups[row.group].name.clone(),
                    row,
                };
                effect.outcomes = rows.into_iter().map(name).collect();
                // Ended endpoints free their slots.
                self.schedule |= !effect.outcomes.is_empty();
            }
            RunMessage::Samples(message) => {
                entry.run.applied_samples(from.worker, message.seq);
                if !late {
                    for (index, group) in entry.run.test().groups.iter().enumerate() {
                        entry
                            .results
                            .add_samples(index, samples.iter().filter(|r| r.group == group.name));
                    }
                }
                effect.samples = samples;
            }
            RunMessage::RunEnded(_) | RunMessage::Ack(_) => {}
        }
        self.touched.insert(from.run.to_owned());
        effect
    }

    fn acknowledge(&self, of: &Numbered<'_>) {
        let ack = worker::Ack {
            run: of.run.to_owned(),
            seq: of.seq,
        };
        let message = ToWorker {
            message: Some(to_worker::Message::Ack(ack)),
        };
        // Not confirmed it is sent again, and confirmed then.
        let _ = self.sessions.send(of.worker, of.instance, message);
    }
}
