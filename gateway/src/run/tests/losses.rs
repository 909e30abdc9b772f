use super::*;

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
    bench.run_ended(2, "callers", &worker::RunEnded::default(), 0);
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
    bench.run_ended(2, "callers", &worker::RunEnded::default(), 0);
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
        bench.run_ended(1, "answerers", &worker::RunEnded::default(), 0);
        bench.run_ended(2, "callers", &ended, differ);
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
        |b| b.run_ended(2, "callers", &worker::RunEnded::default(), 1),
        |b| b.run.stop("enough", b.now),
        |b| b.run_ended(1, "answerers", &worker::RunEnded::default(), 0),
    ];
    let mut bench = Bench::dispatched(TEST);
    for (n, step) in steps.iter().enumerate() {
        step(&mut bench);
        bench.drain();
        let mut restored = bench.restarted();
        restored.resume(&[], bench.now);
        assert_eq!(restored.status(), bench.run.status(), "step {n}");
        assert_eq!(restored.links, bench.run.links, "step {n}");
        assert_eq!(restored.endpoints, bench.run.endpoints, "step {n}");
        assert_eq!(
            (&restored.partial, &restored.shares),
            (&bench.run.partial, &bench.run.shares),
            "step {n}"
        );
        assert_eq!(restored.loads(), bench.run.loads(), "step {n}");
        // Of a run that is over only one without a report is restored.
        let report = restored.status().is_final().then_some(Output::Over);
        assert_eq!(
            restored.poll_output(),
            report,
            "step {n}: nothing is done twice"
        );
        assert_eq!(restored.poll_output(), None, "step {n}");
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
    half.resume(&[], bench.now);
    assert_eq!(half.poll_output(), Some(Output::Save));
    let Some(Output::Send {
        worker, message, ..
    }) = half.poll_output()
    else {
        panic!()
    };
    assert!(worker == id(2) && matches!(message.message, Some(Message::Assign(_))));
}

/// The end of a worker's part is stored before the ends of its endpoints: those are made up for.
#[test]
fn a_restart_between_the_end_of_a_part_and_its_endpoints_ends_them() {
    let mut bench = Bench::started(TEST);
    bench.event(2, "callers", 0, 1, What::Phase(Phase::Incall.into()));
    bench.run.lost(id(2), INSTANCE, bench.now);
    let ends = std::mem::take(&mut bench.run.outputs)
        .into_iter()
        .find(|output| matches!(output, Output::Outcomes(_)));
    for endpoint in &mut bench.run.endpoints[1] {
        endpoint.ended = None;
    }
    bench.run.endpoints[1][0].phase = Phase::Incall;
    let mut half = bench.restarted();
    half.resume(&[], bench.now);
    assert_eq!(half.poll_output(), ends);
    assert!(half.endpoints[1].iter().all(|e| e.ended.is_some()));
}
