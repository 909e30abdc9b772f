//! A peer who copies the account's realm to harvest digests, in every kind of dialog.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndpointKey, OfferBy};

use pair::account::{OURS, SERVER, at_raw_hop, has, next, with_realm};
use pair::peer::US;
use pair::{ANSWER, Net, addr, header, kind, millis, reply};

const KEY: EndpointKey = EndpointKey(1);
const EVIL: &str = "192.0.2.66:5060";

/// How a dialog came about, and where its requests go.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialog {
    /// We called; requests go by the next hop as a proxy.
    OursByProxy,
    /// We called by the next hop; requests go to the Contact of the peer.
    OursToPeer,
    /// We called; the peer's Contact is the next hop itself, a back-to-back user agent.
    OursToNextHop,
    /// The peer called by the next hop as a proxy.
    TheirsByProxy,
    /// The peer called, and requests go to its Contact.
    TheirsToPeer,
}

/// Sets up a call and sends a request within it: the net, where that went, and the request. With
/// `known`, the next hop has challenged a call before.
fn request_of(
    method: &str,
    dialog: Dialog,
    free: bool,
    known: bool,
) -> (Net, &'static str, Message) {
    let mut net = at_raw_hop(with_realm(free));
    if known {
        net.call("sip:b@example.org");
        let invite = next(&mut net, SERVER).remove(0);
        let lines = format!("WWW-Authenticate: {OURS}\r\nProxy-Authenticate: {OURS}\r\n");
        net.send_raw(SERVER, US, &reply(&invite, "401 No", "x", &lines, ""));
        let invite = next(&mut net, SERVER).pop().unwrap();
        assert_eq!(has(&invite), (true, true));
        net.send_raw(SERVER, US, &reply(&invite, "486 Busy", "x", "", ""));
        next(&mut net, SERVER);
    }
    let route = format!("Record-Route: <sip:{SERVER};lr>\r\n");
    let evil = format!("Contact: <sip:x@{EVIL}>\r\n");
    let (lines, hop) = match dialog {
        Dialog::OursByProxy | Dialog::TheirsByProxy => (format!("{route}{evil}"), SERVER),
        Dialog::OursToPeer | Dialog::TheirsToPeer => (evil, EVIL),
        Dialog::OursToNextHop => (format!("Contact: <sip:x@{SERVER}>\r\n"), SERVER),
    };
    let call = if matches!(dialog, Dialog::TheirsByProxy | Dialog::TheirsToPeer) {
        let invite = |method: &str, tag: &str| {
            format!(
                "{method} sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {SERVER};branch=z9hG4bK\
                 {method}\r\nFrom: <sip:x@example.org>;tag=evil\r\nTo: <sip:a@example.org>{tag}\
                 \r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{lines}Content-Length: 0\r\n\r\n"
            )
        };
        net.send_raw(SERVER, US, &invite("INVITE", ""));
        let answer = next(&mut net, SERVER).pop().unwrap();
        let to = header(&answer, HeaderName::To);
        let tag = to.split_once(";tag=").unwrap().1;
        net.send_raw(SERVER, US, &invite("ACK", &format!(";tag={tag}")));
        net.run_for(millis(20));
        net.agents[0].incoming()
    } else {
        let call = net.call("sip:b@example.org");
        let invite = next(&mut net, SERVER).remove(0);
        let answer = String::from_utf8(ANSWER.to_vec()).unwrap();
        net.send_raw(
            SERVER,
            US,
            &reply(&invite, "200 OK", "evil", &lines, &answer),
        );
        net.run_for(millis(20));
        net.take_raw(SERVER);
        net.take_raw(EVIL);
        call
    };
    net.with(0, |ua, now| match method {
        "BYE" => ua.hang_up(now, call),
        "INFO" => ua.info(now, call, "application/dtmf-relay", "Signal=1"),
        "UPDATE" => ua.offer(now, call, ANSWER, OfferBy::Update),
        "INVITE" => ua.offer(now, call, ANSWER, OfferBy::Invite),
        other => panic!("no {other} here"),
    })
    .unwrap();
    let requests = next(&mut net, hop);
    assert_eq!(requests.iter().map(kind).collect::<Vec<_>>(), [method]);
    let request = requests[0].clone();
    (net, hop, request)
}

