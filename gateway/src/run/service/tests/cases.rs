use std::convert::Infallible;

use super::*;

/// R104: what was sent is stored once, whatever is repeated, and the report shows it.
#[tokio::test]
async fn messages_are_stored_once_then_confirmed_and_reported() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    for (seq, mos) in [(4, 4.4), (4, 1.0), (5, 4.2)] {
        bench.sample(&worker, &run, seq, mos).await;
        assert_eq!(worker.acked().await, seq);
        assert_eq!(
            bench.store.applied_seq(&run, worker.id).await.unwrap(),
            seq,
            "stored before"
        );
    }
    // One is missing in between: not confirmed, not stored.
    bench.sample(&worker, &run, 7, 1.0).await;
    bench.ended(&worker, &run, 6, 2).await;
    assert_eq!(worker.acked().await, 6);
    let last = bench.over(&run).await;
    assert_eq!(
        (last.status.as_str(), last.verdict.as_str(), last.partial),
        ("COMPLETED", "Passed", false)
    );
    assert_eq!(
        (last.groups[0].calls, last.groups[0].mos),
        (1, Some(4.300_000_000_000_001))
    );
    assert_eq!(bench.report(&run).await["groups"][0]["mos"]["count"], 2);
}

#[tokio::test]
async fn totals_that_differ_from_the_store_make_the_run_partial() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    bench.sample(&worker, &run, 4, 4.4).await;
    bench.ended(&worker, &run, 5, 2).await;
    let last = bench.over(&run).await;
    assert_eq!(
        (last.status.as_str(), last.verdict.as_str()),
        ("COMPLETED", "Unknown")
    );
    assert_eq!(
        (
            last.partial_reasons[0].cause.as_str(),
            last.partial_reasons[0].endpoints
        ),
        ("SamplesLost", 1)
    );
}

/// Samples that arrive after their worker was given up are stored and reported; the run stays
/// partial.
#[tokio::test]
async fn what_a_lost_worker_sends_late_is_kept() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    bench
        .events
        .send(SessionEvent::Lost {
            worker_id: worker.id,
            instance: INSTANCE,
        })
        .await
        .unwrap();
    let last = bench.over(&run).await;
    assert_eq!(
        (last.status.as_str(), last.partial_reasons[0].cause.as_str()),
        ("FAILED", "WorkerLost")
    );
    assert!(bench.report(&run).await["groups"][0].get("mos").is_none());

    let resume = worker::ResumeRun {
        run: run.clone(),
        last_applied_seq: 2,
        last_sent_seq: 5,
    };
    let mut worker = bench.connect(worker.id, vec![resume]).await;
    let [verdict] = worker.verdicts.as_slice() else {
        panic!("{:?}", worker.verdicts)
    };
    assert_eq!((verdict.go_on, verdict.acked_seq), (false, 3));
    bench.sample(&worker, &run, 4, 4.4).await;
    assert_eq!(worker.acked().await, 4);
    bench.ended(&worker, &run, 5, 1).await;
    assert_eq!(worker.acked().await, 5);
    let report = bench.report(&run).await;
    assert_eq!(report["groups"][0]["mos"]["count"], 1);
    assert_eq!(
        (&report["status"], &report["partial"], &report["verdict"]),
        (&"FAILED".into(), &true.into(), &"Unknown".into())
    );
}

/// R94
#[tokio::test]
async fn a_run_goes_on_after_a_restart_with_what_was_stored() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    bench.sample(&worker, &run, 4, 4.4).await;
    assert_eq!(worker.acked().await, 4);
    let bench = bench.restart().await;

    let resume = worker::ResumeRun {
        run: run.clone(),
        last_applied_seq: 1,
        last_sent_seq: 6,
    };
    let mut worker = bench.connect(worker.id, vec![resume]).await;
    let [verdict] = worker.verdicts.as_slice() else {
        panic!("{:?}", worker.verdicts)
    };
    assert_eq!((verdict.go_on, verdict.acked_seq), (true, 4));
    // Start was never confirmed: it comes again.
    assert!(matches!(
        worker.next().await,
        Message::Start(worker::Start { seq: 2, .. })
    ));
    bench.sample(&worker, &run, 5, 4.2).await;
    bench.ended(&worker, &run, 6, 2).await;
    let last = bench.over(&run).await;
    assert_eq!(
        (last.status.as_str(), last.verdict.as_str()),
        ("COMPLETED", "Passed")
    );
    assert_eq!(bench.report(&run).await["groups"][0]["mos"]["count"], 2);
}

