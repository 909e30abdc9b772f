//! Server transactions: RFC 3261 figures 7 and 8, with the Accepted state of RFC 6026 figure 1.

use std::time::{Duration, Instant};

use super::{LIFETIME, T1, T2, T4, TRYING_AFTER};

/// A server transaction without its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerMachine {
    invite: bool,
    reliable: bool,
    state: ServerState,
    interval: Duration,
    resend_at: Option<Instant>,
    ends_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerState {
    /// Trying (INVITE: Proceeding before any response): nothing sent yet.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// A final response was sent; for INVITE 300 or above.
    Completed,
    /// INVITE: the ACK to it came.
    Confirmed,
    /// INVITE: a 2xx was sent; the dialog sends it again until the ACK.
    Accepted,
}

/// What to do with a request that belongs to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRequest {
    /// The request again: send the last response again.
    Resend,
    /// Nothing.
    Absorb,
    /// An ACK to our 2xx that shares the branch of the INVITE, which it should not: for the dialog.
    Ack2xx,
}

/// What a timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnServerTimer {
    /// Nothing yet.
    Wait,
    /// Nothing was sent for 200 ms: send 100.
    SendTrying,
    /// Timer G: send the final response again.
    Resend,
    /// Timer H: the final response was never acknowledged. The transaction is over.
    Timeout,
    /// Timer I, J or L: the transaction is over.
    Over,
}

/// What becomes of a transaction whose response cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTransportError {
    /// Nothing: none was sent, or the peer has it.
    Nothing,
    /// The user is told; the transaction stays.
    Inform,
    /// The user is told; the transaction is over.
    Over,
}

impl ServerMachine {
    /// A transaction whose request came now.
    pub(crate) fn new(now: Instant, invite: bool, reliable: bool) -> Self {
        Self {
            invite,
            reliable,
            state: ServerState::Trying,
            interval: T1,
            resend_at: invite.then(|| now + TRYING_AFTER),
            ends_at: None,
        }
    }

    /// The request came again.
    pub(crate) fn on_request(&mut self) -> OnRequest {
        match self.state {
            ServerState::Proceeding | ServerState::Completed => OnRequest::Resend,
            ServerState::Trying | ServerState::Confirmed | ServerState::Accepted => {
                OnRequest::Absorb
            }
        }
    }

    /// An ACK with the branch of this INVITE came.
    pub(crate) fn on_ack(&mut self, now: Instant) -> OnRequest {
        match self.state {
            ServerState::Completed => {
                let wait = if self.reliable { Duration::ZERO } else { T4 };
                self.finish(ServerState::Confirmed, now + wait);
                OnRequest::Absorb
            }
            ServerState::Accepted => OnRequest::Ack2xx,
            ServerState::Trying | ServerState::Proceeding | ServerState::Confirmed => {
                OnRequest::Absorb
            }
        }
    }

    /// Whether a response may be sent now; then it is.
    pub(crate) fn on_respond(&mut self, now: Instant, status: u16) -> bool {
        if !matches!(self.state, ServerState::Trying | ServerState::Proceeding) {
            return false;
        }
        match status / 100 {
            1 => {
                self.state = ServerState::Proceeding;
                self.resend_at = None;
            }
            2 if self.invite => self.finish(ServerState::Accepted, now + LIFETIME),
            _ if self.invite => {
                self.finish(ServerState::Completed, now + LIFETIME);
                self.resend_at = (!self.reliable).then(|| now + T1);
            }
            _ => {
                let wait = if self.reliable {
                    Duration::ZERO
                } else {
                    LIFETIME
                };
                self.finish(ServerState::Completed, now + wait);
            }
        }
        true
    }

    /// What was sent last has no way to the peer.
    pub(crate) fn on_transport_error(&self) -> OnTransportError {
        match self.state {
            ServerState::Trying | ServerState::Confirmed => OnTransportError::Nothing,
            _ if self.invite => OnTransportError::Inform,
            _ => OnTransportError::Over,
        }
    }

    /// Whether a refusal of an INVITE waits for its ACK.
    pub(crate) fn awaits_ack(&self) -> bool {
        self.invite && self.state == ServerState::Completed
    }

    pub(crate) fn on_timer(&mut self, now: Instant) -> OnServerTimer {
        if self.ends_at.is_some_and(|at| at <= now) {
            return match self.state {
                ServerState::Completed if self.invite => OnServerTimer::Timeout,
                _ => OnServerTimer::Over,
            };
        }
        if self.resend_at.is_none_or(|at| at > now) {
            return OnServerTimer::Wait;
        }
        if self.state == ServerState::Trying {
            self.resend_at = None;
            return OnServerTimer::SendTrying;
        }
        self.interval = (self.interval * 2).min(T2);
        self.resend_at = Some(now + self.interval);
        OnServerTimer::Resend
    }

    pub(crate) fn state(&self) -> ServerState {
        self.state
    }

    /// When [`Self::on_timer`] has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.resend_at, self.ends_at].into_iter().flatten().min()
    }

    fn finish(&mut self, state: ServerState, ends_at: Instant) {
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
