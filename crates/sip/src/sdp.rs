//! Session descriptions (RFC 8866) and audio offer/answer (RFC 3264) for PCMA and PCMU.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sdp_types::{Connection, Media, Rtcp, RtpMap, Session};

mod direction;
mod events;
mod refused;
mod write;

pub use direction::Direction;
pub use events::TelephoneEvents;
pub use refused::Refused;

use crate::limits;
use write::{audio_lines, push, session_lines};

/// Packet times a peer may ask for, in milliseconds.
const PTIMES: std::ops::RangeInclusive<u16> = 10..=120;

/// An audio codec with a static payload type (RFC 3551 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 A-law, payload type 8.
    Pcma,
    /// G.711 µ-law, payload type 0.
    Pcmu,
}

impl Codec {
    /// The encoding name of RFC 3551 §6.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
        }
    }

    /// The static payload type of RFC 3551 §6.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
        }
    }
}

/// What one side of an audio session offers or can accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAudio {
    /// Session id of `o=`, kept for the whole call.
    pub session_id: u64,
    /// Session version of `o=`, one more with each changed description.
    pub session_version: u64,
    /// Address of `c=` and `o=`: what the peer sends to; may differ from the bound address.
    pub address: IpAddr,
    /// RTP port; RTCP is on the next one.
    pub port: u16,
    /// Codecs, preferred first.
    pub codecs: Vec<Codec>,
    /// Packet time in milliseconds.
    pub ptime_ms: u16,
    /// Direction wanted: [`Direction::offered`] in an offer, [`Direction::answered`] in an answer.
    pub direction: Direction,
    /// Payload type to offer telephone events with ([`TelephoneEvents::number_to_offer`]); `None`:
    /// none are offered or accepted.
    pub telephone_events: Option<u8>,
    /// Streams of the session that stay refused ([`Refused::of_answer`]); offers repeat them.
    pub refused: Option<Box<Refused>>,
}

impl LocalAudio {
    fn refused(&self) -> (&[String], &[String]) {
        let refused = self.refused.as_deref();
        refused.map_or((&[], &[]), |refused| (refused.before(), refused.after()))
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The codec.
    pub codec: Codec,
    /// Payload type to send with (the peer's number for the codec).
    pub send_payload_type: u8,
    /// Payload type to expect (our number for the codec).
    pub receive_payload_type: u8,
    /// Telephone events, where both sides want them.
    pub telephone_events: Option<TelephoneEvents>,
    /// Where to send RTP; an unspecified address (0.0.0.0) takes neither RTP nor RTCP
    /// (RFC 3264 §8.4).
    pub remote_rtp: SocketAddr,
    /// Where to send RTCP: the peer's `a=rtcp`, else the port after RTP.
    pub remote_rtcp: SocketAddr,
    /// Packet time to send with, in milliseconds: the peer's `a=ptime`, else our own.
    pub ptime_ms: u16,
    /// Our direction.
    pub direction: Direction,
    /// Whether the peer holds the call: it wants no media from us (RFC 3264 §8.4).
    pub held: bool,
}

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It cannot be read.
    #[error("SDP cannot be read: {0}")]
    Malformed(String),
    /// It is longer than this stack takes.
    #[error("SDP is longer than {0} bytes")]
    TooLong(usize),
    /// It has more of something than this stack takes.
    #[error("SDP has more than {1} {0}")]
    TooMany(&'static str, usize),
    /// It has no audio stream over plain RTP that is not refused.
    #[error("SDP has no usable audio stream (m=audio over RTP/AVP with a port)")]
    NoAudio,
    /// None of the codecs is ours.
    #[error("SDP has none of the codecs {0}")]
    NoCommonCodec(&'static str),
    /// The connection address is missing or no IP address.
    #[error("SDP connection address {0:?} is not an IP address")]
    Address(String),
    /// The answer has another number of streams than the offer.
    #[error("SDP answer has {answered} streams for {offered} offered")]
    StreamCount {
        /// Streams in the offer.
        offered: usize,
        /// Streams in the answer.
        answered: usize,
    },
}

impl SdpError {
    /// The status code an offer with this fault is refused with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::TooLong(_) | Self::TooMany(..) => 513,
            _ => 488,
        }
    }
}

