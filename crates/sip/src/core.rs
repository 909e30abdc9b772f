//! What all parts of a user agent share: randomness, timers, counters and the output queue.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::counters::{EndpointKey, Ledger};
use crate::flow::{Flow, LocalId};
use crate::timers::Timers;
use crate::transaction::{ClientKey, ServerId};
use crate::ua::{CallKey, Output, Transmit, UaEvent};

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKey {
    Client(ClientKey),
    Server(ServerId),
    Call(CallKey),
    Registration(EndpointKey),
    KeepAlive(LocalId),
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) ledger: Ledger,
    pub(crate) timers: Timers<TimerKey>,
    outputs: VecDeque<Output>,
    rng: StdRng,
}

impl Core {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ledger: Ledger::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A random number for a branch, tag, Call-ID or cnonce.
    pub(crate) fn token(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Sends a message for the first time.
    pub(crate) fn send(&mut self, flow: Flow, bytes: Bytes, endpoint: Option<EndpointKey>) {
        self.ledger
            .count(endpoint, |counters| counters.messages_sent += 1);
        self.transmit(flow, bytes, endpoint);
    }

    /// Sends what is no SIP message.
    pub(crate) fn send_uncounted(&mut self, flow: Flow, bytes: Bytes) {
        self.transmit(flow, bytes, None);
    }

    fn transmit(&mut self, flow: Flow, bytes: Bytes, endpoint: Option<EndpointKey>) {
        self.outputs.push_back(Output::Transmit(Transmit {
            flow,
            bytes,
            endpoint,
        }));
    }

    /// A random part of a time.
    pub(crate) fn up_to(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.rng.random_range(0.0..=1.0))
    }

    /// A random 80 to 100 % of an interval, so that those who began together do not stay together
    /// (RFC 5626 §4.4.1).
    pub(crate) fn spread(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(self.rng.random_range(0.8..=1.0))
    }

    /// Sends a message again.
    pub(crate) fn resend(&mut self, flow: Flow, bytes: Bytes, endpoint: Option<EndpointKey>) {
        self.ledger
            .count(endpoint, |counters| counters.retransmissions_sent += 1);
        self.send(flow, bytes, endpoint);
    }

    pub(crate) fn event(&mut self, event: UaEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
