//! A media thread: slots of 1 ms, in each the packets that are due, then what has arrived.
//!
//! Nothing is locked or allocated per packet. Receiving needs no wake-up of its own: the kernel
//! stamps what arrives, so that reading it up to 1 ms later changes no figure.

mod commands;

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callmeter_engine::OwnMap;
use callmeter_engine::media::{MediaEvent, StreamId};
use callmeter_rtp::Time;
use rustix::event::{Timespec, epoll};
use tokio::sync::mpsc;

use super::Shared;
use super::client::{Bell, Envelope};
use super::endpoint::{Endpoint, Io, Taken};
use super::outbox::Outbox;
use super::stats::ThreadStats;
use super::wheel::Wheel;
use crate::sys::clock::{monotonic, sleep_until, wall_offset};

/// A slot, in nanoseconds.
const SLOT: i64 = 1_000_000;
/// Slots behind schedule beyond which packets are skipped instead of sent in a burst.
const GIVE_UP: u64 = 500;
/// Slots run before what has arrived gets its turn, when behind schedule.
const SLOTS_IN_A_ROW: u64 = 20;
/// Descriptors of one epoll round.
const READY: usize = 512;
/// The longest sleep without streams: `/live` wants a tick within 5 s.
const IDLE: Duration = Duration::from_millis(500);
/// The sleep without streams while events find no room.
const BEHIND: Duration = Duration::from_millis(10);
/// Change of the wall clock against the monotonic one that is a step, in nanoseconds.
const STEP: i64 = 1_000_000;
/// Spare port pairs closed per slot, so that no packet waits for it.
const CLOSED_AT_ONCE: usize = 8;
/// How often the clocks are compared, in nanoseconds.
const COMPARE: i64 = 1_000_000_000;
/// Token of the bell; streams have their index and a bit for the RTCP socket.
const BELL: u64 = u64::MAX;

pub(super) struct MediaThread {
    shared: Arc<Shared>,
    stats: Arc<ThreadStats>,
    commands: mpsc::Receiver<Envelope>,
    bell: Arc<Bell>,
    outboxes: Vec<Outbox>,
    epoll: OwnedFd,
    /// Tokens of the readable descriptors.
    ready: Vec<u64>,
    ids: OwnMap<StreamId, u32>,
    endpoints: Vec<Option<Box<Endpoint>>>,
    vacant: Vec<u32>,
    wheel: Wheel,
    due: Vec<u32>,
    started: u64,
    /// When slot 0 was due.
    origin: Time,
    /// The next slot to run.
    slot: u64,
    next_compare: Time,
    /// When a spare port pair is to be closed: so that no slot asks for the lock in vain.
    spare_due: Option<Time>,
    io: Io,
}

