//! The messages of [RFC 4475](https://www.rfc-editor.org/rfc/rfc4475) and
//! [RFC 5118](https://www.rfc-editor.org/rfc/rfc5118): how each is classified, by the parser and
//! by a user agent that gets it as a server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, HeaderProblem, Message, NameAddr, ParseError, Via};
use callmeter_sip::sdp::{self, Codec, Direction, LocalAudio};
use callmeter_sip::{EndpointKey, UaEvent, UriError};

use proptest::prelude::*;

use pair::peer::{PEER, US, alone};
use pair::text::wire;
use pair::{Net, answer_at_once, header, millis};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Well formed, an INVITE: offered to the caller of the stack, who answers it.
    Accepted,
    /// Well formed, answered with this code.
    Answered(u16),
    /// Well formed, a response to nothing we sent: no answer.
    Ignored,
    /// Malformed request: answered with this code, no state kept.
    Refused(u16, ParseError),
    /// Malformed response: no answer.
    Dropped(ParseError),
}

use HeaderName::{CSeq, CallId, ContentLength, From, To, Via as V};
use HeaderProblem::{Length, Method, Missing, Range, Repeated, Syntax};
use Outcome::{Accepted, Answered, Dropped, Ignored, Refused};
use ParseError::{Header, NoEnd, RequestUri, StartLine, Version};

/// The message, its section, what becomes of it. REGISTER is 405 here: a user agent is no
/// registrar, and looks at the method before anything else (RFC 3261 §8.2.1).
const RFC4475: [(&str, &str, Outcome); 49] = [
    // It has a To tag: a request of a dialog nobody knows (RFC 3261 §12.2.2).
    ("wsinv", "3.1.1.1", Answered(481)),
    ("intmeth", "3.1.1.2", Answered(405)),
    ("esc01", "3.1.1.3", Accepted),
    ("escnull", "3.1.1.4", Answered(405)),
    ("esc02", "3.1.1.5", Answered(405)),
    ("lwsdisp", "3.1.1.6", Answered(200)),
    ("longreq", "3.1.1.7", Accepted),
    ("dblreq", "3.1.1.8", Answered(405)),
    ("semiuri", "3.1.1.9", Answered(200)),
    ("transports", "3.1.1.10", Answered(200)),
    ("mpart01", "3.1.1.11", Answered(405)),
    ("unreason", "3.1.1.12", Ignored),
    ("noreason", "3.1.1.13", Ignored),
    ("badinv01", "3.1.2.1", Refused(400, Header(V, Syntax))),
    (
        "clerr",
        "3.1.2.2",
        Refused(400, Header(ContentLength, Length)),
    ),
    (
        "ncl",
        "3.1.2.3",
        Refused(400, Header(ContentLength, Syntax)),
    ),
    ("scalar02", "3.1.2.4", Refused(400, Header(CSeq, Range))),
    ("scalarlg", "3.1.2.5", Dropped(Header(CSeq, Range))),
    ("quotbal", "3.1.2.6", Refused(400, Header(To, Syntax))),
    (
        "ltgtruri",
        "3.1.2.7",
        Refused(400, RequestUri(UriError::Character)),
    ),
    (
        "lwsruri",
        "3.1.2.8",
        Refused(400, RequestUri(UriError::Character)),
    ),
    (
        "lwsstart",
        "3.1.2.9",
        Refused(400, RequestUri(UriError::Character)),
    ),
    ("trws", "3.1.2.10", Refused(400, StartLine)),
    (
        "escruri",
        "3.1.2.11",
        Refused(400, RequestUri(UriError::Headers)),
    ),
    // Date means nothing to a user agent; the RFC leaves it the choice.
    ("baddate", "3.1.2.12", Accepted),
    ("regbadct", "3.1.2.13", Answered(405)),
    (
        "badaspec",
        "3.1.2.14",
        Refused(400, Header(To, HeaderProblem::Uri(UriError::Character))),
    ),
    ("baddn", "3.1.2.15", Refused(400, NoEnd)),
    ("badvers", "3.1.2.16", Refused(505, Version)),
    ("mismatch01", "3.1.2.17", Refused(400, Header(CSeq, Method))),
    ("mismatch02", "3.1.2.18", Refused(400, Header(CSeq, Method))),
    ("bigcode", "3.1.2.19", Dropped(StartLine)),
    ("badbranch", "3.2.1", Answered(200)),
    ("insuf", "3.3.1", Refused(400, Header(From, Missing))),
    ("unkscm", "3.3.2", Answered(416)),
    ("novelsc", "3.3.3", Answered(416)),
    ("unksm2", "3.3.4", Answered(405)),
    ("bext01", "3.3.5", Answered(420)),
    ("invut", "3.3.6", Answered(415)),
    ("regaut01", "3.3.7", Answered(405)),
    ("multi01", "3.3.8", Refused(400, Header(From, Repeated))),
    (
        "mcl01",
        "3.3.9",
        Refused(400, Header(ContentLength, Repeated)),
    ),
    ("bcast", "3.3.10", Ignored),
    ("zeromf", "3.3.11", Answered(200)),
    ("cparam01", "3.3.12", Answered(405)),
    ("cparam02", "3.3.13", Answered(405)),
    ("regescrt", "3.3.14", Answered(405)),
    ("sdp01", "3.3.15", Answered(406)),
    ("inv2543", "3.4.1", Accepted),
];

