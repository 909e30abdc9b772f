//! User agents, a test server and raw peers on a lossy network in virtual time.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

pub(crate) mod account;
pub(crate) mod again;
pub(crate) mod peer;
pub(crate) mod server;
pub(crate) mod text;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    CallEnd, CallEvent, CallKey, EndpointConfig, EndpointKey, Flow, Listener, LocalId, Output,
    Transport, UaConfig, UaEvent, UserAgent,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use server::Server;
pub(crate) use text::{event_name, header, kind, reply};

pub(crate) const LOCAL: LocalId = LocalId(1);
pub(crate) const OFFER: &[u8] = b"v=0 offer";
pub(crate) const ANSWER: &[u8] = b"v=0 answer";

/// What a test does with each event of an agent.
pub(crate) type Policy = fn(&mut UserAgent, Instant, &UaEvent);

pub(crate) struct Agent {
    pub(crate) ua: UserAgent,
    pub(crate) address: SocketAddr,
    pub(crate) events: Vec<UaEvent>,
    pub(crate) policy: Policy,
    /// Names Transmits it sent, oldest first.
    pub(crate) sent: Vec<Bytes>,
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) agents: Vec<Agent>,
    pub(crate) server: Option<Server>,
    /// Proxies behind it.
    pub(crate) proxies: Vec<Server>,
    /// What was put on the wire, lost or not: when, from, to, `INVITE` or `200 INVITE`.
    pub(crate) wire: Vec<(Duration, SocketAddr, SocketAddr, String)>,
    /// What arrived at addresses that are neither an agent nor the server.
    pub(crate) raw: BTreeMap<SocketAddr, Vec<Message>>,
    /// Messages delivered.
    pub(crate) delivered: usize,
    /// What something between the agents makes of each message.
    pub(crate) between: fn(Bytes) -> Bytes,
    loss: f64,
    delay: Duration,
    jitter: Duration,
    rng: StdRng,
    sequence: u64,
    queue: BinaryHeap<Reverse<Packet>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    at: Instant,
    sequence: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Bytes,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn nothing(_: &mut UserAgent, _: Instant, _: &UaEvent) {}

/// Rings and answers at once.
pub(crate) fn answer_at_once(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    if let UaEvent::Incoming(incoming) = event {
        ua.ring(now, incoming.call).unwrap();
        ua.answer(now, incoming.call, ANSWER).unwrap();
    }
}

/// Rings only.
pub(crate) fn ring_only(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    if let UaEvent::Incoming(incoming) = event {
        ua.ring(now, incoming.call).unwrap();
    }
}

