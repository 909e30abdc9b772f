//! Digest as a registrar, a proxy and a peer who wants more than is his see it, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndReason, EndpointConfig, EndpointKey, UaEvent};

use pair::account::{SERVER, account, net, register, registered};
use pair::peer::US;
use pair::server::field;
use pair::{ANSWER, Net, addr, answer_at_once, header, kind, millis, reply};

const KEY: EndpointKey = EndpointKey(1);
const EVIL: &str = "192.0.2.66:5060";

fn sent(net: &Net, agent: usize, wanted: &str) -> Vec<Message> {
    let sent = net.agents[agent].sent.iter();
    sent.map(|bytes| Message::parse(bytes.clone()).unwrap())
        .filter(|message| kind(message) == wanted)
        .collect()
}

/// Whether a request has credentials: of the origin, of the proxy.
fn has(message: &Message) -> (bool, bool) {
    (
        message.value(HeaderName::Authorization).is_some(),
        message.value(HeaderName::ProxyAuthorization).is_some(),
    )
}

/// RFC 7616 §3.4, RFC 8760: two user agents of ours register and call by a server that checks
/// every digest.
#[test]
fn every_algorithm_with_every_protection() {
    for algorithm in [
        "MD5",
        "SHA-256",
        "SHA-512-256",
        "MD5-sess",
        "SHA-256-sess",
        "SHA-512-256-sess",
    ] {
        for qop in ["auth", "auth-int", "", "auth,auth-int"] {
            let row = format!("{algorithm} {qop}");
            let mut net = net(0.0, 1, algorithm);
            net.server.as_mut().unwrap().qop = qop;
            for agent in [0, 1] {
                register(&mut net, agent, 3600);
            }
            net.run_for(millis(1000));
            let call = net.call("sip:b@example.org");
            net.run_for(millis(1000));
            net.hang_up(0, call);
            net.run_for(millis(1000));
            assert_eq!(registered(&net, 0).len() + registered(&net, 1).len(), 2);
            let end = net.agents[0].ends()[0];
            assert_eq!((end.reason, end.status), (EndReason::LocalBye, Some(200)));
            // One challenge to each REGISTER, one to the INVITE.
            assert_eq!(net.server.as_ref().unwrap().challenges, 3, "{row}");
            let invite = sent(&net, 0, "INVITE").pop().unwrap();
            let value = header(&invite, HeaderName::ProxyAuthorization);
            let expected = match qop {
                "" => None,
                "auth-int" => Some("auth-int"),
                _ => Some("auth"),
            };
            assert_eq!(field(&value, " qop").as_deref(), expected, "{value}");
            let session = algorithm.ends_with("-sess");
            assert_eq!(value.contains("cnonce="), session || !qop.is_empty());
        }
    }
}

/// RFC 7616 §3.6: as long as the nonce is good there is no second round, for REGISTER and INVITE.
#[test]
fn a_good_nonce_is_used_again() {
    let mut net = net(0.0, 1, "SHA-512-256");
    for agent in [0, 1] {
        register(&mut net, agent, 60);
    }
    net.run_for(millis(1000));
    for _ in 0..3 {
        let call = net.call("sip:b@example.org");
        net.run_for(millis(1000));
        net.hang_up(0, call);
        net.run_for(millis(1000));
    }
    net.run_for(millis(90_000));
    let registers = sent(&net, 0, "REGISTER");
    let (refreshes, received) = (registered(&net, 0).len() - 1, net.agents[0].ua.counters());
    assert_eq!(refreshes, 3);
    assert_eq!(registers.len(), 2 + refreshes);
    assert_eq!(received.auth_challenges, 2);
    let counts = |messages: &[Message], name| -> Vec<_> {
        let values = messages.iter().map(|message| header(message, name));
        values
            .map(|value| field(&value, " nc").unwrap_or_default())
            .collect()
    };
    assert_eq!(
        counts(&registers, HeaderName::Authorization),
        ["", "00000001", "00000002", "00000003", "00000004"]
    );
    // Every INVITE and BYE after the first challenge counts on; the ACK repeats its INVITE's.
    let within = |wanted| counts(&sent(&net, 0, wanted), HeaderName::ProxyAuthorization);
    assert_eq!(within("INVITE"), ["", "00000001", "00000003", "00000005"]);
    assert_eq!(within("ACK"), ["", "00000001", "00000003", "00000005"]);
    assert_eq!(within("BYE"), ["00000002", "00000004", "00000006"]);
    // What a REGISTER was challenged for is not shown to whoever is called.
    assert!(sent(&net, 0, "INVITE").iter().all(|invite| !has(invite).0));
    let times: Vec<_> = net.agents[0]
        .ends()
        .iter()
        .map(|end| end.times.invite_authenticated.is_some())
        .collect();
    assert_eq!(times, [true, false, false]);
}