impl MediaThread {
    pub(super) fn new(
        shared: Arc<Shared>,
        stats: Arc<ThreadStats>,
        commands: mpsc::Receiver<Envelope>,
        bell: Arc<Bell>,
        outboxes: Vec<Outbox>,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &bell.fd,
            epoll::EventData::new_u64(BELL),
            epoll::EventFlags::IN,
        )?;
        let origin = monotonic();
        stats.beat(origin);
        Ok(Self {
            stats,
            commands,
            bell,
            outboxes,
            epoll,
            ready: Vec::with_capacity(READY),
            ids: OwnMap::default(),
            endpoints: Vec::new(),
            vacant: Vec::new(),
            wheel: Wheel::default(),
            due: Vec::new(),
            started: 0,
            origin,
            slot: 0,
            next_compare: origin,
            spare_due: None,
            io: Io::new(shared.scale, wall_offset()),
            shared,
        })
    }

    /// Runs until the pool shuts down.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.stats.beat(monotonic());
            self.take_commands();
            if self.started == 0 {
                self.flush();
                self.idle();
                continue;
            }
            self.compare_clocks();
            self.close_spare(CLOSED_AT_ONCE);
            self.run_slots();
            self.receive();
            self.flush();
            sleep_until(self.due_at(self.slot));
        }
        let left: Vec<StreamId> = self.ids.keys().copied().collect();
        for stream in left {
            self.remove(stream);
        }
        self.flush();
    }

    fn due_at(&self, slot: u64) -> Time {
        self.origin.plus_nanos(slot as i64 * SLOT)
    }

    fn slot_of(&self, now: Time) -> u64 {
        (now.nanos_since(self.origin).max(0) / SLOT) as u64
    }

    /// Sleeps until a command comes or the pulse has to beat.
    fn idle(&mut self) {
        let behind = self.outboxes.iter().any(Outbox::is_behind);
        let wait = if behind { BEHIND } else { IDLE };
        self.close_spare(usize::MAX);
        self.bell.set_asleep(true);
        if self.commands.is_empty() && !self.shared.stop.load(Ordering::Relaxed) {
            self.poll(wait);
        }
        self.bell.set_asleep(false);
        self.slot = self.slot_of(monotonic()) + 1;
        // What the clocks did while nothing was measured is no step of a measurement.
        self.io.wall_offset = wall_offset();
        self.next_compare = monotonic().plus_nanos(COMPARE);
    }

    /// Tokens of readable descriptors into `ready`, waiting at most `wait`.
    fn poll(&mut self, wait: Duration) {
        self.ready.clear();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut events = [const { MaybeUninit::uninit() }; READY];
        // An interrupted wait is one without results.
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut events[..], Some(&timeout)) {
            self.ready
                .extend(events.iter().map(|event| event.data.u64()));
        }
    }

    fn close_spare(&mut self, most: usize) {
        let now = monotonic();
        if self.spare_due.is_some_and(|due| due <= now) {
            self.spare_due = self.shared.close_spare(now, most);
        }
    }

    fn compare_clocks(&mut self) {
        let now = monotonic();
        if now < self.next_compare {
            return;
        }
        self.next_compare = now.plus_nanos(COMPARE);
        let offset = wall_offset();
        let change = offset - std::mem::replace(&mut self.io.wall_offset, offset);
        if change.abs() > STEP {
            self.stats.clock_steps.add(1);
            let endpoints = self.endpoints.iter_mut().flatten();
            for live in endpoints.filter_map(|endpoint| endpoint.live.as_mut()) {
                live.stream.clock_stepped();
            }
        }
    }

    fn run_slots(&mut self) {
        let current = self.slot_of(monotonic());
        if current > self.slot + GIVE_UP {
            self.slot = current;
        }
        let last = current.min(self.slot + SLOTS_IN_A_ROW);
        while self.slot <= last {
            self.run_slot(self.slot);
            self.slot += 1;
        }
    }

    fn run_slot(&mut self, slot: u64) {
        let at = self.due_at(slot);
        self.wheel.due(slot, &mut self.due);
        for index in &self.due {
            let Some(endpoint) = self.endpoints[*index as usize].as_mut() else {
                continue;
            };
            if let Some(snapshot) = endpoint.turn(slot, at, &mut self.io, &self.stats) {
                let event = MediaEvent::Second {
                    stream: endpoint.id,
                    snapshot,
                };
                self.outboxes[endpoint.client].push(event, &self.stats.ring_overflows);
            }
            tell_digits(endpoint, &self.io, &mut self.outboxes, &self.stats);
        }
    }

    /// Takes what has arrived: one datagram per readable socket and round, until nothing is left
    /// or the next slot is due.
    fn receive(&mut self) {
        loop {
            self.poll(Duration::ZERO);
            if self.ready.is_empty() {
                return;
            }
            for token in &self.ready {
                let endpoint = self.endpoints.get_mut((token >> 1) as usize);
                let Some(endpoint) = endpoint.and_then(Option::as_mut) else {
                    continue;
                };
                if token & 1 == 1 {
                    endpoint.receive_rtcp(&mut self.io, &self.stats);
                    continue;
                }
                if let Taken::First(at) = endpoint.receive_rtp(&mut self.io, &self.stats) {
                    let at = self.io.scale.instant(at);
                    let event = MediaEvent::FirstPacket {
                        stream: endpoint.id,
                        at,
                    };
                    self.outboxes[endpoint.client].push(event, &self.stats.ring_overflows);
                }
                tell_digits(endpoint, &self.io, &mut self.outboxes, &self.stats);
            }
            if monotonic() >= self.due_at(self.slot) {
                return;
            }
        }
    }

    fn flush(&mut self) {
        for outbox in &mut self.outboxes {
            outbox.flush();
        }
    }
}

/// Reports the digits of a stream that are over.
fn tell_digits(endpoint: &mut Endpoint, io: &Io, outboxes: &mut [Outbox], stats: &ThreadStats) {
    while let Some(event) = endpoint.digit_event(&io.scale) {
        outboxes[endpoint.client].push(event, &stats.ring_overflows);
    }
}
