//! The playout model: an adaptive jitter buffer that plays nothing.
//!
//! It decides for each packet whether a receiver would have had it in time. A packet's transit
//! time is its arrival minus its timestamp; the smallest transit of the last 10 s is the base.
//! A packet plays at `timestamp + offset`; the delay is `offset − base`, what a packet of minimal
//! transit waits. It follows the distribution of what the transit exceeds the base by: it covers
//! 97 % of the recent packets plus half a packet time, rises at once when a packet comes late,
//! falls by at most 10 ms a second, and stays between one packet time and 200 ms. Ten packets in
//! a row beyond what the buffer can hold mean that the path or the sender's clock has moved: it
//! starts anew from there.
//!
//! Numbers are decided in sequence order when their playout time has passed: in time, lost (not
//! there) or discarded (came late or far too early). A number decided as lost whose packet arrives
//! after all turns into discarded in the 10 s window. The decisions feed loss runs, bursts and the 10 s window.

use crate::burst::BurstMeter;
use crate::pdv::SlidingMinimum;
use crate::window::LossWindow;
use crate::{BurstGap, PlayoutCounters, QualityWindow, Time};

/// Numbers the model looks back and ahead; more than 200 ms of the shortest packet time.
const RING: usize = 512;
/// Most delay the buffer takes on, in nanoseconds.
const MAX_DELAY: i64 = 200_000_000;
/// Packets in a row out of the buffer's reach that make it start anew.
const OUT_OF_REACH: u32 = 10;
/// Most the delay falls in one second, in nanoseconds.
const FALL_PER_SECOND: i64 = 10_000_000;
/// Width of a class of the delay distribution, in nanoseconds.
const CLASS: i64 = 5_000_000;
/// Classes: 0 to 300 ms, the last one open.
const CLASSES: usize = 60;
/// Weight the distribution keeps over a second.
const FORGET: f32 = 0.8;
/// Share of packets the delay need not cover.
const UNCOVERED: f32 = 0.03;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Missing,
    InTime,
    Discarded,
    /// There, but no audio: a telephone event.
    Event,
}

/// How a packet comes to its playout time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timing {
    InTime,
    Late,
    /// So early that it would wait longer than the buffer can hold.
    Early,
}

/// One packet as the playout model needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlayoutPacket {
    /// Position in the stream, growing over wraps and restarts.
    pub(crate) extended: u64,
    pub(crate) arrival: Time,
    /// Timestamp in nanoseconds, unwrapped.
    pub(crate) position: i64,
}

/// Where the newest packet stands: places every other number in time.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    extended: u64,
    position: i64,
}

/// The model of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Playout {
    packet_nanos: i64,
    base: SlidingMinimum,
    /// Playout time − timestamp; valid while `base` has a minimum.
    offset: i64,
    /// Delay a fresh timestamp sequence starts with.
    delay: i64,
    classes: [f32; CLASSES],
    ring: [Slot; RING],
    anchor: Option<Anchor>,
    /// First number of the present timestamp sequence.
    first: u64,
    /// First number not decided.
    next: u64,
    out_of_reach: u32,
    newest_late: bool,
    smoothed: Option<(f64, f64)>,
    counters: PlayoutCounters,
    bursts: BurstMeter,
    window: LossWindow,
}

impl Playout {
    pub(crate) fn new(packet_nanos: i64) -> Self {
        Self {
            packet_nanos,
            base: SlidingMinimum::new(),
            offset: 0,
            delay: (2 * packet_nanos).min(MAX_DELAY),
            classes: [0.0; CLASSES],
            ring: [Slot::Missing; RING],
            anchor: None,
            first: 0,
            next: 0,
            out_of_reach: 0,
            newest_late: false,
            smoothed: None,
            counters: PlayoutCounters::default(),
            bursts: BurstMeter::default(),
            window: LossWindow::default(),
        }
    }

    /// The far end's packet time as observed.
    pub(crate) fn set_packet_nanos(&mut self, nanos: i64) {
        self.packet_nanos = nanos;
    }