/// Writes an offer.
pub fn offer(local: &LocalAudio) -> Bytes {
    let mut text = session_lines(local);
    let (before, after) = local.refused();
    for stream in before {
        push(&mut text, format_args!("{stream}"));
    }
    let types: Vec<_> = local
        .codecs
        .iter()
        .map(|codec| (codec.payload_type(), *codec))
        .collect();
    let events = local.telephone_events;
    audio_lines(
        &mut text,
        local,
        "RTP/AVP",
        (&types, events),
        local.direction,
    );
    for stream in after {
        push(&mut text, format_args!("{stream}"));
    }
    Bytes::from(text)
}

/// Writes the answer to an offer; every stream but the first usable audio one is refused
/// (RFC 3264 §6).
pub fn answer(offer: &[u8], local: &LocalAudio) -> Result<(Bytes, Negotiated), SdpError> {
    let session = parse(offer)?;
    let mut chosen = None;
    let mut fault = SdpError::NoAudio;
    for (position, media) in session
        .medias
        .iter()
        .enumerate()
        .filter(|(_, m)| is_usable(m))
    {
        match negotiate(&session, media, local) {
            Ok(negotiated) => {
                chosen = Some((position, negotiated));
                break;
            }
            Err(error) => fault = error,
        }
    }
    let (chosen, mut negotiated) = chosen.ok_or(fault)?;
    // We take the offerer's numbers (RFC 3264 §6.1).
    negotiated.receive_payload_type = negotiated.send_payload_type;
    let mut text = session_lines(local);
    for (position, media) in session.medias.iter().enumerate() {
        if position == chosen {
            let types = [(negotiated.send_payload_type, negotiated.codec)];
            let events = negotiated.telephone_events.map(|events| events.send);
            let formats = (types.as_slice(), events);
            audio_lines(
                &mut text,
                local,
                &media.proto,
                formats,
                negotiated.direction,
            );
        } else {
            push(
                &mut text,
                format_args!("m={} 0 {} {}", media.media, media.proto, media.fmt),
            );
        }
    }
    Ok((Bytes::from(text), negotiated))
}

/// Reads the answer to our offer.
pub fn accept(answer: &[u8], local: &LocalAudio) -> Result<Negotiated, SdpError> {
    let session = parse(answer)?;
    let (before, after) = local.refused();
    let (offered, answered) = (before.len() + 1 + after.len(), session.medias.len());
    if offered != answered {
        return Err(SdpError::StreamCount { offered, answered });
    }
    let media = session.medias.get(before.len());
    let media = media.filter(|media| is_usable(media));
    let media = media.ok_or(SdpError::NoAudio)?;
    let mut negotiated = negotiate(&session, media, local)?;
    // The far end sends events with the number of our offer, whichever one it answered with.
    if let (Some(events), Some(ours)) = (&mut negotiated.telephone_events, local.telephone_events) {
        events.receive = ours;
    }
    Ok(negotiated)
}

/// Reads the answer to a description of ours that stands and is offered again: one that was an
/// answer has the streams and the payload types of the far end.
pub fn accept_again(
    answer: &[u8],
    local: &LocalAudio,
    stands: &Negotiated,
) -> Result<Negotiated, SdpError> {
    let session = parse(answer)?;
    let media = session.medias.iter().find(|media| is_usable(media));
    let mut negotiated = negotiate(&session, media.ok_or(SdpError::NoAudio)?, local)?;
    if negotiated.codec == stands.codec {
        negotiated.receive_payload_type = stands.receive_payload_type;
    }
    if let (Some(events), Some(ours)) = (&mut negotiated.telephone_events, local.telephone_events) {
        events.receive = ours;
    }
    Ok(negotiated)
}

fn parse(description: &[u8]) -> Result<Session, SdpError> {
    if description.len() > limits::SDP {
        return Err(SdpError::TooLong(limits::SDP));
    }
    for (start, what, most) in [
        (&b"m="[..], "media descriptions", limits::SDP_MEDIA),
        (b"a=", "attributes", limits::SDP_ATTRIBUTES),
    ] {
        let lines = description.split(|byte| matches!(byte, b'\r' | b'\n'));
        if lines.filter(|line| line.starts_with(start)).count() > most {
            return Err(SdpError::TooMany(what, most));
        }
    }
    Session::parse(description).map_err(|error| SdpError::Malformed(error.to_string()))
}

