//! What a test reports; written at once when its phase changes, else at most every 5 s.

use std::time::Duration;

use callmeter_api::{
    CallTest,
    calltest::{CallTestStatus, ExpectStatus, GroupStatus, PartialReason, RunPhase, Verdict},
    condition::{self, Desired, Reason, Status, Type},
};
use callmeter_proto::fleet::{GroupState, RunState};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt as _,
    runtime::{controller::Action, events::EventType},
};

use super::{
    RESYNC, Tests,
    apply::Applied,
    dereference::Inputs,
    watches::{PERIOD, Report},
};
use crate::error::Result;

/// Lists of a status are cut here.
const MOST: usize = 64;

/// Writes the status if it differs and may be written now; says when to look again.
pub(crate) async fn write(
    context: &Tests,
    test: &CallTest,
    inputs: &Inputs,
    applied: Applied,
) -> Result<Action> {
    let uid = test.uid().unwrap_or_default();
    let before = test.status.clone().unwrap_or_default();
    let after = build(test, inputs, &applied);
    let resync = resync(test, &applied);
    if after == before {
        return Ok(Action::requeue(resync));
    }
    let moved =
        after.phase != before.phase || after.run != before.run || after.verdict != before.verdict;
    let conditions = |status: &CallTestStatus| {
        let shown = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            (c.type_.clone(), c.status.clone())
        };
        status.conditions.iter().map(shown).collect::<Vec<_>>()
    };
    if !moved
        && conditions(&after) == conditions(&before)
        && let Some(left) = inputs
            .since_write
            .and_then(|since| PERIOD.checked_sub(since))
    {
        return Ok(Action::requeue(left.max(Duration::from_millis(50))));
    }
    let answer = context
        .shared
        .writer
        .status("report on the test", test, &after)
        .await?;
    context.written.keep(answer);
    context.watches.wrote(&uid);
    if moved && let Some(phase) = after.phase {
        let verdict = after
            .verdict
            .map_or_else(String::new, |verdict| format!(", {}", verdict.as_str()));
        let note = format!(
            "{}{verdict} {}",
            phase.as_str(),
            after.reason.clone().unwrap_or_default()
        );
        context
            .shared
            .event(
                test,
                EventType::Normal,
                event(phase),
                note.trim().to_owned(),
            )
            .await;
    }
    let again = if after.phase.is_some_and(RunPhase::is_final) {
        Duration::from_millis(20)
    } else {
        resync
    };
    Ok(Action::requeue(again))
}

/// When to look again if nothing happens. How long a deleted test waits is limited, whatever its
/// gateway says.
const fn resync(test: &CallTest, applied: &Applied) -> Duration {
    if applied.again {
        Duration::from_millis(20)
    } else if applied.unreachable || test.metadata.deletion_timestamp.is_some() {
        PERIOD
    } else {
        RESYNC
    }
}

const fn event(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Pending => "Pending",
        RunPhase::Queued => "Queued",
        RunPhase::Running => "Running",
        RunPhase::Stopping => "Stopping",
        RunPhase::Completed => "Completed",
        RunPhase::Failed => "Failed",
        RunPhase::CannotRunForNow => "CannotRunForNow",
    }
}

/// The status as it is to be; a pure function.
fn build(test: &CallTest, inputs: &Inputs, applied: &Applied) -> CallTestStatus {
    let mut status = test.status.clone().unwrap_or_default();
    status.observed_generation = test.metadata.generation;
    if let Some(run) = &applied.run {
        status.run = Some(run.clone());
        status.phase = Some(RunPhase::Pending);
    }
    let over = status.phase.is_some_and(RunPhase::is_final);
    match &inputs.report {
        Report::State(state) if !over => take(&mut status, state),
        Report::Unknown if !over => {
            status.phase = Some(RunPhase::Failed);
            status.reason = Some("the gateway does not know the run any more".to_owned());
            status.verdict = Some(Verdict::Unknown);
            status.ended_at = Some(Time(inputs.now));
        }
        _ => {}
    }
    if status.endpoints.is_none() {
        status.endpoints = Some(test.spec.groups.iter().map(|group| group.endpoints).sum());
    }
    let desired = conditions(&status, applied);
    status.conditions = condition::merge(
        &status.conditions,
        desired,
        test.metadata.generation,
        &Time(inputs.now),
    );
    status
}

