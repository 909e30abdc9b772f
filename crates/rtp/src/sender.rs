//! Our own RTP stream: numbering, timestamps and what sender reports say of it.

use crate::rng::Rng;
use crate::rtcp::SenderInfo;
use crate::{EventPacket, HEADER_LEN, NtpTime, RtpHeader, SendCounters, Time};

#[derive(Debug, Clone)]
pub(crate) struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload_type: u8,
    clock_rate: u32,
    /// Timestamp units of a packet.
    step: u32,
    /// The next packet opens a talkspurt.
    marker: bool,
    counters: SendCounters,
    /// Timestamp of the last packet and when it was due.
    last: Option<(u32, Time)>,
    /// `counters.packets` at the last report.
    reported: u64,
}

impl Sender {
    pub(crate) fn new(rng: &mut Rng, clock_rate: u32, ptime_ms: u32, payload_type: u8) -> Self {
        let identity = rng.next();
        Self {
            ssrc: identity as u32,
            // Half of the range, so that no stream starts with an immediate wrap.
            sequence: (identity >> 32) as u16 & 0x7fff,
            timestamp: rng.next() as u32,
            payload_type,
            clock_rate,
            step: clock_rate / 1000 * ptime_ms,
            marker: true,
            counters: SendCounters::default(),
            last: None,
            reported: 0,
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(crate) fn counters(&self) -> SendCounters {
        self.counters
    }

    pub(crate) fn renegotiate(&mut self, ptime_ms: u32, payload_type: u8) {
        self.step = self.clock_rate / 1000 * ptime_ms;
        self.payload_type = payload_type;
    }

    /// Header of the next packet; numbering goes on whether the packet leaves or not, so that
    /// what the kernel refuses is a loss to the far end.
    pub(crate) fn next_header(&mut self, due: Time) -> [u8; HEADER_LEN] {
        let header = RtpHeader {
            marker: std::mem::take(&mut self.marker),
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        self.last = Some((self.timestamp, due));
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.step);
        header.to_bytes()
    }

    /// Header of a packet that takes the place of the next one, with a timestamp of its own; audio
    /// goes on after it as if it had been one of audio (RFC 4733 §2.5.1.2).
    pub(crate) fn next_event_header(
        &mut self,
        due: Time,
        payload_type: u8,
        packet: &EventPacket,
    ) -> [u8; HEADER_LEN] {
        let header = RtpHeader {
            marker: packet.marker,
            payload_type,
            sequence: self.sequence,
            timestamp: packet.timestamp,
            ssrc: self.ssrc,
        };
        self.last = Some((self.timestamp, due));
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.step);
        header.to_bytes()
    }

    /// Timestamp of the next packet and the units it lasts.
    pub(crate) fn next_turn(&self) -> (u32, u32) {
        (self.timestamp, self.step)
    }

    /// The kernel took the packet.
    pub(crate) fn sent(&mut self, payload_len: usize) {
        self.counters.packets += 1;
        self.counters.bytes += payload_len as u64;
    }

    /// `packets` packet times pass without a packet: the timestamps go on, the numbers do not.
    pub(crate) fn pause(&mut self, packets: u32) {
        self.timestamp = self.timestamp.wrapping_add(self.step.wrapping_mul(packets));
        self.marker = true;
    }

    /// The sender part of a report at `now`, when RTP was sent since the report before.
    pub(crate) fn report(&mut self, now: Time, ntp: NtpTime) -> Option<SenderInfo> {
        let (timestamp, at) = self.last?;
        if self.counters.packets == self.reported {
            return None;
        }
        self.reported = self.counters.packets;
        let units = i128::from(now.nanos_since(at)) * i128::from(self.clock_rate) / 1_000_000_000;
        Some(SenderInfo {
            ntp,
            rtp_timestamp: timestamp.wrapping_add(units as u32),
            packet_count: self.counters.packets as u32,
            octet_count: self.counters.bytes as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_timestamps_and_marker() {
        let mut sender = Sender::new(&mut Rng::new(1), 8000, 20, 8);
        let read = |wire: [u8; HEADER_LEN]| RtpHeader::parse(&wire).unwrap().0;
        let first = read(sender.next_header(Time::ZERO));
        assert!(first.marker && first.payload_type == 8 && first.ssrc == sender.ssrc());
        let second = read(sender.next_header(Time::from_millis(20)));
        assert_eq!(second.sequence, first.sequence + 1);
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(160));
        assert!(!second.marker);
        sender.pause(5);
        let third = read(sender.next_header(Time::from_millis(140)));
        assert_eq!(third.sequence, first.sequence + 2);
        assert_eq!(third.timestamp, first.timestamp.wrapping_add(160 * 7));
        assert!(third.marker);
        sender.renegotiate(30, 0);
        sender.next_header(Time::ZERO);
        let fifth = read(sender.next_header(Time::ZERO));
        assert_eq!(
            (fifth.payload_type, fifth.timestamp),
            (0, third.timestamp.wrapping_add(400))
        );
    }

    #[test]
    fn a_report_tells_the_timestamp_of_its_own_instant_and_only_after_packets() {
        let mut sender = Sender::new(&mut Rng::new(2), 8000, 20, 8);
        assert_eq!(sender.report(Time::ZERO, NtpTime(1)), None);
        let wire = sender.next_header(Time::from_millis(100));
        sender.sent(160);
        let (header, _) = RtpHeader::parse(&wire).unwrap();
        let info = sender.report(Time::from_millis(110), NtpTime(7)).unwrap();
        assert_eq!(info.rtp_timestamp, header.timestamp.wrapping_add(80));
        assert_eq!(
            (info.packet_count, info.octet_count, info.ntp),
            (1, 160, NtpTime(7))
        );
        assert_eq!(sender.report(Time::from_millis(200), NtpTime(8)), None);
    }
}