/// An audio stream over plain RTP that is not refused.
fn is_usable(media: &Media) -> bool {
    media.media == "audio" && media.port != 0 && matches!(&*media.proto, "RTP/AVP" | "RTP/AVPF")
}

fn negotiate(session: &Session, media: &Media, local: &LocalAudio) -> Result<Negotiated, SdpError> {
    let address = address(media.connections.first().or(session.connection.as_ref()))?;
    let (send_payload_type, codec) = formats(media)
        .into_iter()
        .find(|(_, codec)| local.codecs.contains(codec))
        .ok_or_else(|| SdpError::NoCommonCodec(names(&local.codecs)))?;
    let theirs = Direction::of(&media.attributes)
        .or_else(|| Direction::of(&session.attributes))
        .unwrap_or(Direction::SendRecv);
    // The hold of RFC 2543: an address nothing can be sent to (RFC 3264 §8.4).
    let receives = theirs.receives() && !address.is_unspecified();
    let direction = Direction::new(
        receives && local.direction.sends(),
        theirs.sends() && local.direction.receives(),
    );
    let ptime_ms = media
        .get_first_attribute_value("ptime")
        .flatten()
        .and_then(|value| value.trim().parse().ok())
        .filter(|ptime| PTIMES.contains(ptime))
        .unwrap_or(local.ptime_ms);
    Ok(Negotiated {
        codec,
        send_payload_type,
        receive_payload_type: codec.payload_type(),
        telephone_events: local
            .telephone_events
            .and_then(|_| events::of(media, send_payload_type)),
        remote_rtp: SocketAddr::new(address, media.port),
        remote_rtcp: rtcp_address(media, address),
        ptime_ms,
        direction,
        held: !receives,
    })
}

/// The payload types of a stream that are codecs of ours, in order: by rtpmap, else by the static
/// assignment.
fn formats(media: &Media) -> Vec<(u8, Codec)> {
    let maps: Vec<_> = media
        .attributes_typed::<RtpMap>()
        .take(limits::SDP_FORMATS)
        .filter_map(Result::ok)
        .collect();
    let numbers = media.fmt.split_ascii_whitespace().take(limits::SDP_FORMATS);
    numbers
        .filter_map(|number| number.parse().ok())
        .filter_map(|number| {
            let map = maps.iter().find(|map| map.payload_type == number);
            Some((number, codec_of(number, map)?))
        })
        .collect()
}

fn codec_of(number: u8, map: Option<&RtpMap>) -> Option<Codec> {
    [Codec::Pcma, Codec::Pcmu]
        .into_iter()
        .find(|codec| match map {
            Some(map) => {
                map.encoding_name.eq_ignore_ascii_case(codec.name())
                    && map.clock_rate == 8000
                    && map
                        .encoding_params
                        .as_deref()
                        .is_none_or(|channels| channels == "1")
            }
            None => codec.payload_type() == number,
        })
}

fn address(connection: Option<&Connection>) -> Result<IpAddr, SdpError> {
    let connection = connection.ok_or_else(|| SdpError::Address(String::new()))?;
    connection
        .try_address()
        .map(|address| address.ip)
        .map_err(|_| SdpError::Address(connection.connection_address.clone()))
}

/// `a=rtcp` (RFC 3605), else the port after RTP (RFC 3550 §11). We never offer or accept
/// multiplexing.
fn rtcp_address(media: &Media, address: IpAddr) -> SocketAddr {
    let default = SocketAddr::new(address, media.port.saturating_add(1));
    match media.get_first_attribute_typed::<Rtcp>() {
        Some(Ok(rtcp)) if rtcp.port != 0 => {
            let ip = rtcp
                .try_address()
                .and_then(Result::ok)
                .map_or(address, |found| found.ip);
            SocketAddr::new(ip, rtcp.port)
        }
        _ => default,
    }
}

fn names(codecs: &[Codec]) -> &'static str {
    match codecs {
        [Codec::Pcma] => "PCMA",
        [Codec::Pcmu] => "PCMU",
        _ => "PCMA, PCMU",
    }
}

#[cfg(test)]
mod tests;
