//! Our side of the RTCP session of one stream: when to report, what, and what the far end says.

use std::time::Duration;

use super::interval::{IntervalInput, interval_s};
use super::{
    Compound, Packet, ReportBlock, SenderInfo, write_bye, write_cname, write_receiver_report,
    write_sender_report,
};
use crate::rng::Rng;
use crate::{NtpTime, RemoteReport, RtcpSnapshot, Time};

/// UDP and IPv4 headers, which §6.2 counts into the size of a packet.
const UDP_IP_HEADERS: usize = 28;
/// Share of the session bandwidth RTCP may take (§6.2).
const RTCP_SHARE: f64 = 0.05;

/// Fixed properties of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtcpConfig {
    pub(crate) ssrc: u32,
    pub(crate) seed: u64,
    /// Mean time between reports; 5 s by §6.2, less in tests.
    pub(crate) minimum_interval: Duration,
    /// RTP in one direction, in octets per second with headers.
    pub(crate) session_bandwidth: f64,
    /// Clock of what we send, in Hz; the far end's jitter is in its units.
    pub(crate) clock_rate: u32,
}

/// What the receiver knows for its report block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceptionReport {
    pub(crate) ssrc: u32,
    pub(crate) fraction_lost: u8,
    pub(crate) cumulative_lost: i32,
    pub(crate) highest_sequence: u32,
    pub(crate) jitter: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct RtcpSession {
    config: RtcpConfig,
    cname: [u8; 16],
    rng: Rng,
    due: Time,
    average_size: f64,
    /// The far end's last sender report: LSR and when it arrived.
    last_sr: Option<(u32, Time)>,
    last_received: Option<Time>,
    snapshot: RtcpSnapshot,
}

impl RtcpSession {
    pub(crate) fn new(config: RtcpConfig, now: Time) -> Self {
        let mut rng = Rng::new(config.seed);
        // A random name of 64 bits in hexadecimal, for this session only (RFC 7022 §4.2).
        let mut cname = [0; 16];
        let mut bits = rng.next();
        for digit in &mut cname {
            *digit = b"0123456789abcdef"[(bits & 0xf) as usize];
            bits >>= 4;
        }
        let mut session = Self {
            config,
            cname,
            rng,
            due: now,
            average_size: 128.0,
            last_sr: None,
            last_received: None,
            snapshot: RtcpSnapshot::default(),
        };
        session.schedule(now, false);
        session
    }

    /// When the next report is due.
    pub(crate) fn due(&self) -> Time {
        self.due
    }

    /// Writes a report into `out` and plans the next one: a sender report when RTP was sent since
    /// the one before, else a receiver report (§6.4); with `bye`, the last one.
    pub(crate) fn write(
        &mut self,
        now: Time,
        sent: Option<SenderInfo>,
        reception: Option<ReceptionReport>,
        bye: bool,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        let block = reception.map(|reception| self.block(&reception, now));
        match &sent {
            Some(info) => write_sender_report(out, self.config.ssrc, info, block.as_ref()),
            None => write_receiver_report(out, self.config.ssrc, block.as_ref()),
        }
        write_cname(out, self.config.ssrc, &self.cname);
        if bye {
            write_bye(out, self.config.ssrc);
        }
        self.snapshot.sent += 1;
        self.snapshot.sent_second += 1;
        self.account(out.len());
        self.schedule(now, sent.is_some());
    }

    /// Takes a datagram of the RTCP port. `source`: SSRC the stream is locked to; reports of
    /// another source that are not about us are no part of this session.
    pub(crate) fn receive(
        &mut self,
        arrival: Time,
        ntp: NtpTime,
        wire: &[u8],
        source: Option<u32>,
    ) {
        let ours = self.config.ssrc;
        let Ok(compound) = Compound::parse(wire) else {
            self.snapshot.invalid += 1;
            return;
        };
        let belongs = compound.packets().any(|packet| match packet {
            Packet::SenderReport {
                ssrc, mut blocks, ..
            }
            | Packet::ReceiverReport { ssrc, mut blocks } => {
                // Before the first RTP packet any source may be the far end.
                source.is_none_or(|source| source == ssrc) || blocks.any(|b| b.ssrc == ours)
            }
            _ => false,
        });
        if !belongs {
            self.snapshot.invalid += 1;
            return;
        }
        self.snapshot.received += 1;
        self.snapshot.received_second += 1;
        self.account(wire.len());
        if let Some(last) = self.last_received.replace(arrival) {
            self.snapshot.interval_ms = Some(arrival.nanos_since(last).max(0) as f64 / 1e6);
        }
        for packet in compound.packets() {
            let blocks = match packet {
                Packet::SenderReport { ssrc, info, blocks } => {
                    if source.is_none_or(|source| source == ssrc) {
                        self.last_sr = Some((info.ntp.middle(), arrival));
                    }
                    blocks
                }
                Packet::ReceiverReport { blocks, .. } => blocks,
                Packet::Bye { .. } => {
                    self.snapshot.bye_received = true;
                    continue;
                }
                Packet::SourceDescription | Packet::Other { .. } => continue,
            };
            for block in blocks.filter(|block| block.ssrc == ours) {
                self.remote(&block, ntp);
            }
        }
    }

