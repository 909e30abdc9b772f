//! What a [`super::UserAgent`] hands to its caller.

mod end;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::replaces::Replaces;
use crate::counters::EndpointKey;
use crate::flow::Flow;
use crate::message::Uri;

pub use end::{CallEnd, CallTimes, EndReason, MidTimes};

/// The user agent's key of one call; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub(crate) u64);

/// One thing to do for the caller.
#[derive(Clone, Debug)]
pub enum Output {
    /// Put a message on the wire.
    Transmit(Transmit),
    /// Something happened.
    Event(UaEvent),
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// From which local transport, to which peer.
    pub flow: Flow,
    /// The whole message.
    pub bytes: Bytes,
    /// The endpoint it is sent for, where there is one; named again in
    /// [`super::UserAgent::transport_error`].
    pub endpoint: Option<EndpointKey>,
}

/// Something the caller should know; `at` is the `now` of the input that caused it.
#[derive(Clone, Debug)]
pub enum UaEvent {
    /// A registration or its refresh was accepted.
    Registered(Registered),
    /// A registration or its refresh failed; nothing is tried again by itself.
    RegistrationFailed(RegistrationFailed),
    /// A deregistration ended; `confirmed` unless it was refused or timed out.
    Unregistered {
        /// Whose.
        endpoint: EndpointKey,
        /// When.
        at: Instant,
        /// Whether the registrar answered 2xx.
        confirmed: bool,
    },
    /// A registrar keeps a flow and answers keep-alives on it (RFC 5626 §3.5).
    FlowKept {
        /// The flow.
        flow: Flow,
        /// A keep-alive is due after this time of silence: a random 80 to 100 % of what the
        /// registrar says; none: it leaves that to us.
        every: Option<Duration>,
    },
    /// An OPTIONS of [`super::UserAgent::options`] ended.
    OptionsAnswered(OptionsAnswered),
    /// An INVITE arrived that starts a call; answered with
    /// [`super::UserAgent::ring`], [`super::UserAgent::answer`] or [`super::UserAgent::reject`].
    Incoming(Incoming),
    /// Something happened to a call.
    Call {
        /// Which call.
        call: CallKey,
        /// Its endpoint, once known.
        endpoint: Option<EndpointKey>,
        /// When.
        at: Instant,
        /// What.
        event: CallEvent,
    },
}

/// An accepted registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Whose.
    pub endpoint: EndpointKey,
    /// When the 2xx came.
    pub at: Instant,
    /// The lifetime granted; refreshed by itself before it ends.
    pub granted: Duration,
    /// When the first REGISTER of this attempt was sent.
    pub sent: Instant,
    /// When the REGISTER that was accepted was sent, if it answered a challenge.
    pub authenticated: Option<Instant>,
    /// Whether this refreshed a registration that stood.
    pub refresh: bool,
}

/// A failed registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationFailed {
    /// Whose.
    pub endpoint: EndpointKey,
    /// When.
    pub at: Instant,
    /// Why.
    pub failure: Failure,
    /// Whether a registration that stood could not be refreshed.
    pub refresh: bool,
    /// The registrar's Retry-After.
    pub retry_after: Option<Duration>,
}

/// The end of an OPTIONS; the peer is there if a code came, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionsAnswered {
    /// Whose OPTIONS.
    pub endpoint: EndpointKey,
    /// When the final response came, or was given up (Timer F).
    pub at: Instant,
    /// When the OPTIONS was sent.
    pub sent: Instant,
    /// Status code of the final response, 200 to 699; `None` without one.
    pub code: Option<u16>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The final response, its status code and reason phrase.
    Status {
        /// Status code, 300 to 699.
        code: u16,
        /// Reason phrase as sent by the peer, with what kept us from answering its challenge if it
        /// was too long.
        reason: String,
    },
    /// No final response (Timer B or F).
    Timeout,
    /// The flow the request went by broke ([`super::UserAgent::flow_failed`]), and how,
    /// for people.
    FlowFailed(String),
    /// The 2xx holds no binding of ours.
    NotBound,
}

/// A call that asks to be answered.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its key.
    pub call: CallKey,
    /// The endpoint whose Contact user is the Request-URI's user, if there is one on this
    /// listener; without one, [`super::UserAgent::attach`] names it.
    pub endpoint: Option<EndpointKey>,
    /// User of the Request-URI, empty if it has none.
    pub request_user: String,
    /// URI of From.
    pub from: Uri,
    /// Where it came from.
    pub flow: Flow,
    /// The SDP offer; empty if the INVITE has none, then the answer carries the offer.
    pub body: Bytes,
    /// The call of ours it is to replace (RFC 3891), which ends when this one is answered.
    pub replaces: Option<CallKey>,
    /// When it arrived.
    pub at: Instant,
}

