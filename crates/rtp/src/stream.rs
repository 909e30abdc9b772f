//! One two-way stream: what a media thread drives.
//!
//! Call order: [`RtpStream::new`] when the answer is known; then in any order, with `now` that
//! never goes back: [`receive`](RtpStream::receive) and [`receive_rtcp`](RtpStream::receive_rtcp)
//! per datagram, [`next_event`](RtpStream::next_event) and, where that gives nothing,
//! [`next_header`](RtpStream::next_header), followed by [`sent`](RtpStream::sent) or
//! [`send_failed`](RtpStream::send_failed) per packet time,
//! [`write_rtcp`](RtpStream::write_rtcp) when [`rtcp_due`](RtpStream::rtcp_due) has passed,
//! [`second`](RtpStream::second) once a second; last [`finish`](RtpStream::finish) and one more
//! `second`.

mod config;

pub use config::{Datagram, EventTypes, RefusedDatagrams, StreamConfig};

use crate::lateness::LatenessMeter;
use crate::receiver::Receiver;
use crate::rng::Rng;
use crate::rtcp::{RtcpConfig, RtcpSession};
use crate::sender::Sender;
use crate::source::{Admission, Arrival, SourceLock};
use crate::{
    Digits, DigitsSent, EventCounters, EventReceiver, EventSender, GeneratorSnapshot, HEADER_LEN,
    NtpTime, REPORT_LEN, ReceivedDigit, RtpHeader, SendCounters, SendDigits, SendSnapshot,
    StreamSnapshot, Time,
};

/// IPv4, UDP and RTP headers: what a packet adds to its payload on the wire.
const PACKET_OVERHEAD: usize = 40;

/// State of one stream. About 5 KiB, no allocation after [`RtpStream::new`].
#[derive(Debug, Clone)]
pub struct RtpStream {
    started: Time,
    source: SourceLock,
    sender: Sender,
    sending: bool,
    receiver: Receiver,
    clock_rate: u32,
    events: Option<EventTypes>,
    /// From the first digits to send on.
    event_sender: Option<Box<EventSender>>,
    event_receiver: EventReceiver,
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
            clock_rate: config.clock_rate,
            events: config.events,
            event_sender: None,
            event_receiver: EventReceiver::new(config.clock_rate),
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
        self.events = config.events;
        if let Some(sender) = &mut self.event_sender {
            match config.events {
                Some(events) => sender.set_accepted(events.accepted),
                None => sender.stop(),
            }
        }
    }

    /// When the stream started.
    pub fn started(&self) -> Time {
        self.started
    }

    /// SSRC of what we send.
    pub fn ssrc(&self) -> u32 {
        self.sender.ssrc()
    }

    /// Whether packets leave from now on; digits do not wait for the next time they do.
    pub fn set_sending(&mut self, sending: bool) {
        self.sending = sending;
        if let Some(sender) = self.event_sender.as_mut().filter(|_| !sending) {
            sender.stop();
        }
    }

    /// Sends digits from the next packet time on, after those given before. Without telephone
    /// events agreed on, or while nothing is sent, they are dropped, and
    /// [`poll_digits_sent`](Self::poll_digits_sent) says so.
    pub fn send_digits(&mut self, digits: Digits, duration_ms: u32, gap_ms: u32) {
        let per_ms = self.clock_rate / 1000;
        let accepted = self.events.map_or(0, |events| events.accepted);
        let sender = self
            .event_sender
            .get_or_insert_with(|| Box::new(EventSender::new(accepted)));
        sender.push(SendDigits {
            digits,
            duration: duration_ms.saturating_mul(per_ms),
            gap: gap_ms.saturating_mul(per_ms),
        });
        if !self.sending {
            sender.stop();
        }
    }

    /// What became of the next row of digits of [`send_digits`](Self::send_digits), in order.
    pub fn poll_digits_sent(&mut self) -> Option<DigitsSent> {
        self.event_sender.as_mut()?.poll_sent()
    }

    /// The whole event packet due at `due`, in place of audio; `None`: audio's turn.
    pub fn next_event(&mut self, due: Time) -> Option<[u8; HEADER_LEN + REPORT_LEN]> {
        let sender = self.event_sender.as_mut()?;
        let (timestamp, step) = self.sender.next_turn();
        let packet = sender.next(timestamp, step)?;
        let header = self
            .sender
            .next_event_header(due, self.events?.send, &packet);
        let mut wire = [0; HEADER_LEN + REPORT_LEN];
        wire[..HEADER_LEN].copy_from_slice(&header);
        wire[HEADER_LEN..].copy_from_slice(&packet.report.to_bytes());
        Some(wire)
    }

    /// The next digit received, once it is over; its duration is in units of the clock. Poll after
    /// [`receive`](Self::receive) and [`end_late_events`](Self::end_late_events).
    pub fn poll_digit(&mut self) -> Option<ReceivedDigit> {
        self.event_receiver.poll()
    }

    /// Ends an event of the far end whose packets have stopped coming; call it every packet time.
    pub fn end_late_events(&mut self, now: Time) {
        self.event_receiver.handle_timeout(now);
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

    /// Counted from the first description with events on, also when a later one has none.
    fn event_counters(&self) -> Option<EventCounters> {
        let (received, incomplete) = self.event_receiver.totals();
        let sender = self.event_sender.as_ref();
        let (sent, dropped) = sender.map_or((0, 0), |sender| sender.totals());
        (self.events.is_some() || received + sent + dropped > 0).then_some(EventCounters {
            sent,
            dropped,
            received,
            incomplete,
        })
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
            event: self
                .events
                .is_some_and(|e| e.receive == header.payload_type),
        };
        let (mut first, source) = (None, self.receiver.ssrc());
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
        if self.receiver.ssrc() != source {
            self.event_receiver.interrupt();
        }
        if arrival.event && self.receiver.ssrc() == Some(header.ssrc) {
            self.event_receiver
                .receive(datagram.at, header.timestamp, header.marker, payload);
        }
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

    /// The stream is over: what waits in the playout model, and digits, are decided.
    pub fn finish(&mut self) {
        self.receiver.finish();
        self.event_receiver.interrupt();
        self.set_sending(false);
    }

    /// Ends the second that `now` closes and reports it.
    pub fn second(&mut self, now: Time) -> StreamSnapshot {
        let total = self.sender.counters();
        let before = std::mem::replace(&mut self.last_send, total);
        let window = now.nanos_since(self.second_started).max(0);
        let (receive, playout, quality) = self.receiver.end_second(now);
        let events = self.event_counters();
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
            events,
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
