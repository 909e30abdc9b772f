//! What a media thread does when signalling asks.

use std::sync::Arc;

use callmeter_engine::media::{Digits, MediaCommand, MediaEvent, StreamId};
use callmeter_media::Cursor;
use callmeter_rtp::{EventTypes, RtpStream, StreamConfig};
use rustix::event::epoll;

use super::super::client::hash;
use super::super::endpoint::{Endpoint, Live};
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
        let (rtp, rtcp, port) = match self.bind_pair() {
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
            rtp,
            rtcp,
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

    /// Binds the first pair of the range that nobody holds (R24, R30).
    fn bind_pair(&mut self) -> Result<(MediaSocket, MediaSocket, u16), String> {
        let shared = Arc::clone(&self.shared);
        let (low, high) = shared.ports_range;
        let place = format!("bind an RTP port pair of {low}-{high} on {}", shared.ip);
        let tries = PORT_TRIES.min(shared.ports().free());
        let mut clashes = 0;
        for _ in 0..tries {
            let Some(port) = shared.ports().take() else {
                break;
            };
            let bound = MediaSocket::bind(shared.ip, port)
                .and_then(|rtp| Ok((rtp, MediaSocket::bind(shared.ip, port + 1)?)));
            match bound {
                Ok((rtp, rtcp)) => return Ok((rtp, rtcp, port)),
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
        for socket in [&endpoint.rtp, &endpoint.rtcp] {
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
            (&endpoint.rtp, u64::from(index) << 1),
            (&endpoint.rtcp, u64::from(index) << 1 | 1),
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
        let (first, last) = endpoint.end(&mut self.io, &self.stats);
        // Told after the first packet and before the end.
        let digits: Vec<_> = std::iter::from_fn(|| endpoint.digit_event(&self.io.scale)).collect();
        let Endpoint { client, port, .. } = *endpoint;
        // Unbound before the pair can be taken again; closing also leaves epoll.
        drop(endpoint);
        self.shared.ports().give_back(port);
        if let Some(at) = first {
            let at = self.io.scale.instant(at);
            self.tell(client, MediaEvent::FirstPacket { stream, at });
        }
        for event in digits {
            self.tell(client, event);
        }
        self.tell(client, MediaEvent::Removed { stream, last });
        self.stats.streams_open.set(self.ids.len() as u64);
        self.stats.streams_started.set(self.started);
    }
}
