//! Digits into event packets, RFC 4733 §2.5.1.

use std::collections::VecDeque;

use super::{Digit, Digits, EventReport};

/// Rows of digits that may wait; a call's scenario has 30 steps.
const ROWS: usize = 32;
/// How often the last report of an event or segment is sent again (§2.5.1.4).
const REPEATS: u8 = 2;
/// Power of the tone, in dB below 1 mW: what telephones send.
const VOLUME: u8 = 10;

/// A row of digits to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendDigits {
    /// What to send.
    pub digits: Digits,
    /// How long each digit lasts, in timestamp units, above 0; [`EventSender::push`] takes 0 for 1.
    pub duration: u32,
    /// Least time between two digits, in timestamp units. The repetitions of a digit's last
    /// packet are sent in it and stretch it where it is shorter.
    pub gap: u32,
}

/// What became of a row of digits, in the order the rows were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitsSent {
    /// Digits whose last packet was sent.
    pub sent: u8,
    /// Digits that were cut off, never begun, or that the far end does not take.
    pub dropped: u8,
}

/// An event packet: what takes the place of one audio packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// Timestamp: the start of the event or of its segment.
    pub timestamp: u32,
    /// First packet of an event.
    pub marker: bool,
    /// The report.
    pub report: EventReport,
}

/// A digit on its way.
#[derive(Debug, Clone, Copy)]
struct Press {
    digit: Digit,
    /// Timestamp of the present segment (§2.5.1.3).
    segment: u32,
    /// Units from the segment's start to the end of the event.
    left: u32,
    first: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Between two digits; the next one starts at this timestamp or later.
    Idle {
        not_before: Option<u32>,
    },
    Pressing(Press),
    /// The last report of a segment or of the event is sent again.
    Repeating {
        packet: EventPacket,
        times: u8,
        /// The event goes on in another segment.
        next: Option<Press>,
    },
}

/// Sends rows of digits, one after the other.
///
/// Contract: [`Self::push`] rows, [`Self::next`] once per packet time; a packet it gives is sent in
/// place of audio. [`Self::poll_sent`] tells about each row once it is over.
#[derive(Debug, Clone)]
pub struct EventSender {
    /// The far end's events: bit n stands for event n.
    accepted: u16,
    rows: VecDeque<SendDigits>,
    /// Digits of the first row that are over, and how many of them were sent.
    over: u8,
    sent: u8,
    state: State,
    results: VecDeque<DigitsSent>,
    total_sent: u64,
    total_dropped: u64,
}

impl EventSender {
    /// For a far end that takes the events of `accepted`; bit n stands for event n.
    pub fn new(accepted: u16) -> Self {
        Self {
            accepted,
            rows: VecDeque::new(),
            over: 0,
            sent: 0,
            state: State::Idle { not_before: None },
            results: VecDeque::new(),
            total_sent: 0,
            total_dropped: 0,
        }
    }

    /// Digits sent and dropped since the start.
    pub fn totals(&self) -> (u64, u64) {
        (self.total_sent, self.total_dropped)
    }

    /// Another offer/answer: the far end takes these events from now on.
    pub fn set_accepted(&mut self, accepted: u16) {
        self.accepted = accepted;
    }

    /// Takes a row; with 32 rows waiting it is dropped at once.
    pub fn push(&mut self, row: SendDigits) {
        if self.rows.len() >= ROWS {
            self.tell(0, row.digits.as_slice().len() as u8);
            return;
        }
        let duration = row.duration.max(1);
        self.rows.push_back(SendDigits { duration, ..row });
    }

    /// Gives up all rows. An event that has begun ends without its last packet.
    pub fn stop(&mut self) {
        // Its last packet has left, only repetitions were to come.
        if matches!(self.state, State::Repeating { next: None, .. }) {
            self.digit_sent();
        }
        self.state = State::Idle { not_before: None };
        while let Some(row) = self.rows.pop_front() {
            let sent = std::mem::take(&mut self.sent);
            self.over = 0;
            self.tell(sent, row.digits.as_slice().len() as u8 - sent);
        }
    }

