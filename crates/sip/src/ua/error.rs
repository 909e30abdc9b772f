//! Why an operation was not done.

use super::event::CallKey;
use crate::counters::EndpointKey;
use crate::flow::LocalId;

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
    /// An offer of either side waits for its answer, or our 2xx for its ACK.
    #[error("an offer within call {0:?} is under way; wait for its answer")]
    OfferPending(CallKey),
    /// A transfer of this call is under way.
    #[error("a transfer of call {0:?} is under way; wait for its end")]
    TransferPending(CallKey),
    /// An offer without SDP, or a provisional response without it that has to offer.
    #[error("an offer within call {0:?} needs SDP")]
    NoOffer(CallKey),
    /// An INFO body beyond 8,192 bytes, or a Content-Type beyond 256.
    #[error("the INFO for call {0:?} is too long; accepted are 8192 bytes, 256 of Content-Type")]
    InfoTooLong(CallKey),
    /// Too many requests of this call wait for their response.
    #[error("call {0:?} has as many requests under way as it may")]
    TooManyRequests(CallKey),
    /// The user agent holds as many calls as it may.
    #[error("the limit of calls is reached")]
    TooManyCalls,
}
