//! SIP counters of an endpoint as the increments of a second.

use callmeter_metrics::{MetricId, id};
use callmeter_sip::UaCounters;

use super::Values;

/// Values by direction of the row they belong to.
#[derive(Debug, Default)]
pub(crate) struct SignallingValues {
    pub(crate) undirected: Values,
    pub(crate) send: Values,
    pub(crate) recv: Values,
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
