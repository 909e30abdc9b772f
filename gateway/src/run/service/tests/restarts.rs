//! A gateway that dies between what it stored and what follows from it.

use super::*;

/// How far the gateway comes.
#[derive(Clone, Copy, PartialEq)]
enum Dies {
    /// The message is stored.
    BeforeItSaves,
    /// So is the run.
    BeforeItReports,
}

impl Bench {
    /// Takes the end of a run, dies before it has done all that follows, and starts again.
    async fn dies(self, when: Dies, worker: &Worker, run: &str, message: RunMessage) -> Self {
        self.shutdown.cancel();
        timeout(WITHIN, self.task).await.unwrap().unwrap().unwrap();
        let keys = Keys::load(&KeyFiles::beside(self.folder.path()), &self.store)
            .await
            .unwrap();
        let (_, inbox) = mpsc::channel(1);
        let config = RunConfig {
            store: self.store.clone(),
            seal: keys.seal.clone(),
            sessions: self.sessions.clone(),
            secrets: SecretReader::new(None),
            events: inbox,
        };
        let (_, _, mut service) = RunService::start(config).await.unwrap();
        let event = SessionEvent::Message {
            worker_id: worker.id,
            instance: INSTANCE,
            message,
        };
        service.session_event(event).await.unwrap();
        if when == Dies::BeforeItReports {
            let progress = service.runs[run].run.progress(&service.seal).unwrap();
            service.store.save_run(run, &progress).await.unwrap();
        }
        let stored = self.store.run_by_id(run).await.unwrap().unwrap();
        let over = when == Dies::BeforeItReports;
        assert_eq!((stored.stage == "over", stored.summary), (over, None));
        drop(service);
        self.store.close().await;
        Self::on(self.folder).await
    }
}

/// The worker tells its end once: confirmed it forgets the run, and unconfirmed it learns from the
/// verdict that its message is applied.
#[tokio::test]
async fn the_end_of_a_run_survives_the_gateway() {
    for (when, confirmed) in [
        (Dies::BeforeItSaves, true),
        (Dies::BeforeItSaves, false),
        (Dies::BeforeItReports, true),
        (Dies::BeforeItReports, false),
    ] {
        let bench = Bench::new().await;
        let mut worker = bench.connect(bench.record().await, vec![]).await;
        let run = bench.started(&mut worker).await;
        let ack = worker::Ack {
            run: run.clone(),
            seq: 2,
        };
        bench.tell(&worker, RunMessage::Ack(ack)).await;
        bench.sample(&worker, &run, 4, 4.4).await;
        assert_eq!(worker.acked().await, 4);
        let bench = bench.dies(when, &worker, &run, run_ended(&run, 5, 1)).await;

        let resume = worker::ResumeRun {
            run: run.clone(),
            last_applied_seq: 2,
            last_sent_seq: 5,
        };
        let resume = if confirmed { vec![] } else { vec![resume] };
        let again = bench.connect(worker.id, resume).await;
        let verdicts: Vec<_> = again
            .verdicts
            .iter()
            .map(|verdict| (verdict.go_on, verdict.acked_seq))
            .collect();
        let told: &[_] = if confirmed { &[] } else { &[(false, 5)] };
        assert_eq!(verdicts, told);
        let last = bench.over(&run).await;
        assert_eq!(
            (last.status.as_str(), last.verdict.as_str(), last.partial),
            ("COMPLETED", "Passed", false)
        );
        // What follows from the end is made up for: the ends of the endpoints, and the report.
        let ends = bench.store.outcomes(&run).await.unwrap();
        let mut ends: Vec<_> = ends
            .iter()
            .filter(|end| end.row.call == 0)
            .map(|end| end.row.endpoint)
            .collect();
        ends.sort_unstable();
        assert_eq!(ends, [0, 1]);
        assert_eq!(bench.report(&run).await["groups"][0]["mos"]["count"], 1);
    }
}

/// A run that is over lacks no more than its report, if that is what cannot be made.
#[tokio::test]
async fn a_run_that_cannot_go_on_has_failed_unless_it_was_over() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let going = bench.started(&mut worker).await;
    bench.runs.stop("default", &going, "enough").await.unwrap();
    let shown = async |run: &str| {
        let stored = bench.store.run_by_id(run).await.unwrap().unwrap();
        (stored.status, stored.reason, stored.verdict)
    };
    let unplaced = bench.submit_test("", &TEST.replace('2', "200")).await;
    let over = bench.last(&unplaced).await;
    for (run, status, reason) in [
        (&going, "FAILED", "unreadable"),
        (&unplaced, "CANNOT_RUN_FOR_NOW", over.reason.as_str()),
    ] {
        bench.store.fail_run(run, "unreadable", 1).await.unwrap();
        let wanted = (status.into(), reason.into(), "Unknown".into());
        assert_eq!(shown(run).await, wanted);
    }
}