    /// Datagrams that were no valid report of this session.
    pub(crate) fn refused(&self) -> u64 {
        self.snapshot.invalid
    }

    /// Ends a second.
    pub(crate) fn end_second(&mut self) -> RtcpSnapshot {
        let ended = self.snapshot;
        self.snapshot.sent_second = 0;
        self.snapshot.received_second = 0;
        self.snapshot.rtt_fresh = false;
        if let Some(remote) = &mut self.snapshot.remote {
            remote.fresh = false;
        }
        ended
    }

    fn remote(&mut self, block: &ReportBlock, ntp: NtpTime) {
        self.snapshot.remote = Some(RemoteReport {
            fraction_lost_pct: f64::from(block.fraction_lost) / 256.0 * 100.0,
            cumulative_lost: block.cumulative_lost,
            jitter_ms: f64::from(block.jitter) * 1e3 / f64::from(self.config.clock_rate),
            highest_sequence: block.highest_sequence,
            fresh: true,
        });
        if let Some(rtt_ms) = round_trip_ms(ntp, block) {
            let snapshot = &mut self.snapshot;
            snapshot.rtt_ms = Some(rtt_ms);
            snapshot.rtt_fresh = true;
            snapshot.rtt_min_ms = Some(snapshot.rtt_min_ms.map_or(rtt_ms, |min| min.min(rtt_ms)));
            snapshot.rtt_max_ms = Some(snapshot.rtt_max_ms.map_or(rtt_ms, |max| max.max(rtt_ms)));
        }
    }

    fn block(&self, reception: &ReceptionReport, now: Time) -> ReportBlock {
        let (last_sr, delay_since_last_sr) = match self.last_sr {
            // DLSR counts in 1/65536 s.
            Some((lsr, at)) => {
                let nanos = i128::from(now.nanos_since(at).max(0));
                (
                    lsr,
                    u32::try_from((nanos << 16) / 1_000_000_000).unwrap_or(u32::MAX),
                )
            }
            None => (0, 0),
        };
        ReportBlock {
            ssrc: reception.ssrc,
            fraction_lost: reception.fraction_lost,
            cumulative_lost: reception.cumulative_lost,
            highest_sequence: reception.highest_sequence,
            jitter: reception.jitter,
            last_sr,
            delay_since_last_sr,
        }
    }

    /// `avg_rtcp_size` of §6.3.3.
    fn account(&mut self, len: usize) {
        self.average_size += ((len + UDP_IP_HEADERS) as f64 - self.average_size) / 16.0;
    }

    fn schedule(&mut self, now: Time, we_sent: bool) {
        let heard = u32::from(self.last_received.is_some());
        let input = IntervalInput {
            minimum_s: self.config.minimum_interval.as_secs_f64(),
            initial: self.snapshot.sent == 0,
            members: 1 + heard,
            senders: u32::from(we_sent) + u32::from(self.last_sr.is_some()),
            we_sent,
            bandwidth: self.config.session_bandwidth * RTCP_SHARE,
            average_size: self.average_size,
        };
        let seconds = interval_s(&input, &mut self.rng);
        self.due = now.plus_nanos((seconds * 1e9) as i64);
    }
}

