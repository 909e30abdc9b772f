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
mod tests {
    use super::*;

    fn in_state(state: ClientState, invite: bool, now: Instant) -> ClientMachine {
        let mut machine = ClientMachine::new(now, invite, false);
        match state {
            ClientState::Calling => {}
            ClientState::Proceeding => drop(machine.on_response(now, 180)),
            ClientState::Completed => drop(machine.on_response(now, 486)),
            ClientState::Accepted => drop(machine.on_response(now, 200)),
        }
        assert_eq!(machine.state(), state);
        machine
    }

    /// RFC 3261 figures 5 and 6, RFC 6026 §7.2
    #[test]
    fn state_and_response() {
        use ClientState::{Accepted, Calling, Completed, Proceeding};
        use OnResponse::{Absorb, AckAgain, Another2xx, Deliver, DeliverAndAck};
        let now = Instant::now();
        let rows = [
            // INVITE?, state, status, new state, action
            (true, Calling, 100, Proceeding, Deliver),
            (true, Calling, 200, Accepted, Deliver),
            (true, Calling, 302, Completed, DeliverAndAck),
            (true, Proceeding, 183, Proceeding, Deliver),
            (true, Proceeding, 200, Accepted, Deliver),
            (true, Proceeding, 603, Completed, DeliverAndAck),
            (true, Completed, 486, Completed, AckAgain),
            (true, Completed, 180, Completed, Absorb),
            (true, Completed, 200, Completed, Absorb),
            (true, Accepted, 200, Accepted, Another2xx),
            (true, Accepted, 180, Accepted, Absorb),
            (true, Accepted, 486, Accepted, Absorb),
            (false, Calling, 100, Proceeding, Deliver),
            (false, Calling, 200, Completed, Deliver),
            (false, Calling, 404, Completed, Deliver),
            (false, Proceeding, 100, Proceeding, Deliver),
            (false, Proceeding, 200, Completed, Deliver),
            (false, Completed, 200, Completed, Absorb),
            (false, Completed, 404, Completed, Absorb),
            (false, Completed, 100, Completed, Absorb),
        ];
        for (invite, state, status, new_state, action) in rows {
            let mut machine = in_state(state, invite, now);
            let row = format!("invite {invite}, {state:?} + {status}");
            assert_eq!(machine.on_response(now, status), action, "{row}");
            assert_eq!(machine.state(), new_state, "{row}");
        }
    }

    /// Runs a machine to its end and lists when it sends again and ends, in milliseconds.
    fn timeline(mut machine: ClientMachine, start: Instant) -> (Vec<u128>, u128, OnTimer) {
        let mut resent = Vec::new();
        while let Some(at) = machine.next() {
            let elapsed = (at - start).as_millis();
            match machine.on_timer(at) {
                OnTimer::Resend => resent.push(elapsed),
                OnTimer::Wait => {}
                end => return (resent, elapsed, end),
            }
        }
        (resent, u128::MAX, OnTimer::Wait)
    }

    /// RFC 3261 table 4: timers A, B, D, E, F, K, M
    #[test]
    fn timers_of_udp() {
        use ClientState::{Accepted, Calling, Completed, Proceeding};
        let start = Instant::now();
        let run = |invite, state| timeline(in_state(state, invite, start), start);
        let doubling = vec![500, 1500, 3500, 7500, 15_500, 31_500];
        assert_eq!(run(true, Calling), (doubling, 32_000, OnTimer::Timeout));
        let capped = vec![
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ];
        assert_eq!(run(false, Calling), (capped, 32_000, OnTimer::Timeout));
        let every_t2: Vec<_> = (0..8).map(|count| 500 + count * 4000).collect();
        assert_eq!(run(false, Proceeding), (every_t2, 32_000, OnTimer::Timeout));
        assert_eq!(run(true, Proceeding), (vec![], u128::MAX, OnTimer::Wait));
        assert_eq!(run(true, Completed), (vec![], 32_000, OnTimer::Over));
        assert_eq!(run(true, Accepted), (vec![], 32_000, OnTimer::Over));
        assert_eq!(run(false, Completed), (vec![], 5000, OnTimer::Over));
    }

    #[test]
    fn reliable_transports_send_once() {
        let start = Instant::now();
        let machine = ClientMachine::new(start, true, true);
        assert_eq!(timeline(machine, start), (vec![], 32_000, OnTimer::Timeout));
        let mut machine = ClientMachine::new(start, false, true);
        machine.on_response(start, 200);
        assert_eq!(timeline(machine, start), (vec![], 0, OnTimer::Over));
    }

    /// RFC 3261 §9.1
    #[test]
    fn a_cancelled_invite_ends_without_a_final_response() {
        let start = Instant::now();
        let mut machine = in_state(ClientState::Proceeding, true, start);
        machine.end_by(start + LIFETIME);
        assert_eq!(timeline(machine, start), (vec![], 32_000, OnTimer::Timeout));
    }
}
