//! Requests that are too large for UDP go by TCP first (RFC 3261 §18.1.1).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    CallKey, EndpointKey, Flow, Listener, Output, Transmit, Transport, UaConfig, UserAgent,
};

use pair::peer::{ASK, Ask, US};
use pair::{ANSWER, LOCAL, OFFER, addr, config, header, kind, millis, reply};

const KEY: EndpointKey = EndpointKey(1);
const PEER: &str = "192.0.2.50:5060";
/// What an INVITE of the test has without the header of the group.
const BARE: usize = 486;

struct One {
    ua: UserAgent,
    now: Instant,
}

impl One {
    /// An agent whose INVITEs have so many bytes.
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    fn new(by_tcp: bool, size: usize) -> Self {
        let mut ua = UserAgent::new(UaConfig::default(), 1);
        let listener = Listener {
            large_by_tcp: by_tcp,
            ..Listener::udp(LOCAL, addr(US), None)
        };
        ua.add_listener(listener).unwrap();
        let mut config = config("sip:a@192.0.2.1");
        config.headers = vec![("X-Fill".to_owned(), "x".repeat(size - BARE))];
        ua.add_endpoint(KEY, config).unwrap();
        let now = Instant::now();
        Self { ua, now }
    }

    fn call(&mut self) -> CallKey {
        let invite = callmeter_sip::Invite {
            target: format!("sip:b@{PEER}").parse().unwrap(),
            next_hop: None,
            body: Bytes::from_static(OFFER),
        };
        self.ua.invite(self.now, KEY, invite).unwrap()
    }

    fn sent(&mut self) -> Vec<(Transport, Message)> {
        let mut sent = Vec::new();
        while let Some(output) = self.ua.poll_output() {
            if let Output::Transmit(Transmit { flow, bytes, .. }) = output {
                assert_eq!((flow.local, flow.remote), (LOCAL, addr(PEER)));
                sent.push((flow.transport, Message::parse(bytes).unwrap()));
            }
        }
        sent
    }

    /// The only message sent.
    fn one(&mut self) -> (Transport, Message) {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{:?}", kinds(&sent));
        sent.remove(0)
    }

    fn hear(&mut self, transport: Transport, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.ua.handle_input(self.now, flow(transport), bytes);
    }

    fn fail(&mut self, transport: Transport) {
        self.ua.flow_failed(self.now, flow(transport), "refused");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ua.handle_timeout(self.now);
    }

    fn transport_errors(&self) -> u64 {
        self.ua.endpoint_counters(KEY).unwrap().transport_errors
    }
}

fn flow(transport: Transport) -> Flow {
    Flow {
        local: LOCAL,
        transport,
        remote: addr(PEER),
    }
}

fn kinds(sent: &[(Transport, Message)]) -> Vec<(Transport, String)> {
    let kinds = sent.iter().map(|(by, message)| (*by, kind(message)));
    kinds.collect()
}

/// The transport and the branch in Via.
fn via(message: &Message) -> (String, String) {
    let via = header(message, HeaderName::Via);
    let transport = via.strip_prefix("SIP/2.0/").unwrap();
    let (transport, rest) = transport.split_once(' ').unwrap();
    let branch = rest.split("branch=").nth(1).unwrap();
    (transport.to_owned(), branch.to_owned())
}

fn ok(invite: &Message, lines: &str) -> String {
    let contact = format!("Contact: <sip:b@{PEER}>\r\n{lines}");
    reply(invite, "200 OK", "peer", &contact, "v=0 answer")
}

#[test]
fn from_1301_bytes_on_a_request_goes_by_tcp() {
    for (by_tcp, size, transport) in [
        (true, 1300, Transport::Udp),
        (true, 1301, Transport::Tcp),
        (true, 8000, Transport::Tcp),
        (false, 8000, Transport::Udp),
    ] {
        let mut one = One::new(by_tcp, size);
        one.call();
        let (by, invite) = one.one();
        assert_eq!(invite.as_bytes().len(), size);
        assert_eq!((by, &*via(&invite).0), (transport, transport.as_str()));
        assert_eq!(
            header(&invite, HeaderName::Contact),
            "<sip:a@192.0.2.1:5060>"
        );
        // What goes by TCP is not sent again.
        one.pass(millis(500));
        assert_eq!(one.sent().len(), usize::from(by == Transport::Udp));
    }
}

