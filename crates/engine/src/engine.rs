//! The engine: its interface and the way of every input to what handles it.

mod answer;
mod arrive;
mod begin;
mod config;
mod dial;
mod dtmf;
mod ending;
mod finish;
mod inspect;
mod measure;
mod names;
mod options;
mod refresh;
mod script;
mod stream;
mod transfer;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::{
    CallEvent, CallKey, EndpointKey, Flow, Output as UaOutput, OwnMap, UaConfig, UaEvent, UserAgent,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::assign::{Assign, ShareId};
use crate::call::Call;
use crate::endpoint::{Endpoint, endpoint_of};
use crate::event::{EndpointEvent, NoAddress, Outcome, Output, Phase, What};
use crate::media::{MediaEvent, StreamId};
use crate::scenario::Event;
use crate::share::{EndCause, Share, Stage};
use crate::timers::{Timer, Timers};

pub use config::{EngineConfig, EngineError, Held, HostFigures};

/// How long a stream may take to open or to report its last figures, a name to be resolved.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long packets are received after the end of a call (worker.md).
const LINGER: Duration = Duration::from_millis(200);
/// Least time between a call that failed and the endpoint's next one.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long callees leave the BYE to their callers at the end of a run; covers the skew of starts.
const CALLEE_GRACE: Duration = Duration::from_secs(2);
/// BYE and REGISTER end by their own timers within 32 s each; what is left then is dropped.
const HARD_END: Duration = Duration::from_secs(70);
/// The same when a deadline forces the end.
const FORCED_END: Duration = Duration::from_secs(4);
/// How long late requests are answered after a share (64·T1, RFC 3261 §17.1.1.2).
const LATE_REQUESTS: Duration = Duration::from_secs(32);

/// Endpoints and calls of the shares placed on one signalling shard.
///
/// Contract:
/// - `now` never goes back. After every call that takes it, drain [`Self::poll_output`], then call
///   [`Self::handle_timeout`] at [`Self::next_timeout`] or a little later.
/// - The caller owns the SIP sockets: bind one per share before [`Self::assign`], keep it until
///   [`Output::ShareClosed`]. Every [`MediaCommand`](crate::media::MediaCommand) is handed on in
///   order; every [`MediaEvent`] comes back. Losing one costs figures, never the run: each wait has
///   a deadline.
/// - A share goes assign → start → … → [`Output::ShareEnded`] → [`Output::ShareClosed`]. Callees
///   take calls as soon as they are READY, callers call from the start on. At the end of the run
///   the callers' calls are ended by BYE (CANCEL if not answered), 2 s later what callees still
///   hold; a repeated call is begun only if it fits into the run whole, one of a rate or level of
///   calls, or the first one of an endpoint that waited for its turn, if it can be answered within.
///   Registrations are removed when an endpoint has no call left. 70 s after the end of the run
///   (4 s when forced) what has not ended is dropped.
/// - Draining is nothing of the engine's: give it no new share.
/// - Dropping the engine sends nothing.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    ua: UserAgent,
    shares: BTreeMap<ShareId, Share>,
    calls: OwnMap<StreamId, Call>,
    by_key: OwnMap<CallKey, StreamId>,
    timers: Timers,
    outputs: VecDeque<Output>,
    rng: SmallRng,
    streams_opened: u64,
    next_registration: Option<Instant>,
}