const RFC5118: [(&str, &str, Outcome); 12] = [
    ("ipv6-good", "4.1", Answered(405)),
    ("ipv6-bad", "4.2", Refused(400, RequestUri(UriError::Port))),
    ("port-ambiguous", "4.3", Answered(405)),
    ("port-unambiguous", "4.4", Answered(405)),
    ("via-received-param-with-delim", "4.5", Answered(481)),
    ("via-received-param-no-delim", "4.5", Answered(200)),
    ("ipv6-in-sdp", "4.6", Accepted),
    ("mult-ip-in-header", "4.7", Answered(481)),
    ("mult-ip-in-sdp", "4.8", Accepted),
    ("ipv4-mapped-ipv6", "4.9", Accepted),
    ("ipv6-bug-abnf-3-colons", "4.10", Answered(200)),
    ("ipv6-correct-abnf-2-colons", "4.10", Answered(200)),
];

fn rfc4475(name: &str) -> Vec<u8> {
    read(&format!("rfc4475/{name}.dat"))
}

fn rfc5118(name: &str) -> Vec<u8> {
    wire(&read(&format!("rfc5118/{name}")))
}

fn read(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/torture/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parsed(bytes: &[u8]) -> Result<Message, ParseError> {
    let message = Message::parse(Bytes::copy_from_slice(bytes))?;
    message.validate()?;
    Ok(message)
}

/// What the parser and the user agent make of a message.
fn run(name: &str, bytes: &[u8]) -> Outcome {
    let parsed = parsed(bytes);
    let is_request = !bytes.starts_with(b"SIP/");
    let mut net = alone(answer_at_once);
    net.send_bytes(PEER, US, bytes);
    net.run_for(millis(20));
    let agent = &net.agents[0];
    let offered = agent
        .events
        .iter()
        .any(|event| matches!(event, UaEvent::Incoming(_)));
    let malformed = agent.ua.counters().malformed;
    let held = agent.ua.held();
    let codes: Vec<u16> = responses(&net).iter().filter_map(Message::status).collect();
    match (parsed, offered, &codes[..]) {
        (Ok(_), true, [180, 200]) if malformed == 0 => Accepted,
        (Ok(_), false, [code]) if malformed == 0 => Answered(*code),
        (Ok(_), false, []) if malformed == 0 && !is_request => Ignored,
        (Err(error), false, [code]) if malformed == 1 && held.transactions == 0 => {
            Refused(*code, error)
        }
        (Err(error), false, []) if malformed == 1 && !is_request => Dropped(error),
        other => panic!("{name}: {other:?}, malformed {malformed}, {held:?}"),
    }
}

fn responses(net: &Net) -> Vec<Message> {
    let sent = net.agents[0].sent.iter();
    sent.map(|bytes| Message::parse(bytes.clone()).unwrap())
        .collect()
}

#[test]
fn all_61_messages_are_classified() {
    let mut wrong = Vec::new();
    let mut run_all = |cases: &[(&str, &str, Outcome)], load: fn(&str) -> Vec<u8>| {
        for (name, section, expected) in cases {
            let outcome = run(name, &load(name));
            if outcome != *expected {
                wrong.push(format!("{name} ({section}): {outcome:?}, not {expected:?}"));
            }
        }
    };
    run_all(&RFC4475, rfc4475);
    run_all(&RFC5118, rfc5118);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file is in a table, and every row has a file.
#[test]
fn the_tables_are_the_folders() {
    let files = |folder: &str| {
        let path = format!("{}/tests/torture/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".dat").to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    let names = |cases: &[(&str, &str, Outcome)]| {
        let mut names: Vec<_> = cases.iter().map(|(name, ..)| (*name).to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(files("rfc4475"), names(&RFC4475));
    assert_eq!(files("rfc5118"), names(&RFC5118));
}

/// RFC 4475 §3.1.2.15: the message of the text, which has an empty line.
#[test]
fn a_display_name_of_other_characters_is_refused() {
    let mut bytes = rfc4475("baddn");
    bytes.extend_from_slice(b"\r\n");
    assert_eq!(run("baddn", &bytes), Refused(400, Header(From, Syntax)));
}

/// A refusal says what is wrong and copies what there is, nothing more.
#[test]
fn a_refusal_names_the_fault() {
    let answer = |bytes: &[u8]| {
        let mut net = alone(answer_at_once);
        net.send_bytes(PEER, US, bytes);
        net.run_for(millis(20));
        responses(&net).remove(0)
    };
    let insuf = answer(&rfc4475("insuf"));
    assert_eq!(insuf.reason(), "Bad Request (header From: is missing)");
    assert_eq!(header(&insuf, CSeq), "193942 INVITE");
    for absent in [From, To, CallId] {
        assert!(insuf.value(absent).is_none());
    }
    let badvers = answer(&rfc4475("badvers"));
    assert_eq!(badvers.reason(), "Version Not Supported");
    assert!(header(&badvers, To).contains(";tag="));
    // The unreadable To comes back as it is.
    let quotbal = answer(&rfc4475("quotbal"));
    assert_eq!(
        header(&quotbal, To),
        "\"Mr. J. User <sip:j.user@example.com>"
    );
    let bext01 = answer(&rfc4475("bext01"));
    let unsupported: Vec<_> = bext01.elements(HeaderName::Unsupported).collect();
    assert_eq!(
        unsupported,
        [&b"nothingSupportsThis"[..], b"nothingSupportsThisEither"]
    );
}

/// An ACK is never answered, however broken; nor is anything on a listener without endpoints.
#[test]
fn what_is_never_answered() {
    let ack = String::from_utf8(rfc4475("ncl"))
        .unwrap()
        .replace("INVITE", "ACK");
    let mut net = alone(answer_at_once);
    net.send_raw(PEER, US, &ack);
    net.run_for(millis(20));
    assert_eq!(net.agents[0].ua.counters().malformed, 1);
    assert!(net.agents[0].sent.is_empty());

    net.with(0, |ua, now| ua.remove_endpoint(now, EndpointKey(1)))
        .unwrap();
    net.send_bytes(PEER, US, &rfc4475("ncl"));
    net.run_for(millis(20));
    assert_eq!(net.agents[0].ua.counters().malformed, 2);
    assert!(net.agents[0].sent.is_empty());
}

/// What the valid messages of RFC 4475 §3.1.1 mean.
#[test]
fn values_are_read_as_meant() {
    let message = parsed(&rfc4475("wsinv")).unwrap();
    let uri = message.request_uri().unwrap();
    assert_eq!(uri.user(), "vivekg");
    assert_eq!(uri.param("unknownparam"), Some(&b""[..]));
    let to = NameAddr::parse(To, Bytes::copy_from_slice(message.value(To).unwrap())).unwrap();
    assert_eq!(to.tag().unwrap(), &b"1918181833n"[..]);
    assert_eq!(message.elements(V).count(), 3);
    assert_eq!(
        message.value_of("newfangledheader"),
        Some(&b"newfangled value\r\n continued newfangled value"[..])
    );
    let via = message.elements(V).next().unwrap();
    let via = Via::parse(Bytes::copy_from_slice(via)).unwrap();
    assert_eq!(via.host.to_string(), "192.0.2.2");
    assert_eq!(via.branch(), b"390skdjuw");

    let user = |name: &str| {
        parsed(&rfc4475(name))
            .unwrap()
            .request_uri()
            .unwrap()
            .user()
    };
    assert_eq!(user("esc01"), "sips:user@example.com");
    assert_eq!(user("semiuri"), "user;par=u@example.net");
    let to = |name: &str| {
        let message = parsed(&rfc4475(name)).unwrap();
        NameAddr::parse(To, Bytes::copy_from_slice(message.value(To).unwrap())).unwrap()
    };
    assert_eq!(to("escnull").uri.user(), "null-\0-null");
    assert_eq!(to("esc02").display_name(), "%Z%45");
    assert_eq!(to("unksm2").uri.to_string(), "isbn:2983792873");

    // The second request in the datagram is no part of the first.
    let dblreq = parsed(&rfc4475("dblreq")).unwrap();
    assert!(dblreq.body().is_empty());
    assert_eq!(parsed(&rfc4475("noreason")).unwrap().reason(), "");
    let unreason = parsed(&rfc4475("unreason")).unwrap();
    assert!(unreason.reason().starts_with("= 2**3 * 5**2"));
    let transports = parsed(&rfc4475("transports")).unwrap();
    let known: Vec<_> = transports
        .elements(V)
        .map(|via| Via::parse(Bytes::copy_from_slice(via)).unwrap().transport)
        .map(|transport| transport.is_some())
        .collect();
    assert_eq!(known, [true, false, true, false, true]);
    let inv2543 = parsed(&rfc4475("inv2543")).unwrap();
    assert!(inv2543.body().starts_with(b"v=0"));
}

/// RFC 5118: where an IPv6 address ends.
#[test]
fn addresses_end_where_they_should() {
    let uri = |name: &str| parsed(&rfc5118(name)).unwrap().request_uri().unwrap();
    let place = |name: &str| (uri(name).host().to_string(), uri(name).port());
    assert_eq!(
        place("port-ambiguous"),
        ("[2001:db8::10:5070]".into(), None)
    );
    assert_eq!(
        place("port-unambiguous"),
        ("[2001:db8::10]".into(), Some(5070))
    );
    let three = uri("ipv6-bug-abnf-3-colons");
    let two = uri("ipv6-correct-abnf-2-colons");
    assert!(three.same_address(&two), "{three} and {two}");
    for (name, received) in [
        ("via-received-param-with-delim", &b"[2001:db8::9:255]"[..]),
        ("via-received-param-no-delim", b"2001:db8::9:255"),
    ] {
        let message = parsed(&rfc5118(name)).unwrap();
        let via = Bytes::copy_from_slice(message.value(V).unwrap());
        assert_eq!(Via::parse(via).unwrap().param("received"), Some(received));
    }
    let vias = parsed(&rfc5118("mult-ip-in-header")).unwrap();
    let hosts: Vec<_> = vias
        .elements(V)
        .map(|via| Via::parse(Bytes::copy_from_slice(via)).unwrap())
        .map(|via| (via.host.to_string(), via.port))
        .collect();
    assert_eq!(
        hosts,
        [
            ("[2001:db8::9:1]".to_owned(), Some(6050)),
            ("192.0.2.1".to_owned(), None),
            ("[2001:db8::9:255]".to_owned(), None),
        ]
    );
}

/// RFC 5118 §4.6, §4.8, §4.9: the descriptions can be answered.
#[test]
fn addresses_in_descriptions() {
    let local = LocalAudio {
        session_id: 1,
        session_version: 1,
        address: "2001:db8::99".parse().unwrap(),
        port: 40_000,
        codecs: vec![Codec::Pcmu],
        ptime_ms: 20,
        direction: Direction::SendRecv,
        telephone_events: Some(101),
    };
    for (name, remote) in [
        ("ipv6-in-sdp", "[2001:db8::20]:6000"),
        ("mult-ip-in-sdp", "192.0.2.1:22334"),
        ("ipv4-mapped-ipv6", "[::ffff:192.0.2.2]:6000"),
    ] {
        let body = parsed(&rfc5118(name)).unwrap().body();
        // Two of them offer G726-32 alone, which is not ours.
        let body = String::from_utf8(body.to_vec()).unwrap();
        let body = body.replace("RTP/AVP 2\r\na=rtpmap:2 G726-32/8000", "RTP/AVP 0");
        let (_, negotiated) = sdp::answer(body.as_bytes(), &local).unwrap();
        assert_eq!(negotiated.remote_rtp, remote.parse().unwrap(), "{name}");
    }
}

proptest! {
    /// Mutations of the messages panic nowhere: neither in the parser nor in a user agent that
    /// gets them.
    #[test]
    fn mutated_messages_never_panic(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let at = pick.index(RFC4475.len() + RFC5118.len());
        let mut bytes = RFC4475
            .get(at)
            .map_or_else(|| rfc5118(RFC5118[at - RFC4475.len()].0), |(name, ..)| rfc4475(name));
        for (index, byte) in changes {
            // Structure bytes break more than random ones.
            let odd = b"\r\n \t:;,<>\"\\=@[]%/?0";
            let byte = odd.get(usize::from(byte) % 40).copied().unwrap_or(byte);
            let position = index.index(bytes.len());
            bytes[position] = byte;
        }
        let cut = cut.index(bytes.len());
        for bytes in [&bytes[..], &bytes[..cut]] {
            let _ = parsed(bytes);
            let mut net = alone(answer_at_once);
            net.send_bytes(PEER, US, bytes);
            net.run_for(millis(20));
            // One answer, or 180 and 200.
            prop_assert!(net.agents[0].sent.len() <= 2);
        }
    }
}
