//! Event packets into digits, RFC 4733 §2.5.2.

use std::collections::VecDeque;

use super::{Digit, EventReport};
use crate::Time;

/// Reports read from one packet.
const REPORTS: usize = 4;
/// Digits that wait to be polled; a packet ends five at most.
const WAITING: usize = 8;
/// An event whose packets stop is over after three update intervals (§2.5.2.2) …
const INTERVALS: i64 = 3;
/// … of at least this, in nanoseconds …
const SHORTEST_INTERVAL: i64 = 50_000_000;
/// … and at most this.
const LONGEST_INTERVAL: i64 = 400_000_000;
/// A report of an event this much older than the newest one, in seconds, is no late one: the far
/// end's timestamps have started anew.
const OLDEST_S: u32 = 20;

/// A digit that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedDigit {
    /// The digit.
    pub digit: Digit,
    /// How long it lasted, in timestamp units, by the last report that came.
    pub duration: u32,
    /// Arrival of its first packet that came.
    pub started: Time,
    /// Its end was reported; false: no report with the end came, it is over by the next event or
    /// because reports stopped, and may have lasted longer.
    pub complete: bool,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    digit: Digit,
    /// Timestamp of the present segment (§2.5.1.3), and units of the segments before.
    segment: u32,
    before: u32,
    /// Units of the present segment reported so far.
    duration: u16,
    /// Largest growth between two reports, in units: the far end's update interval.
    interval: u16,
    started: Time,
    last: Time,
}

/// Puts the events of one source together. Reports of one event are told by their timestamp:
/// order, copies and losses among them do not matter. A digit no packet of which came, or all of
/// which come after a later digit's, is missed.
///
/// Contract: [`Self::receive`] per event packet, [`Self::handle_timeout`] from time to time (it is
/// cheap), [`Self::poll`] after either until it gives nothing.
#[derive(Debug, Clone)]
pub struct EventReceiver {
    clock_rate: u32,
    current: Option<Event>,
    /// Timestamp of the newest event or segment; earlier ones are over.
    newest: Option<u32>,
    waiting: VecDeque<ReceivedDigit>,
    total: u64,
    total_incomplete: u64,
}

impl EventReceiver {
    /// For events on a clock of `clock_rate` Hz, above 0.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            current: None,
            newest: None,
            waiting: VecDeque::new(),
            total: 0,
            total_incomplete: 0,
        }
    }

    /// Digits received since the start, and those of them whose end was not reported.
    pub fn totals(&self) -> (u64, u64) {
        (self.total, self.total_incomplete)
    }

    /// Takes an event packet that arrived at `at`. Reports of other events than digits, and
    /// those of no duration (§2.3.5), are passed over.
    pub fn receive(&mut self, at: Time, timestamp: u32, marker: bool, payload: &[u8]) {
        let reports = EventReport::read(payload).take(REPORTS);
        for (position, (offset, report)) in reports.enumerate() {
            if let Some(digit) = Digit::from_event(report.event).filter(|_| report.duration > 0) {
                let marker = marker && position == 0;
                self.report(at, timestamp.wrapping_add(offset), marker, digit, report);
            }
        }
    }

    fn report(&mut self, at: Time, start: u32, marker: bool, digit: Digit, report: EventReport) {
        let over = self.is_over(start);
        match &mut self.current {
            Some(event) if start == event.segment => {
                if digit == event.digit {
                    event.take(at, report.duration);
                }
            }
            Some(event) if !marker && digit == event.digit && event.is_continued_by(start) => {
                event.before = event.before.saturating_add(u16::MAX.into());
                (event.segment, event.duration) = (start, 0);
                event.take(at, report.duration);
                self.newest = Some(start);
            }
            _ if over => return,
            _ => {
                self.conclude(false);
                self.newest = Some(start);
                self.current = Some(Event {
                    digit,
                    segment: start,
                    before: 0,
                    duration: report.duration,
                    interval: report.duration,
                    started: at,
                    last: at,
                });
            }
        }
        let is_current = |event: &Event| event.segment == start && event.digit == digit;
        if report.end && self.current.as_ref().is_some_and(is_current) {
            self.conclude(true);
        }
    }

    /// Whether an event of this timestamp is the newest one, over by now, or was before it.
    fn is_over(&self, start: u32) -> bool {
        self.newest.is_some_and(|newest| {
            newest.wrapping_sub(start) < self.clock_rate.saturating_mul(OLDEST_S)
        })
    }

    fn conclude(&mut self, complete: bool) {
        let Some(event) = self.current.take() else {
            return;
        };
        self.total += 1;
        self.total_incomplete += u64::from(!complete);
        if self.waiting.len() < WAITING {
            self.waiting.push_back(ReceivedDigit {
                digit: event.digit,
                duration: event.before.saturating_add(event.duration.into()),
                started: event.started,
                complete,
            });
        }
    }

    /// Ends an event whose reports have stopped.
    pub fn handle_timeout(&mut self, now: Time) {
        let Some(event) = &self.current else { return };
        let interval = i64::from(event.interval) * 1_000_000_000 / i64::from(self.clock_rate);
        let patience = INTERVALS * interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        if now.nanos_since(event.last) > patience {
            self.conclude(false);
        }
    }

    /// The source has changed: ends what was going on, and compares no timestamps with the past.
    pub fn interrupt(&mut self) {
        self.conclude(false);
        self.newest = None;
    }

    /// The next digit that is over.
    pub fn poll(&mut self) -> Option<ReceivedDigit> {
        self.waiting.pop_front()
    }
}

impl Event {
    fn take(&mut self, at: Time, duration: u16) {
        let growth = duration.saturating_sub(self.duration);
        self.interval = self.interval.max(growth);
        self.duration = self.duration.max(duration);
        self.last = self.last.max(at);
    }

    /// Whether a segment that starts there goes on where this one ends by its largest duration.
    fn is_continued_by(&self, start: u32) -> bool {
        start == self.segment.wrapping_add(u16::MAX.into())
    }
}
