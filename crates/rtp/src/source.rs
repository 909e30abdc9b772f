//! Which source a stream listens to.
//!
//! The first source that sends valid RTP of a negotiated payload type with two numbers in a row
//! (the probation of RFC 3550 A.1) gets the stream; the negotiated address goes before any other:
//! while it sends too, another one does not get the stream, and it takes the stream over later.
//! Both packets of the probation count. Everything else is unexpected.

use std::net::SocketAddr;

use crate::{RtpHeader, Time};

/// How long a packet of the negotiated source keeps others from the stream, in nanoseconds.
const NEGOTIATED_HOLDS: i64 = 500_000_000;

/// What the measurement keeps of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Time,
    pub(crate) header: RtpHeader,
    pub(crate) payload_len: usize,
    /// It carries telephone events, not audio.
    pub(crate) event: bool,
}

impl Arrival {
    /// Whether this packet follows `earlier` in the same numbering.
    pub(crate) fn follows(&self, earlier: &Self) -> bool {
        self.header.ssrc == earlier.header.ssrc
            && self.header.sequence == earlier.header.sequence.wrapping_add(1)
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    from: SocketAddr,
    last: Arrival,
    packets: u64,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// From the locked source.
    Accept,
    /// The stream locks to its source now; the packet before counts too, and so many packets of
    /// other sources were unexpected.
    Locked { before: Arrival, unexpected: u64 },
    /// Its source is on probation.
    Probation,
    /// From another source than the locked one.
    Unexpected,
    /// Of a payload type that was not negotiated, from a source that is not locked.
    Invalid,
}

/// The source lock of one stream.
#[derive(Debug, Clone)]
pub(crate) struct SourceLock {
    negotiated: SocketAddr,
    payload_type: u8,
    locked: Option<SocketAddr>,
    preferred: Option<Candidate>,
    other: Option<Candidate>,
}

impl SourceLock {
    pub(crate) fn new(negotiated: SocketAddr, payload_type: u8) -> Self {
        Self {
            negotiated,
            payload_type,
            locked: None,
            preferred: None,
            other: None,
        }
    }

    /// A new offer/answer: the lock opens when the negotiated address or payload type changed.
    pub(crate) fn renegotiate(&mut self, negotiated: SocketAddr, payload_type: u8) {
        if (negotiated, payload_type) != (self.negotiated, self.payload_type) {
            *self = Self::new(negotiated, payload_type);
        }
    }

    pub(crate) fn admit(&mut self, from: SocketAddr, arrival: &Arrival) -> Admission {
        if self.locked == Some(from) {
            return Admission::Accept;
        }
        let is_negotiated = from == self.negotiated;
        if self.locked.is_some() && !is_negotiated {
            return Admission::Unexpected;
        }
        if arrival.header.payload_type != self.payload_type && !arrival.event {
            return Admission::Invalid;
        }
        let slot = if is_negotiated {
            &mut self.preferred
        } else {
            &mut self.other
        };
        let before = slot.filter(|candidate| candidate.from == from);
        let packets = 1 + before.map_or(0, |candidate| candidate.packets);
        *slot = Some(Candidate {
            from,
            last: *arrival,
            packets,
        });
        let Some(before) = before.filter(|candidate| arrival.follows(&candidate.last)) else {
            return Admission::Probation;
        };
        let negotiated_sends = self.preferred.is_some_and(|preferred| {
            arrival.at.nanos_since(preferred.last.at).abs() < NEGOTIATED_HOLDS
        });
        if !is_negotiated && negotiated_sends {
            return Admission::Probation;
        }
        let loser = if is_negotiated {
            self.other
        } else {
            self.preferred
        };
        let unexpected = loser.map_or(0, |candidate| candidate.packets);
        *self = Self {
            locked: Some(from),
            ..Self::new(self.negotiated, self.payload_type)
        };
        Admission::Locked {
            before: before.last,
            unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEGOTIATED: SocketAddr = addr(1);
    const FOREIGN: SocketAddr = addr(2);

    const fn addr(last: u8) -> SocketAddr {
        let ip = std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, last));
        SocketAddr::new(ip, 4000)
    }

