//! Engines joined by a link in virtual time, with a model of the media threads.
#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail the test"
)]

pub(crate) mod media;
pub(crate) mod proxy;
mod site;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_engine::media::{Codec, Digit};
use callmeter_engine::{
    Assign, Audio, CallPlan, Dtmf, Engine, EngineConfig, Flow, Listener, Load, NoAddress, Output,
    Registrar, Reliable, Role, Scenario, SessionTimer, ShareId, Transport,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use media::MediaModel;
use proxy::Proxy;
use site::Site;

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What is due at a point in time.
#[derive(Debug)]
enum Due {
    Sip {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    Media(media::Due),
    Resolved {
        site: usize,
        share: ShareId,
        host: String,
    },
}

/// The link, the engines on it, the clock.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) sites: Vec<Site>,
    /// One-way delay of SIP, and share of messages lost.
    pub(crate) delay: Duration,
    pub(crate) loss: f64,
    pub(crate) media: MediaModel,
    pub(crate) proxy: Option<Proxy>,
    /// Names the resolver knows; others fail. Nothing is answered when `dns` is off.
    pub(crate) names: HashMap<String, IpAddr>,
    pub(crate) dns: bool,
    /// Those whose servers have certificates for other names, and what is said of them.
    pub(crate) misnamed: HashMap<String, &'static str>,
    /// SIP messages put on the wire: from, to, first line.
    pub(crate) wire: Vec<(SocketAddr, SocketAddr, String)>,
    /// The same as whole texts, by destination.
    pub(crate) raw: Vec<(SocketAddr, String)>,
    queue: BTreeMap<(Instant, u64), Due>,
    sequence: u64,
    rng: SmallRng,
}

#[expect(clippy::disallowed_methods, reason = "any point in time will do")]
fn origin() -> Instant {
    Instant::now()
}

impl World {
    pub(crate) fn new(sites: usize, seed: u64) -> Self {
        let site = |n: usize| Site {
            engine: Engine::new(
                EngineConfig {
                    shard: n as u16,
                    ..EngineConfig::default()
                },
                seed + n as u64,
            ),
            ip: IpAddr::from([192, 0, 2, n as u8 + 1]),
            ports: HashMap::new(),
            events: Vec::new(),
            rows: Vec::new(),
            ended: Vec::new(),
            closed: Vec::new(),
        };
        Self {
            now: origin(),
            sites: (0..sites).map(site).collect(),
            delay: ms(5),
            loss: 0.0,
            media: MediaModel::new(),
            proxy: None,
            names: HashMap::new(),
            dns: true,
            misnamed: HashMap::new(),
            wire: Vec::new(),
            raw: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// An assignment that a test changes to its needs: G.711 A-law, calls of 10 s in a run of 60.
    pub(crate) fn plan(&self, site: usize, share: u32, role: Role, count: u32) -> Assign {
        let share = ShareId(share);
        let ip = self.sites[site].ip;
        let bound = SocketAddr::new(ip, 5060 + share.0 as u16);
        Assign {
            share,
            group: format!("group {}", share.0),
            run: "run".to_owned(),
            first: 0,
            count,
            role,
            registrar: Registrar {
                domain: String::new(),
                port: 0,
                transport: Transport::Udp,
                outbound_proxy: String::new(),
                register: false,
                expires: secs(300),
                options_interval: None,
                located: None,
            },
            accounts: Vec::new(),
            peers: Vec::new(),
            audio: Audio {
                codec: Codec::Pcma,
                ptime_ms: 20,
                dscp: 46,
            },
            start_offsets: Vec::new(),
            load: Load::Offsets,
            call: CallPlan {
                duration: secs(10),
                ring: secs(1),
                repeat: false,
                pause: Duration::ZERO,
                answer_code: 200,
            },
            auth_in_dialog: false,
            accept_transfers: true,
            reliable: Reliable::Off,
            session_timer: SessionTimer::default(),
            headers: Vec::new(),
            dtmf: Dtmf::Info,
            scenario: Scenario::default(),
            duration: secs(60),
            accept_external: false,
            start_within: secs(120),
            listener: Listener::udp(share.local(), bound, None),
            listeners: Vec::new(),
            sdp_address: ip,
        }
    }

    pub(crate) fn assign(&mut self, site: usize, assign: Assign) {
        let bound = SocketAddr::new(self.sites[site].ip, 5060 + assign.share.0 as u16);
        self.sites[site].ports.insert(assign.share, bound);
        let now = self.now;
        self.sites[site].engine.assign(now, assign).unwrap();
        self.drain();
    }

    pub(crate) fn start(&mut self, site: usize, share: u32, peers: &[String]) {
        let now = self.now;
        self.sites[site]
            .engine
            .start(now, ShareId(share), peers.to_vec())
            .unwrap();
        self.drain();
    }

    /// Does something with an engine at the present time, then what follows from it.
    pub(crate) fn with<T>(
        &mut self,
        site: usize,
        act: impl FnOnce(&mut Engine, Instant) -> T,
    ) -> T {
        let now = self.now;
        let done = act(&mut self.sites[site].engine, now);
        self.drain();
        done
    }

    /// Puts a raw message on the wire.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: SocketAddr, text: &str) {
        let bytes = Bytes::copy_from_slice(text.replace('\n', "\r\n").as_bytes());
        let at = self.now + self.delay;
        self.push(at, Due::Sip { from, to, bytes });
    }

    /// A far end that is no site sends a digit, under its payload type, to all streams of a site.
    pub(crate) fn hear(&mut self, site: usize, payload_type: u8, digit: Digit) {
        self.media.hear(self.now, site, payload_type, digit);
        self.schedule_media();
    }

    /// Runs for a time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something holds; panics after `limit`, naming what it waited for.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.step(end), "waited {limit:?} for {what}");
        }
    }

    pub(crate) fn run_until_ended(&mut self, limit: Duration) {
        self.run_until("all shares to end", limit, |world| {
            world
                .sites
                .iter()
                .all(|site| site.ended.len() == site.ports.len())
        });
    }

    /// Does what is due next, if it is due by `end`.
    fn step(&mut self, end: Instant) -> bool {
        let timers = self
            .sites
            .iter()
            .filter_map(|site| site.engine.next_timeout());
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let Some(at) = timers.chain(queued).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        let now = self.now;
        while let Some(entry) = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let due = entry.remove();
            self.deliver(due);
            self.drain();
        }
        for site in 0..self.sites.len() {
            if self.sites[site]
                .engine
                .next_timeout()
                .is_some_and(|at| at <= now)
            {
                self.sites[site].engine.handle_timeout(now);
                let next = self.sites[site].engine.next_timeout();
                assert!(
                    next.is_none_or(|next| next > now),
                    "a timer that never goes away"
                );
            }
        }
        self.drain();
        true
    }

    fn deliver(&mut self, due: Due) {
        let now = self.now;
        match due {
            Due::Sip { from, to, bytes } => {
                if let Some(proxy) = self.proxy.as_mut().filter(|proxy| proxy.address == to) {
                    for (to, bytes) in proxy.handle(from, &bytes) {
                        self.send(self.proxy.as_ref().unwrap().address, to, bytes);
                    }
                    return;
                }
                for site in &mut self.sites {
                    let Some((share, _)) = site.ports.iter().find(|(_, bound)| **bound == to)
                    else {
                        continue;
                    };
                    let flow = Flow {
                        local: share.local(),
                        transport: Transport::Udp,
                        remote: from,
                    };
                    site.engine.handle_sip(now, flow, bytes);
                    return;
                }
            }
            Due::Media(due) => {
                for (site, event) in self.media.handle(now, due) {
                    self.sites[site].engine.handle_media(now, event);
                    self.drain();
                }
                self.schedule_media();
            }
            Due::Resolved { site, share, host } => {
                let found = match (self.misnamed.get(&host), self.names.get(&host)) {
                    (Some(reason), _) => Err(NoAddress::Misnamed((*reason).to_owned())),
                    (None, Some(ip)) => Ok(*ip),
                    (None, None) => Err(NoAddress::Unknown("no such name".to_owned())),
                };
                let found = found.as_ref().copied();
                let engine = &mut self.sites[site].engine;
                engine.handle_resolved(now, share, &host, found);
            }
        }
    }

    fn drain(&mut self) {
        for index in 0..self.sites.len() {
            while let Some(output) = self.sites[index].engine.poll_output() {
                self.take(index, output);
            }
        }
        self.schedule_media();
    }

    fn take(&mut self, index: usize, output: Output) {
        let site = &mut self.sites[index];
        match output {
            Output::Transmit { flow, bytes, .. } => {
                let from = site.ports[&ShareId::of(flow.local)];
                self.send(from, flow.remote, bytes);
            }
            Output::Media(command) => {
                let ip = site.ip;
                self.media.command(self.now, index, ip, command);
            }
            Output::Resolve { share, host } => {
                if self.dns {
                    let at = self.now + ms(3);
                    self.push(
                        at,
                        Due::Resolved {
                            site: index,
                            share,
                            host,
                        },
                    );
                }
            }
            Output::KeepAlive { .. } => {}
            Output::Event(event) => site.events.push(event),
            Output::Rows {
                share,
                second,
                rows,
            } => {
                site.rows
                    .extend(rows.into_iter().map(|row| (share, second, row)));
            }
            Output::ShareEnded { share, totals } => site.ended.push((share, totals)),
            Output::ShareClosed { share } => site.closed.push(share),
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        self.wire.push((from, to, line));
        self.raw.push((to, text));
        if self.rng.random_bool(self.loss) {
            return;
        }
        let at = self.now + self.delay;
        self.push(at, Due::Sip { from, to, bytes });
    }

    fn schedule_media(&mut self) {
        for (at, due) in self.media.take_schedule() {
            self.push(at, Due::Media(due));
        }
    }

    fn push(&mut self, at: Instant, due: Due) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), due);
    }
}
