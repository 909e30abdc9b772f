//! One stream with its sockets, as a media thread holds it.

use std::net::SocketAddr;

use callmeter_engine::media::{MediaEvent, StreamId, StreamSnapshot};
use callmeter_media::{Cursor, Track};
use callmeter_rtp::{Datagram, HEADER_LEN, RtpStream, Time};

use super::stats::ThreadStats;
use super::trace;
use super::tracks::CLOCK_RATE;
use super::wheel::Place;
use crate::sys::clock::{Scale, monotonic};
use crate::sys::socket::{ControlBuffer, MediaSocket, Received};

/// Largest datagram taken whole: an Ethernet frame's, with room.
const RECEIVE: usize = 2048;
/// Octets of the longest payload, 200 ms of G.711.
const PAYLOAD: usize = 1600;
/// Octets of a report with sender information, one block, name and goodbye: 96 at most.
const REPORT: usize = 128;
/// Slots of a second.
const SECOND: u64 = 1000;
/// Datagrams read from one socket when its stream ends: more than its buffer holds.
const DRAIN: usize = 4096;
/// More than these waiting at the end: the socket may have dropped some, which it only tells with
/// the next one.
const BACKLOG: usize = 16;

/// A thread's buffers and clocks, lent to its endpoints.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) scale: Scale,
    /// Wall clock − monotonic clock, sampled once a second.
    pub(super) wall_offset: i64,
    send: [u8; HEADER_LEN + PAYLOAD],
    receive: [u8; RECEIVE],
    control: ControlBuffer,
    report: Vec<u8>,
}

impl Io {
    pub(super) fn new(scale: Scale, wall_offset: i64) -> Self {
        Self {
            scale,
            wall_offset,
            send: [0; HEADER_LEN + PAYLOAD],
            receive: [0; RECEIVE],
            control: ControlBuffer::new(),
            report: Vec::with_capacity(REPORT),
        }
    }

    /// The next datagram of a socket with its receive time on the monotonic scale. An error of
    /// the socket is that of an earlier send (ICMP) and reads as nothing waiting.
    fn next(&mut self, socket: &MediaSocket) -> Option<(Received, Time)> {
        let received = socket
            .receive(&mut self.receive, &mut self.control)
            .ok()
            .flatten()?;
        let at = match received.stamp {
            Some(stamp) => Time::from_nanos(stamp - self.wall_offset),
            None => monotonic(),
        };
        Some((received, at))
    }
}

/// What an RTP socket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing waits.
    Nothing,
    /// One datagram.
    Datagram,
    /// The datagram that locked the stream to its source; when its first packet came.
    First(Time),
}

/// The sockets of a port pair.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) rtp: MediaSocket,
    pub(super) rtcp: MediaSocket,
}

impl Sockets {
    /// Whether nothing has come since they were read last.
    pub(super) fn are_silent(&self, io: &mut Io) -> bool {
        let mut silent = |socket: &MediaSocket| {
            let received = socket.receive(&mut io.receive, &mut io.control);
            matches!(received, Ok(None))
        };
        silent(&self.rtp) && silent(&self.rtcp)
    }
}

/// A stream and its sockets from `Open` to `Remove`.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) id: StreamId,
    pub(super) client: usize,
    pub(super) port: u16,
    pub(super) sockets: Sockets,
    /// From `Start` on.
    pub(super) live: Option<Live>,
}

/// What is known at the end of a stream.
#[derive(Debug)]
pub(super) struct Last {
    /// When its first packet came, if that was among what still waited.
    pub(super) first: Option<Time>,
    /// The last figures.
    pub(super) snapshot: StreamSnapshot,
    /// Its sockets dropped something, or may have.
    pub(super) dropped: bool,
}