#[tokio::test]
async fn a_run_nobody_knows_is_forgotten_by_the_worker_that_asks() {
    let bench = Bench::new().await;
    let resume = worker::ResumeRun {
        run: "unknown".into(),
        last_applied_seq: 2,
        last_sent_seq: 9,
    };
    let mut worker = bench.connect(bench.record().await, vec![resume]).await;
    let verdict = worker::ResumeVerdict {
        run: "unknown".into(),
        go_on: false,
        acked_seq: 9,
    };
    assert_eq!(worker.verdicts, [verdict]);
    bench.sample(&worker, "unknown", 10, 1.0).await;
    assert_eq!(worker.acked().await, 10);
}

/// Loads are told as they are after everything before, and demand names the pool that is asked.
#[tokio::test]
async fn loads_and_demand_are_published() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    let ended = worker::EndpointEnded {
        outcome: Outcome::Success.into(),
        detail: String::new(),
    };
    bench
        .event(&worker, &run, 4, 0, 0, What::Ended(ended))
        .await;
    let (reply, load) = oneshot::channel();
    bench
        .events
        .send(SessionEvent::ReadLoad {
            worker_id: worker.id,
            reply,
        })
        .await
        .unwrap();
    assert_eq!(
        timeout(WITHIN, load).await.unwrap().unwrap(),
        Load {
            active: 1,
            reserved: 0
        }
    );
    assert_eq!(bench.runs.loads().borrow()[&worker.id].active, 1);

    let pool = PoolRegistration {
        organisation: "default".into(),
        key: "demo/fra".into(),
        project: String::new(),
        region: String::new(),
        labels: BTreeMap::new(),
        endpoints_per_worker: 25,
        max_workers: 2,
        live_workers: 0,
    };
    bench.runs.upsert_pool(pool).await.unwrap();
    let test = TEST.replace(r#""role""#, r#""placement": {"pool": "demo/fra"}, "role""#);
    let submit = |test: String| SubmitRun {
        organisation: "default".into(),
        key: "uid".into(),
        project: String::new(),
        namespace: "demo".into(),
        name: String::new(),
        definition_json: callmeter_proto::Secret::new(test),
    };
    let queued = bench.runs.submit(submit(test.clone())).await.unwrap();
    assert_eq!(
        bench.runs.submit(submit(test)).await.unwrap(),
        queued,
        "the same key, the same run"
    );
    let mut demand = bench.runs.demand();
    let key = ("default".to_owned(), "demo/fra".to_owned());
    let told = timeout(
        WITHIN,
        demand.wait_for(|d| d.get(&key).is_some_and(|d| d.queued_endpoints > 0)),
    );
    let of_pool = told.await.unwrap().unwrap()[&key].clone();
    assert_eq!((of_pool.queued_endpoints, of_pool.active_endpoints), (2, 0));
    assert_eq!(of_pool.runs, std::slice::from_ref(&queued));
    bench.runs.stop("default", &queued, "enough").await.unwrap();
    let told = timeout(
        WITHIN,
        demand.wait_for(|d| d.get(&key).is_some_and(|d| d.queued_endpoints == 0)),
    );
    told.await.unwrap().unwrap();
}

/// Whether a call completed is stored as its worker tells; of one that does not tell, a success did.
#[tokio::test]
async fn completed_calls_are_stored_as_told() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    for (seq, call, completed) in [(4, 2, true), (5, 3, false)] {
        let end = worker::CallEnded {
            outcome: Outcome::CompletedWithWarnings.into(),
            completed: Some(completed),
            ..Default::default()
        };
        bench
            .event(&worker, &run, seq, 0, call, What::CallEnded(end))
            .await;
        assert_eq!(worker.acked().await, seq);
    }
    let stored = bench.store.outcomes(&run).await.unwrap();
    let told: Vec<_> = stored
        .iter()
        .map(|stored| (stored.row.call, stored.row.completed))
        .collect();
    assert_eq!(told, [(1, true), (2, true), (3, false)]);
}

/// What a Secret holds is of users: what the reader cannot cope with ends the run, not the gateway.
#[tokio::test]
async fn a_panic_while_secrets_are_read_ends_the_run() {
    type Response = http::Response<kube::client::Body>;
    async fn answer(_: http::Request<kube::client::Body>) -> Result<Response, Infallible> {
        panic!("planted")
    }
    let reader = SecretReader::new(Some(kube::Client::new(
        tower::service_fn(answer),
        "gateway",
    )));
    let bench = Bench::with(tempfile::tempdir().unwrap(), reader).await;
    let _worker = bench.connect(bench.record().await, vec![]).await;
    let accounts =
        r#""registrar": {"domain": "pbx"}, "accounts": {"secretRef": {"name": "sip"}}, "role""#;
    let test = TEST.replace(r#""role""#, accounts);
    let run = bench.submit_test("demo", &test).await;
    let last = bench.last(&run).await;
    assert_eq!(
        (last.status.as_str(), last.reason.as_str()),
        ("CANNOT_RUN_FOR_NOW", READER_FAILED)
    );
    assert!(!bench.task.is_finished());
}
