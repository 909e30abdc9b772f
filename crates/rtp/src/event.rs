//! Telephone events in RTP, RFC 4733: <https://www.rfc-editor.org/rfc/rfc4733#section-2.3>
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     event     |E|R| volume    |          duration             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! [`EventSender`] turns digits into reports, one per packet time; [`EventReceiver`] puts reports
//! together again, whatever the network lost, doubled or reordered.

mod digit;
mod receiver;
mod sender;

pub use digit::{Digit, DigitError, Digits};
pub use receiver::{EventReceiver, ReceivedDigit};
pub use sender::{DigitsSent, EventPacket, EventSender, SendDigits};

/// Octets of a report.
pub const REPORT_LEN: usize = 4;

/// One report of an event: what an event packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventReport {
    /// The event's code; 0..=15 are DTMF digits (§3.2).
    pub event: u8,
    /// The event is over (E).
    pub end: bool,
    /// Power of the tone below 1 mW, in dB: 0..=63.
    pub volume: u8,
    /// How long the event has lasted, in timestamp units; the packet's timestamp is its start.
    pub duration: u16,
}

impl EventReport {
    /// The report on the wire; R is 0.
    pub fn to_bytes(&self) -> [u8; REPORT_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        let end = u8::from(self.end) << 7;
        [self.event, end | (self.volume & 0x3f), high, low]
    }

    /// The reports of a packet (§2.5.1.5 lets several events in a row share one), each with its
    /// distance from the packet's timestamp; octets that make no whole report are passed over.
    pub fn read(payload: &[u8]) -> impl Iterator<Item = (u32, Self)> {
        let (reports, _) = payload.as_chunks::<REPORT_LEN>();
        reports.iter().scan(0_u32, |start, octets| {
            let [event, flags, high, low] = *octets;
            let report = Self {
                event,
                end: flags & 0x80 != 0,
                volume: flags & 0x3f,
                duration: u16::from_be_bytes([high, low]),
            };
            let at = *start;
            *start = at.wrapping_add(u32::from(report.duration));
            Some((at, report))
        })
    }
}

#[cfg(test)]
mod tests;
