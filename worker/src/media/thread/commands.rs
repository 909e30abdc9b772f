//! What a media thread does when signalling asks.

use std::sync::Arc;

use callmeter_engine::media::{Digits, MediaCommand, MediaEvent, StreamId};
use callmeter_media::Cursor;
use callmeter_rtp::{EventTypes, RtpStream, StreamConfig};
use rustix::event::epoll;
use rustix::io::Errno;

use super::super::Shared;
use super::super::client::hash;
use super::super::endpoint::{Endpoint, Live, Sockets};
use super::super::ports::Pair;
use super::super::tracks::CLOCK_RATE;
use super::{MediaThread, tell_digits};
use crate::sys::clock::monotonic;
use crate::sys::socket::MediaSocket;

/// Commands taken between two slots.
const COMMANDS: usize = 256;
/// Port pairs tried for one stream before it fails.
const PORT_TRIES: usize = 64;

impl MediaThread {
    pub(super) fn take_commands(&mut self) {
        for _ in 0..COMMANDS {
            let Ok((client, command)) = self.commands.try_recv() else {
                return;
            };
            match command {
                MediaCommand::Open { stream } => self.open(client, stream),
                MediaCommand::Start { .. } => self.start(&command),
                MediaCommand::SendDigits {
                    stream,
                    digits,
                    digit_ms,
                    gap_ms,
                } => self.send_digits(stream, digits, digit_ms, gap_ms),
                MediaCommand::StopSending { stream } => self.stop_sending(stream),
                MediaCommand::Remove { stream } => self.remove(stream),
            }
        }
    }

    fn tell(&mut self, client: usize, event: MediaEvent) {
        self.outboxes[client].push(event, &self.stats.ring_overflows);
    }

    fn open(&mut self, client: usize, stream: StreamId) {
        if self.ids.contains_key(&stream) {
            let reason = format!("stream {} is open already", stream.0);
            self.tell(client, MediaEvent::OpenFailed { stream, reason });
            return;
        }
        let (port, sockets) = match self.take_pair() {
            Ok(bound) => bound,
            Err(reason) => {
                self.tell(client, MediaEvent::OpenFailed { stream, reason });
                return;
            }
        };
        let local = (self.shared.ip, port).into();
        let endpoint = Box::new(Endpoint {
            id: stream,
            client,
            port,
            sockets,
            live: None,
        });
        let index = if let Some(index) = self.vacant.pop() {
            self.endpoints[index as usize] = Some(endpoint);
            index
        } else {
            self.endpoints.push(Some(endpoint));
            (self.endpoints.len() - 1) as u32
        };
        self.ids.insert(stream, index);
        self.stats.streams_open.set(self.ids.len() as u64);
        self.tell(client, MediaEvent::Opened { stream, local });
    }

    /// The first pair of the range that nobody holds (R24, R30), bound.
    fn take_pair(&mut self) -> Result<(u16, Sockets), String> {
        let shared = Arc::clone(&self.shared);
        let (low, high) = shared.ports_range;
        let place = format_args!("bind an RTP port pair of {low}-{high} on {}", shared.ip);
        let tries = PORT_TRIES.min(shared.ports().free());
        let mut clashes = 0;
        for _ in 0..tries {
            let Some(Pair { port, sockets }) = shared.ports().take(monotonic()) else {
                break;
            };
            // What came late for an ended stream is dropped with the sockets it came to.
            let silent = sockets.filter(|sockets| sockets.are_silent(&mut self.io));
            if let Some(sockets) = silent {
                return Ok((port, sockets));
            }
            match bind_pair(&shared, port) {
                Ok(sockets) => return Ok((port, sockets)),
                Err(error) => {
                    shared.ports().give_back(port);
                    if error.kind() != std::io::ErrorKind::AddrInUse {
                        return Err(format!("{place}: {error}"));
                    }
                    clashes += 1;
                    self.stats.port_clashes.add(1);
                    tracing::warn!(
                        port,
                        "another process holds this RTP port or the next, skipped"
                    );
                }
            }
        }
        Err(format!(
            "{place}: none free, {clashes} held by other processes"
        ))
    }

