//! One signalling shard: a plain thread that gives the engine sockets, a clock and its queues.

mod idle_port;
mod shares;
mod told;
mod waiting;

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use callmeter_engine::{Engine, EngineConfig, Flow, NoAddress, Output, OwnMap, ShareId, Transport};
use callmeter_proto::worker::EndpointEvent;
use callmeter_sip::{LARGEST_BY_UDP, PING, message::masked};
use shares::Share;
use tokio::sync::mpsc;
use waiting::Waiting;

use super::{
    Settings,
    handle::{ShardInput, Waker},
    idle::Idle,
    messages::{Command, Report},
    poller::Poller,
    ports::SipPorts,
    reports::Reports,
    resolver::Question,
    socket::{Advertised, Receiver},
    stats::Stats,
    transport::{StreamEvent, Streams},
};
use crate::{health::Pulse, media::MediaClient};

/// Descriptors that are no share's.
const WAKE: u64 = u64::MAX;
const IDLE: u64 = u64::MAX - 1;
/// The longest wait: the pulse must beat more often than every 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The wait while reports find no room.
const BEHIND_WAIT: Duration = Duration::from_millis(10);
/// How long events of calls are gathered: each message to the control task wakes it, and goes to the
/// gateway as one.
const GATHER: Duration = Duration::from_millis(10);
/// Datagrams taken from one socket before the others get their turn.
const BURST: usize = 256;
/// How often the idle port is tried again when another process holds it.
const IDLE_RETRY: Duration = Duration::from_secs(10);

/// What a shard is made of.
pub(super) struct Parts {
    pub(super) settings: Settings,
    pub(super) inputs: mpsc::Receiver<ShardInput>,
    pub(super) waker: Waker,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) media: MediaClient,
    pub(super) pulse: Pulse,
    pub(super) stats: Arc<Stats>,
    pub(super) seed: u64,
}

/// Events of a run that have not been told yet.
struct Gathered {
    run: String,
    events: Vec<EndpointEvent>,
    /// When they are told at the latest.
    due: Instant,
}

/// The thread's state.
pub(super) struct Shard {
    settings: Settings,
    engine: Engine,
    inputs: mpsc::Receiver<ShardInput>,
    waker: Waker,
    reports: Reports,
    questions: mpsc::Sender<Question>,
    media: MediaClient,
    pulse: Pulse,
    stats: Arc<Stats>,
    seed: u64,
    poller: Poller,
    receiver: Receiver,
    ports: SipPorts,
    streams: Streams,
    shares: OwnMap<ShareId, Share>,
    next_share: u32,
    /// Shares whose server is being looked for.
    waiting: BTreeMap<u64, Waiting>,
    next_waiting: u64,
    idle: Option<Idle>,
    idle_retry: Instant,
    idle_failed: bool,
    gathered: Option<Gathered>,
    /// When what the engine holds is told next.
    next_held: Instant,
}

impl Shard {
    pub(super) fn new(now: Instant, parts: Parts) -> io::Result<Self> {
        let Parts {
            settings,
            inputs,
            waker,
            reports,
            questions,
            media,
            pulse,
            stats,
            seed,
        } = parts;
        let poller = Poller::new()?;
        poller.watch(&waker, WAKE)?;
        Ok(Self {
            engine: Engine::new(EngineConfig::default(), seed),
            inputs,
            waker,
            reports: Reports::new(reports),
            questions,
            media,
            pulse,
            stats,
            seed,
            poller,
            receiver: Receiver::new(),
            ports: SipPorts::new(settings.sip_ports),
            streams: Streams::default(),
            shares: OwnMap::default(),
            next_share: 0,
            waiting: BTreeMap::new(),
            next_waiting: 0,
            idle: None,
            idle_retry: now,
            idle_failed: false,
            gathered: None,
            next_held: now,
            settings,
        })
    }

