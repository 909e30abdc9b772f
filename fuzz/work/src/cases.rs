//! What a peer might send to make us work.

mod descriptions;
mod streams;

use crate::readers;

/// What reads an input.
pub type Read = fn(&[u8]);

/// One kind of input, read in one way.
pub struct Case {
    pub name: String,
    /// The largest size: 16n.
    pub most: usize,
    /// Most blocks of code that a byte costs.
    pub per_byte: f64,
    pub input: Box<dyn Fn(usize) -> Vec<u8>>,
    pub read: Read,
}

/// Of a message. It is looked at about thirty times over, for its lines, names and values, for each
/// header, for a trace and to be answered, mostly with a block or two each time. An empty field costs
/// most, 64: its name is compared with all that are known.
const MESSAGE: f64 = 100.0;
/// Of a URI, an address, a Via or a challenge: up to 23, in about ten looks.
const PART: f64 = 40.0;

/// What fills a header field, or a part of one, over and over.
const FILLS: [&str; 26] = [
    "a",
    " ",
    "\t",
    "\r\n ",
    "\n\t",
    ",",
    ", ,",
    ";",
    ";a=b",
    ";a=\"",
    "=",
    "\"",
    "\\",
    "\"\\",
    "\"\\\"",
    "<",
    "<>",
    "<<>",
    "><",
    "(",
    "@",
    "%41",
    "a,",
    "\" <sip:a@h>,",
    "<sip:a@h>,",
    "[",
];

/// Header fields that are read, each in a way of its own.
const HEADERS: [&str; 20] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Route",
    "Record-Route",
    "Content-Length",
    "Expires",
    "WWW-Authenticate",
    "Authorization",
    "Allow",
    "Supported",
    "Require",
    "RAck",
    "Replaces",
    "Session-Expires",
    "Refer-To",
    "X-Other",
];

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    messages(&mut cases);
    parts(&mut cases);
    descriptions::add_all(&mut cases);
    streams::add_all(&mut cases);
    cases
}

fn add(
    cases: &mut Vec<Case>,
    name: impl Into<String>,
    (most, per_byte): (usize, f64),
    input: impl Fn(usize) -> Vec<u8> + 'static,
    read: fn(&[u8]),
) {
    cases.push(Case {
        name: name.into(),
        most,
        per_byte,
        input: Box::new(input),
        read,
    });
}

/// `fill` over and over, in so many bytes.
fn filled(fill: &str, size: usize) -> String {
    fill.repeat(size / fill.len())
}

fn request(method: &str, uri: &str, lines: &str, body: &str) -> Vec<u8> {
    let has = |name: &str| lines.starts_with(name);
    let mut head = format!("{method} {uri} SIP/2.0\r\n");
    for (name, value) in [
        ("Via:", "SIP/2.0/UDP 192.0.2.50;rport;branch=z9hG4bK1"),
        ("From:", "<sip:p@192.0.2.50>;tag=1"),
        ("To:", "<sip:a@192.0.2.1>"),
        ("Call-ID:", "1@h"),
        ("CSeq:", &format!("1 {method}")),
        ("Contact:", "<sip:p@192.0.2.50>"),
    ] {
        if !has(name) {
            head += &format!("{name} {value}\r\n");
        }
    }
    format!("{head}{lines}\r\n{body}").into_bytes()
}

