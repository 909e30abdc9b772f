//! A worker that says what it should not: nothing of it panics, takes memory, reaches another
//! worker's endpoints, or passes for a whole measurement.

use super::*;

fn share(count: u32, rows: Vec<u64>) -> worker::ShareTotals {
    worker::ShareTotals {
        group: "g".into(),
        first: 0,
        count,
        calls: vec![worker::OutcomeCount {
            outcome: Outcome::Success.into(),
            calls: 1,
        }],
        rows_per_endpoint: rows,
    }
}

fn ended(run: &str, seq: u64, shares: Vec<worker::ShareTotals>) -> RunMessage {
    RunMessage::RunEnded(worker::RunEnded {
        seq,
        run: run.into(),
        shares,
        ..Default::default()
    })
}

/// Totals that leave out what the worker had, or are of something else: the run is partial.
#[tokio::test]
async fn totals_that_do_not_account_for_a_share_make_the_run_partial() {
    let many = worker::OutcomeCount {
        outcome: 77,
        calls: u64::MAX,
    };
    let cases: Vec<(&str, Vec<worker::ShareTotals>)> = vec![
        ("nothing", vec![]),
        ("too few endpoints", vec![share(1, vec![0])]),
        ("fewer rows than endpoints", vec![share(2, vec![0])]),
        (
            "more endpoints than there are",
            vec![share(u32::MAX, vec![])],
        ),
        (
            "another group",
            vec![worker::ShareTotals {
                group: "other".into(),
                ..share(2, vec![0, 0])
            }],
        ),
        (
            "another beginning",
            vec![worker::ShareTotals {
                first: u32::MAX,
                ..share(2, vec![0, 0])
            }],
        ),
        (
            "calls beyond counting",
            vec![worker::ShareTotals {
                calls: vec![many; 3],
                ..share(2, vec![0, 0])
            }],
        ),
    ];
    for (what, shares) in cases {
        let bench = Bench::new().await;
        let mut worker = bench.connect(bench.record().await, vec![]).await;
        let run = bench.started(&mut worker).await;
        bench.tell(&worker, ended(&run, 4, shares)).await;
        assert_eq!(worker.acked().await, 4, "{what}");
        let last = bench.over(&run).await;
        assert_eq!(
            (last.status.as_str(), last.verdict.as_str(), last.partial),
            ("COMPLETED", "Unknown", true),
            "{what}"
        );
        let causes: Vec<_> = last
            .partial_reasons
            .iter()
            .map(|reason| reason.cause.as_str())
            .collect();
        assert_eq!(causes, ["SamplesLost"], "{what}");
    }
}

/// Rows of endpoints that are not the worker's, of no second of the run or of no direction are not
/// stored; the worker's own totals then tell that something is missing.
#[tokio::test]
async fn rows_of_nothing_are_not_stored() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    let value = |metric, value| worker::MetricValue { metric, value };
    let mos = callmeter_metrics::id::MOS.0;
    let good = worker::SampleRow {
        group: "g".into(),
        direction: Direction::Recv.into(),
        call: 1,
        values: vec![value(mos, 4.4), value(mos, f64::NAN), value(u32::MAX, 1.0)],
        ..Default::default()
    };
    let row = |group: &str, endpoint, direction| worker::SampleRow {
        group: group.into(),
        endpoint,
        direction,
        ..good.clone()
    };
    let recv: i32 = Direction::Recv.into();
    let rows = vec![
        good.clone(),
        row("g", 2, recv),
        row("g", u32::MAX, recv),
        row("other", 0, recv),
        row("", 0, recv),
        row("g", 0, 0),
        row("g", 0, 77),
        row("g", 0, -1),
    ];
    let samples = |seq, second, rows| {
        RunMessage::Samples(worker::Samples {
            seq,
            run: run.clone(),
            second,
            catalogue_version: u32::MAX,
            rows,
        })
    };
    bench.tell(&worker, samples(4, 1, rows)).await;
    assert_eq!(worker.acked().await, 4);
    bench
        .tell(&worker, samples(5, u32::MAX, vec![good.clone()]))
        .await;
    assert_eq!(worker.acked().await, 5);
    let (stored, _) = bench.store.read_samples(&run, "g", 0, 100).await.unwrap();
    assert_eq!(stored.len(), 1, "{stored:?}");
    bench.ended(&worker, &run, 6, 9).await;
    let last = bench.over(&run).await;
    assert_eq!(
        (last.verdict.as_str(), last.partial, last.groups[0].mos),
        ("Unknown", true, Some(4.4))
    );
}

