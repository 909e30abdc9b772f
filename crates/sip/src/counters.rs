//! Signalling counters, over all and per endpoint.

use std::ops::AddAssign;

use crate::own_map::OwnMap;

/// The caller's key of one endpoint; metrics are attributed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey(pub u64);

/// Counts since the user agent (or endpoint) was created.
///
/// Message counts contain everything on the wire, retransmissions too; class counts contain each
/// response once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UaCounters {
    /// SIP messages put on the wire.
    pub messages_sent: u64,
    /// SIP messages taken from the wire, malformed ones included.
    pub messages_received: u64,
    /// Responses sent by class: index 0 is 1xx, index 5 is 6xx.
    pub responses_sent: [u64; 6],
    /// Responses received by class: index 0 is 1xx, index 5 is 6xx.
    pub responses_received: [u64; 6],
    /// Requests and responses sent again (RFC 3261 §17, 2xx and ACK included).
    pub retransmissions_sent: u64,
    /// Duplicates absorbed.
    pub retransmissions_received: u64,
    /// Timer B, F and H expiries and unacknowledged 2xx.
    pub timeouts: u64,
    /// Messages that do not fit the state of their dialog or transaction.
    pub unexpected: u64,
    /// Messages that belong to no known call.
    pub out_of_dialog: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// 401 and 407 received.
    pub auth_challenges: u64,
    /// Messages the transport could not send.
    pub transport_errors: u64,
    /// REGISTERs started; a retry with credentials or a longer expiry belongs to the same attempt.
    pub reg_attempts: u64,
    /// REGISTERs answered 2xx.
    pub reg_success: u64,
    /// REGISTERs that failed or timed out.
    pub reg_failed: u64,
    /// INVITEs sent that start a dialog; a retry with credentials is the same call.
    pub invites_sent: u64,
    /// INVITEs received that start a dialog.
    pub invites_received: u64,
    /// re-INVITEs and UPDATEs sent with an offer, refreshes by re-INVITE included; one sent again
    /// (glare, credentials) counts once.
    pub reinvites_sent: u64,
    /// re-INVITEs and UPDATEs received that offer something.
    pub reinvites_received: u64,
    /// Refreshes of session timers that were accepted, of either side.
    pub session_refreshes: u64,
    /// REFERs sent; one sent again with credentials counts once.
    pub refers_sent: u64,
    /// REFERs received within calls that stand.
    pub refers_received: u64,
}

impl AddAssign for UaCounters {
    fn add_assign(&mut self, other: Self) {
        let Self {
            messages_sent,
            messages_received,
            responses_sent,
            responses_received,
            retransmissions_sent,
            retransmissions_received,
            timeouts,
            unexpected,
            out_of_dialog,
            malformed,
            auth_challenges,
            transport_errors,
            reg_attempts,
            reg_success,
            reg_failed,
            invites_sent,
            invites_received,
            reinvites_sent,
            reinvites_received,
            session_refreshes,
            refers_sent,
            refers_received,
        } = other;
        self.messages_sent += messages_sent;
        self.messages_received += messages_received;
        for (sum, count) in self.responses_sent.iter_mut().zip(responses_sent) {
            *sum += count;
        }
        for (sum, count) in self.responses_received.iter_mut().zip(responses_received) {
            *sum += count;
        }
        self.retransmissions_sent += retransmissions_sent;
        self.retransmissions_received += retransmissions_received;
        self.timeouts += timeouts;
        self.unexpected += unexpected;
        self.out_of_dialog += out_of_dialog;
        self.malformed += malformed;
        self.auth_challenges += auth_challenges;
        self.transport_errors += transport_errors;
        self.reg_attempts += reg_attempts;
        self.reg_success += reg_success;
        self.reg_failed += reg_failed;
        self.invites_sent += invites_sent;
        self.invites_received += invites_received;
        self.reinvites_sent += reinvites_sent;
        self.reinvites_received += reinvites_received;
        self.session_refreshes += session_refreshes;
        self.refers_sent += refers_sent;
        self.refers_received += refers_received;
    }
}

/// The counters of a user agent: the sum, and the share of each endpoint.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    total: UaCounters,
    endpoints: OwnMap<EndpointKey, UaCounters>,
}

impl Ledger {
    pub(crate) fn open(&mut self, endpoint: EndpointKey) {
        self.endpoints.insert(endpoint, UaCounters::default());
    }

    pub(crate) fn close(&mut self, endpoint: EndpointKey) {
        self.endpoints.remove(&endpoint);
    }

    pub(crate) fn total(&self) -> UaCounters {
        self.total
    }

    pub(crate) fn endpoint(&self, endpoint: EndpointKey) -> Option<UaCounters> {
        self.endpoints.get(&endpoint).copied()
    }

    /// Counts for the sum and, if the endpoint is known, for it.
    pub(crate) fn count(
        &mut self,
        endpoint: Option<EndpointKey>,
        change: impl Fn(&mut UaCounters),
    ) {
        change(&mut self.total);
        self.attribute(endpoint, change);
    }

    /// Counts for the endpoint only: what the sum already holds.
    pub(crate) fn attribute(
        &mut self,
        endpoint: Option<EndpointKey>,
        change: impl Fn(&mut UaCounters),
    ) {
        if let Some(counters) = endpoint.and_then(|key| self.endpoints.get_mut(&key)) {
            change(counters);
        }
    }
}

/// The index of a status code in the class arrays, for 100 to 699.
pub(crate) fn class_index(code: u16) -> usize {
    usize::from((code / 100).clamp(1, 6) - 1)
}
