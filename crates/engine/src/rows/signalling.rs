//! SIP counters of an endpoint as the increments of a second.

use callmeter_metrics::{MetricId, id};
use callmeter_sip::UaCounters;

use super::Values;
use crate::endpoint::Counts;

/// Values by direction of the row they belong to.
#[derive(Debug, Default)]
pub(crate) struct SignallingValues {
    pub(crate) undirected: Values,
    pub(crate) send: Values,
    pub(crate) recv: Values,
}

/// Which counters of the engine's own mean something to an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    /// It places calls by a rate.
    pub(crate) by_rate: bool,
    /// It asks its next hop with OPTIONS.
    pub(crate) asks: bool,
    /// Its calls have a scenario.
    pub(crate) scripted: bool,
}

/// Adds what the engine's own counters gained since `before`.
pub(crate) fn put_counts(
    values: &mut SignallingValues,
    (now, before): (&Counts, &Counts),
    counted: Counted,
    first: bool,
) {
    let gained = |now: u64, before: u64| now.saturating_sub(before) as i64;
    if counted.by_rate {
        let missed = gained(now.arrivals_missed, before.arrivals_missed);
        values.undirected.count(id::ARRIVALS_MISSED, missed, first);
    }
    if counted.asks {
        let failed = gained(now.options_failed, before.options_failed);
        values.undirected.count(id::OPTIONS_FAILED, failed, first);
    }
    let holds = gained(now.holds_sent, before.holds_sent);
    values.send.count(id::HOLD_COUNT, holds, first);
    let holds = gained(now.holds_received, before.holds_received);
    values.recv.count(id::HOLD_COUNT, holds, first);
    if counted.scripted {
        for (row, now, before) in [
            (&mut values.send, now.steps.timed, before.steps.timed),
            (&mut values.recv, now.steps.on_event, before.steps.on_event),
        ] {
            let executed = gained(now.executed, before.executed);
            row.count(id::SCENARIO_ACTIONS_EXECUTED, executed, first);
            let failed = gained(now.failed, before.failed);
            row.count(id::SCENARIO_ACTIONS_FAILED, failed, first);
        }
    }
}

const CLASSES: [MetricId; 6] = [
    id::SIP_1XX,
    id::SIP_2XX,
    id::SIP_3XX,
    id::SIP_4XX,
    id::SIP_5XX,
    id::SIP_6XX,
];

/// What the counters gained since `before`; with `first`, zeros too, so that "none" is told from
/// "not measured".
pub(crate) fn signalling_values(
    now: &UaCounters,
    before: &UaCounters,
    first: bool,
) -> SignallingValues {
    let mut values = SignallingValues::default();
    let gained = |now: u64, before: u64| now.saturating_sub(before) as i64;

    for (metric, now, before) in [
        (id::REG_ATTEMPTS, now.reg_attempts, before.reg_attempts),
        (id::REG_SUCCESS, now.reg_success, before.reg_success),
        (id::REG_FAILED, now.reg_failed, before.reg_failed),
        (
            id::AUTH_CHALLENGES,
            now.auth_challenges,
            before.auth_challenges,
        ),
        (id::INVITE_SENT, now.invites_sent, before.invites_sent),
        (
            id::INVITE_RECEIVED,
            now.invites_received,
            before.invites_received,
        ),
        (id::SIP_TIMEOUTS, now.timeouts, before.timeouts),
        (
            id::SESSION_TIMER_REFRESHES,
            now.session_refreshes,
            before.session_refreshes,
        ),
    ] {
        values.undirected.count(metric, gained(now, before), first);
    }
    for (metric, now, before) in [
        (
            id::SIP_MESSAGES_SENT,
            now.messages_sent,
            before.messages_sent,
        ),
        (
            id::SIP_RETRANSMISSIONS,
            now.retransmissions_sent,
            before.retransmissions_sent,
        ),
        (
            id::TRANSPORT_ERRORS,
            now.transport_errors,
            before.transport_errors,
        ),
    ] {
        values.send.count(metric, gained(now, before), first);
    }
    for (metric, now, before) in [
        (
            id::SIP_MESSAGES_RECEIVED,
            now.messages_received,
            before.messages_received,
        ),
        (
            id::SIP_RETRANSMISSIONS_RECV,
            now.retransmissions_received,
            before.retransmissions_received,
        ),
        (id::SIP_UNEXPECTED, now.unexpected, before.unexpected),
        (
            id::SIP_OUT_OF_DIALOG,
            now.out_of_dialog,
            before.out_of_dialog,
        ),
    ] {
        values.recv.count(metric, gained(now, before), first);
    }
    let refers = gained(now.refers_sent, before.refers_sent);
    values.send.count(id::REFER_COUNT, refers, first);
    let refers = gained(now.refers_received, before.refers_received);
    values.recv.count(id::REFER_COUNT, refers, first);
    let reinvites = gained(now.reinvites_sent, before.reinvites_sent);
    values.send.count(id::REINVITE_COUNT, reinvites, first);
    let reinvites = gained(now.reinvites_received, before.reinvites_received);
    values.recv.count(id::REINVITE_COUNT, reinvites, first);
    for (class, metric) in CLASSES.into_iter().enumerate() {
        let sent = gained(now.responses_sent[class], before.responses_sent[class]);
        let received = gained(
            now.responses_received[class],
            before.responses_received[class],
        );
        values.send.count(metric, sent, first);
        values.recv.count(metric, received, first);
    }
    values
}