/// Events of endpoints that are not the worker's, with unknown enumerations and texts without end.
#[tokio::test]
async fn events_out_of_range_change_nothing_and_texts_are_cut() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    let long = "ü".repeat(100_000);
    let call_ended = |outcome, detail: &str| {
        What::CallEnded(worker::CallEnded {
            outcome,
            sip_status: u32::MAX,
            detail: detail.into(),
            outgoing: false,
            completed: None,
        })
    };
    let event = |group: &str, endpoint, call, what| worker::EndpointEvent {
        group: group.into(),
        endpoint,
        call,
        what,
        at_us: u64::MAX,
    };
    let ready = |contact: &str| {
        Some(What::Ready(worker::Ready {
            contact: contact.into(),
            aor: String::new(),
        }))
    };
    let events = vec![
        event("g", u32::MAX, 1, Some(call_ended(1, ""))),
        event("other", 0, 1, Some(call_ended(1, ""))),
        event("g", 1, 0, None),
        event("g", 1, u32::MAX, Some(What::Phase(77))),
        event("g", 1, 2, Some(call_ended(77, &long))),
        event("g", 1, 0, ready(&format!("sip:{long}"))),
        event("g", 1, 0, ready("sip:a@b\r\nContact: c")),
    ];
    let events = worker::EndpointEvents {
        seq: 4,
        run: run.clone(),
        events,
    };
    bench.tell(&worker, RunMessage::Events(events)).await;
    assert_eq!(worker.acked().await, 4);
    let stored = bench.store.outcomes(&run).await.unwrap();
    let cut = stored
        .iter()
        .find(|stored| stored.row.call == 2)
        .expect("the call of endpoint 1");
    assert_eq!(cut.row.outcome, Outcome::Unspecified);
    assert_eq!(cut.row.detail.len(), 512);
    assert_eq!(
        stored.len(),
        2,
        "call 1 of endpoint 0, call 2 of endpoint 1"
    );
    let endpoints = bench.store.endpoints(&run).await.unwrap();
    let reachable = endpoints.iter().filter_map(|row| row.state.ready.as_ref());
    assert!(
        reachable.clone().count() == 2 && reachable.clone().all(|ready| ready.contact.is_empty()),
        "{endpoints:?}"
    );
}

/// Numbers at their ends, and messages about runs that are not the worker's.
#[tokio::test]
async fn numbers_at_their_ends_and_foreign_runs_are_survived() {
    let bench = Bench::new().await;
    let mut worker = bench.connect(bench.record().await, vec![]).await;
    let run = bench.started(&mut worker).await;
    for (run, seq) in [(run.as_str(), u64::MAX), ("nowhere", 7), ("", 0)] {
        bench
            .tell(
                &worker,
                RunMessage::Ack(worker::Ack {
                    run: run.into(),
                    seq,
                }),
            )
            .await;
    }
    // A number far ahead is a gap: neither stored nor confirmed.
    bench.sample(&worker, &run, u64::MAX, 1.0).await;
    // A run it has no part in is confirmed, so that it is forgotten, and not stored.
    bench.sample(&worker, "nowhere", 7, 1.0).await;
    assert_eq!(worker.acked().await, 7);
    bench.sample(&worker, &run, 4, 4.4).await;
    assert_eq!(worker.acked().await, 4);
    bench.ended(&worker, &run, 5, 1).await;
    let last = bench.over(&run).await;
    assert_eq!((last.verdict.as_str(), last.partial), ("Passed", false));
}