    /// A new timestamp sequence begins: what waits is decided, then the model starts anew.
    pub(crate) fn interrupt(&mut self) {
        if let Some(anchor) = self.anchor.take() {
            self.decide_up_to(anchor.extended + 1);
        }
        self.base = SlidingMinimum::new();
        self.smoothed = None;
        self.out_of_reach = 0;
        self.newest_late = false;
    }

    /// Takes a packet that is the first copy of its number.
    pub(crate) fn receive(&mut self, packet: PlayoutPacket) {
        let PlayoutPacket {
            extended,
            arrival,
            position,
        } = packet;
        self.advance(arrival);
        let transit = arrival.as_nanos() - position;
        self.smooth(transit);
        let mut timing = self.judge(transit);
        if self.anchor.is_none() {
            (self.first, self.next) = (extended, extended);
        }
        if extended < self.next {
            timing = Timing::Late;
            if extended >= self.first {
                self.window.lost_was_discarded();
            }
        }
        if self.anchor.is_none_or(|anchor| extended > anchor.extended) {
            self.make_room(extended);
            self.anchor = Some(Anchor { extended, position });
            // The newest packet comes after its playout time: nothing was left to play.
            let late = timing == Timing::Late;
            self.counters.underruns += u64::from(late && !self.newest_late);
            self.newest_late = late;
        }
        match timing {
            Timing::InTime => {}
            Timing::Late => self.counters.late += 1,
            Timing::Early => self.counters.overruns += 1,
        }
        if extended >= self.next {
            self.ring[extended as usize % RING] = if timing == Timing::InTime {
                Slot::InTime
            } else {
                Slot::Discarded
            };
        }
    }

    /// Takes a packet of a telephone event: its number is there, it takes the time of one packet,
    /// and nothing is played. Those before the first audio packet are passed over.
    pub(crate) fn receive_event(&mut self, arrival: Time, extended: u64) {
        self.advance(arrival);
        let Some(anchor) = self.anchor else { return };
        if extended > anchor.extended {
            self.make_room(extended);
            let packets = (extended - anchor.extended) as i64;
            let position = anchor
                .position
                .saturating_add(packets.saturating_mul(self.packet_nanos));
            self.anchor = Some(Anchor { extended, position });
        }
        if extended >= self.next {
            self.ring[extended as usize % RING] = Slot::Event;
        }
    }

    /// A second copy.
    pub(crate) fn duplicate(&mut self) {
        self.counters.duplicates += 1;
    }

    /// Decides every number whose playout time has passed.
    pub(crate) fn advance(&mut self, now: Time) {
        let Some(anchor) = self.anchor else { return };
        // Nanoseconds until the newest packet plays; older numbers play a packet time earlier
        // each.
        let until = anchor.position + self.offset - now.as_nanos();
        let waiting = if until <= 0 {
            0
        } else {
            (until as u64).div_ceil(self.packet_nanos as u64)
        };
        self.decide_up_to((anchor.extended + 1).saturating_sub(waiting));
    }

    /// Ends a second.
    pub(crate) fn end_second(&mut self, now: Time) {
        self.advance(now);
        for class in &mut self.classes {
            *class *= FORGET;
        }
        self.base.end_second();
        if let (Some(_), Some(base)) = (self.anchor, self.base.minimum()) {
            self.delay = self.target().max(self.offset - base - FALL_PER_SECOND);
            self.offset = base + self.delay;
        }
    }

    /// The stream is over: all numbers up to the newest are decided.
    pub(crate) fn finish(&mut self) {
        if let Some(anchor) = self.anchor {
            self.decide_up_to(anchor.extended + 1);
        }
    }

    /// Closes the second of the 10 s window and gives the window.
    pub(crate) fn end_window_second(&mut self, mixed: bool, silent: bool) -> QualityWindow {
        self.window.end_second(mixed, silent)
    }

    pub(crate) fn counters(&self) -> PlayoutCounters {
        self.counters
    }

    pub(crate) fn loss_runs(&self) -> [u64; 10] {
        self.window.runs()
    }

    pub(crate) fn burst_gap(&self) -> Option<BurstGap> {
        self.bursts.figures(self.packet_nanos as f64 / 1e6)
    }

