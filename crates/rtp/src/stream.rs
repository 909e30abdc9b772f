//! One two-way stream: what a media thread drives.
//!
//! Call order: [`RtpStream::new`] when the answer is known; then in any order, with `now` that
//! never goes back: [`receive`](RtpStream::receive) and [`receive_rtcp`](RtpStream::receive_rtcp)
//! per datagram, [`next_header`](RtpStream::next_header) followed by
//! [`sent`](RtpStream::sent) or [`send_failed`](RtpStream::send_failed) per packet time,
//! [`write_rtcp`](RtpStream::write_rtcp) when [`rtcp_due`](RtpStream::rtcp_due) has passed,
//! [`second`](RtpStream::second) once a second; last [`finish`](RtpStream::finish) and one more
//! `second`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::lateness::LatenessMeter;
use crate::receiver::Receiver;
use crate::rng::Rng;
use crate::rtcp::{RtcpConfig, RtcpSession};
use crate::sender::Sender;
use crate::source::{Admission, Arrival, SourceLock};
use crate::{
    GeneratorSnapshot, HEADER_LEN, NtpTime, RtpHeader, SendCounters, SendSnapshot, StreamSnapshot,
    Time,
};

/// IPv4, UDP and RTP headers: what a packet adds to its payload on the wire.
const PACKET_OVERHEAD: usize = 40;

/// What offer and answer agreed on, and where the stream's identifiers come from.
#[derive(Debug, Clone, Copy)]
pub struct StreamConfig {
    /// Seed of SSRC, first numbers, canonical name and report times; another one per stream.
    pub seed: u64,
    /// RTP clock in Hz, a multiple of 1000.
    pub clock_rate: u32,
    /// Packet time in milliseconds, above 0.
    pub ptime_ms: u32,
    /// Payload type sent, 0..=127.
    pub payload_type: u8,
    /// Payload type the far end sends, 0..=127.
    pub receive_payload_type: u8,
    /// Payload octets of a packet; RTCP's bandwidth is a share of what they amount to.
    pub payload_len: usize,
    /// The far end's negotiated RTP address.
    pub remote: SocketAddr,
    /// Mean time between RTCP reports: [`StreamConfig::RTCP_INTERVAL`] but in tests.
    pub rtcp_interval: Duration,
}

impl StreamConfig {
    /// Least mean report interval of RFC 3550 §6.2.
    pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);
}

/// What the kernel told about a datagram besides its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Receive time by the kernel, on the monotonic scale.
    pub at: Time,
    /// Source address.
    pub from: SocketAddr,
    /// DSCP, 0..=63.
    pub dscp: Option<u8>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
}

/// Datagrams that are no part of a stream; a metric of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusedDatagrams {
    /// No valid RTP of a negotiated payload type, or of another source.
    pub rtp: u64,
    /// No valid RTCP of this session.
    pub rtcp: u64,
}

/// State of one stream. About 5 KiB, no allocation after [`RtpStream::new`].
#[derive(Debug, Clone)]
pub struct RtpStream {
    started: Time,
    source: SourceLock,
    sender: Sender,
    sending: bool,
    receiver: Receiver,
    rtcp: RtcpSession,
    lateness: LatenessMeter,
    first_packet: bool,
    seconds: u32,
    second_started: Time,
    last_send: SendCounters,
    generator: GeneratorSnapshot,
    drops_before: u64,
}

impl RtpStream {
    /// Starts a stream that does not send yet.
    pub fn new(config: &StreamConfig, now: Time) -> Self {
        let mut rng = Rng::new(config.seed);
        let sender = Sender::new(
            &mut rng,
            config.clock_rate,
            config.ptime_ms,
            config.payload_type,
        );
        let octets = (config.payload_len + PACKET_OVERHEAD) as f64;
        let rtcp = RtcpConfig {
            ssrc: sender.ssrc(),
            seed: rng.next(),
            minimum_interval: config.rtcp_interval,
            session_bandwidth: octets * 1000.0 / f64::from(config.ptime_ms),
            clock_rate: config.clock_rate,
        };
        Self {
            started: now,
            source: SourceLock::new(config.remote, config.receive_payload_type),
            sender,
            sending: false,
            receiver: Receiver::new(config.clock_rate, config.ptime_ms),
            rtcp: RtcpSession::new(rtcp, now),
            lateness: LatenessMeter::new(),
            first_packet: false,
            seconds: 0,
            second_started: now,
            last_send: SendCounters::default(),
            generator: GeneratorSnapshot::default(),
            drops_before: 0,
        }
    }

    /// A new offer/answer: counters and identifiers go on, the source is learnt anew if it
    /// changed. `seed`, `clock_rate` and `rtcp_interval` stay as they were.
    pub fn renegotiate(&mut self, config: &StreamConfig) {
        self.source
            .renegotiate(config.remote, config.receive_payload_type);
        self.sender
            .renegotiate(config.ptime_ms, config.payload_type);
    }

    /// When the stream started.
    pub fn started(&self) -> Time {
        self.started
    }

