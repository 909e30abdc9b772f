//! The call flows of RFC 3665 that a user agent takes part in, as they are on the wire.
//!
//! Sections and what stands for them here: the proxies are stateless, so that they send no 100 and
//! repeat nothing by themselves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use bytes::Bytes;
use callmeter_sip::{
    CallEvent, EndReason, EndpointConfig, EndpointKey, Invite, OfferBy, UaEvent, UserAgent,
};

use pair::account::{SERVER, account, net, register, registered};
use pair::server::Server;
use pair::{ANSWER, Net, OFFER, addr, config, millis, nothing, reply, ring_only};

const KEY: EndpointKey = EndpointKey(1);
/// The proxy of b's domain.
const SECOND: &str = "192.0.2.10:5060";

/// The wire from message `from` on, as `a>p INVITE`.
fn wire(net: &Net, from: usize) -> Vec<String> {
    let name = |address| {
        let names = [
            ("192.0.2.1:5060", "a"),
            ("192.0.2.2:5060", "b"),
            (SERVER, "p"),
            (SECOND, "q"),
        ];
        let found = names.iter().find(|(known, _)| addr(known) == address);
        found.map_or("?", |(_, name)| name)
    };
    let wire = net.wire[from..].iter();
    wire.map(|(_, from, to, kind)| format!("{}>{} {kind}", name(*from), name(*to)))
        .collect()
}

fn assert_wire(net: &Net, from: usize, expected: &str, flow: &str) {
    let expected: Vec<_> = expected.split(',').map(str::trim).collect();
    assert_eq!(wire(net, from), expected, "RFC 3665 {flow}");
    for agent in &net.agents {
        let counters = agent.ua.counters();
        let odd = (
            counters.unexpected,
            counters.out_of_dialog,
            counters.malformed,
        );
        assert_eq!(odd, (0, 0, 0), "RFC 3665 {flow}");
        assert_eq!(counters.retransmissions_sent, 0, "RFC 3665 {flow}");
        let held = agent.ua.held();
        assert_eq!((held.calls, held.transactions), (0, 0), "RFC 3665 {flow}");
    }
}

/// Once both have hung up and all transactions are over.
fn over(net: &mut Net) {
    net.run_for(millis(40_000));
}

/// How the call ended at both ends.
fn ended(net: &Net, caller: (EndReason, Option<u16>), callee: (EndReason, Option<u16>)) {
    for (agent, expected) in [(0, caller), (1, callee)] {
        let ends: Vec<_> = net.agents[agent]
            .ends()
            .iter()
            .map(|end| (end.reason, end.status))
            .collect();
        assert_eq!(ends, [expected]);
    }
}

/// §2.1, §2.2, §2.4, §2.5
#[test]
fn registration() {
    let mut net = net(0.0, 1, "MD5");
    net.server.as_mut().unwrap().max_expires = 3600;
    register(&mut net, 0, 3600);
    over(&mut net);
    let new = "a>p REGISTER, p>a 401 REGISTER, a>p REGISTER, p>a 200 REGISTER";
    assert_wire(&net, 0, new, "§2.1");
    // An update goes with the nonce that is known, as in the RFC.
    register(&mut net, 0, 1800);
    over(&mut net);
    assert_wire(&net, 4, "a>p REGISTER, p>a 200 REGISTER", "§2.2");
    let lifetimes: Vec<_> = registered(&net, 0)
        .iter()
        .map(|registered| registered.granted.as_secs())
        .collect();
    assert_eq!(lifetimes, [3600, 1800]);
    net.with(0, |ua, now| ua.unregister(now, KEY)).unwrap();
    over(&mut net);
    assert_wire(&net, 6, "a>p REGISTER, p>a 200 REGISTER", "§2.4");
    assert!(net.server.as_ref().unwrap().bindings.is_empty());
    net.server.as_mut().unwrap().password = "other";
    let from = net.wire.len();
    register(&mut net, 0, 3600);
    over(&mut net);
    let refused = "a>p REGISTER, p>a 401 REGISTER, a>p REGISTER, p>a 401 REGISTER";
    assert_wire(&net, from, refused, "§2.5");
    assert_eq!(registered(&net, 0).len(), 2);
}

