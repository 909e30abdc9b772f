//! Session descriptions.

use super::{Case, add, filled};
use crate::readers;

/// Of a description, read as an offer and as an answer: up to 413 in `r=1 1 1`, which is three numbers
/// and an allocation in nine bytes.
const DESCRIPTION: f64 = 600.0;

pub(super) fn add_all(cases: &mut Vec<Case>) {
    const FRONT: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
    const AUDIO: &str = "m=audio 4000 RTP/AVP 8 101\r\n";
    let read = readers::sdp;
    // 512 attributes and 32 media descriptions at most, 16,384 bytes in all.
    for (front, line, most) in [
        ("", "a=\r\n", 512),
        ("", "a=sendrecv\r\n", 512),
        (AUDIO, "a=x:y\r\n", 512),
        (AUDIO, "a=rtpmap:8 PCMA/8000\r\n", 512),
        (AUDIO, "a=rtpmap:9 G722/8000\r\n", 512),
        (AUDIO, "a=fmtp:101 0-15,16\r\n", 512),
        (AUDIO, "a=rtcp:1 IN IP4 h\r\n", 512),
        (AUDIO, "a=ptime:x\r\n", 512),
        ("", AUDIO, 32),
        ("", "m=audio 4000 RTP/AVP 9\r\na=x\r\n", 32),
        ("", "r=1 1 1\r\n", 1600),
        ("", "t=1 1\r\n", 1600),
        ("", "b=AS:1\r\n", 1600),
        (AUDIO, "b=AS:1\r\n", 1600),
        (AUDIO, "c=IN IP4 h\r\n", 1200),
        ("", "e=x\r\n", 1600),
        ("", "x=\r\n", 1600),
        ("", "\r\n", 8000),
        ("", "\n", 16_000),
    ] {
        let input = move |count| format!("{FRONT}{front}{}", line.repeat(count)).into_bytes();
        add(
            cases,
            format!("SDP {front:?} {line:?}"),
            (most, DESCRIPTION),
            input,
            read,
        );
    }
    for front in [
        "a=",
        "a=rtpmap:",
        "a=rtpmap:8 ",
        "a=rtpmap:8 PCMA/8000/",
        "a=fmtp:",
        "a=fmtp:101 ",
        "a=rtcp:1 ",
        "m=",
        "m=audio 4000 RTP/AVP ",
        "m=audio 4000 RTP/AVP 8\r\na=fmtp:101 ",
        "c=",
        "c=IN IP4 ",
        "b=",
        "z=",
        "r=",
        "t=",
        "k=",
        "i=",
        "o=",
        "v=",
    ] {
        for fill in [
            "a", " ", "8 ", "8 8d ", "0-15,", ",", ";", "/", "=", "\"", "-1h 1d ", "\u{e9}",
        ] {
            let input =
                move |size| format!("{FRONT}{AUDIO}{front}{}\r\n", filled(fill, size)).into_bytes();
            add(
                cases,
                format!("SDP {front:?} {fill:?}"),
                (16_000, DESCRIPTION),
                input,
                read,
            );
            let input =
                move |size| format!("{FRONT}{front}{}\r\n", filled(fill, size)).into_bytes();
            add(
                cases,
                format!("SDP at first {front:?} {fill:?}"),
                (16_000, DESCRIPTION),
                input,
                read,
            );
        }
    }
}