    /// SSRC of what we send.
    pub fn ssrc(&self) -> u32 {
        self.sender.ssrc()
    }

    /// SSRC of what we receive, once the stream is locked to a source.
    pub fn remote_ssrc(&self) -> Option<u32> {
        self.receiver.ssrc()
    }

    /// Whether packets leave; for the snapshot only.
    pub fn set_sending(&mut self, sending: bool) {
        self.sending = sending;
    }

    /// Header of the packet due at `due`.
    pub fn next_header(&mut self, due: Time) -> [u8; HEADER_LEN] {
        self.sender.next_header(due)
    }

    /// The kernel took the packet due at `due` at `at`.
    pub fn sent(&mut self, due: Time, at: Time, payload_len: usize) {
        self.sender.sent(payload_len);
        self.lateness.update(due, at);
    }

    /// The kernel refused a packet.
    pub fn send_failed(&mut self) {
        self.generator.send_errors += 1;
    }

    /// The thread was so late that `packets` were never sent: a loss of our own.
    pub fn skipped(&mut self, packets: u32) {
        self.generator.send_skipped += u64::from(packets);
        self.sender.pause(packets);
    }

    /// Nothing was to be sent for `packets` packet times.
    pub fn paused(&mut self, packets: u32) {
        self.sender.pause(packets);
    }

    /// Datagrams the kernel dropped at this stream's sockets, since the start.
    pub fn set_socket_drops(&mut self, total: u64) {
        self.generator.socket_drops = total;
    }

    /// The wall clock stepped in this second.
    pub fn clock_stepped(&mut self) {
        self.generator.clock_stepped = true;
    }

    /// Takes a datagram of the RTP port. Gives the arrival of the first valid packet once, when
    /// the stream locks to its source.
    pub fn receive(&mut self, datagram: &Datagram, wire: &[u8]) -> Option<Time> {
        let Ok((header, payload)) = RtpHeader::parse(wire) else {
            self.receiver.invalid();
            return None;
        };
        let arrival = Arrival {
            at: datagram.at,
            header,
            payload_len: payload.len(),
        };
        let mut first = None;
        match self.source.admit(datagram.from, &arrival) {
            Admission::Accept => self.receiver.take(&arrival),
            Admission::Locked { before, unexpected } => {
                self.receiver.unexpected(unexpected);
                self.receiver.take(&before);
                self.receiver.take(&arrival);
                first = (!self.first_packet).then_some(before.at);
                self.first_packet = true;
            }
            Admission::Probation => return None,
            Admission::Unexpected => {
                self.receiver.unexpected(1);
                return None;
            }
            Admission::Invalid => {
                self.receiver.invalid();
                return None;
            }
        }
        self.receiver
            .note_header_fields(datagram.dscp, datagram.ttl);
        first
    }

    /// Takes a datagram of the RTCP port; `ntp` is its receive time.
    pub fn receive_rtcp(&mut self, at: Time, ntp: NtpTime, wire: &[u8]) {
        self.rtcp.receive(at, ntp, wire, self.receiver.ssrc());
    }

    /// Datagrams of both ports that were no valid packet of this stream, since its start.
    pub fn refused(&self) -> RefusedDatagrams {
        RefusedDatagrams {
            rtp: self.receiver.refused(),
            rtcp: self.rtcp.refused(),
        }
    }

    /// When the next report is to be written.
    pub fn rtcp_due(&self) -> Time {
        self.rtcp.due()
    }

    /// Writes a report into `out` (cleared first), with a goodbye when `bye`.
    pub fn write_rtcp(&mut self, now: Time, ntp: NtpTime, bye: bool, out: &mut Vec<u8>) {
        let sent = self.sender.report(now, ntp);
        let reception = self.receiver.report();
        self.rtcp.write(now, sent, reception, bye, out);
    }

    /// The stream is over: what waits in the playout model is decided.
    pub fn finish(&mut self) {
        self.receiver.finish();
        self.sending = false;
    }

    /// Ends the second that `now` closes and reports it.
    pub fn second(&mut self, now: Time) -> StreamSnapshot {
        let total = self.sender.counters();
        let before = std::mem::replace(&mut self.last_send, total);
        let window = now.nanos_since(self.second_started).max(0);
        let (receive, playout, quality) = self.receiver.end_second(now);
        let generator = &mut self.generator;
        let drops = generator.send_errors + generator.send_skipped + generator.socket_drops;
        generator.drops_second = drops - self.drops_before;
        generator.lateness = self.lateness.end_second();
        let snapshot = StreamSnapshot {
            second: self.seconds,
            window_ms: (window / 1_000_000) as u32,
            send: SendSnapshot {
                total,
                second: SendCounters {
                    packets: total.packets - before.packets,
                    bytes: total.bytes - before.bytes,
                },
                active: self.sending,
            },
            receive,
            playout,
            rtcp: self.rtcp.end_second(),
            quality,
            generator: *generator,
        };
        generator.clock_stepped = false;
        self.drops_before = drops;
        self.seconds += 1;
        self.second_started = now;
        snapshot
    }
}

#[cfg(test)]
mod tests;