/// RFC 7616 §3.5; without the next nonce, a nonce for once costs a round each time.
#[test]
fn the_next_nonce_saves_the_round() {
    for algorithm in ["MD5", "SHA-256-sess"] {
        for next_nonce in [true, false] {
            let mut net = net(0.0, 1, algorithm);
            let server = net.server.as_mut().unwrap();
            (server.one_time, server.next_nonce) = (true, next_nonce);
            register(&mut net, 0, 60);
            net.run_for(millis(100_000));
            let refreshes = registered(&net, 0).len() - 1;
            assert_eq!(refreshes, 3);
            let challenges = if next_nonce { 1 } else { 1 + refreshes };
            assert_eq!(net.server.as_ref().unwrap().challenges, challenges);
            assert_eq!(sent(&net, 0, "REGISTER").len(), 1 + refreshes + challenges);
            let refresh = registered(&net, 0)[1];
            assert_eq!(refresh.authenticated.is_some(), !next_nonce);
        }
    }
}

/// One retry, and one for `stale=true`; then it is a refusal.
#[test]
fn a_server_that_is_never_content_ends_it() {
    let mut net = net(0.0, 1, "MD5");
    let stale = (1..9).map(|count| format!("n{count}"));
    net.server.as_mut().unwrap().stale.extend(stale);
    register(&mut net, 0, 60);
    net.run_out();
    assert_eq!(sent(&net, 0, "REGISTER").len(), 3);
    let failed = |event: &&UaEvent| matches!(event, UaEvent::RegistrationFailed(_));
    assert_eq!(net.agents[0].events.iter().filter(failed).count(), 1);
    // What was refused is not tried again at first.
    register(&mut net, 0, 60);
    net.run_for(millis(5));
    assert_eq!(has(&sent(&net, 0, "REGISTER")[3]), (false, false));
}

/// One agent with an account at a raw next hop.
fn at_raw_hop(config: EndpointConfig) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, answer_at_once);
    net.endpoint(0, 1, config);
    net
}

fn with_realm(free: bool) -> EndpointConfig {
    let mut config = account("a");
    config.auth_in_dialog = free;
    config.credentials.as_mut().unwrap().realm = Some("example.org".to_owned());
    config
}

/// What came to a raw address in 20 ms.
fn next(net: &mut Net, at: &str) -> Vec<Message> {
    net.run_for(millis(20));
    net.take_raw(at)
}

const OURS: &str = "Digest realm=\"example.org\", nonce=\"1\", qop=\"auth\"";

/// RFC 3261 §22.3: the proxy asks first, the callee's server then; both stay content.
#[test]
fn a_proxy_and_a_server_in_one_call() {
    let mut net = at_raw_hop(with_realm(false));
    net.call("sip:b@example.org");
    let mut seen = Vec::new();
    for (status, line) in [
        ("407 No", format!("Proxy-Authenticate: {OURS}\r\n")),
        ("401 No", format!("WWW-Authenticate: {OURS}\r\n")),
        ("401 No", format!("WWW-Authenticate: {OURS}\r\n")),
    ] {
        let invite = next(&mut net, SERVER).pop().unwrap();
        seen.push(has(&invite));
        net.send_raw(SERVER, US, &reply(&invite, status, "x", &line, ""));
    }
    net.run_out();
    assert_eq!(seen, [(false, false), (false, true), (true, true)]);
    let end = net.agents[0].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Refused, Some(401)));
    assert_eq!(sent(&net, 0, "INVITE").len(), 3);
    assert_eq!(net.agents[0].ua.counters().auth_challenges, 3);
}