/// `A − LSR − DLSR` in milliseconds (RFC 3550 §6.4.1), `A` the arrival in NTP time. `None` when
/// the far end has had no sender report of ours, or when clock ticks make it negative.
fn round_trip_ms(arrival: NtpTime, block: &ReportBlock) -> Option<f64> {
    if block.last_sr == 0 {
        return None;
    }
    let units = arrival
        .middle()
        .wrapping_sub(block.last_sr)
        .wrapping_sub(block.delay_since_last_sr);
    // Both ends cut to 1/65536 s: a trip shorter than that may come out one or two units below 0.
    match units as i32 {
        -2..=0 => Some(0.0),
        units if units > 0 => Some(f64::from(units) * 1e3 / 65_536.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(ssrc: u32) -> RtcpSession {
        let config = RtcpConfig {
            ssrc,
            seed: u64::from(ssrc),
            minimum_interval: Duration::from_secs(5),
            session_bandwidth: 10_000.0,
            clock_rate: 8000,
        };
        RtcpSession::new(config, Time::ZERO)
    }

    fn info(ntp: NtpTime) -> SenderInfo {
        SenderInfo {
            ntp,
            rtp_timestamp: 0,
            packet_count: 1,
            octet_count: 160,
        }
    }

    fn reception(ssrc: u32) -> ReceptionReport {
        ReceptionReport {
            ssrc,
            fraction_lost: 64,
            cumulative_lost: 3,
            highest_sequence: 9,
            jitter: 16,
        }
    }

    /// The figure of RFC 3550 §6.4.1: sender report at 0xb44d:b705.2000 (n = 10 Nov 1995,
    /// 11:33:25.125 UTC), DLSR 5.250 s, report received at 0xb710:8000: 6.125 s of round trip.
    #[test]
    fn round_trip_example_of_rfc_3550() {
        let block = ReportBlock {
            last_sr: 0xb705_2000,
            delay_since_last_sr: 0x0005_4000,
            ..Default::default()
        };
        let arrival = NtpTime(0x0000_b710_8000_0000);
        assert_eq!(round_trip_ms(arrival, &block), Some(6125.0));
        assert_eq!(round_trip_ms(arrival, &ReportBlock::default()), None);
    }

    #[test]
    fn two_ends_measure_the_round_trip_and_each_others_loss() {
        let (mut a, mut b) = (session(1), session(2));
        let mut wire = Vec::new();
        let at = Time::from_millis;
        let ntp = |ms: i64| NtpTime::from_unix_nanos(1_700_000_000_000_000_000 + ms * 1_000_000);
        // A reports at 1000; B hears it at 1030, answers at 3000; A hears that at 3045.
        a.write(at(1000), Some(info(ntp(1000))), None, false, &mut wire);
        b.receive(at(1030), ntp(999_999), &wire, Some(1));
        b.write(at(3000), None, Some(reception(1)), false, &mut wire);
        a.receive(at(3045), ntp(3045), &wire, Some(2));
        let seen = a.end_second();
        assert!(
            (seen.rtt_ms.unwrap() - 75.0).abs() < 0.05,
            "{:?}",
            seen.rtt_ms
        );
        assert_eq!(
            (seen.rtt_min_ms, seen.rtt_max_ms),
            (seen.rtt_ms, seen.rtt_ms)
        );
        assert!(seen.rtt_fresh && !a.end_second().rtt_fresh);
        let remote = seen.remote.unwrap();
        assert_eq!(
            (remote.fraction_lost_pct, remote.cumulative_lost),
            (25.0, 3)
        );
        assert_eq!((remote.jitter_ms, remote.highest_sequence), (2.0, 9));
        assert_eq!((seen.sent, seen.received, seen.invalid), (1, 1, 0));
        assert_eq!(b.end_second().rtt_ms, None, "B sent no sender report");
    }

    #[test]
    fn strangers_and_rubbish_are_counted_as_invalid() {
        let mut ours = session(1);
        let mut wire = Vec::new();
        session(7).write(Time::ZERO, None, Some(reception(8)), true, &mut wire);
        ours.receive(Time::ZERO, NtpTime(0), &wire, Some(2));
        ours.receive(Time::ZERO, NtpTime(0), b"OPTIONS sip:x", Some(2));
        let seen = ours.end_second();
        assert_eq!(
            (seen.received, seen.invalid, seen.bye_received),
            (0, 2, false)
        );
        assert!(seen.remote.is_none());
    }

    #[test]
    fn interval_between_received_reports_and_the_goodbye() {
        let (mut a, mut b) = (session(1), session(2));
        let mut wire = Vec::new();
        for (ms, bye) in [(1000, false), (3500, true)] {
            b.write(Time::from_millis(ms), None, None, bye, &mut wire);
            a.receive(Time::from_millis(ms), NtpTime(0), &wire, None);
        }
        let seen = a.end_second();
        assert_eq!((seen.interval_ms, seen.bye_received), (Some(2500.0), true));
    }

    #[test]
    fn reports_are_due_within_the_limits_of_a7() {
        let mut ours = session(3);
        let compensation = std::f64::consts::E - 1.5;
        let first = ours.due().as_nanos() as f64 / 1e9;
        assert!(
            first >= 1.25 / compensation && first <= 3.75 / compensation,
            "{first}"
        );
        let now = ours.due();
        ours.write(now, None, None, false, &mut Vec::new());
        let next = ours.due().nanos_since(now) as f64 / 1e9;
        assert!(
            next >= 2.5 / compensation && next <= 7.5 / compensation,
            "{next}"
        );
    }
}
