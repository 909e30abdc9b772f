//! A model of the media threads: packets of 20 ms with a delay, counted at both ends.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use callmeter_engine::media::{
    Digit, MediaCommand, MediaEvent, StreamId, StreamSnapshot, TelephoneEvents,
};
use callmeter_rtp::{EventCounters, Lateness, RemoteReport};

const PTIME: Duration = Duration::from_millis(20);
const PAYLOAD: u64 = 160;
/// The playout model waits this long.
pub(crate) const PLAYOUT_MS: f64 = 40.0;

type Key = (usize, StreamId);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    Opened(Key),
    Send(Key),
    Arrive {
        to: SocketAddr,
        number: u64,
    },
    Second(Key),
    Removed(Key),
    Digit {
        to: SocketAddr,
        payload_type: u8,
        digit: Digit,
    },
    DigitsSent {
        of: Key,
        sent: u8,
        dropped: u8,
    },
}

#[derive(Debug, Default)]
struct Stream {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    started: Option<Instant>,
    last_second: Option<Instant>,
    sending: bool,
    ticking: bool,
    seconds: u32,
    sent: u64,
    received: u64,
    highest: u64,
    waiting: Vec<u64>,
    /// Digits, once telephone events are agreed on, and as what.
    events: Option<EventCounters>,
    agreed: Option<TelephoneEvents>,
}

/// All media threads, and the network between them.
#[derive(Debug, Default)]
pub(crate) struct MediaModel {
    streams: BTreeMap<Key, Stream>,
    schedule: Vec<(Instant, Due)>,
    next_port: u16,
    /// One-way delay of RTP.
    pub(crate) delay: Duration,
    /// How long ports take to be opened.
    pub(crate) opens_within: Duration,
    /// Every n-th packet is lost; 0: none.
    pub(crate) lose_every: u64,
    /// Sites whose packets never arrive.
    pub(crate) deaf_to: HashSet<usize>,
    /// Sites that cannot open a port, and sites whose threads say nothing at all.
    pub(crate) no_ports: HashSet<usize>,
    pub(crate) stalled: HashSet<usize>,
    /// RTCP works (from the fifth second on).
    pub(crate) rtcp: bool,
    /// Send lateness p99 in milliseconds.
    pub(crate) lateness_ms: f64,
    /// Commands in the order they came.
    pub(crate) commands: Vec<(Instant, usize, MediaCommand)>,
}

impl MediaModel {
    pub(crate) fn new() -> Self {
        Self {
            delay: Duration::from_millis(10),
            opens_within: Duration::from_millis(1),
            rtcp: true,
            lateness_ms: 0.2,
            next_port: 10_000,
            ..Self::default()
        }
    }

    pub(crate) fn take_schedule(&mut self) -> Vec<(Instant, Due)> {
        std::mem::take(&mut self.schedule)
    }

    /// Schedules a digit to all streams of a site.
    pub(crate) fn hear(&mut self, now: Instant, site: usize, payload_type: u8, digit: Digit) {
        let streams = self.streams.iter().filter(|((of, _), _)| *of == site);
        for to in streams.filter_map(|(_, stream)| stream.local) {
            let digit = Due::Digit {
                to,
                payload_type,
                digit,
            };
            self.schedule.push((now + self.delay, digit));
        }
    }