    /// Runs until the control task is gone; an error is the end of the process.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            self.pulse.beat(now);
            self.hold_idle_port(now);
            self.drain_outputs(now);
            if !self.reports.flush() {
                return Ok(());
            }
            let wait = if self.streams.is_unfinished() {
                Duration::ZERO
            } else {
                self.next_timeout(now).saturating_duration_since(now)
            };
            ready.clear();
            self.poller.wait(wait, |token| ready.push(token))?;
            let now = Instant::now();
            for token in &ready {
                match *token {
                    WAKE => self.waker.reset(),
                    IDLE => self.receive_idle(now),
                    token if Streams::owns(token) => {
                        self.streams.ready(now, &self.poller, token);
                    }
                    share => self.receive(now, ShareId(share as u32)),
                }
            }
            while let Some(event) = self.media.poll() {
                self.engine.handle_media(now, event);
            }
            while let Ok(input) = self.inputs.try_recv() {
                self.take(now, input);
            }
            self.streams.go_on(now);
            self.streams.handle_timeout(now, &self.poller);
            if self.engine.next_timeout().is_some_and(|due| due <= now) {
                self.engine.handle_timeout(now);
            }
            if let Some(idle) = &mut self.idle {
                idle.handle_timeout(now);
            }
            if now >= self.next_held {
                self.next_held = now + LONGEST_WAIT;
                self.stats.set_held(self.engine.held());
            }
        }
    }

    fn next_timeout(&self, now: Instant) -> Instant {
        let longest = now
            + if self.reports.is_behind() {
                BEHIND_WAIT
            } else {
                LONGEST_WAIT
            };
        let idle = self.idle.as_ref().and_then(Idle::next_timeout);
        let streams = self.streams.next_timeout();
        let events = self.gathered.as_ref().map(|held| held.due);
        [self.engine.next_timeout(), idle, streams, events]
            .into_iter()
            .flatten()
            .fold(longest, Instant::min)
    }

    fn take(&mut self, now: Instant, input: ShardInput) {
        match input {
            ShardInput::Command(Command::Assign(assign)) => self.assign(now, *assign),
            ShardInput::Command(Command::Start { run, peers }) => self.start(now, &run, peers),
            ShardInput::Command(Command::Stop { run, cause }) => self.stop(now, &run, &cause),
            ShardInput::Host(figures) => self.engine.handle_host(figures),
            ShardInput::Resolved { share, host, found } => {
                let found = match found {
                    Ok(at) => {
                        let calls = self.streams.calls(share, &host, at);
                        calls.map(|()| at).map_err(NoAddress::Misnamed)
                    }
                    Err(reason) => Err(NoAddress::Unknown(reason)),
                };
                let found = found.as_ref().copied();
                self.engine.handle_resolved(now, share, &host, found);
            }
            ShardInput::Located {
                waiting,
                found,
                took,
            } => self.located(now, waiting, found, took),
        }
    }

    fn receive(&mut self, now: Instant, id: ShareId) {
        for _ in 0..BURST {
            let Some(share) = self.shares.get(&id) else {
                return;
            };
            let Some(socket) = &share.socket else { return };
            let Some((remote, bytes)) = self.receiver.receive(socket) else {
                return;
            };
            self.stats.received.add(1);
            if tracing::enabled!(tracing::Level::TRACE) {
                tracing::trace!(%remote, port = share.port, "SIP received\n{}", masked(&bytes));
            }
            let flow = Flow {
                local: id.local(),
                transport: Transport::Udp,
                remote,
            };
            let before = self.engine.malformed();
            self.engine.handle_sip(now, flow, bytes);
            self.stats.malformed.add(self.engine.malformed() - before);
        }
    }

    fn receive_idle(&mut self, now: Instant) {
        for _ in 0..BURST {
            let Some(idle) = &mut self.idle else { return };
            let Some((remote, bytes)) = self.receiver.receive(idle.socket()) else {
                return;
            };
            self.stats.received.add(1);
            if tracing::enabled!(tracing::Level::TRACE) {
                tracing::trace!(%remote, "SIP received while idle\n{}", masked(&bytes));
            }
            let before = idle.malformed();
            idle.receive(now, remote, bytes);
            self.stats.malformed.add(idle.malformed() - before);
        }
    }

    /// Gives the engine what came by connections.
    fn take_stream_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.streams.poll_event() {
            any = true;
            match event {
                StreamEvent::Message { flow, bytes } => {
                    let remote = flow.remote;
                    self.stats.received.add(1);
                    if tracing::enabled!(tracing::Level::TRACE) {
                        tracing::trace!(%remote, transport = %flow.transport, "SIP received\n{}", masked(&bytes));
                    }
                    let before = self.engine.malformed();
                    self.engine.handle_sip(now, flow, bytes);
                    self.stats.malformed.add(self.engine.malformed() - before);
                }
                StreamEvent::Opened { flow, connect, tls } => {
                    self.engine.handle_connected(flow, connect, tls);
                }
                StreamEvent::TurnedAway { local, reason } => self.turned_away(local, &reason),
                StreamEvent::Broken {
                    flow,
                    reason,
                    malformed,
                    misnamed,
                } => {
                    let remote = flow.remote;
                    if misnamed {
                        let share = ShareId::of(flow.local);
                        self.engine.forget_address(now, share, remote.ip());
                    }
                    tracing::debug!(%remote, transport = %flow.transport, reason, "SIP connection ended");
                    self.stats.malformed.add(u64::from(malformed));
                    self.engine.flow_failed(now, flow, &reason);
                }
            }
        }
        any
    }

    /// Does everything the engine asks for, and what comes of it at once.
    fn drain_outputs(&mut self, now: Instant) {
        loop {
            self.do_outputs(now);
            if !self.take_stream_events(now) {
                break;
            }
        }
        if self.gathered.as_ref().is_some_and(|held| held.due <= now) {
            self.flush_events();
        }
    }

    fn do_outputs(&mut self, now: Instant) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Transmit {
                    flow,
                    bytes,
                    endpoint,
                } => {
                    if !self.transmit(now, flow, bytes) {
                        self.engine.transport_error(endpoint);
                    }
                }
                Output::KeepAlive { flow, every } => self.streams.keep_alive(flow, every),
                Output::Media(command) => self.media.send(command),
                Output::Resolve { share, host } => {
                    let question = Question::Host {
                        share,
                        host: host.clone(),
                    };
                    if self.questions.try_send(question).is_err() {
                        let busy = NoAddress::Unknown("too many names wait to be resolved".into());
                        self.engine.handle_resolved(now, share, &host, Err(&busy));
                    }
                }
                Output::Event(event) => self.report_event(now, event),
                Output::Rows {
                    share,
                    second,
                    rows,
                } => self.report_rows(share, second, rows),
                Output::ShareEnded { share, totals } => self.report_end(share, totals),
                Output::ShareClosed { share } => self.close(share),
            }
        }
    }

    fn transmit(&mut self, now: Instant, flow: Flow, bytes: Bytes) -> bool {
        let remote = flow.remote;
        let Some(share) = self.shares.get(&ShareId::of(flow.local)) else {
            return false;
        };
        if tracing::enabled!(tracing::Level::TRACE) {
            tracing::trace!(%remote, port = share.port, "SIP sent\n{}", masked(&bytes));
        }
        let socket = share.socket.as_ref();
        let Some(socket) = socket.filter(|_| flow.transport == Transport::Udp) else {
            self.stats.sent.add(1);
            self.streams.send(now, &self.poller, flow, bytes);
            return true;
        };
        match socket.send_to(&bytes, remote) {
            Ok(_) => {
                self.stats.sent.add(u64::from(*bytes != *PING));
                let oversized = bytes.len() > LARGEST_BY_UDP;
                self.stats.oversized.add(u64::from(oversized));
                true
            }
            Err(error) => {
                self.stats.send_errors.add(1);
                tracing::debug!(%remote, %error, "SIP message not sent");
                false
            }
        }
    }

    fn advertised(&self) -> Advertised {
        let addresses = self.settings.addresses;
        Advertised {
            bound: addresses.sip,
            external: addresses.external,
        }
    }
}