impl Engine {
    /// An engine without shares; all its tags, ids and branches come from `seed`.
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let ua = UaConfig {
            product: config.product.clone(),
            ..UaConfig::default()
        };
        Self {
            ua: UserAgent::new(ua, rng.random()),
            config,
            shares: BTreeMap::new(),
            calls: OwnMap::default(),
            by_key: OwnMap::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            rng,
            streams_opened: 0,
            next_registration: None,
        }
    }

    /// Takes a share; its endpoints get ready.
    pub fn assign(&mut self, now: Instant, assign: Assign) -> Result<(), EngineError> {
        self.begin(now, assign)?;
        self.settle(now);
        Ok(())
    }

    /// Starts the callers and the clock of a share. `peers`: what each endpoint calls, in order;
    /// an empty text is a callee that failed; no peers at all: those of the assignment hold.
    pub fn start(
        &mut self,
        now: Instant,
        share: ShareId,
        peers: Vec<String>,
    ) -> Result<(), EngineError> {
        self.run(now, share, peers)?;
        self.settle(now);
        Ok(())
    }

    /// Ends a share early: calls by BYE, registrations by un-REGISTER. Unknown or ended: nothing.
    pub fn stop(&mut self, now: Instant, share: ShareId, reason: &str) {
        self.end_share(now, share, &EndCause::Stopped(reason.to_owned()));
        self.settle(now);
    }

    /// Ends a share because a deadline passed: BYE to all at once, outcome TIMEOUT, totals
    /// `forced`; over within 9 s at most.
    pub fn force_end(&mut self, now: Instant, share: ShareId) {
        self.end_share(now, share, &EndCause::Forced);
        self.settle(now);
    }

    /// Takes one message from a local transport of a share.
    pub fn handle_sip(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.ua.handle_input(now, flow, bytes);
        self.settle(now);
    }

    /// Counts a message of [`Output::Transmit`] that could not be sent.
    pub fn transport_error(&mut self, endpoint: Option<EndpointKey>) {
        self.ua.transport_error(endpoint);
    }

    /// The connection of a flow is made: how long it took from SYN to established, and its TLS
    /// handshake if it has one.
    pub fn handle_connected(&mut self, flow: Flow, connect: Duration, tls: Option<Duration>) {
        if let Some(share) = self.shares.get_mut(&ShareId::of(flow.local)) {
            share.connected(flow.local, connect, tls);
        }
    }

    /// The connection of a flow could not be made, or broke; the reason is for people. What waits for
    /// an answer by it fails now, not after 32 s.
    pub fn flow_failed(&mut self, now: Instant, flow: Flow, reason: &str) {
        self.ua.flow_failed(now, flow, reason);
        self.settle(now);
    }

    /// Takes an event of a media thread.
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        match event {
            MediaEvent::Opened { stream, local } => self.stream_opened(now, stream, local),
            MediaEvent::OpenFailed { stream, reason } => self.stream_failed(now, stream, &reason),
            MediaEvent::FirstPacket { stream, at } => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    call.first_packet.get_or_insert(at);
                }
            }
            // Both are counted by the seconds of the stream.
            MediaEvent::DigitReceived { stream, digit, .. } => {
                self.digit_received(now, stream, digit);
            }
            MediaEvent::DigitsSent {
                stream, dropped, ..
            } => self.digits_sent(now, stream, dropped),
            MediaEvent::Second { stream, snapshot } => self.record(now, stream, &snapshot),
            MediaEvent::Removed { stream, last } => {
                self.record(now, stream, &last);
                self.stream_gone(now, stream);
            }
        }
        self.settle(now);
    }

    /// Takes the answer to [`Output::Resolve`].
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        share: ShareId,
        host: &str,
        found: Result<IpAddr, &NoAddress>,
    ) {
        self.resolved(now, share, host, found);
        self.settle(now);
    }

    /// A server at this address is not who it was called: its names are resolved anew before the
    /// share calls it again.
    pub fn forget_address(&mut self, now: Instant, share: ShareId, address: IpAddr) {
        self.forget_names(now, share, address);
        self.settle(now);
    }

    /// Takes the generator's own figures, about once a second; every share's rows carry them.
    pub fn handle_host(&mut self, figures: HostFigures) {
        for share in self
            .shares
            .values_mut()
            .filter(|share| share.stage != Stage::Closed)
        {
            share.host = Some(measure::merge_host(share.host, figures));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ua.handle_timeout(now);
        self.settle(now);
        while let Some((share, timer)) = self.timers.pop(now) {
            self.fire(now, share, timer);
            self.settle(now);
        }
    }

    /// When [`Self::handle_timeout`] is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        match (self.ua.next_timeout(), self.timers.next()) {
            (Some(ua), Some(own)) => Some(ua.min(own)),
            (ua, own) => ua.or(own),
        }
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn fire(&mut self, now: Instant, share: ShareId, timer: Timer) {
        match timer {
            Timer::Second => self.second_over(now, share),
            Timer::Start => self.end_share(now, share, &EndCause::NeverStarted),
            Timer::Resolve => self.names_overdue(now, share),
            Timer::RunEnd => self.end_share(now, share, &EndCause::RunOver),
            Timer::Grace => self.hang_up_all(now, share),
            Timer::HardEnd => self.drop_all(now, share),
            Timer::Close => self.close(now, share),
            Timer::Endpoint(index) => self.endpoint_due(now, share, index),
            Timer::Arrival(index) => self.arrival_due(now, share, index),
            Timer::Options(index) => self.ask(now, share, index),
            Timer::Script(stream) => self.run_script(now, stream),
            Timer::Call(stream) => self.call_due(now, stream),
        }
    }

    /// Hands on what the user agent wants sent and deals with what it reports, until it is quiet.
    fn settle(&mut self, now: Instant) {
        while let Some(output) = self.ua.poll_output() {
            match output {
                UaOutput::Transmit(transmit) => self.outputs.push_back(Output::Transmit {
                    flow: transmit.flow,
                    bytes: transmit.bytes,
                    endpoint: transmit.endpoint,
                }),
                UaOutput::Event(event) => self.sip_event(now, event),
            }
        }
    }

    fn sip_event(&mut self, now: Instant, event: UaEvent) {
        match event {
            UaEvent::Registered(registered) => self.registered(now, &registered),
            UaEvent::RegistrationFailed(failed) => self.registration_failed(now, &failed),
            UaEvent::OptionsAnswered(answered) => self.options_answered(now, &answered),
            UaEvent::FlowKept { flow, every } => {
                self.outputs.push_back(Output::KeepAlive { flow, every });
            }
            UaEvent::Unregistered {
                endpoint,
                confirmed,
                ..
            } => {
                let (share, index) = endpoint_of(endpoint);
                self.unregistered(now, share, index, confirmed);
            }
            UaEvent::Incoming(incoming) => self.incoming(now, incoming),
            UaEvent::Call {
                call, event, at, ..
            } => {
                let Some(&stream) = self.by_key.get(&call) else {
                    return;
                };
                match event {
                    CallEvent::Progress { code, body } => self.progress(now, stream, code, &body),
                    CallEvent::Answered { body } => self.answered(now, stream, at, &body),
                    CallEvent::Confirmed { body } => self.confirmed(now, stream, &body),
                    CallEvent::Offer { body } => self.offered(now, stream, &body),
                    CallEvent::OfferAnswered { body } => self.offer_answered(at, stream, &body),
                    CallEvent::RefreshAnswered { body } => {
                        self.refresh_answered(now, stream, &body);
                    }
                    CallEvent::OfferMet { wait } => self.offer_met(now, stream, wait),
                    CallEvent::OfferRefused { .. } => self.offer_refused(now, stream),
                    CallEvent::Info { content_type, body } => {
                        self.info_received(now, stream, &content_type, &body);
                    }
                    CallEvent::InfoAnswered { code } => self.info_answered(now, stream, code),
                    CallEvent::SessionRefreshed { .. } => {
                        self.script_event(now, stream, Event::SessionRefreshed);
                    }
                    CallEvent::Pracked { body } => self.pracked(now, stream, &body),
                    CallEvent::Referred { to, replaces } => {
                        self.referred(now, stream, to, replaces);
                    }
                    CallEvent::ReferAnswered { code } => self.refer_answered(now, stream, code),
                    CallEvent::TransferProgress { code, last } => {
                        self.transfer_progress(now, stream, code, last);
                    }
                    CallEvent::SessionExpired | CallEvent::Replaced => self.stop_sending(stream),
                    CallEvent::AckMissing => {
                        self.raise(stream, Outcome::Timeout, "no ACK to the answer");
                    }
                    CallEvent::ByeSent => self.enter(now, stream, Phase::Disconnecting),
                    CallEvent::ByeReceived => self.bye_received(now, stream),
                    CallEvent::Ended(end) => self.call_ended(now, stream, at, end),
                }
            }
        }
    }

    /// Reports a state change of an endpoint.
    fn emit(&mut self, now: Instant, share: ShareId, index: u32, call: u32, what: What) {
        let Some(known) = self.shares.get(&share) else {
            return;
        };
        let event = EndpointEvent {
            share,
            endpoint: known.assign.first + index,
            call,
            what,
            at: now.saturating_duration_since(known.received),
        };
        self.outputs.push_back(Output::Event(event));
    }

    /// Moves a call to a later phase; an earlier one or the same is ignored.
    fn enter(&mut self, now: Instant, stream: StreamId, phase: Phase) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if call.phase.is_some_and(|held| held >= phase) {
            return;
        }
        call.phase = Some(phase);
        let (share, endpoint, number) = (call.share, call.endpoint, call.number);
        self.emit(now, share, endpoint, number, What::Phase(phase));
    }

    /// Sets the one timer of a call.
    fn set_call_timer(&mut self, stream: StreamId, at: Option<Instant>) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        self.timers
            .cancel(call.timer, call.share, Timer::Call(stream));
        call.timer = at;
        if let Some(at) = at {
            self.timers.set(at, call.share, Timer::Call(stream));
        }
    }

    /// Sets the one timer of an endpoint.
    fn set_endpoint_timer(&mut self, share: ShareId, index: u32, at: Option<Instant>) {
        let Some(endpoint) = self.endpoint(share, index) else {
            return;
        };
        let held = std::mem::replace(&mut endpoint.timer, at);
        self.timers.cancel(held, share, Timer::Endpoint(index));
        if let Some(at) = at {
            self.timers.set(at, share, Timer::Endpoint(index));
        }
    }

    fn endpoint(&mut self, share: ShareId, index: u32) -> Option<&mut Endpoint> {
        self.shares.get_mut(&share)?.endpoint(index)
    }

    fn raise(&mut self, stream: StreamId, outcome: Outcome, detail: &str) {
        if let Some(call) = self.calls.get_mut(&stream) {
            call.verdict.raise(outcome, detail);
        }
    }
}