/// §2.3: the list of contacts comes with a refresh, for a user agent of ours never asks for it
/// alone. What else is bound to the address of record changes nothing for it.
#[test]
fn contact_list() {
    let mut net = net(0.0, 1, "MD5");
    let server = net.server.as_mut().unwrap();
    server.max_expires = 3600;
    server.register_lines = "Contact: <sip:a@192.0.2.77>;expires=7200\r\n\
        Contact: <tel:+1-972-555-2222>;expires=60;q=0.6\r\n"
        .to_owned();
    register(&mut net, 0, 3600);
    over(&mut net);
    register(&mut net, 0, 3600);
    over(&mut net);
    assert_wire(&net, 4, "a>p REGISTER, p>a 200 REGISTER", "§2.3");
    let lifetimes: Vec<_> = registered(&net, 0)
        .iter()
        .map(|registered| registered.granted.as_secs())
        .collect();
    assert_eq!(lifetimes, [3600, 3600]);
}

/// §3.1
#[test]
fn session_establishment() {
    let mut net = Net::pair(0.0, 1, ring_only);
    net.call("sip:b@192.0.2.2");
    net.run_for(millis(1000));
    let call = net.agents[1].incoming();
    net.with(1, |ua, now| ua.answer(now, call, ANSWER)).unwrap();
    net.run_for(millis(1000));
    net.hang_up(1, call);
    over(&mut net);
    let expected = "a>b INVITE, b>a 180 INVITE, b>a 200 INVITE, a>b ACK, b>a BYE, a>b 200 BYE";
    assert_wire(&net, 0, expected, "§3.1");
    let remote = (EndReason::RemoteBye, Some(200));
    ended(&net, remote, (EndReason::LocalBye, Some(200)));
}

/// §3.7: the callee offers another address within the call.
#[test]
fn session_with_a_change_by_re_invite() {
    let mut net = Net::pair(0.0, 1, ring_only);
    net.agents[0].policy = |ua, now, event| {
        if let UaEvent::Call {
            call,
            event: CallEvent::Offer { .. },
            ..
        } = event
        {
            ua.answer(now, *call, "v=0 moved").unwrap();
        }
    };
    net.call("sip:b@192.0.2.2");
    net.run_for(millis(1000));
    let call = net.agents[1].incoming();
    net.with(1, |ua, now| ua.answer(now, call, ANSWER)).unwrap();
    net.run_for(millis(1000));
    let change = |ua: &mut UserAgent, now| ua.offer(now, call, "v=0 move", OfferBy::Invite);
    net.with(1, change).unwrap();
    net.run_for(millis(1000));
    net.hang_up(1, call);
    over(&mut net);
    let expected = "a>b INVITE, b>a 180 INVITE, b>a 200 INVITE, a>b ACK,
        b>a INVITE, a>b 200 INVITE, b>a ACK, b>a BYE, a>b 200 BYE";
    assert_wire(&net, 0, expected, "§3.7");
    let answered = net.agents[1].events.iter().any(|event| {
        matches!(event, UaEvent::Call { event: CallEvent::OfferAnswered { body }, .. }
            if body == "v=0 moved")
    });
    assert!(answered);
    let remote = (EndReason::RemoteBye, Some(200));
    ended(&net, remote, (EndReason::LocalBye, Some(200)));
}

/// Agent 0 at the first proxy, agent 1 bound at the second.
fn two_proxies(second_asks: bool) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent("192.0.2.1:5060", nothing);
    net.agent("192.0.2.2:5060", ring_only);
    let mut first = Server::new(SERVER, "MD5");
    first.next = Some(addr(SECOND));
    net.server = Some(first);
    let mut second = Server::new(SECOND, "MD5");
    second.challenge_invite = second_asks;
    second.realm = "biloxi.example.com";
    let contact = "sip:b@192.0.2.2:5060".to_owned();
    second.bindings.insert("b".to_owned(), contact);
    net.proxies.push(second);
    let mut caller = account("a");
    caller.credentials.as_mut().unwrap().realm = Some("example.org".to_owned());
    net.endpoint(0, 1, caller);
    net.endpoint(
        1,
        1,
        EndpointConfig {
            next_hop: Some(addr(SECOND)),
            ..config("sip:b@biloxi.example.com")
        },
    );
    net
}

