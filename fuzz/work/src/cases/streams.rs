//! Streams, in pieces.

use super::{Case, Read, add, filled};
use crate::readers;

/// Of a stream: up to 29, most of them for the push of a single byte.
const STREAM: f64 = 45.0;

pub(super) fn add_all(cases: &mut Vec<Case>) {
    const HEAD: &str = "BYE sip:b@h SIP/2.0\r\n";
    let pieces: [(&str, Read); 4] = [
        ("byte by byte", |bytes| readers::framer(bytes, 1)),
        ("by 7 bytes", |bytes| readers::framer(bytes, 7)),
        ("by 1460 bytes", |bytes| readers::framer(bytes, 1460)),
        ("at once", |bytes| readers::framer(bytes, usize::MAX)),
    ];
    for (how, read) in pieces {
        for fill in [
            "\r\n",
            "\r",
            "\n",
            "\n\r",
            "a",
            "a\n",
            "a:\r\n",
            "l:\r\n",
            "X: a\r\n b\r\n",
            " \n",
        ] {
            // A head that never ends: 32,768 bytes.
            let input = move |size| format!("{HEAD}{}", filled(fill, size)).into_bytes();
            add(
                cases,
                format!("stream of {fill:?} {how}"),
                (32_000, STREAM),
                input,
                read,
            );
            // One that ends, with all the body it may have.
            let input = move |size| {
                let (head, body) = (filled(fill, size / 2), "b".repeat(size / 2));
                format!(
                    "{HEAD}Content-Length: {}\r\n{head}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            };
            add(
                cases,
                format!("stream with body, {fill:?} {how}"),
                (64_000, STREAM),
                input,
                read,
            );
            let input = move |size| filled(fill, size).into_bytes();
            add(
                cases,
                format!("stream of {fill:?} alone {how}"),
                (65_535, STREAM),
                input,
                read,
            );
        }
        let input = |size| filled(&format!("{HEAD}l: 3\r\n\r\nabc\r\n\r\n"), size).into_bytes();
        add(
            cases,
            format!("stream of messages {how}"),
            (1 << 20, STREAM),
            input,
            read,
        );
    }
}