fn take(status: &mut CallTestStatus, state: &RunState) {
    let time = |ms: i64| {
        (ms > 0)
            .then(|| Timestamp::from_millisecond(ms).ok().map(Time))
            .flatten()
    };
    // A phase of a newer gateway is kept as the last known one.
    status.phase = RunPhase::parse(&state.status).or(status.phase);
    let queued = status.phase == Some(RunPhase::Queued);
    status.reason = (!state.reason.is_empty()).then(|| state.reason.clone());
    status.queue_position = queued.then_some(state.queue_position);
    status.missing_endpoints = queued.then_some(state.missing_endpoints);
    let endpoints: u32 = state.groups.iter().map(|group| group.endpoints).sum();
    if endpoints > 0 {
        let ended: u32 = state.groups.iter().map(|group| group.ended).sum();
        status.progress = Some(format!("{ended}/{endpoints}"));
        status.endpoints = Some(endpoints);
        status.calls = Some(state.groups.iter().map(|group| group.calls).sum());
    }
    status.mos = state
        .groups
        .iter()
        .filter_map(|group| group.mos)
        .min_by(f64::total_cmp)
        .map(|mos| format!("{mos:.2}"));
    status.groups = state.groups.iter().map(group).collect();
    status.started_at = time(state.started_unix_ms);
    status.ended_at = time(state.ended_unix_ms);
    status.partial = state.partial.then_some(true);
    status.partial_reasons = state
        .partial_reasons
        .iter()
        .take(MOST)
        .map(|reason| PartialReason {
            worker: reason.worker.clone(),
            group: reason.group.clone(),
            endpoints: reason.endpoints,
            since: time(reason.since_unix_ms).unwrap_or(Time(Timestamp::UNIX_EPOCH)),
            cause: reason.cause.clone(),
        })
        .collect();
    status.warnings = state.warnings.iter().take(MOST).cloned().collect();
    status.expects = state
        .expects
        .iter()
        .map(|expect| ExpectStatus {
            metric: expect.metric.clone(),
            stat: expect.stat.clone(),
            bound: expect.bound.clone(),
            measured: expect.measured.map(|value| format!("{value:.3}")),
            passed: expect.passed,
        })
        .collect();
    let done = status.phase.is_some_and(RunPhase::is_final);
    status.verdict = Verdict::parse(&state.verdict).or_else(|| done.then_some(Verdict::Unknown));
}

fn group(state: &GroupState) -> GroupStatus {
    let figure = |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}"));
    GroupStatus {
        name: state.group.clone(),
        endpoints: state.endpoints,
        ready: state.ready,
        in_call: state.in_call,
        ended: state.ended,
        calls: state.calls,
        calls_succeeded: state.calls_succeeded,
        mos: figure(state.mos, 2),
        jitter_ms: figure(state.jitter_ms, 3),
        loss_percent: figure(state.loss_percent, 3),
        setup_ms: figure(state.setup_ms, 1),
        workers: state.workers.iter().take(MOST).cloned().collect(),
    }
}

fn conditions(status: &CallTestStatus, applied: &Applied) -> Vec<Desired> {
    let reason = status.reason.clone().unwrap_or_default();
    if let Some(why) = &applied.refused {
        return vec![Desired::new(
            Type::Accepted,
            false,
            Reason::Refused,
            why.clone(),
        )];
    }
    if applied.unreachable {
        let message = "the gateway cannot be asked; the test is submitted when it answers";
        return vec![Desired::new(
            Type::Accepted,
            Status::Unknown,
            Reason::GatewayUnreachable,
            message,
        )];
    }
    if status.run.is_none() {
        let known = status
            .conditions
            .iter()
            .find(|c| c.type_ == Type::Accepted.as_str() && c.status == "False");
        return vec![match known {
            Some(refusal) => Desired::new(
                Type::Accepted,
                false,
                Reason::Refused,
                refusal.message.clone(),
            ),
            None => Desired::new(
                Type::Accepted,
                Status::Unknown,
                Reason::NotYetKnown,
                "not submitted yet",
            ),
        }];
    }
    let phase = status.phase.unwrap_or_default();
    let running = match phase {
        RunPhase::Running | RunPhase::Stopping => {
            Desired::new(Type::Running, true, Reason::Running, "")
        }
        RunPhase::Pending | RunPhase::Queued => {
            Desired::new(Type::Running, false, Reason::Queued, reason.clone())
        }
        RunPhase::Completed | RunPhase::Failed | RunPhase::CannotRunForNow => {
            Desired::new(Type::Running, false, Reason::Ended, "")
        }
    };
    let partial = status.partial == Some(true);
    let complete = match phase {
        RunPhase::Completed if partial => {
            Desired::new(Type::Complete, true, Reason::Partial, reason.clone())
        }
        RunPhase::Completed => Desired::new(Type::Complete, true, Reason::Complete, reason.clone()),
        RunPhase::Failed => Desired::new(Type::Complete, true, Reason::RunFailed, reason.clone()),
        RunPhase::CannotRunForNow => {
            Desired::new(Type::Complete, true, Reason::CannotRunForNow, reason)
        }
        RunPhase::Pending | RunPhase::Queued | RunPhase::Running | RunPhase::Stopping => {
            Desired::new(Type::Complete, false, Reason::Running, "")
        }
    };
    let passed = match status.verdict {
        _ if partial => Desired::new(
            Type::Passed,
            Status::Unknown,
            Reason::Partial,
            "measurements are missing",
        ),
        Some(Verdict::Passed) => Desired::new(Type::Passed, true, Reason::ExpectationsMet, ""),
        Some(Verdict::Failed) => Desired::new(
            Type::Passed,
            false,
            Reason::ExpectationsMissed,
            missed(status),
        ),
        Some(Verdict::Unknown) | None => {
            Desired::new(Type::Passed, Status::Unknown, Reason::NoVerdict, "")
        }
    };
    vec![
        Desired::new(Type::Accepted, true, Reason::Accepted, ""),
        running,
        complete,
        passed,
    ]
}

fn missed(status: &CallTestStatus) -> String {
    let missed = status.expects.iter().filter(|expect| !expect.passed);
    let texts: Vec<_> = missed
        .map(|e| {
            format!(
                "{} {} {}: {}",
                e.metric,
                e.stat,
                e.bound,
                e.measured.as_deref().unwrap_or("not measured")
            )
        })
        .collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests;