/// Challenges a request of a call with `realm`; how it was sent again, if so.
fn challenged(method: &str, dialog: Dialog, free: bool, realm: &str) -> Option<(bool, bool)> {
    let (mut net, hop, request) = request_of(method, dialog, free, false);
    assert_eq!(has(&request), (false, false), "nothing was asked yet");
    let challenge = format!("Digest realm=\"{realm}\", nonce=\"1\", qop=\"auth\"");
    let lines = format!("WWW-Authenticate: {challenge}\r\nProxy-Authenticate: {challenge}\r\n");
    net.send_raw(hop, US, &reply(&request, "401 No", "", &lines, ""));
    let mut again = next(&mut net, hop);
    again.retain(|message| kind(message) != "ACK");
    assert_eq!(net.agents[0].ua.counters().auth_challenges, 1);
    assert!(again.iter().all(|message| kind(message) == method) && again.len() <= 1);
    again.first().map(has)
}

/// A realm is easily copied: what is asked within a dialog is answered only where a proxy of ours
/// asks in a dialog of ours, unless the account opts out; another realm is never answered.
#[test]
fn who_copies_the_realm_gets_nothing() {
    use Dialog::{OursByProxy, OursToNextHop, OursToPeer, TheirsByProxy, TheirsToPeer};
    let dialogs = [
        OursByProxy,
        OursToPeer,
        OursToNextHop,
        TheirsByProxy,
        TheirsToPeer,
    ];
    for method in ["BYE", "INFO", "UPDATE", "INVITE"] {
        for (dialog, free) in dialogs.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let row = format!("{method}, {dialog:?}, opted out: {free}");
            let expected = (free || dialog == OursByProxy).then_some((true, true));
            let got = challenged(method, dialog, free, "example.org");
            assert_eq!(got, expected, "{row}");
            assert_eq!(
                challenged(method, dialog, free, "Example.org"),
                None,
                "{row}"
            );
            // Nor does anybody get unasked what he would not get for asking.
            let (_, hop, request) = request_of(method, dialog, free, true);
            let unasked = hop == SERVER && expected.is_some();
            assert_eq!(has(&request), (unasked, unasked), "{row}");
        }
    }
}

/// What was asked for by the next hop is not shown to a peer whom requests go to directly.
#[test]
fn credentials_stay_with_the_next_hop() {
    for (contact, expected) in [
        (format!("<sip:x@{EVIL}>"), (false, false)),
        (format!("<sip:{SERVER};lr>"), (false, true)),
    ] {
        let routed = contact.contains("lr");
        let mut net = at_raw_hop(with_realm(false));
        let call = net.call("sip:b@example.org");
        let invite = next(&mut net, SERVER).remove(0);
        let line = format!("Proxy-Authenticate: {OURS}\r\n");
        net.send_raw(SERVER, US, &reply(&invite, "407 No", "x", &line, ""));
        let invite = next(&mut net, SERVER).pop().unwrap();
        let lines = if routed {
            format!("Record-Route: {contact}\r\nContact: <sip:x@{EVIL}>\r\n")
        } else {
            format!("Contact: {contact}\r\n")
        };
        net.send_raw(SERVER, US, &reply(&invite, "200 OK", "evil", &lines, ""));
        net.run_for(millis(20));
        net.hang_up(0, call);
        net.run_for(millis(20));
        let hop = if routed { SERVER } else { EVIL };
        let got = net.take_raw(hop);
        assert_eq!(got.iter().map(kind).collect::<Vec<_>>(), ["ACK", "BYE"]);
        assert!(got.iter().all(|it| has(it) == expected), "{contact}");
    }
    // Nor to another address that an INVITE is sent to.
    let mut net = at_raw_hop(with_realm(false));
    net.call("sip:b@example.org");
    let invite = next(&mut net, SERVER).remove(0);
    let line = format!("WWW-Authenticate: {OURS}\r\n");
    net.send_raw(SERVER, US, &reply(&invite, "401 No", "x", &line, ""));
    next(&mut net, SERVER);
    let invite = callmeter_sip::Invite {
        target: "sip:x@192.0.2.66".parse().unwrap(),
        next_hop: Some(addr(EVIL)),
        body: bytes::Bytes::new(),
    };
    net.with(0, |ua, now| ua.invite(now, KEY, invite)).unwrap();
    assert_eq!(has(&next(&mut net, EVIL)[0]), (false, false));
}
