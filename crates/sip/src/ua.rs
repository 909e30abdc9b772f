//! The user agent: registrations and calls of many endpoints over the transaction layer.

mod config;
mod event;

use std::time::Instant;

use bytes::Bytes;

use crate::counters::{EndpointKey, Ledger, UaCounters};
use crate::flow::{Flow, Listener, LocalId};

pub use config::{EndpointConfig, Invite, Registration, UaConfig};
pub use event::{
    CallEnd, CallEvent, CallKey, CallTimes, EndReason, Failure, Incoming, Output, Registered,
    RegistrationFailed, Transmit, UaEvent,
};

/// A SIP user agent without IO: one per signalling shard, for many endpoints.
///
/// Contract:
/// - `now` never goes back between calls (an earlier `now` counts as the latest one seen). Times
///   in events are the `now` of the call that caused them.
/// - After every call that takes `now`, drain [`Self::poll_output`] until `None`, then sleep until
///   [`Self::next_timeout`] at most and call [`Self::handle_timeout`]. A timeout may come early or
///   for nothing; calling it late delays retransmissions but breaks nothing.
/// - Operations return an error and change nothing when they do not fit the state.
/// - Every call ends with exactly one [`CallEvent::Ended`], after which its key is unknown.
///   Exception: a call refused or failed inside [`Self::invite`] has no key.
/// - Dropping the user agent sends nothing: hang up and deregister first.
#[derive(Debug)]
pub struct UserAgent {
    ledger: Ledger,
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UaError {
    /// No endpoint with this key.
    #[error("endpoint {0:?} is not known")]
    UnknownEndpoint(EndpointKey),
    /// The endpoint's key is taken.
    #[error("endpoint {0:?} exists already")]
    EndpointExists(EndpointKey),
    /// Another endpoint on this listener has the same Contact user.
    #[error("the contact user of endpoint {0:?} is taken on its listener")]
    ContactUserTaken(EndpointKey),
    /// No listener with this key.
    #[error("listener {0:?} is not known")]
    UnknownListener(LocalId),
    /// The listener's key is taken.
    #[error("listener {0:?} exists already")]
    ListenerExists(LocalId),
    /// No call with this key, or it has ended.
    #[error("call {0:?} is not known")]
    UnknownCall(CallKey),
    /// The call is not in a state for this operation.
    #[error("call {0:?} is not in a state for this")]
    WrongState(CallKey),
    /// A registration of this endpoint is under way.
    #[error("endpoint {0:?} has a registration under way")]
    RegistrationBusy(EndpointKey),
    /// The endpoint is not registered.
    #[error("endpoint {0:?} is not registered")]
    NotRegistered(EndpointKey),
    /// Neither a next hop nor an IP address in the URI says where to send.
    #[error("no next hop: configure one or use an IP address in the URI")]
    NoNextHop,
    /// The status code does not fit.
    #[error("status code {0} does not fit here")]
    StatusCode(u16),
    /// The user agent holds as many calls as it may.
    #[error("the limit of calls is reached")]
    TooManyCalls,
}

impl UserAgent {
    /// A user agent whose tags, branches, Call-IDs and cnonces come from `seed`.
    pub fn new(config: UaConfig, seed: u64) -> Self {
        drop((config, seed));
        Self {
            ledger: Ledger::default(),
        }
    }

    /// Adds a local transport.
    pub fn add_listener(&mut self, listener: Listener) -> Result<(), UaError> {
        Err(UaError::ListenerExists(listener.id))
    }

    /// Removes a local transport at once: its calls end as [`EndReason::Dropped`], its endpoints
    /// go, nothing is sent. Keep the socket and the listener for 32 s after a run, without
    /// endpoints, to answer late in-dialog requests with 481.
    pub fn remove_listener(&mut self, now: Instant, local: LocalId) -> Result<(), UaError> {
        let _ = now;
        Err(UaError::UnknownListener(local))
    }

    /// Adds an endpoint on a listener.
    pub fn add_endpoint(
        &mut self,
        key: EndpointKey,
        config: EndpointConfig,
    ) -> Result<(), UaError> {
        Err(UaError::UnknownListener(config.local)).inspect_err(|_| self.ledger.open(key))
    }

    /// Removes an endpoint: its calls end as [`EndReason::Dropped`], nothing is sent.
    pub fn remove_endpoint(&mut self, now: Instant, key: EndpointKey) -> Result<(), UaError> {
        let _ = now;
        self.ledger.close(key);
        Err(UaError::UnknownEndpoint(key))
    }

    /// Registers an endpoint and keeps it registered. Ends in [`UaEvent::Registered`] (again with
    /// each refresh) or [`UaEvent::RegistrationFailed`].
    pub fn register(
        &mut self,
        now: Instant,
        key: EndpointKey,
        registration: Registration,
    ) -> Result<(), UaError> {
        drop((now, registration));
        Err(UaError::UnknownEndpoint(key))
    }

    /// Deregisters an endpoint; ends in [`UaEvent::Unregistered`]. A REGISTER under way is waited
    /// for.
    pub fn unregister(&mut self, now: Instant, key: EndpointKey) -> Result<(), UaError> {
        let _ = now;
        Err(UaError::UnknownEndpoint(key))
    }

    /// Places a call.
    pub fn invite(
        &mut self,
        now: Instant,
        key: EndpointKey,
        invite: Invite,
    ) -> Result<CallKey, UaError> {
        drop((now, invite));
        Err(UaError::UnknownEndpoint(key))
    }

    /// Names the endpoint of an incoming call that matched none; its counts so far are attributed.
    pub fn attach(&mut self, call: CallKey, key: EndpointKey) -> Result<(), UaError> {
        let _ = key;
        Err(UaError::UnknownCall(call))
    }

    /// Sends 180 for an incoming call.
    pub fn ring(&mut self, now: Instant, call: CallKey) -> Result<(), UaError> {
        let _ = now;
        Err(UaError::UnknownCall(call))
    }

    /// Accepts an incoming call, or the peer's offer within a call, with 200 and this SDP.
    pub fn answer(&mut self, now: Instant, call: CallKey, body: Bytes) -> Result<(), UaError> {
        drop((now, body));
        Err(UaError::UnknownCall(call))
    }

    /// Refuses an incoming call, or the peer's offer within a call, with a code of 300 to 699.
    pub fn reject(&mut self, now: Instant, call: CallKey, code: u16) -> Result<(), UaError> {
        let _ = (now, code);
        Err(UaError::UnknownCall(call))
    }

    /// Ends a call in whatever state: CANCEL before the answer, 480 to an unanswered incoming
    /// call, BYE once it stands (a callee's BYE waits for the ACK, RFC 3261 §15).
    pub fn hang_up(&mut self, now: Instant, call: CallKey) -> Result<(), UaError> {
        let _ = now;
        Err(UaError::UnknownCall(call))
    }

    /// Takes one received message.
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        drop((now, flow, bytes));
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Counts a message that the transport could not send; retransmission and the transaction
    /// timeouts deal with the loss.
    pub fn transport_error(&mut self, endpoint: Option<EndpointKey>) {
        self.ledger
            .count(endpoint, |counters| counters.transport_errors += 1);
    }

    /// Counters over all endpoints, and of messages that belong to none.
    pub fn counters(&self) -> UaCounters {
        self.ledger.total()
    }

    /// Counters of one endpoint.
    pub fn endpoint_counters(&self, key: EndpointKey) -> Option<UaCounters> {
        self.ledger.endpoint(key)
    }

    /// The wire times of a call so far.
    pub fn call_times(&self, call: CallKey) -> Option<CallTimes> {
        let _ = call;
        None
    }
}