/// A forking proxy collects the challenges of its branches: ours are answered, the topmost that
/// we know of each kind, and no other realm.
#[test]
fn several_challenges_get_several_credentials() {
    let mut net = at_raw_hop(with_realm(false));
    net.call("sip:b@example.org");
    let invite = next(&mut net, SERVER).remove(0);
    let lines = "WWW-Authenticate: Digest realm=\"other\", nonce=\"0\", algorithm=MD5\r\n\
        WWW-Authenticate: Digest realm=\"example.org\", nonce=\"1\", algorithm=NEW\r\n\
        WWW-Authenticate: Digest realm=\"example.org\", nonce=\"2\", algorithm=SHA-256\r\n\
        WWW-Authenticate: Digest realm=\"example.org\", nonce=\"3\", algorithm=MD5\r\n\
        Proxy-Authenticate: Digest realm=\"example.org\", nonce=\"4\", opaque=\"o\"\r\n\
        Proxy-Authenticate: Digest realm=\"third\", nonce=\"5\"\r\n";
    net.send_raw(SERVER, US, &reply(&invite, "401 No", "x", lines, ""));
    let invite = next(&mut net, SERVER).pop().unwrap();
    let nonces = |name| -> Vec<_> {
        let values = invite.values(name).map(String::from_utf8_lossy);
        values
            .map(|value| field(&value, " nonce").unwrap())
            .collect()
    };
    assert_eq!(nonces(HeaderName::Authorization), ["2"]);
    assert_eq!(nonces(HeaderName::ProxyAuthorization), ["4"]);
    let proxy = header(&invite, HeaderName::ProxyAuthorization);
    assert_eq!(field(&proxy, " opaque").unwrap(), "o");
}

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

/// Sets up a call and hangs up: the net, where the BYE went, and the BYE. With `known`, the next
/// hop has challenged a call before.
fn bye_of(dialog: Dialog, free: bool, known: bool) -> (Net, &'static str, Message) {
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
    net.hang_up(0, call);
    let byes = next(&mut net, hop);
    assert_eq!(byes.iter().map(kind).collect::<Vec<_>>(), ["BYE"]);
    let bye = byes[0].clone();
    (net, hop, bye)
}

/// Challenges the BYE of a call with `realm`; how it was sent again, if so.
fn challenged_bye(dialog: Dialog, free: bool, realm: &str) -> Option<(bool, bool)> {
    let (mut net, hop, bye) = bye_of(dialog, free, false);
    assert_eq!(has(&bye), (false, false), "nothing was asked yet");
    let challenge = format!("Digest realm=\"{realm}\", nonce=\"1\", qop=\"auth\"");
    let lines = format!("WWW-Authenticate: {challenge}\r\nProxy-Authenticate: {challenge}\r\n");
    net.send_raw(hop, US, &reply(&bye, "401 No", "", &lines, ""));
    let again = next(&mut net, hop);
    net.run_out();
    let counters = net.agents[0].ua.counters();
    assert_eq!(
        (counters.auth_challenges, net.agents[0].ends().len()),
        (1, 1)
    );
    assert!(again.len() <= 1);
    again.first().map(|bye| {
        assert_eq!(kind(bye), "BYE");
        has(bye)
    })
}

/// A realm is easily copied: what is asked within a dialog is answered only where a proxy of ours
/// asks in a dialog of ours, unless the account opts out; another realm is never answered.
#[test]
fn who_copies_the_realm_gets_nothing() {
    use Dialog::{OursByProxy, OursToNextHop, OursToPeer, TheirsByProxy, TheirsToPeer};
    for dialog in [
        OursByProxy,
        OursToPeer,
        OursToNextHop,
        TheirsByProxy,
        TheirsToPeer,
    ] {
        for free in [false, true] {
            let expected = (free || dialog == OursByProxy).then_some((true, true));
            let got = challenged_bye(dialog, free, "example.org");
            assert_eq!(got, expected, "{dialog:?}, opted out: {free}");
            assert_eq!(challenged_bye(dialog, free, "Example.org"), None);
            // Nor does anybody get unasked what he would not get for asking.
            let (_, hop, bye) = bye_of(dialog, free, true);
            let unasked = hop == SERVER && expected.is_some();
            assert_eq!(
                has(&bye),
                (unasked, unasked),
                "{dialog:?}, opted out: {free}"
            );
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
