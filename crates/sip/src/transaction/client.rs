//! Client transactions: RFC 3261 figures 5 and 6, with the Accepted state of RFC 6026 figure 2.

use std::time::{Duration, Instant};

use super::{LIFETIME, T1, T2, T4};

/// A client transaction without its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientMachine {
    invite: bool,
    reliable: bool,
    state: ClientState,
    interval: Duration,
    resend_at: Option<Instant>,
    ends_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// Calling (INVITE) or Trying: no response yet.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final response came; for INVITE 300 or above.
    Completed,
    /// INVITE: a 2xx came; more may come from other branches.
    Accepted,
}

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnResponse {
    /// Hand it up.
    Deliver,
    /// Hand it up and acknowledge it (INVITE, 300 or above).
    DeliverAndAck,
    /// A final response again: acknowledge it again.
    AckAgain,
    /// A 2xx to an INVITE that had one before, of the same or another branch.
    Another2xx,
    /// Nothing.
    Absorb,
}

/// What a timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTimer {
    /// Nothing yet.
    Wait,
    /// Timer A or E: send the request again.
    Resend,
    /// Timer B or F: nobody answered. The transaction is over.
    Timeout,
    /// Timer D, K or M: the transaction is over.
    Over,
}

impl ClientMachine {
    /// A transaction whose request is sent now.
    pub(crate) fn new(now: Instant, invite: bool, reliable: bool) -> Self {
        Self {
            invite,
            reliable,
            state: ClientState::Calling,
            interval: T1,
            resend_at: (!reliable).then(|| now + T1),
            ends_at: Some(now + LIFETIME),
        }
    }

    /// The same from the beginning, over another transport.
    pub(crate) fn again(&self, now: Instant, reliable: bool) -> Self {
        Self::new(now, self.invite, reliable)
    }

    pub(crate) fn on_response(&mut self, now: Instant, status: u16) -> OnResponse {
        use ClientState::{Accepted, Calling, Completed, Proceeding};
        match (self.state, status / 100) {
            (Calling | Proceeding, 1) => {
                let first = self.state == Calling;
                self.state = Proceeding;
                if self.invite {
                    self.resend_at = None;
                    if first {
                        self.ends_at = None;
                    }
                } else {
                    self.interval = T2;
                }
                OnResponse::Deliver
            }
            (Calling | Proceeding, 2) if self.invite => {
                self.finish(Accepted, now + LIFETIME);
                OnResponse::Deliver
            }
            (Calling | Proceeding, _) => {
                let wait = match (self.reliable, self.invite) {
                    (true, _) => Duration::ZERO,
                    (false, true) => LIFETIME,
                    (false, false) => T4,
                };
                self.finish(Completed, now + wait);
                if self.invite {
                    OnResponse::DeliverAndAck
                } else {
                    OnResponse::Deliver
                }
            }
            (Accepted, 2) => OnResponse::Another2xx,
            (Completed, class) if self.invite && class >= 3 => OnResponse::AckAgain,
            (Accepted | Completed, _) => OnResponse::Absorb,
        }
    }

    pub(crate) fn on_timer(&mut self, now: Instant) -> OnTimer {
        if self.ends_at.is_some_and(|at| at <= now) {
            return match self.state {
                ClientState::Calling | ClientState::Proceeding => OnTimer::Timeout,
                ClientState::Completed | ClientState::Accepted => OnTimer::Over,
            };
        }
        if self.resend_at.is_none_or(|at| at > now) {
            return OnTimer::Wait;
        }
        self.interval *= 2;
        if !self.invite {
            self.interval = self.interval.min(T2);
        }
        self.resend_at = Some(now + self.interval);
        OnTimer::Resend
    }

    /// The flow it goes by is gone: whether that ends it. Figure 5 draws no error in Proceeding, where
    /// nothing is sent; what broke is the way of the answer too, so it ends there as well. After a
    /// final response nothing is missing, and an ACK is sent again if the peer asks for it.
    pub(crate) fn on_transport_error(&self) -> bool {
        matches!(self.state, ClientState::Calling | ClientState::Proceeding)
    }

    /// Bounds the wait for a final response, once a CANCEL has been sent (RFC 3261 §9.1).
    pub(crate) fn end_by(&mut self, at: Instant) {
        if matches!(self.state, ClientState::Calling | ClientState::Proceeding) {
            self.ends_at = Some(at);
        }
    }

    pub(crate) fn state(&self) -> ClientState {
        self.state
    }

    /// When [`Self::on_timer`] has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.resend_at, self.ends_at].into_iter().flatten().min()
    }

    fn finish(&mut self, state: ClientState, ends_at: Instant) {
        self.state = state;
        self.resend_at = None;
        self.ends_at = Some(ends_at);
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a starting point for virtual time"
)]
mod tests;