/// What happened to a call.
#[derive(Clone, Debug)]
pub enum CallEvent {
    /// Caller: a provisional response (100 included), with its body if it has SDP. With a forking
    /// proxy each branch may send its own; the one that answers counts in the end.
    Progress {
        /// Status code, 100 to 199.
        code: u16,
        /// SDP, or empty.
        body: Bytes,
    },
    /// Caller: the first 2xx; the ACK is on its way.
    Answered {
        /// The SDP answer: of the 2xx, else of an earlier response of the same branch.
        body: Bytes,
    },
    /// The ACK to our 2xx came: the first of a callee, and those to a 2xx of ours that offered.
    Confirmed {
        /// The SDP answer if our 2xx offered, the INVITE having none; empty if it is missing.
        body: Bytes,
    },
    /// Callee: the PRACK of a reliable provisional response came.
    Pracked {
        /// The SDP answer if our response offered, the INVITE having none; without one then, the
        /// call is refused. Else empty; an offer of the PRACK is told by [`CallEvent::Offer`].
        body: Bytes,
    },
    /// The peer offers a change within the call (re-INVITE, UPDATE or PRACK), to be answered with
    /// [`super::UserAgent::answer`] or [`super::UserAgent::reject`].
    Offer {
        /// The offer; empty if our answer has to offer.
        body: Bytes,
    },
    /// Our [`super::UserAgent::offer`] was accepted.
    OfferAnswered {
        /// The SDP answer of the 2xx.
        body: Bytes,
    },
    /// Our [`super::UserAgent::offer`] met one of the peer (491). If it is still wanted it is made
    /// again by [`super::UserAgent::offer_again`], from the session as it is then.
    OfferMet {
        /// After how long (RFC 3261 §14.1).
        wait: Duration,
    },
    /// Our [`super::UserAgent::offer`] was refused; the session stays as it was. Glare (491) comes
    /// only after six tries.
    OfferRefused {
        /// Status code, 300 to 699; `None` without a response, then the call ends.
        code: Option<u16>,
    },
    /// A re-INVITE by which this stack refreshed the session, and which offers anew what stands, was
    /// accepted.
    RefreshAnswered {
        /// The SDP answer of the 2xx, which may change the session.
        body: Bytes,
    },
    /// A 2xx to a re-INVITE or UPDATE renewed the session timer.
    SessionRefreshed {
        /// Whether the request was ours.
        ours: bool,
    },
    /// Nobody refreshed the session in time; a BYE is on its way (RFC 4028 §10).
    SessionExpired,
    /// The peer asks for a transfer, to be answered with [`super::UserAgent::accept_refer`] or
    /// [`super::UserAgent::reject_refer`] within 20 s, else it is declined (603).
    Referred {
        /// Whom to call, header fields left out.
        to: Uri,
        /// The call of theirs to replace, for [`super::UserAgent::invite_replacing`].
        replaces: Option<Replaces>,
    },
    /// Our [`super::UserAgent::refer`] was answered; if with 2xx,
    /// [`CallEvent::TransferProgress`] follows.
    ReferAnswered {
        /// Status code, 200 to 699; `None` without a response, then the call ends.
        code: Option<u16>,
    },
    /// A NOTIFY told of our transfer.
    TransferProgress {
        /// Status code of the transfer target's response; `None` if the NOTIFY names none, or none
        /// came in time.
        code: Option<u16>,
        /// Whether it is the last word.
        last: bool,
    },
    /// Another call took the place of this one (RFC 3891); a BYE is on its way.
    Replaced,
    /// The peer sent an INFO; it has been answered with 200.
    Info {
        /// Content-Type as sent, empty without one; 256 bytes at most.
        content_type: String,
        /// The body; 8,192 bytes at most.
        body: Bytes,
    },
    /// Our [`super::UserAgent::info`] was answered.
    InfoAnswered {
        /// Status code, 200 to 699; `None` without a response, then the call ends.
        code: Option<u16>,
    },
    /// Callee: no ACK within 64·T1; a BYE is on its way (RFC 3261 §13.3.1.4).
    AckMissing,
    /// Our BYE is on its way.
    ByeSent,
    /// The peer's BYE came and was answered 200; [`CallEvent::Ended`] follows.
    ByeReceived,
    /// The last event of the call; its key is no longer known.
    Ended(CallEnd),
}