    /// Nominal delay in milliseconds, once something was received.
    pub(crate) fn delay_ms(&self) -> Option<f64> {
        self.anchor.map(|_| self.delay as f64 / 1e6)
    }

    /// JB maximum in milliseconds, once something was received.
    pub(crate) fn max_delay_ms(&self) -> Option<f64> {
        self.anchor.map(|_| MAX_DELAY as f64 / 1e6)
    }

    pub(crate) fn average_jitter_ms(&self) -> Option<f64> {
        self.smoothed.map(|(_, deviation)| deviation / 1e6)
    }

    /// Audio that waits at `now`, in milliseconds.
    pub(crate) fn depth_ms(&self, now: Time) -> Option<f64> {
        let end = self.anchor?.position + self.packet_nanos + self.offset;
        Some((end - now.as_nanos()).max(0) as f64 / 1e6)
    }

    fn judge(&mut self, transit: i64) -> Timing {
        let Some(base) = self.base.minimum() else {
            self.base.add(transit);
            self.offset = transit + self.delay;
            self.learn(0);
            return Timing::InTime;
        };
        let wait = self.offset - transit;
        let excess = transit - base;
        if wait > MAX_DELAY || excess > MAX_DELAY {
            self.out_of_reach += 1;
            if self.out_of_reach < OUT_OF_REACH {
                return if wait > MAX_DELAY {
                    Timing::Early
                } else {
                    Timing::Late
                };
            }
            self.out_of_reach = 0;
            self.base = SlidingMinimum::new();
            self.classes = [0.0; CLASSES];
            return self.judge(transit);
        }
        self.out_of_reach = 0;
        self.learn(excess.max(0));
        if wait < 0 {
            self.offset = self.offset.max(base + self.target());
            self.delay = self.offset - base;
            return Timing::Late;
        }
        self.base.add(transit);
        self.delay = self.offset - base.min(transit);
        Timing::InTime
    }

    fn learn(&mut self, excess: i64) {
        let class = (excess / CLASS).clamp(0, CLASSES as i64 - 1);
        self.classes[class as usize] += 1.0;
    }

    /// Delay the distribution asks for.
    fn target(&self) -> i64 {
        let allowed = self.classes.iter().sum::<f32>() * UNCOVERED;
        let mut above = 0.0;
        let mut class = CLASSES;
        while class > 0 && above + self.classes[class - 1] <= allowed {
            above += self.classes[class - 1];
            class -= 1;
        }
        let wanted = class as i64 * CLASS + self.packet_nanos / 2;
        wanted.clamp(self.packet_nanos.min(MAX_DELAY), MAX_DELAY)
    }

    fn smooth(&mut self, transit: i64) {
        let transit = transit as f64;
        let (mean, deviation) = self.smoothed.unwrap_or((transit, 0.0));
        let distance = (transit - mean).abs();
        self.smoothed = Some((
            mean + (transit - mean) / 16.0,
            deviation + (distance - deviation) / 16.0,
        ));
    }

    /// Brings the ring up to a new highest number: the numbers in between are missing so far.
    fn make_room(&mut self, extended: u64) {
        let newest = self.anchor.map_or(extended, |anchor| anchor.extended);
        self.decide_up_to((extended + 1).saturating_sub(RING as u64));
        let from = (newest + 1).max((extended + 1).saturating_sub(RING as u64));
        for number in from..=extended {
            self.ring[number as usize % RING] = Slot::Missing;
        }
    }

    /// Decides the numbers below `end`.
    fn decide_up_to(&mut self, end: u64) {
        let newest = self.anchor.map_or(0, |anchor| anchor.extended);
        while self.next < end {
            // A number beyond the newest has no slot yet: a jump ran over it.
            let slot = if self.next > newest {
                Slot::Missing
            } else {
                self.ring[self.next as usize % RING]
            };
            self.counters.pushed += u64::from(slot == Slot::InTime);
            self.counters.lost += u64::from(slot == Slot::Missing);
            self.bursts
                .update(matches!(slot, Slot::Missing | Slot::Discarded));
            self.window
                .update(slot == Slot::Missing, slot == Slot::Discarded);
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests;