    fn start(&mut self, command: &MediaCommand) {
        let MediaCommand::Start {
            stream: id,
            remote,
            remote_rtcp,
            codec,
            payload_type,
            receive_payload_type,
            telephone_events,
            ptime_ms,
            dscp,
            start_sending,
        } = *command
        else {
            return;
        };
        let Some(index) = self.ids.get(&id).copied() else {
            return;
        };
        let Some(endpoint) = self.endpoints[index as usize].as_mut() else {
            return;
        };
        let track = match self.shared.tracks.get(codec, ptime_ms) {
            Ok(track) => track,
            Err(error) => {
                tracing::error!(stream = id.0, %error, "stream not started");
                return;
            }
        };
        let Sockets { rtp, rtcp } = &mut endpoint.sockets;
        for socket in [rtp, rtcp] {
            if let Err(error) = socket.set_dscp(dscp) {
                tracing::warn!(stream = id.0, dscp, %error, "packets leave without their DSCP");
            }
        }
        let random = hash(id) ^ self.shared.seed;
        let config = StreamConfig {
            seed: random,
            clock_rate: CLOCK_RATE,
            ptime_ms,
            payload_type,
            receive_payload_type,
            events: telephone_events.map(|events| EventTypes {
                send: events.send,
                receive: events.receive,
                accepted: events.digits,
            }),
            payload_len: track.payload_len(),
            remote,
            rtcp_interval: self.shared.rtcp_interval,
        };
        if let Some(live) = &mut endpoint.live {
            live.stream.renegotiate(&config);
            (live.remote, live.remote_rtcp, live.track) = (remote, remote_rtcp, track);
            if live.place.packet_ms() != ptime_ms {
                self.wheel.remove(index, live.place);
                live.moved(self.wheel.insert(index, ptime_ms, hash(id)));
            }
            live.set_sending(start_sending);
            self.tell_digits(index);
            return;
        }
        for (socket, token) in [
            (&endpoint.sockets.rtp, u64::from(index) << 1),
            (&endpoint.sockets.rtcp, u64::from(index) << 1 | 1),
        ] {
            let data = epoll::EventData::new_u64(token);
            if let Err(error) = epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN) {
                tracing::error!(stream = id.0, %error, "stream not started: epoll");
                return;
            }
        }
        let stream = RtpStream::new(&config, monotonic());
        let cursor = Cursor::start(&track, random >> 7);
        let place = self.wheel.insert(index, ptime_ms, hash(id));
        let mut live = Live::new(
            stream,
            (remote, remote_rtcp),
            (track, cursor),
            place,
            self.slot,
        );
        live.set_sending(start_sending);
        endpoint.live = Some(live);
        self.started += 1;
        self.stats.streams_started.set(self.started);
    }

    /// A stream that was not started has nobody to send to: what becomes of its digits is told as
    /// of those that are cut off.
    fn send_digits(&mut self, stream: StreamId, digits: Digits, digit_ms: u16, gap_ms: u16) {
        let Some(index) = self.ids.get(&stream).copied() else {
            return;
        };
        let Some(endpoint) = self.endpoints[index as usize].as_mut() else {
            return;
        };
        let client = endpoint.client;
        if let Some(live) = &mut endpoint.live {
            live.stream
                .send_digits(digits, digit_ms.into(), gap_ms.into());
            self.tell_digits(index);
        } else {
            let dropped = digits.as_slice().len() as u8;
            let event = MediaEvent::DigitsSent {
                stream,
                sent: 0,
                dropped,
            };
            self.tell(client, event);
        }
    }

    fn tell_digits(&mut self, index: u32) {
        if let Some(endpoint) = &mut self.endpoints[index as usize] {
            tell_digits(endpoint, &self.io, &mut self.outboxes, &self.stats);
        }
    }

    fn stop_sending(&mut self, stream: StreamId) {
        let Some(index) = self.ids.get(&stream).copied() else {
            return;
        };
        let endpoint = self.endpoints[index as usize].as_mut();
        if let Some(live) = endpoint.and_then(|endpoint| endpoint.live.as_mut()) {
            live.set_sending(false);
            self.tell_digits(index);
        }
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        let Some(index) = self.ids.remove(&stream) else {
            return;
        };
        let Some(mut endpoint) = self.endpoints[index as usize].take() else {
            return;
        };
        self.vacant.push(index);
        if let Some(live) = &endpoint.live {
            self.wheel.remove(index, live.place);
            self.started -= 1;
        }
        let last = endpoint.end(&mut self.io, &self.stats);
        // Told after the first packet and before the end.
        let digits: Vec<_> = std::iter::from_fn(|| endpoint.digit_event(&self.io.scale)).collect();
        let Endpoint {
            client,
            port,
            sockets,
            ..
        } = *endpoint;
        self.put_away(port, sockets, last.dropped);
        if let Some(at) = last.first {
            let at = self.io.scale.instant(at);
            self.tell(client, MediaEvent::FirstPacket { stream, at });
        }
        for event in digits {
            self.tell(client, event);
        }
        let last = last.snapshot;
        self.tell(client, MediaEvent::Removed { stream, last });
        self.stats.streams_open.set(self.ids.len() as u64);
        self.stats.streams_started.set(self.started);
    }

    /// Keeps the sockets of an ended stream for another one, or closes them: those that have dropped
    /// something would tell the next stream of it.
    fn put_away(&mut self, port: u16, sockets: Sockets, dropped: bool) {
        let left = [&sockets.rtp, &sockets.rtcp].map(|socket| {
            // Those of a stream that never started were not there.
            matches!(
                epoll::delete(&self.epoll, socket),
                Ok(()) | Err(Errno::NOENT)
            )
        });
        let refused = if dropped || left != [true; 2] {
            Some(sockets)
        } else {
            let mut ports = self.shared.ports();
            let refused = ports.spare(monotonic(), port, sockets);
            // Whoever keeps a pair sees to its end; one that is due earlier is looked at before.
            self.spare_due = self.spare_due.or_else(|| ports.expiry());
            refused
        };
        if let Some(sockets) = refused {
            // Closing also leaves epoll.
            self.shared.close(port, sockets);
        }
    }
}

/// Binds a pair; gives up spare ones if there are no descriptors left.
fn bind_pair(shared: &Shared, port: u16) -> std::io::Result<Sockets> {
    let bind = || {
        let rtp = MediaSocket::bind(shared.ip, port)?;
        let rtcp = MediaSocket::bind(shared.ip, port + 1)?;
        std::io::Result::Ok(Sockets { rtp, rtcp })
    };
    loop {
        match bind() {
            Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                let spare = shared.ports().drop_spare();
                let Some((other, sockets)) = spare else {
                    return Err(error);
                };
                shared.close(other, sockets);
            }
            bound => return bound,
        }
    }
}