/// What a stream does from `Start` on.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) stream: RtpStream,
    pub(super) remote: SocketAddr,
    pub(super) remote_rtcp: SocketAddr,
    pub(super) track: Track,
    pub(super) cursor: Cursor,
    pub(super) place: Place,
    pub(super) next_second: u64,
    sending: bool,
    /// Slot of the last packet; none before the first one.
    last_slot: Option<u64>,
    /// The time since the last packet was a pause, not our being late.
    resumed: bool,
    /// Drops told by the RTP and the RTCP socket.
    drops: [u32; 2],
}

impl Live {
    pub(super) fn new(
        stream: RtpStream,
        remote: (SocketAddr, SocketAddr),
        (track, cursor): (Track, Cursor),
        place: Place,
        slot: u64,
    ) -> Self {
        Self {
            stream,
            remote: remote.0,
            remote_rtcp: remote.1,
            track,
            cursor,
            place,
            next_second: slot + SECOND,
            sending: false,
            last_slot: None,
            resumed: true,
            drops: [0; 2],
        }
    }

    pub(super) fn set_sending(&mut self, sending: bool) {
        self.resumed |= sending && !self.sending;
        self.sending = sending;
        self.stream.set_sending(sending);
    }

    /// Notes a change of place: time until the next packet is no lateness.
    pub(super) fn moved(&mut self, place: Place) {
        self.place = place;
        self.resumed = true;
    }

    fn note_drops(&mut self, socket: usize, dropped: Option<u32>, stats: &ThreadStats) {
        let Some(total) = dropped.filter(|total| *total != self.drops[socket]) else {
            return;
        };
        stats
            .socket_drops
            .add(u64::from(total.wrapping_sub(self.drops[socket])));
        self.drops[socket] = total;
        self.stream
            .set_socket_drops(self.drops.iter().copied().map(u64::from).sum());
    }
}

impl Endpoint {
    /// The stream's turn in slot `slot`, due at `due`: one packet, a report when its time has
    /// come, and the figures when a second has ended.
    pub(super) fn turn(
        &mut self,
        slot: u64,
        due: Time,
        io: &mut Io,
        stats: &ThreadStats,
    ) -> Option<StreamSnapshot> {
        let live = self.live.as_mut()?;
        if live.sending {
            send_packet(live, &self.sockets.rtp, (slot, due), io, stats);
        }
        live.stream.end_late_events(due);
        if live.stream.rtcp_due() <= due {
            send_report(live, &self.sockets.rtcp, false, io, stats);
        }
        if slot < live.next_second {
            return None;
        }
        live.next_second += SECOND;
        Some(live.stream.second(monotonic()))
    }

    /// The next digit received that is over, or row of digits that was sent.
    pub(super) fn digit_event(&mut self, scale: &Scale) -> Option<MediaEvent> {
        let (stream, live) = (self.id, self.live.as_mut()?);
        if let Some(received) = live.stream.poll_digit() {
            return Some(MediaEvent::DigitReceived {
                stream,
                digit: received.digit,
                duration_ms: received.duration / (CLOCK_RATE / 1000),
                started: scale.instant(received.started),
                complete: received.complete,
            });
        }
        let row = live.stream.poll_digits_sent()?;
        Some(MediaEvent::DigitsSent {
            stream,
            sent: row.sent,
            dropped: row.dropped,
        })
    }

    /// Takes one datagram of the RTP socket.
    pub(super) fn receive_rtp(&mut self, io: &mut Io, stats: &ThreadStats) -> Taken {
        let Some(live) = self.live.as_mut() else {
            return Taken::Nothing;
        };
        let Some((received, at)) = io.next(&self.sockets.rtp) else {
            return Taken::Nothing;
        };
        stats.packets_received.add(1);
        live.note_drops(0, received.dropped, stats);
        let Some(from) = received.from else {
            return Taken::Datagram;
        };
        trace::packet(
            "received",
            &self.sockets.rtp,
            from,
            &io.receive[..received.len],
        );
        let datagram = Datagram {
            at,
            from,
            dscp: received.dscp,
            ttl: received.ttl,
        };
        let before = live.stream.refused().rtp;
        let first = live.stream.receive(&datagram, &io.receive[..received.len]);
        stats.rtp_refused.add(live.stream.refused().rtp - before);
        first.map_or(Taken::Datagram, Taken::First)
    }

