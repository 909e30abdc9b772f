//! How a call ended, and when what happened in it.

use std::time::{Duration, Instant};

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnd {
    /// Why.
    pub reason: EndReason,
    /// Whether we placed the call.
    pub caller: bool,
    /// Final status of the first INVITE: received (caller) or sent (callee).
    pub status: Option<u16>,
    /// Reason phrase of a refusal received, as in [`super::Failure::Status`], or how the flow broke;
    /// else empty.
    pub phrase: String,
    /// The peer's Retry-After with a refusal.
    pub retry_after: Option<Duration>,
    /// Final status of our BYE, if it was answered.
    pub bye_status: Option<u16>,
    /// When what happened.
    pub times: CallTimes,
    /// The same for what came beyond INVITE and BYE, if anything did.
    pub mid: Option<Box<MidTimes>>,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Caller: the INVITE got a final response of 300 or above.
    Refused,
    /// Caller: no response at all to the INVITE (Timer B).
    InviteTimeout,
    /// Caller: the flow broke before the INVITE was answered
    /// ([`crate::UserAgent::flow_failed`]).
    FlowFailed,
    /// Caller: cancelled by us; also when the answer crossed the CANCEL and was ended by BYE.
    Cancelled,
    /// Caller: rang longer than the ring timeout, then cancelled. Callee: nobody answered, 480.
    NoAnswer,
    /// Callee: the caller cancelled.
    CancelledByPeer,
    /// Callee: refused by us.
    Rejected,
    /// Ended by our BYE.
    LocalBye,
    /// Ended by the peer's BYE.
    RemoteBye,
    /// Our BYE got no final response (Timer F, or its flow broke).
    ByeTimeout,
    /// Callee: our 2xx was never acknowledged.
    AckTimeout,
    /// Callee: a reliable provisional response was never acknowledged; refused with 504.
    PrackTimeout,
    /// Callee: the PRACK of a provisional response that offered brought no answer (RFC 3262 §5);
    /// refused with 400.
    AnswerMissing,
    /// A request of ours within the call was answered 408 or 481, or not at all; then ended by
    /// our BYE (RFC 3261 §12.2.1.2).
    DialogLost,
    /// Nobody refreshed the session in time; then ended by our BYE.
    SessionExpired,
    /// The call was dropped with its endpoint or listener, without a message.
    Dropped,
}

impl EndReason {
    /// A bounded label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::InviteTimeout => "invite_timeout",
            Self::FlowFailed => "flow_failed",
            Self::Cancelled => "cancelled",
            Self::NoAnswer => "no_answer",
            Self::CancelledByPeer => "cancelled_by_peer",
            Self::Rejected => "rejected",
            Self::LocalBye => "local_bye",
            Self::RemoteBye => "remote_bye",
            Self::ByeTimeout => "bye_timeout",
            Self::AckTimeout => "ack_timeout",
            Self::PrackTimeout => "prack_timeout",
            Self::AnswerMissing => "answer_missing",
            Self::DialogLost => "dialog_lost",
            Self::SessionExpired => "session_expired",
            Self::Dropped => "dropped",
        }
    }
}

/// The wire times of a call; `None` is "did not happen".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// First INVITE sent (caller) or received (callee).
    pub invite: Option<Instant>,
    /// INVITE sent again in answer to a challenge.
    pub invite_authenticated: Option<Instant>,
    /// First response of any kind to an INVITE, received (caller) or sent (callee).
    pub first_response: Option<Instant>,
    /// First 180.
    pub ringing: Option<Instant>,
    /// First 183 with SDP.
    pub early_media: Option<Instant>,
    /// First 2xx received (caller) or sent (callee).
    pub answered: Option<Instant>,
    /// First ACK to it, sent (caller) or received (callee).
    pub ack: Option<Instant>,
    /// Final refusal received (caller) or sent (callee).
    pub failed: Option<Instant>,
    /// CANCEL sent (caller) or received (callee).
    pub cancel: Option<Instant>,
    /// BYE sent.
    pub bye_sent: Option<Instant>,
    /// Final response to our BYE.
    pub bye_answered: Option<Instant>,
    /// BYE received.
    pub bye_received: Option<Instant>,
}

/// The wire times of what a call did beyond INVITE and BYE; `None` is "did not happen".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MidTimes {
    /// Our last offer within the call, when it was first sent. Hold and resume delays are from
    /// here to `offer_answered`.
    pub offer_sent: Option<Instant>,
    /// The 2xx to it.
    pub offer_answered: Option<Instant>,
    /// Our last REFER sent; the transfer delay is from here to `refer_ended`.
    pub refer_sent: Option<Instant>,
    /// Its final NOTIFY.
    pub refer_ended: Option<Instant>,
    /// First reliable provisional response, received (caller) or sent (callee).
    pub reliable: Option<Instant>,
    /// First 2xx to a PRACK, received (caller) or sent (callee).
    pub pracked: Option<Instant>,
}