impl Net {
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    pub(crate) fn new(loss: f64, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            agents: Vec::new(),
            server: None,
            proxies: Vec::new(),
            wire: Vec::new(),
            raw: BTreeMap::new(),
            delivered: 0,
            between: |bytes| bytes,
            loss,
            delay: millis(10),
            jitter: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            sequence: 0,
            queue: BinaryHeap::new(),
        }
    }

    /// Two agents with an endpoint each, `sip:a@…` and `sip:b@…`, that call each other directly.
    pub(crate) fn pair(loss: f64, seed: u64, policy: Policy) -> Self {
        let mut net = Self::new(loss, seed);
        net.agent("192.0.2.1:5060", nothing);
        net.agent("192.0.2.2:5060", policy);
        net.endpoint(0, 1, config("sip:a@192.0.2.1"));
        net.endpoint(1, 1, config("sip:b@192.0.2.2"));
        net
    }

    pub(crate) fn agent(&mut self, address: &str, policy: Policy) -> usize {
        let seed = 1 + self.agents.len() as u64;
        let mut ua = UserAgent::new(UaConfig::default(), seed);
        let address = addr(address);
        ua.add_listener(Listener::udp(LOCAL, address, None))
            .unwrap();
        self.agents.push(Agent {
            ua,
            address,
            events: Vec::new(),
            policy,
            sent: Vec::new(),
        });
        self.agents.len() - 1
    }

    pub(crate) fn endpoint(&mut self, agent: usize, key: u64, config: EndpointConfig) {
        self.agents[agent]
            .ua
            .add_endpoint(EndpointKey(key), config)
            .unwrap();
    }

    /// Agent 0 calls `target` from its endpoint 1.
    pub(crate) fn call(&mut self, target: &str) -> CallKey {
        let invite = callmeter_sip::Invite {
            target: target.parse().unwrap(),
            next_hop: None,
            body: Bytes::from_static(OFFER),
        };
        let key = self.agents[0]
            .ua
            .invite(self.now, EndpointKey(1), invite)
            .unwrap();
        self.drain();
        key
    }

    /// Does something with an agent and sends what comes of it.
    pub(crate) fn with<T>(
        &mut self,
        agent: usize,
        action: impl FnOnce(&mut UserAgent, Instant) -> T,
    ) -> T {
        let result = action(&mut self.agents[agent].ua, self.now);
        self.drain();
        result
    }

    pub(crate) fn hang_up(&mut self, agent: usize, call: CallKey) {
        self.with(agent, |ua, now| ua.hang_up(now, call)).unwrap();
    }

    /// Sends a message of a raw peer.
    pub(crate) fn send_raw(&mut self, from: &str, to: &str, text: &str) {
        self.send_bytes(from, to, text.as_bytes());
    }

    /// Sends any bytes of a raw peer.
    pub(crate) fn send_bytes(&mut self, from: &str, to: &str, bytes: &[u8]) {
        self.put(addr(from), addr(to), Bytes::copy_from_slice(bytes));
    }

    /// What arrived at a raw address since the last look.
    pub(crate) fn take_raw(&mut self, at: &str) -> Vec<Message> {
        self.raw.remove(&addr(at)).unwrap_or_default()
    }

    /// When messages of a kind were put on the wire, in milliseconds.
    pub(crate) fn times_of(&self, wanted: &str) -> Vec<u128> {
        let wire = self.wire.iter();
        wire.filter(|(.., kind)| kind == wanted)
            .map(|(at, ..)| at.as_millis())
            .collect()
    }

    pub(crate) fn set_loss(&mut self, loss: f64) {
        self.loss = loss;
    }

    /// Delays each message by up to this much more, so that one may overtake another.
    pub(crate) fn set_jitter(&mut self, jitter: Duration) {
        self.jitter = jitter;
    }

    /// Lets time pass, doing all that is due.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until nothing is due any more, for ten minutes of virtual time at most.
    pub(crate) fn run_out(&mut self) {
        let end = self.now + Duration::from_secs(600);
        while self.step(end) {}
        assert!(self.next().is_none(), "something is still due");
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        let packet = self.queue.peek().map(|Reverse(packet)| packet.at);
        let timers = self
            .agents
            .iter()
            .filter_map(|agent| agent.ua.next_timeout());
        packet.into_iter().chain(timers).min()
    }

    fn step(&mut self, end: Instant) -> bool {
        let Some(next) = self.next().filter(|next| *next <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(packet)| packet.at <= self.now)
        {
            let Some(Reverse(packet)) = self.queue.pop() else {
                break;
            };
            self.deliver(packet);
            self.drain();
        }
        let now = self.now;
        for agent in &mut self.agents {
            if agent.ua.next_timeout().is_some_and(|at| at <= now) {
                agent.ua.handle_timeout(now);
            }
        }
        self.drain();
        true
    }

    fn deliver(
        &mut self,
        Packet {
            from, to, bytes, ..
        }: Packet,
    ) {
        self.delivered += 1;
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.address == to) {
            let flow = Flow {
                local: LOCAL,
                transport: Transport::Udp,
                remote: from,
            };
            agent.ua.handle_input(self.now, flow, (self.between)(bytes));
        } else if let Some(server) = self
            .server
            .iter_mut()
            .chain(&mut self.proxies)
            .find(|server| server.address == to)
        {
            let address = server.address;
            let replies = server.handle(from, &bytes);
            for (to, bytes) in replies {
                self.put(address, to, Bytes::from(bytes));
            }
        } else {
            self.raw
                .entry(to)
                .or_default()
                .push(Message::parse(bytes).unwrap());
        }
    }

    pub(crate) fn drain(&mut self) {
        for index in 0..self.agents.len() {
            while let Some(output) = self.agents[index].ua.poll_output() {
                let agent = &mut self.agents[index];
                match output {
                    Output::Transmit(transmit) => {
                        let from = agent.address;
                        agent.sent.push(transmit.bytes.clone());
                        self.put(from, transmit.flow.remote, transmit.bytes);
                    }
                    Output::Event(event) => {
                        (agent.policy)(&mut agent.ua, self.now, &event);
                        agent.events.push(event);
                    }
                }
            }
        }
    }

    fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if let Ok(message) = Message::parse(bytes.clone())
            && message.value(HeaderName::CSeq).is_some()
        {
            let entry = (self.now - self.start, from, to, kind(&message));
            self.wire.push(entry);
        }
        if self.rng.random_bool(self.loss) {
            return;
        }
        self.sequence += 1;
        let mut at = self.now + self.delay;
        if !self.jitter.is_zero() {
            at += self.rng.random_range(Duration::ZERO..self.jitter);
        }
        self.queue.push(Reverse(Packet {
            at,
            sequence: self.sequence,
            from,
            to,
            bytes,
        }));
    }
}