/// The next hop of a dialog says by which transport it is reached.
#[test]
fn the_rest_of_the_call_goes_where_its_next_hop_says() {
    for (lines, transport) in [
        ("", Transport::Udp),
        ("Record-Route: <sip:192.0.2.50;lr>\r\n", Transport::Udp),
        (
            "Record-Route: <sip:192.0.2.50;transport=tcp;lr>\r\n",
            Transport::Tcp,
        ),
    ] {
        let mut one = One::new(true, 1400);
        let call = one.call();
        let (_, invite) = one.one();
        one.hear(Transport::Tcp, &ok(&invite, lines));
        let (by, ack) = one.one();
        assert_eq!((by, kind(&ack)), (transport, "ACK".to_owned()), "{lines}");
        assert_eq!(via(&ack).0, transport.as_str());
        one.ua.hang_up(one.now, call).unwrap();
        let (by, bye) = one.one();
        assert_eq!((by, kind(&bye)), (transport, "BYE".to_owned()), "{lines}");
        assert_eq!(via(&bye).0, transport.as_str());
    }
}

/// A route set that makes the requests of a dialog too large for UDP, by the peer or another.
fn far(host: &str) -> String {
    let fill = "x".repeat(400);
    let route = |n| format!("Record-Route: <sip:192.0.2.{n};lr;fill={fill}>\r\n");
    let routes: String = (60..63).map(route).collect();
    format!("{routes}Record-Route: <sip:{host};lr>\r\n")
}

/// The ACK to a 2xx is a request of its own, without a transaction that would notice its loss: one
/// that is too large for UDP goes by the connection that the INVITE was answered by.
#[test]
fn a_large_ack_goes_by_the_connection_of_its_invite() {
    for (size, lines, transport) in [
        (1400, far("192.0.2.50"), Transport::Tcp),
        (1400, String::new(), Transport::Udp),
        // Nothing is known of a connection.
        (1300, far("192.0.2.50"), Transport::Udp),
    ] {
        let mut one = One::new(true, size);
        one.call();
        let (by, invite) = one.one();
        one.hear(by, &ok(&invite, &lines));
        let (by, ack) = one.one();
        assert_eq!(by, transport, "{size} {lines}");
        assert_eq!(via(&ack).0, transport.as_str());
        assert_eq!(ack.as_bytes().len() > 1300, !lines.is_empty());
        // Each 2xx that asks for it gets it by the same way.
        one.hear(Transport::Tcp, &ok(&invite, &lines));
        let (by, again) = one.one();
        assert_eq!((by, again.as_bytes()), (transport, ack.as_bytes()));
    }
}

#[test]
fn a_large_ack_goes_by_udp_once_the_connection_is_gone() {
    let lines = far("192.0.2.50");
    let mut one = One::new(true, 1400);
    one.call();
    let (_, invite) = one.one();
    one.hear(Transport::Tcp, &ok(&invite, &lines));
    let (_, ack) = one.one();
    one.fail(Transport::Tcp);
    assert_eq!(one.sent().len(), 0, "the peer may have it");
    one.hear(Transport::Udp, &ok(&invite, &lines));
    let (by, again) = one.one();
    assert_eq!((by, &*via(&again).0), (Transport::Udp, "UDP"));
    assert_eq!(via(&again).1, via(&ack).1);
    // The next call does not take it for open.
    one.call();
    let (by, invite) = one.one();
    assert_eq!(by, Transport::Tcp);
    one.fail(Transport::Tcp);
    one.sent();
    one.hear(Transport::Udp, &ok(&invite, &lines));
    assert_eq!(kinds(&one.sent()), [(Transport::Udp, "ACK".to_owned())]);
}

#[test]
fn a_large_ack_to_a_next_hop_without_connection_goes_by_udp() {
    let lines = far("192.0.2.50:5070");
    let mut one = One::new(true, 1400);
    one.call();
    let (_, invite) = one.one();
    one.hear(Transport::Tcp, &ok(&invite, &lines));
    let Some(Output::Transmit(transmit)) = std::iter::from_fn(|| one.ua.poll_output())
        .find(|output| matches!(output, Output::Transmit(_)))
    else {
        panic!("no ACK");
    };
    assert!(transmit.bytes.starts_with(b"ACK ") && transmit.bytes.len() > 1300);
    assert_eq!(transmit.flow.transport, Transport::Udp);
    assert_eq!(transmit.flow.remote, addr("192.0.2.50:5070"));
}