    /// What became of the next row that is over.
    pub fn poll_sent(&mut self) -> Option<DigitsSent> {
        self.results.pop_front()
    }

    /// The packet of the packet time that begins at `timestamp` and lasts `step` units; `None`:
    /// audio's turn.
    pub fn next(&mut self, timestamp: u32, step: u32) -> Option<EventPacket> {
        match self.state {
            State::Idle { not_before } => {
                let waits = not_before.is_some_and(|at| before(timestamp, at));
                let press = (!waits).then(|| self.begin(timestamp)).flatten()?;
                Some(self.report(press, timestamp, step))
            }
            State::Pressing(press) => Some(self.report(press, timestamp, step)),
            State::Repeating {
                packet,
                times,
                next,
            } => {
                if times > 1 {
                    self.state = State::Repeating {
                        packet,
                        times: times - 1,
                        next,
                    };
                } else if let Some(press) = next {
                    self.state = State::Pressing(press);
                } else {
                    let end = packet.timestamp.wrapping_add(packet.report.duration.into());
                    self.end_digit(end);
                }
                Some(packet)
            }
        }
    }

    /// The next digit the far end takes.
    fn begin(&mut self, timestamp: u32) -> Option<Press> {
        loop {
            let row = self.rows.front()?;
            let Some(digit) = row.digits.as_slice().get(usize::from(self.over)).copied() else {
                self.end_row();
                continue;
            };
            if self.accepted >> digit.event() & 1 == 1 {
                return Some(Press {
                    digit,
                    segment: timestamp,
                    left: row.duration,
                    first: true,
                });
            }
            self.over += 1;
        }
    }

    fn report(&mut self, press: Press, timestamp: u32, step: u32) -> EventPacket {
        let elapsed = timestamp.wrapping_sub(press.segment).wrapping_add(step);
        let end = elapsed >= press.left && press.left <= u16::MAX.into();
        let most = press.left.min(u16::MAX.into());
        let duration = elapsed.min(most);
        let packet = EventPacket {
            timestamp: press.segment,
            marker: press.first,
            report: EventReport {
                event: press.digit.event(),
                end,
                volume: VOLUME,
                duration: duration as u16,
            },
        };
        // Packets sent again are no first ones.
        let again = EventPacket {
            marker: false,
            ..packet
        };
        self.state = if duration < most {
            State::Pressing(Press {
                first: false,
                ..press
            })
        } else {
            State::Repeating {
                packet: again,
                times: REPEATS,
                next: (!end).then(|| Press {
                    segment: press.segment.wrapping_add(most),
                    left: press.left - most,
                    first: false,
                    ..press
                }),
            }
        };
        packet
    }

    fn end_digit(&mut self, end: u32) {
        let gap = self.rows.front().map_or(0, |row| row.gap);
        self.state = State::Idle {
            not_before: Some(end.wrapping_add(gap)),
        };
        self.over += 1;
        self.digit_sent();
        let row = self
            .rows
            .front()
            .map_or(0, |row| row.digits.as_slice().len());
        if usize::from(self.over) >= row {
            self.end_row();
        }
    }

    fn end_row(&mut self) {
        let (over, sent) = (
            std::mem::take(&mut self.over),
            std::mem::take(&mut self.sent),
        );
        self.rows.pop_front();
        self.tell(sent, over - sent);
    }

    fn digit_sent(&mut self) {
        self.sent += 1;
        self.total_sent += 1;
    }

    fn tell(&mut self, sent: u8, dropped: u8) {
        self.total_dropped += u64::from(dropped);
        self.results.push_back(DigitsSent { sent, dropped });
    }
}

/// Whether `a` comes before `b`, over wraps (RFC 1982).
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
