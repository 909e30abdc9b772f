//! Rows of SIP counters.

use callmeter_metrics::{RowDirection, id};
use callmeter_sip::UaCounters;

use super::{assert_catalogued, map};
use crate::rows::signalling_values;

fn counters() -> UaCounters {
    UaCounters {
        messages_sent: 1,
        messages_received: 2,
        responses_sent: [3, 4, 5, 6, 7, 8],
        responses_received: [9, 10, 11, 12, 13, 14],
        retransmissions_sent: 15,
        retransmissions_received: 16,
        timeouts: 17,
        unexpected: 18,
        out_of_dialog: 19,
        malformed: 20,
        auth_challenges: 21,
        transport_errors: 22,
        reg_attempts: 23,
        reg_success: 24,
        reg_failed: 25,
        invites_sent: 26,
        invites_received: 27,
        reinvites_sent: 0,
        reinvites_received: 0,
        refers_sent: 0,
        refers_received: 0,
        session_refreshes: 0,
    }
}

/// R103: each SIP counter arrives under its own metric and direction.
#[test]
fn every_signalling_counter_has_its_value() {
    let values = signalling_values(&counters(), &UaCounters::default(), true);
    let (none, send, recv) = (
        map(&values.undirected),
        map(&values.send),
        map(&values.recv),
    );
    for (found, metric, expected) in [
        (&none, id::REG_ATTEMPTS, 23.0),
        (&none, id::REG_SUCCESS, 24.0),
        (&none, id::REG_FAILED, 25.0),
        (&none, id::AUTH_CHALLENGES, 21.0),
        (&none, id::INVITE_SENT, 26.0),
        (&none, id::INVITE_RECEIVED, 27.0),
        (&none, id::SIP_TIMEOUTS, 17.0),
        (&send, id::SIP_MESSAGES_SENT, 1.0),
        (&send, id::SIP_RETRANSMISSIONS, 15.0),
        (&send, id::TRANSPORT_ERRORS, 22.0),
        (&send, id::SIP_1XX, 3.0),
        (&send, id::SIP_2XX, 4.0),
        (&send, id::SIP_3XX, 5.0),
        (&send, id::SIP_4XX, 6.0),
        (&send, id::SIP_5XX, 7.0),
        (&send, id::SIP_6XX, 8.0),
        (&recv, id::SIP_MESSAGES_RECEIVED, 2.0),
        (&recv, id::SIP_RETRANSMISSIONS_RECV, 16.0),
        (&recv, id::SIP_UNEXPECTED, 18.0),
        (&recv, id::SIP_OUT_OF_DIALOG, 19.0),
        (&recv, id::SIP_1XX, 9.0),
        (&recv, id::SIP_6XX, 14.0),
    ] {
        assert_eq!(found.get(&metric), Some(&expected), "{metric}");
    }
    assert_catalogued(&none, RowDirection::None);
    assert_catalogued(&send, RowDirection::Send);
    assert_catalogued(&recv, RowDirection::Recv);
    // Control: nothing moved, nothing said; a first row says that it was none.
    let still = signalling_values(&counters(), &counters(), false);
    assert!(still.undirected.is_empty() && still.send.is_empty() && still.recv.is_empty());
    let first = signalling_values(&UaCounters::default(), &UaCounters::default(), true);
    assert!(map(&first.undirected).values().all(|n| *n == 0.0) && !first.recv.is_empty());
}
