use callmeter_proto::fleet::ExpectResult;

use super::{
    super::decide::tests::{seen, test},
    *,
};

fn with_run() -> CallTest {
    let mut test = test();
    test.status = Some(build(
        &test,
        &seen(""),
        &Applied {
            run: Some("r1".into()),
            ..Applied::default()
        },
    ));
    test
}

fn running(change: impl FnOnce(&mut RunState)) -> Inputs {
    let mut state = RunState {
        run: "r1".into(),
        status: "RUNNING".into(),
        started_unix_ms: 1_000_000,
        groups: vec![
            GroupState {
                group: "callers".into(),
                endpoints: 20,
                ready: 20,
                in_call: 15,
                ended: 5,
                calls: 40,
                calls_succeeded: 25,
                mos: Some(4.4096),
                jitter_ms: Some(0.0571),
                loss_percent: Some(0.0),
                setup_ms: Some(12.34),
                workers: vec!["fra-aaaaaaaa".into()],
            },
            GroupState {
                group: "answerers".into(),
                endpoints: 20,
                mos: Some(4.2),
                ..GroupState::default()
            },
        ],
        ..RunState::default()
    };
    change(&mut state);
    Inputs {
        report: Report::State(Box::new(state)),
        ..seen("")
    }
}

fn condition(status: &CallTestStatus, type_: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
    (found.status.clone(), found.reason.clone())
}

#[test]
fn a_running_test() {
    insta::assert_yaml_snapshot!(build(&with_run(), &running(|_| {}), &Applied::default()));
}

#[test]
fn a_queued_test_tells_its_place_and_what_is_missing() {
    let queued = running(|state| {
        state.status = "QUEUED".into();
        state.reason = "pool demo/fra: 40 endpoints asked, 0 free".into();
        state.queue_position = 2;
        state.missing_endpoints = 40;
    });
    let status = build(&with_run(), &queued, &Applied::default());
    assert_eq!(
        (status.queue_position, status.missing_endpoints),
        (Some(2), Some(40))
    );
    assert_eq!(
        condition(&status, "Running"),
        ("False".into(), "Queued".into())
    );
}

#[test]
fn a_missed_bound_is_told_with_its_figure() {
    let failed = running(|state| {
        state.status = "COMPLETED".into();
        state.verdict = "Failed".into();
        state.expects = vec![ExpectResult {
            metric: "mos".into(),
            stat: "p05".into(),
            bound: ">= 4.5".into(),
            measured: Some(4.41),
            passed: false,
        }];
    });
    let status = build(&with_run(), &failed, &Applied::default());
    assert_eq!(
        condition(&status, "Passed"),
        ("False".into(), "ExpectationsMissed".into())
    );
    let passed = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Passed")
        .unwrap();
    assert_eq!(passed.message, "mos p05 >= 4.5: 4.410");
}

#[test]
fn warnings_of_the_gateway_are_shown() {
    let warned = running(|state| state.warnings = vec!["w".into(); 65]);
    let status = build(&with_run(), &warned, &Applied::default());
    assert_eq!(status.warnings, vec!["w"; 64]);
    let quiet = build(&with_run(), &running(|_| {}), &Applied::default());
    assert!(quiet.warnings.is_empty());
}

#[test]
fn a_partial_run_has_never_passed() {
    let partial = running(|state| {
        state.status = "COMPLETED".into();
        state.verdict = "Passed".into();
        state.partial = true;
    });
    let status = build(&with_run(), &partial, &Applied::default());
    assert_eq!(
        condition(&status, "Complete"),
        ("True".into(), "Partial".into())
    );
    assert_eq!(
        condition(&status, "Passed"),
        ("Unknown".into(), "Partial".into())
    );
}

#[test]
fn a_test_that_cannot_run_says_which_limit() {
    let cannot = running(|state| {
        state.status = "CANNOT_RUN_FOR_NOW".into();
        state.reason = "pool demo/fra: 500 endpoints asked, at most 400 (4 workers of 100)".into();
        state.groups.clear();
    });
    let status = build(&with_run(), &cannot, &Applied::default());
    assert_eq!(
        condition(&status, "Complete"),
        ("True".into(), "CannotRunForNow".into())
    );
    assert_eq!(status.endpoints, Some(40));
    assert!(status.reason.unwrap().contains("at most 400"));
}

#[test]
fn a_refusal_is_told_and_stays() {
    let mut refused = test();
    let applied = Applied {
        refused: Some("groups[0].endpoints: at most 10".into()),
        ..Applied::default()
    };
    refused.status = Some(build(&refused, &seen(""), &applied));
    let again = build(&refused, &seen(""), &Applied::default());
    assert_eq!(
        condition(&again, "Accepted"),
        ("False".into(), "Refused".into())
    );
    assert_eq!(Some(again), refused.status);
}

#[test]
fn what_is_over_does_not_change() {
    let mut done = with_run();
    let completed = running(|state| {
        state.status = "COMPLETED".into();
        state.verdict = "Passed".into();
    });
    done.status = Some(build(&done, &completed, &Applied::default()));
    assert_eq!(
        Some(build(&done, &seen(""), &Applied::default())),
        done.status
    );
    assert_eq!(
        Some(build(&done, &seen("?"), &Applied::default())),
        done.status
    );
}

#[test]
fn a_run_that_the_gateway_lost_has_failed() {
    let status = build(&with_run(), &seen("?"), &Applied::default());
    assert_eq!(
        (status.phase, status.verdict),
        (Some(RunPhase::Failed), Some(Verdict::Unknown))
    );
}

#[test]
fn a_test_that_waits_for_the_gateway_says_so() {
    let applied = Applied {
        unreachable: true,
        ..Applied::default()
    };
    let status = build(&test(), &seen(""), &applied);
    assert_eq!(
        condition(&status, "Accepted"),
        ("Unknown".into(), "GatewayUnreachable".into())
    );
}

/// A gateway that goes away while a deleted test waits tells nothing, and its wait is limited.
#[test]
fn a_deleted_test_is_looked_at_again_soon() {
    let mut test = with_run();
    let again = |test: &CallTest| resync(test, &Applied::default());
    assert_eq!(again(&test), RESYNC);
    test.metadata.deletion_timestamp = Some(Time(seen("").now));
    assert_eq!(again(&test), PERIOD);
}