impl Agent {
    /// The start lines and CSeq methods of what it sent: `INVITE`, `200 INVITE`.
    pub(crate) fn sent_kinds(&self) -> Vec<String> {
        self.sent
            .iter()
            .map(|bytes| kind(&Message::parse(bytes.clone()).unwrap()))
            .collect()
    }

    /// What events of calls say of one matter, in order.
    pub(crate) fn told<'a, T>(&'a self, of: impl Fn(&'a CallEvent) -> Option<T>) -> Vec<T> {
        self.events
            .iter()
            .filter_map(|event| match event {
                UaEvent::Call { event, .. } => of(event),
                _ => None,
            })
            .collect()
    }

    /// The ends of calls, in order.
    pub(crate) fn ends(&self) -> Vec<&CallEnd> {
        self.told(|event| match event {
            CallEvent::Ended(end) => Some(end),
            _ => None,
        })
    }

    /// Calls that have begun and not ended.
    pub(crate) fn standing(&self) -> usize {
        let keys: BTreeSet<_> = self
            .events
            .iter()
            .filter_map(|event| match event {
                UaEvent::Incoming(incoming) => Some(incoming.call),
                UaEvent::Call { call, .. } => Some(*call),
                _ => None,
            })
            .collect();
        keys.into_iter().filter(|call| self.stands(*call)).count()
    }

    /// Whether a call that has begun has not ended.
    pub(crate) fn stands(&self, call: CallKey) -> bool {
        !self.events.iter().any(|event| {
            matches!(event, UaEvent::Call { call: of, event: CallEvent::Ended(_), .. } if *of == call)
        })
    }

    /// The names of call events, in order.
    pub(crate) fn call_events(&self) -> Vec<&'static str> {
        self.events
            .iter()
            .filter_map(|event| match event {
                UaEvent::Call { event, .. } => Some(event_name(event)),
                UaEvent::Incoming(_) => Some("incoming"),
                _ => None,
            })
            .collect()
    }

    /// The call of the last INVITE that came in.
    pub(crate) fn incoming(&self) -> CallKey {
        self.events
            .iter()
            .rev()
            .find_map(|event| match event {
                UaEvent::Incoming(incoming) => Some(incoming.call),
                _ => None,
            })
            .unwrap()
    }
}

pub(crate) fn config(aor: &str) -> EndpointConfig {
    EndpointConfig::new(LOCAL, aor.parse().unwrap())
}