#[test]
fn a_refusal_is_acknowledged_and_an_invite_cancelled_by_the_same_connection() {
    let mut one = One::new(true, 1400);
    let call = one.call();
    let (_, invite) = one.one();
    one.hear(Transport::Tcp, &reply(&invite, "180 Ringing", "p", "", ""));
    one.ua.hang_up(one.now, call).unwrap();
    let (by, cancel) = one.one();
    assert_eq!((by, kind(&cancel)), (Transport::Tcp, "CANCEL".to_owned()));
    assert_eq!(via(&cancel), via(&invite));
    one.hear(Transport::Tcp, &reply(&invite, "487 Ended", "p", "", ""));
    let (by, ack) = one.one();
    assert_eq!((by, kind(&ack)), (Transport::Tcp, "ACK".to_owned()));
    assert_eq!(via(&ack), via(&invite));
}

#[test]
fn without_a_connection_it_goes_by_udp_with_the_same_branch() {
    let mut one = One::new(true, 1400);
    one.call();
    let (_, invite) = one.one();
    one.pass(millis(10_000));
    assert_eq!(one.sent().len(), 0);
    one.fail(Transport::Tcp);
    let (by, again) = one.one();
    assert_eq!((by, &*via(&again).0), (Transport::Udp, "UDP"));
    assert_eq!(via(&again).1, via(&invite).1);
    assert_eq!(again.as_bytes().len(), 1400);
    assert_eq!(one.transport_errors(), 0, "nothing was lost");
    // Now the timers of UDP hold.
    one.pass(millis(500));
    assert_eq!(via(&one.one().1), via(&again));
    one.hear(Transport::Udp, &ok(&again, ""));
    assert_eq!(kinds(&one.sent()), [(Transport::Udp, "ACK".to_owned())]);
}

#[test]
fn a_peer_without_tcp_is_asked_again_after_five_minutes() {
    let mut one = One::new(true, 1400);
    one.call();
    one.sent();
    one.fail(Transport::Tcp);
    one.sent();
    one.call();
    assert_eq!(kinds(&one.sent()), [(Transport::Udp, "INVITE".to_owned())]);
    one.now += Duration::from_secs(300);
    one.call();
    assert_eq!(kinds(&one.sent()), [(Transport::Tcp, "INVITE".to_owned())]);
}

#[test]
fn what_the_peer_has_taken_fails_with_its_connection() {
    let mut one = One::new(true, 1400);
    one.call();
    let (_, invite) = one.one();
    one.hear(Transport::Tcp, &reply(&invite, "180 Ringing", "p", "", ""));
    one.fail(Transport::Tcp);
    assert_eq!(one.sent().len(), 0);
    assert_eq!(one.ua.held().calls, 0, "the call has ended");
    assert_eq!(one.transport_errors(), 1);
}

#[test]
fn a_broken_udp_flow_is_no_reason_to_send_again() {
    let mut one = One::new(true, 1400);
    one.call();
    one.sent();
    one.fail(Transport::Udp);
    assert_eq!(one.sent().len(), 0);
}

/// A peer that calls by TCP for the size of its INVITE has a Contact of UDP.
#[test]
fn a_call_that_came_by_tcp_is_answered_there_and_ended_by_udp() {
    let mut one = One::new(true, 1400);
    let invite = Ask { body: "v=0", ..ASK };
    one.hear(Transport::Tcp, &invite.text().replace("/UDP", "/TCP"));
    let mut incoming = None;
    while let Some(output) = one.ua.poll_output() {
        if let Output::Event(callmeter_sip::UaEvent::Incoming(call)) = output {
            incoming = Some(call.call);
        }
    }
    let call = incoming.unwrap();
    one.ua.answer(one.now, call, ANSWER).unwrap();
    let (by, answer) = one.one();
    assert_eq!(
        (by, kind(&answer)),
        (Transport::Tcp, "200 INVITE".to_owned())
    );
    let tag = pair::peer::to_tag(&answer);
    let ack = Ask {
        method: "ACK",
        branch: "ack",
        to_tag: &tag,
        ..ASK
    };
    one.hear(Transport::Udp, &ack.text());
    one.ua.hang_up(one.now, call).unwrap();
    let (by, bye) = one.one();
    assert_eq!((by, kind(&bye)), (Transport::Udp, "BYE".to_owned()));
}