/// §3.2: the caller is challenged by the first proxy; both record their route, which the BYE of
/// the callee goes back.
#[test]
fn session_through_two_proxies() {
    let mut net = two_proxies(false);
    net.call("sip:b@biloxi.example.com");
    net.run_for(millis(1000));
    let call = net.agents[1].incoming();
    net.with(1, |ua, now| ua.answer(now, call, ANSWER)).unwrap();
    net.run_for(millis(1000));
    net.hang_up(1, call);
    over(&mut net);
    let expected = "a>p INVITE, p>a 407 INVITE, a>p ACK, a>p INVITE, p>q INVITE, q>b INVITE,
        b>q 180 INVITE, q>p 180 INVITE, p>a 180 INVITE,
        b>q 200 INVITE, q>p 200 INVITE, p>a 200 INVITE, a>p ACK, p>q ACK, q>b ACK,
        b>q BYE, q>p BYE, p>a BYE, a>p 200 BYE, p>q 200 BYE, q>b 200 BYE";
    assert_wire(&net, 0, expected, "§3.2");
    let remote = (EndReason::RemoteBye, Some(200));
    ended(&net, remote, (EndReason::LocalBye, Some(200)));
}

/// §3.3 asks for a second realm's password. An account here has one realm, and no other is
/// answered: the call is refused, and the second proxy has seen nothing of the digest it wants.
#[test]
fn session_with_several_proxy_authentications() {
    let mut net = two_proxies(true);
    net.call("sip:b@biloxi.example.com");
    over(&mut net);
    let expected = "a>p INVITE, p>a 407 INVITE, a>p ACK, a>p INVITE, p>q INVITE,
        q>p 407 INVITE, p>a 407 INVITE, a>p ACK";
    assert_wire(&net, 0, expected, "§3.3");
    let ends = net.agents[0].ends();
    assert_eq!(
        (ends[0].reason, ends[0].status),
        (EndReason::Refused, Some(407))
    );
}

/// §3.4: the first proxy says nothing for all of Timer B, and the call goes by the second one. Who
/// resolves names knows which that is (RFC 3263 §4.3): here the test.
#[test]
fn session_with_proxy_failure() {
    let mut net = two_proxies(false);
    net.server = None;
    net.call("sip:b@biloxi.example.com");
    over(&mut net);
    assert_eq!(wire(&net, 0), ["a>p INVITE"; 7], "RFC 3665 §3.4");
    let ends = net.agents[0].ends();
    assert_eq!(
        (ends[0].reason, ends[0].status),
        (EndReason::InviteTimeout, None)
    );
    let again = Invite {
        target: "sip:b@biloxi.example.com".parse().unwrap(),
        next_hop: Some(addr(SECOND)),
        body: Bytes::from_static(OFFER),
    };
    let call = net.with(0, |ua, now| ua.invite(now, KEY, again)).unwrap();
    net.run_for(millis(1000));
    let incoming = net.agents[1].incoming();
    net.with(1, |ua, now| ua.answer(now, incoming, ANSWER))
        .unwrap();
    net.run_for(millis(1000));
    net.hang_up(0, call);
    over(&mut net);
    let expected = "a>q INVITE, q>b INVITE, b>q 180 INVITE, q>a 180 INVITE, b>q 200 INVITE,
        q>a 200 INVITE, a>q ACK, q>b ACK, a>q BYE, q>b BYE, b>q 200 BYE, q>a 200 BYE";
    let expected: Vec<_> = expected.split(',').map(str::trim).collect();
    assert_eq!(wire(&net, 7), expected, "RFC 3665 §3.4");
    assert_eq!(net.agents[0].ends()[1].reason, EndReason::LocalBye);
    for agent in &net.agents {
        let held = agent.ua.held();
        assert_eq!((held.calls, held.transactions), (0, 0));
    }
}