fn messages(cases: &mut Vec<Case>) {
    const URI: &str = "sip:a@192.0.2.1";
    let read = readers::message;
    for method in ["INVITE", "OPTIONS"] {
        // One header field is 8192 bytes at most.
        for header in HEADERS {
            for fill in FILLS {
                let input = move |size| {
                    let line = format!("{header}: {}\r\n", filled(fill, size));
                    request(method, URI, &line, "")
                };
                add(
                    cases,
                    format!("{method} {header}: {fill:?}"),
                    (8000, MESSAGE),
                    input,
                    read,
                );
            }
        }
        // 256 header fields at most, 128 Via, 64 addresses.
        for (line, most) in [
            ("x:\r\n", 240),
            ("X-Long-Name: value, value;a=b\r\n", 240),
            ("Via: SIP/2.0/UDP h;branch=z9hG4bK2\r\n", 120),
            ("Record-Route: <sip:h;lr>\r\n", 64),
            ("Route: <sip:h;lr>\r\n", 64),
            ("Contact: <sip:h>\r\n", 62),
            ("Supported: a,b,c\r\n", 240),
            ("Require: timer\r\n", 240),
            ("WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", 240),
        ] {
            let input = move |count| request(method, URI, &line.repeat(count), "");
            add(
                cases,
                format!("{method} with many {line:?}"),
                (most, MESSAGE),
                input,
                read,
            );
        }
        // What is longest: 65,535 bytes.
        let input = move |size| {
            let line = format!("X: {}\r\n", "a".repeat(size / 8));
            request(method, URI, &line.repeat(8), "")
        };
        add(
            cases,
            format!("{method} with long headers"),
            (64_000, MESSAGE),
            input,
            read,
        );
        for fill in ["a", "\r\n", "=", "response=", "cnonce=\"", "response= "] {
            let input = move |size| request(method, URI, "", &filled(fill, size));
            add(
                cases,
                format!("{method} with body of {fill:?}"),
                (64_000, MESSAGE),
                input,
                read,
            );
        }
        let input = move |size| {
            let front = filled("\r\n", size).into_bytes();
            [front, request(method, URI, "", "")].concat()
        };
        add(
            cases,
            format!("{method} behind line ends"),
            (64_000, MESSAGE),
            input,
            read,
        );
        for fill in FILLS {
            let input = move |size| {
                let uri = format!("{URI}{}", filled(fill, size));
                request(method, &uri, "", "")
            };
            add(
                cases,
                format!("{method} of URI with {fill:?}"),
                (2000, MESSAGE),
                input,
                read,
            );
        }
    }
    for fill in ["\r", "\n", " ", "a", "SIP/2.0 ", ":", "a:\n", "=", "\u{0}"] {
        let input = move |size| filled(fill, size).into_bytes();
        add(
            cases,
            format!("{fill:?} alone"),
            (65_535, MESSAGE),
            input,
            read,
        );
    }
}

fn parts(cases: &mut Vec<Case>) {
    for fill in FILLS.into_iter().chain([":", "?", "&", ":::", "a."]) {
        for front in ["sip:", "sip:a@", "sip:a@h;", "sip:a@h?", "sip:[", "tel:"] {
            let input = move |size| format!("{front}{}", filled(fill, size)).into_bytes();
            add(
                cases,
                format!("URI {front}{fill:?}"),
                (2000, PART),
                input,
                readers::uri,
            );
        }
        for (front, back) in [
            ("", "<sip:a@h>"),
            ("\"", "\" <sip:a@h>"),
            ("<sip:a@h>;", ""),
            ("<sip:", ">"),
        ] {
            let input = move |size| format!("{front}{}{back}", filled(fill, size)).into_bytes();
            let name = format!("address {front}{fill:?}{back}");
            add(cases, name, (8000, PART), input, readers::name_addr);
        }
        for (front, back) in [
            ("SIP/2.0/UDP h;", ""),
            ("SIP/2.0/UDP ", ""),
            ("", "SIP/2.0/UDP h"),
            ("SIP/2.0/UDP", " h"),
        ] {
            let input = move |size| format!("{front}{}{back}", filled(fill, size)).into_bytes();
            add(
                cases,
                format!("Via {front}{fill:?}{back}"),
                (8000, PART),
                input,
                readers::via,
            );
        }
        for (front, back) in [
            ("Digest ", ""),
            ("Digest realm=\"", "\", nonce=\"n\""),
            ("Digest realm=\"r\", nonce=\"n\", qop=\"", "\""),
            ("Digest realm=\"r\", nonce=\"n\"", ""),
        ] {
            let input = move |size| format!("{front}{}{back}", filled(fill, size)).into_bytes();
            let name = format!("challenge {front}{fill:?}");
            add(cases, name, (8000, PART), input, readers::challenge);
        }
    }
    let input = |size| format!("Digest {}", filled("realm=\"r\",nonce=\"n\",", size)).into_bytes();
    add(
        cases,
        "challenge of many parameters",
        (8000, PART),
        input,
        readers::challenge,
    );
}
