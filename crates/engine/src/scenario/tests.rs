use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[expect(clippy::disallowed_methods, reason = "any point in time will do")]
fn origin() -> Instant {
    Instant::now()
}

fn at(s: u64, action: Action) -> Step {
    Step {
        when: When::At(secs(s)),
        action,
    }
}

fn on(when: When, action: Action) -> Step {
    Step { when, action }
}

fn scenario(steps: Vec<Step>) -> Scenario {
    Scenario::new(steps).unwrap()
}

fn ends(executed: u64, failed: u64) -> Ends {
    Ends { executed, failed }
}

#[test]
fn steps_of_a_time_run_one_after_the_other() {
    let start = origin();
    let script = scenario(vec![at(5, Action::Resume), at(2, Action::Hold)]);
    let mut progress = Progress::new(start);
    assert_eq!(progress.next_timeout(&script), Some(start + secs(2)));
    assert_eq!(progress.poll(&script, start + secs(1)), None);
    assert_eq!(progress.poll(&script, start + secs(2)), Some(&Action::Hold));
    assert_eq!(progress.running(&script), Some(&Action::Hold));
    // The hold is not answered yet: the resume waits for it.
    assert_eq!(progress.next_timeout(&script), Some(start + secs(5)));
    assert_eq!(progress.poll(&script, start + secs(5)), None);
    progress.finished(&script, true);
    assert_eq!(
        progress.poll(&script, start + secs(6)),
        Some(&Action::Resume)
    );
    progress.finished(&script, false);
    assert_eq!(progress.poll(&script, start + secs(60)), None);
    assert_eq!(progress.next_timeout(&script), None);
    assert_eq!(progress.take_tally().timed, ends(1, 1));
    progress.close(&script);
    assert_eq!(progress.take_tally(), Tally::default(), "told once");
}

/// Late by a lot, steps still come in the order of their times.
#[test]
fn a_late_poll_keeps_the_order() {
    let start = origin();
    let script = scenario(vec![
        at(3, Action::MediaUpdate),
        at(1, Action::Hold),
        at(2, Action::Resume),
    ]);
    let mut progress = Progress::new(start);
    for action in [Action::Hold, Action::Resume, Action::MediaUpdate] {
        assert_eq!(progress.poll(&script, start + secs(9)), Some(&action));
        progress.finished(&script, true);
    }
}

#[test]
fn an_event_counts_once_and_digits_are_filtered() {
    let start = origin();
    let script = scenario(vec![
        on(When::DtmfReceived("5#".into()), Action::Hold),
        on(When::DtmfReceived(String::new()), Action::MediaUpdate),
        on(When::HoldReceived, Action::ReRegister),
    ]);
    let mut progress = Progress::new(start);
    progress.happened(&script, Event::ResumeReceived);
    assert_eq!(progress.poll(&script, start), None);
    progress.happened(&script, Event::DtmfReceived('4'));
    assert_eq!(progress.poll(&script, start), Some(&Action::MediaUpdate));
    progress.finished(&script, true);
    progress.happened(&script, Event::DtmfReceived('#'));
    assert_eq!(progress.poll(&script, start), Some(&Action::Hold));
    progress.finished(&script, true);
    progress.happened(&script, Event::DtmfReceived('5'));
    assert_eq!(progress.poll(&script, start), None, "each at most once");
    progress.happened(&script, Event::HoldReceived);
    assert_eq!(progress.poll(&script, start), Some(&Action::ReRegister));
    progress.finished(&script, true);
    assert_eq!(progress.take_tally().on_event, ends(3, 0));
}

#[test]
fn an_action_that_does_not_end_has_failed_and_holds_up_nothing() {
    let start = origin();
    let transfer = Action::Transfer {
        to: "sip:c@example.org".parse().unwrap(),
        attended: false,
    };
    for (action, patience) in [(Action::Hold, PATIENCE), (transfer, TRANSFER_PATIENCE)] {
        let script = scenario(vec![at(1, action.clone()), at(2, Action::Resume)]);
        let mut progress = Progress::new(start);
        assert_eq!(progress.poll(&script, start + secs(1)), Some(&action));
        assert_eq!(progress.poll(&script, start + secs(2)), None);
        let due = start + secs(1) + patience;
        assert_eq!(progress.next_timeout(&script), Some(due));
        assert_eq!(progress.poll(&script, due), Some(&Action::Resume));
        assert_eq!(progress.take_tally().timed, ends(0, 1));
    }
}

#[test]
fn hanging_up_waits_for_nothing() {
    let start = origin();
    let script = scenario(vec![
        at(1, Action::Hold),
        at(2, Action::Resume),
        at(3, Action::HangUp),
    ]);
    let mut progress = Progress::new(start);
    assert_eq!(progress.poll(&script, start + secs(1)), Some(&Action::Hold));
    assert_eq!(
        progress.poll(&script, start + secs(3)),
        Some(&Action::HangUp)
    );
    progress.finished(&script, true);
    progress.close(&script);
    // The hold had no answer, the resume never ran.
    assert_eq!(progress.take_tally().timed, ends(1, 2));
}

#[test]
fn what_never_ran_has_failed() {
    let start = origin();
    let script = scenario(vec![
        at(1, Action::Hold),
        at(60, Action::Resume),
        on(When::InfoReceived, Action::HangUp),
        on(When::ResumeReceived, Action::MediaUpdate),
    ]);
    let mut progress = Progress::new(start);
    assert_eq!(progress.poll(&script, start + secs(1)), Some(&Action::Hold));
    progress.finished(&script, true);
    progress.close(&script);
    let tally = progress.take_tally();
    assert_eq!((tally.timed, tally.on_event), (ends(1, 1), ends(0, 2)));
    assert_eq!(progress.next_timeout(&script), None);

    let none = Tally::none_ran(&script);
    assert_eq!((none.timed, none.on_event), (ends(0, 2), ends(0, 2)));
}

#[test]
fn wrong_scenarios_are_refused_by_field() {
    let steps = |n| vec![at(1, Action::Hold); n];
    assert!(Scenario::new(steps(30)).is_ok());
    let send = |digits: &str| vec![at(1, Action::SendDtmf(digits.to_owned()))];
    let filter = |digits: &str| vec![on(When::DtmfReceived(digits.into()), Action::Hold)];
    assert!(Scenario::new(send("0123456789ABCD*#")).is_ok());
    for (steps, expected) in [
        (
            steps(31),
            r#"scenario is "31"; accepted: at most 30 actions"#,
        ),
        (send(""), r#"scenario[0].digits is """#),
        (send("12a"), r#"scenario[0].digits is "12a""#),
        (send(&"1".repeat(65)), "scenario[0].digits is"),
        (filter("E"), r#"scenario[0].event_digits is "E""#),
    ] {
        let error = Scenario::new(steps).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