    /// Takes one datagram of the RTCP socket; `None` when none waits.
    pub(super) fn receive_rtcp(&mut self, io: &mut Io, stats: &ThreadStats) -> Option<()> {
        let live = self.live.as_mut()?;
        let (received, at) = io.next(&self.sockets.rtcp)?;
        live.note_drops(1, received.dropped, stats);
        let before = live.stream.refused().rtcp;
        live.stream
            .receive_rtcp(at, io.scale.ntp(at), &io.receive[..received.len]);
        stats.rtcp_refused.add(live.stream.refused().rtcp - before);
        Some(())
    }

    /// The stream ends: reads what still waits, says goodbye and gives the last figures.
    pub(super) fn end(&mut self, io: &mut Io, stats: &ThreadStats) -> Last {
        let mut first = None;
        let mut backlog = 0;
        for _ in 0..DRAIN {
            match self.receive_rtp(io, stats) {
                Taken::Nothing => break,
                Taken::Datagram => {}
                Taken::First(at) => first = Some(at),
            }
            backlog += 1;
        }
        for _ in 0..DRAIN {
            if self.receive_rtcp(io, stats).is_none() {
                break;
            }
            backlog += 1;
        }
        let Some(live) = self.live.as_mut() else {
            return Last {
                first: None,
                snapshot: StreamSnapshot::default(),
                dropped: false,
            };
        };
        send_report(live, &self.sockets.rtcp, true, io, stats);
        live.stream.finish();
        Last {
            first,
            snapshot: live.stream.second(monotonic()),
            dropped: backlog > BACKLOG || live.drops != [0; 2],
        }
    }
}

fn send_packet(
    live: &mut Live,
    socket: &MediaSocket,
    (slot, due): (u64, Time),
    io: &mut Io,
    stats: &ThreadStats,
) {
    let packet_ms = u64::from(live.place.packet_ms());
    let passed = live
        .last_slot
        .map_or(1, |last| slot.saturating_sub(last) / packet_ms);
    let missed = passed.saturating_sub(1) as u32;
    if missed > 0 && live.resumed {
        live.stream.paused(missed);
    } else if missed > 0 {
        live.stream.skipped(missed);
        stats.send_skipped.add(u64::from(missed));
    }
    live.last_slot = Some(slot);
    live.resumed = false;

    let audio = live.track.next(&mut live.cursor);
    let payload_len = if let Some(event) = live.stream.next_event(due) {
        // The audio of this packet time is not heard (RFC 4733 §2.5.1.2).
        io.send[..event.len()].copy_from_slice(&event);
        event.len() - HEADER_LEN
    } else {
        io.send[..HEADER_LEN].copy_from_slice(&live.stream.next_header(due));
        io.send[HEADER_LEN..HEADER_LEN + audio.len()].copy_from_slice(audio);
        audio.len()
    };
    let end = HEADER_LEN + payload_len;
    if socket.send(&io.send[..end], &live.remote).is_ok() {
        let at = monotonic();
        live.stream.sent(due, at, payload_len);
        stats.late(at.nanos_since(due));
        stats.packets_sent.add(1);
        trace::packet("sent", socket, live.remote, &io.send[..end]);
    } else {
        live.stream.send_failed();
        stats.send_errors.add(1);
    }
}

fn send_report(live: &mut Live, socket: &MediaSocket, bye: bool, io: &mut Io, stats: &ThreadStats) {
    let now = monotonic();
    live.stream
        .write_rtcp(now, io.scale.ntp(now), bye, &mut io.report);
    if live.remote_rtcp.ip().is_unspecified() {
        // A hold of RFC 2543: nothing goes there; the kernel would take it for this machine.
        return;
    }
    if socket.send(&io.report, &live.remote_rtcp).is_err() {
        live.stream.send_failed();
        stats.send_errors.add(1);
    }
}