    /// Streams that are not removed.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn command(&mut self, now: Instant, site: usize, ip: IpAddr, command: MediaCommand) {
        self.commands.push((now, site, command));
        if self.stalled.contains(&site) {
            return;
        }
        let key = (site, command.stream());
        match command {
            MediaCommand::Open { .. } => {
                self.next_port += 2;
                let local = Some(SocketAddr::new(ip, self.next_port));
                self.streams.insert(
                    key,
                    Stream {
                        local,
                        ..Stream::default()
                    },
                );
                self.schedule
                    .push((now + self.opens_within, Due::Opened(key)));
            }
            MediaCommand::Start {
                remote,
                start_sending,
                telephone_events,
                ..
            } => {
                let Some(stream) = self.streams.get_mut(&key) else {
                    return;
                };
                stream.remote = Some(remote);
                stream.agreed = telephone_events;
                stream.events = telephone_events
                    .is_some()
                    .then(|| stream.events.take().unwrap_or_default());
                stream.sending = start_sending;
                if stream.started.is_none() {
                    stream.started = Some(now);
                    stream.last_second = Some(now);
                    self.schedule
                        .push((now + Duration::from_secs(1), Due::Second(key)));
                    for number in std::mem::take(&mut stream.waiting) {
                        let to = stream.local.unwrap();
                        self.schedule.push((now, Due::Arrive { to, number }));
                    }
                }
                if stream.sending && !stream.ticking {
                    stream.ticking = true;
                    self.schedule.push((now, Due::Send(key)));
                }
            }
            MediaCommand::SendDigits {
                digits,
                digit_ms,
                gap_ms,
                ..
            } => {
                let stream = self.streams.get(&key).filter(|stream| stream.sending);
                let to = stream.and_then(|stream| stream.remote.zip(stream.agreed));
                let count = digits.as_slice().len() as u8;
                let mut at = now;
                for digit in digits.as_slice().iter().filter(|_| to.is_some()) {
                    at += Duration::from_millis(digit_ms.into());
                    if let Some((to, events)) = to {
                        let digit = Due::Digit {
                            to,
                            payload_type: events.send,
                            digit: *digit,
                        };
                        self.schedule.push((at + self.delay, digit));
                    }
                    at += Duration::from_millis(gap_ms.into());
                }
                let (sent, dropped) = if to.is_some() { (count, 0) } else { (0, count) };
                let told = Due::DigitsSent {
                    of: key,
                    sent,
                    dropped,
                };
                self.schedule.push((at, told));
            }
            MediaCommand::StopSending { .. } => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.sending = false;
                }
            }
            MediaCommand::Remove { .. } => {
                self.schedule
                    .push((now + Duration::from_millis(1), Due::Removed(key)));
            }
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, due: Due) -> Vec<(usize, MediaEvent)> {
        match due {
            Due::Opened(key) => self.opened(key),
            Due::Send(key) => self.send(now, key),
            Due::Arrive { to, number } => return self.arrive(now, to, number),
            Due::Second(key) => {
                let Some(stream) = self.streams.get(&key) else {
                    return Vec::new();
                };
                let snapshot = self.snapshot(now, key.0, stream);
                // Threads report about once a second: now a little early, now a little late.
                let early = snapshot.second.is_multiple_of(2);
                let next = Duration::from_millis(if early { 1015 } else { 985 });
                self.schedule.push((now + next, Due::Second(key)));
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.seconds += 1;
                    stream.last_second = Some(now);
                }
                Some((
                    key.0,
                    MediaEvent::Second {
                        stream: key.1,
                        snapshot,
                    },
                ))
            }
            Due::Digit {
                to,
                payload_type,
                digit,
            } => {
                let agreed = |s: &Stream| s.agreed.map(|events| events.receive);
                let mut streams = self.streams.iter_mut();
                let found = streams.find(|(_, s)| s.local == Some(to));
                let known = found.filter(|(_, s)| agreed(s) == Some(payload_type));
                known.map(|((site, stream), state)| {
                    state.events.get_or_insert_default().received += 1;
                    let event = MediaEvent::DigitReceived {
                        stream: *stream,
                        digit,
                        duration_ms: 100,
                        started: now,
                        complete: true,
                    };
                    (*site, event)
                })
            }
            Due::DigitsSent { of, sent, dropped } => {
                let event = MediaEvent::DigitsSent {
                    stream: of.1,
                    sent,
                    dropped,
                };
                let state = self.streams.get_mut(&of);
                if let Some(events) = state.and_then(|stream| stream.events.as_mut()) {
                    events.sent += u64::from(sent);
                    events.dropped += u64::from(dropped);
                }
                self.streams.contains_key(&of).then_some((of.0, event))
            }
            Due::Removed(key) => {
                let Some(stream) = self.streams.remove(&key) else {
                    return Vec::new();
                };
                let last = self.snapshot(now, key.0, &stream);
                Some((
                    key.0,
                    MediaEvent::Removed {
                        stream: key.1,
                        last,
                    },
                ))
            }
        }
        .into_iter()
        .collect()
    }

    fn opened(&mut self, (site, stream): Key) -> Option<(usize, MediaEvent)> {
        if self.no_ports.contains(&site) {
            self.streams.remove(&(site, stream));
            let reason = "no free RTP port in 10000-10001".to_owned();
            return Some((site, MediaEvent::OpenFailed { stream, reason }));
        }
        let local = self.streams.get(&(site, stream))?.local?;
        Some((site, MediaEvent::Opened { stream, local }))
    }

    fn send(&mut self, now: Instant, key: Key) -> Option<(usize, MediaEvent)> {
        let stream = self.streams.get_mut(&key)?;
        if !stream.sending {
            stream.ticking = false;
            return None;
        }
        stream.sent += 1;
        let (number, to) = (stream.sent, stream.remote?);
        let lost = self.lose_every > 0 && number.is_multiple_of(self.lose_every);
        if !lost && !self.deaf_to.contains(&key.0) {
            self.schedule
                .push((now + self.delay, Due::Arrive { to, number }));
        }
        self.schedule.push((now + PTIME, Due::Send(key)));
        None
    }

    fn arrive(&mut self, now: Instant, to: SocketAddr, number: u64) -> Vec<(usize, MediaEvent)> {
        let Some((key, stream)) = self.streams.iter_mut().find(|(_, s)| s.local == Some(to)) else {
            return Vec::new();
        };
        if stream.started.is_none() {
            stream.waiting.push(number);
            return Vec::new();
        }
        stream.received += 1;
        stream.highest = stream.highest.max(number);
        if stream.received > 1 {
            return Vec::new();
        }
        vec![(
            key.0,
            MediaEvent::FirstPacket {
                stream: key.1,
                at: now,
            },
        )]
    }

    fn snapshot(&self, now: Instant, site: usize, stream: &Stream) -> StreamSnapshot {
        let mut s = StreamSnapshot {
            second: stream.seconds,
            ..Default::default()
        };
        let Some(started) = stream.started else {
            return s;
        };
        s.window_ms = now
            .duration_since(stream.last_second.unwrap_or(started))
            .as_millis() as u32;
        s.send.total.packets = stream.sent;
        s.send.total.bytes = stream.sent * PAYLOAD;
        s.receive.total.packets = stream.received;
        s.receive.total.bytes = stream.received * PAYLOAD;
        s.events = stream.events;
        s.receive.total.expected = stream.highest;
        s.receive.total.lost = stream.highest as i64 - stream.received as i64;
        s.quality.burst_ratio = 1.0;
        if stream.received > 1 {
            s.receive.jitter_ms = Some(0.0);
            s.receive.dscp = Some(46);
            s.receive.ttl = Some(64);
            s.playout.delay_ms = Some(PLAYOUT_MS);
            s.quality.packet_ms = Some(20.0);
            s.quality.expected = stream.highest;
            s.quality.ppl_pct = Some(s.receive.total.lost as f64 / stream.highest as f64 * 100.0);
        }
        if stream.sent > 0 {
            s.generator.lateness = Some(Lateness {
                p50_ms: 0.1,
                p99_ms: self.lateness_ms,
                max_ms: self.lateness_ms,
                over_1ms: 0,
                packets: 50,
            });
        }
        // One report each way every 5 s, and only about what arrived.
        let rounds = u64::from(now.duration_since(started).as_secs() >= 5) * u64::from(self.rtcp);
        let reports = rounds * (now.duration_since(started).as_secs() / 5);
        s.rtcp.sent = reports;
        // Sites are numbered by the last octet of their address.
        let heard_of = match stream.remote.map(|far| far.ip()) {
            Some(IpAddr::V4(far)) => !self.deaf_to.contains(&(usize::from(far.octets()[3]) - 1)),
            _ => false,
        };
        if reports > 0 && heard_of {
            s.rtcp.received = reports;
            if !self.deaf_to.contains(&site) {
                s.rtcp.rtt_ms = Some(self.delay.as_secs_f64() * 2000.0);
                s.rtcp.remote = Some(RemoteReport {
                    fraction_lost_pct: 0.0,
                    cumulative_lost: 0,
                    jitter_ms: 0.0,
                    highest_sequence: stream.sent as u32,
                    fresh: true,
                });
            }
        }
        s
    }
}