/// §3.5 (a gateway on the way is a Record-Route) and §3.6 (302, then the call by the next proxy).
#[test]
fn session_via_redirect_and_proxy() {
    let mut net = two_proxies(false);
    net.server = None;
    net.agents[0].ua.remove_endpoint(net.now, KEY).unwrap();
    let caller = EndpointConfig {
        follow_redirects: true,
        ..account("a")
    };
    net.endpoint(0, 1, caller);
    let call = net.call("sip:b@biloxi.example.com");
    net.run_for(millis(10));
    let invite = net.take_raw(SERVER).remove(0);
    let contact = format!("Contact: <sip:b@{SECOND}>\r\n");
    let moved = reply(&invite, "302 Moved Temporarily", "r", &contact, "");
    net.send_raw(SERVER, "192.0.2.1:5060", &moved);
    net.run_for(millis(1000));
    let incoming = net.agents[1].incoming();
    net.with(1, |ua, now| ua.answer(now, incoming, ANSWER))
        .unwrap();
    net.run_for(millis(1000));
    net.hang_up(0, call);
    over(&mut net);
    let expected = "a>p INVITE, p>a 302 INVITE, a>p ACK, a>q INVITE, q>b INVITE,
        b>q 180 INVITE, q>a 180 INVITE, b>q 200 INVITE, q>a 200 INVITE, a>q ACK, q>b ACK,
        a>q BYE, q>b BYE, b>q 200 BYE, q>a 200 BYE";
    assert_wire(&net, 0, expected, "§3.5, §3.6");
    let remote = (EndReason::RemoteBye, Some(200));
    ended(&net, (EndReason::LocalBye, Some(200)), remote);
}

/// What the callee does while it rings, and what comes of it.
type Deed = fn(&mut UserAgent, std::time::Instant, callmeter_sip::CallKey);

/// §3.8, §3.9, §3.11, each through two proxies.
#[test]
fn unsuccessful_sessions() {
    let busy: Deed = |ua, now, call| ua.reject(now, call, 486).unwrap();
    let unavailable: Deed = |ua, now, call| ua.reject(now, call, 480).unwrap();
    let ringing = "a>p INVITE, p>a 407 INVITE, a>p ACK, a>p INVITE, p>q INVITE, q>b INVITE,
        b>q 180 INVITE, q>p 180 INVITE, p>a 180 INVITE";
    for (flow, deed, code) in [("§3.9", busy, 486), ("§3.11", unavailable, 480)] {
        let mut net = two_proxies(false);
        net.call("sip:b@biloxi.example.com");
        net.run_for(millis(1000));
        let call = net.agents[1].incoming();
        net.with(1, |ua, now| deed(ua, now, call));
        over(&mut net);
        let expected = format!(
            "{ringing}, b>q {code} INVITE, q>p {code} INVITE, p>a {code} INVITE,
            a>p ACK, p>q ACK, q>b ACK"
        );
        assert_wire(&net, 0, &expected, flow);
        let refused = (EndReason::Refused, Some(code));
        ended(&net, refused, (EndReason::Rejected, Some(code)));
    }
    let mut net = two_proxies(false);
    let call = net.call("sip:b@biloxi.example.com");
    net.run_for(millis(1000));
    net.hang_up(0, call);
    over(&mut net);
    let expected = format!(
        "{ringing}, a>p CANCEL, p>q CANCEL, q>b CANCEL,
        b>q 200 CANCEL, b>q 487 INVITE, q>p 200 CANCEL, q>p 487 INVITE,
        p>a 200 CANCEL, p>a 487 INVITE, a>p ACK, p>q ACK, q>b ACK"
    );
    assert_wire(&net, 0, &expected, "§3.8");
    let cancelled = (EndReason::Cancelled, Some(487));
    ended(&net, cancelled, (EndReason::CancelledByPeer, Some(487)));
}

/// §3.10: the proxy answers for a user agent that does not; 100 stops the repetitions at once.
#[test]
fn no_response_from_the_callee() {
    let mut net = Net::new(0.0, 1);
    net.agent("192.0.2.1:5060", nothing);
    net.endpoint(0, 1, account("a"));
    net.call("sip:b@biloxi.example.com");
    net.run_for(millis(10));
    let invite = net.take_raw(SERVER).remove(0);
    let answer = |net: &mut Net, status, tag| {
        let text = reply(&invite, status, tag, "", "");
        net.send_raw(SERVER, "192.0.2.1:5060", &text);
    };
    answer(&mut net, "100 Trying", "");
    net.run_for(millis(32_000));
    answer(&mut net, "480 Temporarily Unavailable", "q");
    over(&mut net);
    let expected = "a>p INVITE, p>a 100 INVITE, p>a 480 INVITE, a>p ACK";
    assert_wire(&net, 0, expected, "§3.10");
    let ends = net.agents[0].ends();
    assert_eq!(
        (ends[0].reason, ends[0].status),
        (EndReason::Refused, Some(480))
    );
}