    fn packet(ssrc: u32, sequence: u16, at_ms: i64) -> Arrival {
        let header = RtpHeader {
            marker: false,
            payload_type: 8,
            sequence,
            timestamp: 0,
            ssrc,
        };
        Arrival {
            at: Time::from_millis(at_ms),
            header,
            payload_len: 160,
            event: false,
        }
    }

    fn locked(before: Arrival, unexpected: u64) -> Admission {
        Admission::Locked { before, unexpected }
    }

    #[test]
    fn two_in_a_row_lock_and_both_are_handed_over() {
        let mut lock = SourceLock::new(NEGOTIATED, 8);
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 5, 0)),
            Admission::Probation
        );
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 7, 20)),
            Admission::Probation,
            "a gap"
        );
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 8, 40)),
            locked(packet(1, 7, 20), 0)
        );
        assert_eq!(lock.admit(NEGOTIATED, &packet(1, 9, 60)), Admission::Accept);
        assert_eq!(
            lock.admit(FOREIGN, &packet(2, 1, 60)),
            Admission::Unexpected
        );
    }

    #[test]
    fn another_source_gets_the_stream_while_the_negotiated_one_is_silent() {
        let mut lock = SourceLock::new(NEGOTIATED, 8);
        lock.admit(FOREIGN, &packet(2, 1, 0));
        assert_eq!(
            lock.admit(FOREIGN, &packet(2, 2, 20)),
            locked(packet(2, 1, 0), 0)
        );
        // The negotiated one takes it over as soon as it proves itself.
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 5, 40)),
            Admission::Probation
        );
        assert_eq!(lock.admit(FOREIGN, &packet(2, 3, 50)), Admission::Accept);
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 6, 60)),
            locked(packet(1, 5, 40), 0)
        );
        assert_eq!(
            lock.admit(FOREIGN, &packet(2, 4, 70)),
            Admission::Unexpected
        );
    }

    #[test]
    fn the_negotiated_source_goes_first_when_both_send() {
        let mut lock = SourceLock::new(NEGOTIATED, 8);
        lock.admit(NEGOTIATED, &packet(1, 5, 0));
        lock.admit(FOREIGN, &packet(2, 1, 10));
        assert_eq!(lock.admit(FOREIGN, &packet(2, 2, 15)), Admission::Probation);
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 6, 20)),
            locked(packet(1, 5, 0), 2)
        );
        // One stray packet of it long ago keeps nobody out.
        let mut lock = SourceLock::new(NEGOTIATED, 8);
        lock.admit(NEGOTIATED, &packet(1, 5, 0));
        lock.admit(FOREIGN, &packet(2, 1, 600));
        assert_eq!(
            lock.admit(FOREIGN, &packet(2, 2, 620)),
            locked(packet(2, 1, 600), 1)
        );
    }

    /// A far end that says nothing but digits is heard.
    #[test]
    fn telephone_events_lock_as_audio_does() {
        let event = |sequence| {
            let mut arrival = packet(1, sequence, 0);
            arrival.header.payload_type = 101;
            arrival.event = true;
            arrival
        };
        let mut lock = SourceLock::new(NEGOTIATED, 8);
        assert_eq!(lock.admit(NEGOTIATED, &event(5)), Admission::Probation);
        assert_eq!(lock.admit(NEGOTIATED, &event(6)), locked(event(5), 0));
    }

    #[test]
    fn a_foreign_payload_type_neither_locks_nor_breaks_the_lock() {
        let mut lock = SourceLock::new(NEGOTIATED, 0);
        assert_eq!(lock.admit(NEGOTIATED, &packet(1, 5, 0)), Admission::Invalid);
        lock.renegotiate(NEGOTIATED, 8);
        lock.admit(NEGOTIATED, &packet(1, 6, 0));
        lock.admit(NEGOTIATED, &packet(1, 7, 0));
        lock.renegotiate(NEGOTIATED, 8);
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 8, 0)),
            Admission::Accept,
            "nothing changed"
        );
        lock.renegotiate(FOREIGN, 8);
        assert_eq!(
            lock.admit(NEGOTIATED, &packet(1, 9, 0)),
            Admission::Probation
        );
    }
}
