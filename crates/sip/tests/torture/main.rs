//! The messages of [RFC 4475](https://www.rfc-editor.org/rfc/rfc4475) and
//! [RFC 5118](https://www.rfc-editor.org/rfc/rfc5118): how each is classified, by the parser and
//! by a user agent that gets it as a server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../pair/mod.rs"]
mod pair;
mod tables;
mod values;

use bytes::Bytes;
use callmeter_sip::message::HeaderName::{CSeq, CallId, From, To};
use callmeter_sip::message::HeaderProblem::Syntax;
use callmeter_sip::message::ParseError::{self, Header};
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndpointKey, UaEvent};

use proptest::prelude::*;

use pair::peer::{PEER, US, alone};
use pair::text::wire;
use pair::{Net, answer_at_once, header, millis};
use tables::Outcome::{self, Accepted, Answered, Dropped, Ignored, Refused};
use tables::{RFC4475, RFC5118};

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
