//! The lines of a description.

use std::fmt::Write as _;

use super::direction::Direction;
use super::{Codec, LocalAudio, events};

pub(super) fn session_lines(local: &LocalAudio) -> String {
    let LocalAudio {
        session_id,
        session_version,
        address,
        ..
    } = local;
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let mut text = String::with_capacity(256);
    push(&mut text, format_args!("v=0"));
    push(
        &mut text,
        format_args!("o=- {session_id} {session_version} IN {family} {address}"),
    );
    push(&mut text, format_args!("s=-"));
    push(&mut text, format_args!("c=IN {family} {address}"));
    push(&mut text, format_args!("t=0 0"));
    text
}

pub(super) fn audio_lines(
    text: &mut String,
    local: &LocalAudio,
    proto: &str,
    (types, events): (&[(u8, Codec)], Option<u8>),
    direction: Direction,
) {
    let numbers = types.iter().map(|(number, _)| *number).chain(events);
    let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
    push(
        text,
        format_args!("m=audio {} {proto} {}", local.port, numbers.join(" ")),
    );
    for (number, codec) in types {
        push(
            text,
            format_args!("a=rtpmap:{number} {}/8000", codec.name()),
        );
    }
    for line in events.map(events::lines).into_iter().flatten() {
        push(text, format_args!("{line}"));
    }
    push(text, format_args!("a=ptime:{}", local.ptime_ms));
    push(text, format_args!("a={}", direction.as_str()));
}

pub(super) fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
    text.push_str("\r\n");
}
