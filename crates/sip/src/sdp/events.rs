//! `telephone-event` in offer and answer (RFC 4733 §7.1.1).

use sdp_types::{Media, RtpMap};

use super::Negotiated;
use crate::limits;

/// Encoding name.
const NAME: &str = "telephone-event";
/// Clock in Hz; events are on that of the audio they take the place of (§2.1).
const CLOCK_RATE: u32 = 8000;
/// What we take: the DTMF digits.
const DIGITS: &str = "0-15";
/// The same as a set: bit n stands for event n.
const ALL_DIGITS: u16 = 0xffff;

/// Telephone events as both sides agreed on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvents {
    /// Payload type to send them with (the peer's number).
    pub send: u8,
    /// Payload type to expect (our number).
    pub receive: u8,
    /// The DTMF digits the peer takes; bit n stands for event n (RFC 4733 §3.2).
    pub digits: u16,
}

impl TelephoneEvents {
    /// The number offered in a session's first description.
    pub const PAYLOAD_TYPE: u8 = 101;

    /// The number to offer in a session in which `agreed` holds: a number keeps its meaning for
    /// the whole session (RFC 3264 §8.3.2).
    pub fn number_to_offer(agreed: Option<&Negotiated>) -> u8 {
        let Some(agreed) = agreed else {
            return Self::PAYLOAD_TYPE;
        };
        match agreed.telephone_events {
            Some(events) => events.receive,
            // The peer calls its audio by our number.
            None if agreed.receive_payload_type == Self::PAYLOAD_TYPE => Self::PAYLOAD_TYPE - 1,
            None => Self::PAYLOAD_TYPE,
        }
    }
}

/// The peer's telephone events, under its own number for both ways; `audio` is its number of the
/// codec, which no event can have.
pub(super) fn of(media: &Media, audio: u8) -> Option<TelephoneEvents> {
    let numbers = media.fmt.split_ascii_whitespace().take(limits::SDP_FORMATS);
    let numbers: Vec<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
    let map = media
        .attributes_typed::<RtpMap>()
        .take(limits::SDP_FORMATS)
        .filter_map(Result::ok)
        .find(|map| {
            map.encoding_name.eq_ignore_ascii_case(NAME)
                && map.clock_rate == CLOCK_RATE
                && map.payload_type != audio
                && numbers.contains(&map.payload_type)
        })?;
    Some(TelephoneEvents {
        send: map.payload_type,
        receive: map.payload_type,
        digits: digits(media, map.payload_type),
    })
}

/// The DTMF digits of the number's `a=fmtp`; without one that can be read all of them
/// (RFC 4733 §2.4.1).
fn digits(media: &Media, number: u8) -> u16 {
    let values = media.attributes.iter().filter(|a| a.attribute == "fmtp");
    let events = values.filter_map(|attribute| {
        let (of, events) = attribute.value.as_deref()?.trim().split_once(' ')?;
        (of.parse() == Ok(number)).then_some(events)
    });
    let ranges = events.flat_map(|events| events.split([',', ';']));
    let sets = ranges
        .take(limits::SDP_FORMATS)
        .filter_map(|range| range_of(range.trim()));
    sets.reduce(|set, range| set | range).unwrap_or(ALL_DIGITS)
}

fn range_of(text: &str) -> Option<u16> {
    let text = text.strip_prefix("events=").unwrap_or(text);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u8, u8) = (first.parse().ok()?, last.parse().ok()?);
    Some((0..16).fold(0, |set, event| {
        set | u16::from((first..=last).contains(&event)) << event
    }))
}

/// The attribute lines of events under a number.
pub(super) fn lines(number: u8) -> [String; 2] {
    [
        format!("a=rtpmap:{number} {NAME}/{CLOCK_RATE}"),
        format!("a=fmtp:{number} {DIGITS}"),
    ]
}
