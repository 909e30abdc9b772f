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
mod tests {
    use super::*;

    fn in_state(state: ServerState, invite: bool, now: Instant) -> ServerMachine {
        let mut machine = ServerMachine::new(now, invite, false);
        match state {
            ServerState::Trying => {}
            ServerState::Proceeding => drop(machine.on_respond(now, 180)),
            ServerState::Completed => drop(machine.on_respond(now, 486)),
            ServerState::Accepted => drop(machine.on_respond(now, 200)),
            ServerState::Confirmed => {
                machine.on_respond(now, 486);
                machine.on_ack(now);
            }
        }
        assert_eq!(machine.state(), state);
        machine
    }

    /// RFC 3261 figures 7 and 8, RFC 6026 §7.1
    #[test]
    fn state_and_request() {
        use OnRequest::{Absorb, Ack2xx, Resend};
        use ServerState::{Accepted, Completed, Confirmed, Proceeding, Trying};
        let now = Instant::now();
        let rows = [
            // INVITE?, state, ACK?, new state, action
            (true, Trying, false, Trying, Absorb),
            (true, Proceeding, false, Proceeding, Resend),
            (true, Completed, false, Completed, Resend),
            (true, Confirmed, false, Confirmed, Absorb),
            (true, Accepted, false, Accepted, Absorb),
            (true, Trying, true, Trying, Absorb),
            (true, Proceeding, true, Proceeding, Absorb),
            (true, Completed, true, Confirmed, Absorb),
            (true, Confirmed, true, Confirmed, Absorb),
            (true, Accepted, true, Accepted, Ack2xx),
            (false, Trying, false, Trying, Absorb),
            (false, Proceeding, false, Proceeding, Resend),
            (false, Completed, false, Completed, Resend),
        ];
        for (invite, state, ack, new_state, action) in rows {
            let mut machine = in_state(state, invite, now);
            let row = format!("invite {invite}, {state:?}, ack {ack}");
            let done = if ack {
                machine.on_ack(now)
            } else {
                machine.on_request()
            };
            assert_eq!(done, action, "{row}");
            assert_eq!(machine.state(), new_state, "{row}");
        }
    }

    #[test]
    fn state_and_response() {
        use ServerState::{Accepted, Completed, Confirmed, Proceeding, Trying};
        let now = Instant::now();
        let rows = [
            (true, Trying, 180, Some(Proceeding)),
            (true, Proceeding, 180, Some(Proceeding)),
            (true, Proceeding, 200, Some(Accepted)),
            (true, Proceeding, 486, Some(Completed)),
            (true, Completed, 200, None),
            (true, Accepted, 486, None),
            (true, Confirmed, 200, None),
            (false, Trying, 200, Some(Completed)),
            (false, Completed, 200, None),
        ];
        for (invite, state, status, new_state) in rows {
            let mut machine = in_state(state, invite, now);
            let row = format!("invite {invite}, {state:?} + {status}");
            assert_eq!(
                machine.on_respond(now, status),
                new_state.is_some(),
                "{row}"
            );
            assert_eq!(machine.state(), new_state.unwrap_or(state), "{row}");
        }
    }

    fn timeline(mut machine: ServerMachine, start: Instant) -> Vec<(u128, OnServerTimer)> {
        let mut events = Vec::new();
        while let Some(at) = machine.next() {
            let event = machine.on_timer(at);
            events.push(((at - start).as_millis(), event));
            if matches!(event, OnServerTimer::Over | OnServerTimer::Timeout) {
                break;
            }
        }
        events
    }

    /// RFC 3261 table 4: timers G, H, I, J, L
    #[test]
    fn timers_of_udp() {
        use OnServerTimer::{Over, Resend, SendTrying, Timeout};
        use ServerState::{Accepted, Completed, Confirmed, Proceeding, Trying};
        let start = Instant::now();
        let run = |invite, state| timeline(in_state(state, invite, start), start);
        let mut refused: Vec<_> = [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ]
        .map(|at| (at, Resend))
        .to_vec();
        refused.push((32_000, Timeout));
        assert_eq!(run(true, Completed), refused);
        assert_eq!(run(true, Trying), [(200, SendTrying)]);
        assert_eq!(run(true, Proceeding), []);
        assert_eq!(run(true, Confirmed), [(5000, Over)]);
        assert_eq!(run(true, Accepted), [(32_000, Over)]);
        assert_eq!(run(false, Completed), [(32_000, Over)]);
        assert_eq!(run(false, Trying), []);
    }
}
