//! Where responses go once the connection their request came by is gone (RFC 3261 §18.2.2, §17.2.4,
//! RFC 6026 §7.1): to where the peer's topmost Via says it listens.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::message::Message;
use callmeter_sip::{
    CallEvent, CallKey, EndReason, EndpointConfig, EndpointKey, Flow, Listener, Output, Reliable,
    Transport, UaConfig, UaEvent, UserAgent,
};

use pair::peer::{US, to_tag};
use pair::{ANSWER, LOCAL, addr, config, kind, millis};

const KEY: EndpointKey = EndpointKey(1);
/// Where the peer's connection comes from.
const SOURCE: &str = "192.0.2.50:40001";
/// Where it says it listens.
const LISTENS: &str = "192.0.2.50:5070";

struct Callee {
    ua: UserAgent,
    now: Instant,
    transport: Transport,
    events: Vec<UaEvent>,
}

impl Callee {
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    fn new(transport: Transport, accepts: bool) -> Self {
        let mut ua = UserAgent::new(UaConfig::default(), 1);
        let listener = Listener::stream(LOCAL, transport, addr(US), None, accepts);
        ua.add_listener(listener).unwrap();
        let endpoint = EndpointConfig {
            reliable: Reliable::Supported,
            ..config("sip:a@192.0.2.1")
        };
        ua.add_endpoint(KEY, endpoint).unwrap();
        Self {
            ua,
            now: Instant::now(),
            transport,
            events: Vec::new(),
        }
    }

    fn flow(&self, remote: &str) -> Flow {
        Flow {
            local: LOCAL,
            transport: self.transport,
            remote: addr(remote),
        }
    }

    /// The peer says something by a connection from there.
    fn take(&mut self, remote: &str, method: &str, sent_by: &str, tag: &str, lines: &str) {
        let tag = if tag.is_empty() {
            String::new()
        } else {
            format!(";tag={tag}")
        };
        let text = format!(
            "{method} sip:a@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/{} {sent_by};rport;branch=z9hG4bKw\r\n\
             From: <sip:p@192.0.2.50>;tag=peer\r\nTo: <sip:a@192.0.2.1>{tag}\r\n\
             Call-ID: w\r\nCSeq: 1 {method}\r\nContact: <sip:p@192.0.2.50:5070>\r\n{lines}\
             Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
            self.transport
        );
        let flow = self.flow(remote);
        self.ua.handle_input(self.now, flow, Bytes::from(text));
    }

    /// A peer that has connected calls; the connection breaks as soon as all is sent that `first`
    /// asks for.
    fn called_by(sent_by: &str, transport: Transport, first: fn(&mut Self, CallKey)) -> Self {
        Self::new(transport, true).called(sent_by, first)
    }

    /// The same over a connection of its own to a server.
    fn called_by_server(transport: Transport, first: fn(&mut Self, CallKey)) -> Self {
        Self::new(transport, false).called(LISTENS, first)
    }

    fn called(mut self, sent_by: &str, first: fn(&mut Self, CallKey)) -> Self {
        self.take(SOURCE, "INVITE", sent_by, "", "Supported: 100rel\r\n");
        self.sent();
        let call = self.call();
        first(&mut self, call);
        for (to, ..) in self.sent() {
            assert_eq!(to, self.flow(SOURCE), "before the connection broke");
        }
        self.fail(SOURCE);
        self
    }

    fn fail(&mut self, remote: &str) {
        let flow = self.flow(remote);
        self.ua.flow_failed(self.now, flow, "reset");
    }

    fn sent(&mut self) -> Vec<(Flow, String, Message)> {
        let mut sent = Vec::new();
        while let Some(output) = self.ua.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let message = Message::parse(transmit.bytes).unwrap();
                    sent.push((transmit.flow, kind(&message), message));
                }
                Output::Event(event) => self.events.push(event),
            }
        }
        sent
    }

    /// All that was sent, which is of one kind and went to one place.
    fn only(&mut self, remote: &str, kind: &str) -> Message {
        let mut sent = self.sent();
        let seen: Vec<_> = sent.iter().map(|(to, kind, _)| (*to, &kind[..])).collect();
        assert_eq!(seen, [(self.flow(remote), kind)]);
        sent.remove(0).2
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.ua.next_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.ua.handle_timeout(at);
        }
        self.now = end;
    }

    fn call(&self) -> CallKey {
        self.events
            .iter()
            .find_map(|event| match event {
                UaEvent::Incoming(incoming) => Some(incoming.call),
                _ => None,
            })
            .unwrap()
    }

    fn answer(&mut self) {
        let call = self.call();
        self.ua.answer(self.now, call, ANSWER).unwrap();
    }

    fn errors(&self) -> u64 {
        self.ua.endpoint_counters(KEY).unwrap().transport_errors
    }

    /// How many responses of this class have gone out, each counted once.
    fn responses(&self, class: usize) -> u64 {
        self.ua.endpoint_counters(KEY).unwrap().responses_sent[class - 1]
    }

    fn ended(&self) -> Vec<EndReason> {
        let events = self.events.iter();
        events
            .filter_map(|event| match event {
                UaEvent::Call {
                    event: CallEvent::Ended(end),
                    ..
                } => Some(end.reason),
                _ => None,
            })
            .collect()
    }
}

fn nothing(_: &mut Callee, _: CallKey) {}

fn answered(callee: &mut Callee, call: CallKey) {
    callee.ua.answer(callee.now, call, ANSWER).unwrap();
}

fn refused(callee: &mut Callee, call: CallKey) {
    callee.ua.reject(callee.now, call, 486).unwrap();
}

#[test]
fn a_call_is_answered_where_its_caller_listens() {
    for (transport, sent_by, listens) in [
        (Transport::Tcp, "192.0.2.50:5070", LISTENS),
        // The address is where it came from, whatever sent-by says; the port has a default.
        (Transport::Tcp, "pc.example:5070", LISTENS),
        (Transport::Tcp, "10.0.0.1", "192.0.2.50:5060"),
        (Transport::Tls, "192.0.2.50", "192.0.2.50:5061"),
    ] {
        let mut callee = Callee::called_by(sent_by, transport, nothing);
        assert_eq!(
            callee.sent().len(),
            0,
            "nothing was said that could be lost"
        );
        callee.answer();
        let tag = to_tag(&callee.only(listens, "200 INVITE"));
        callee.pass(millis(500));
        callee.only(listens, "200 INVITE");
        callee.take("192.0.2.50:40002", "ACK", sent_by, &tag, "");
        callee.pass(Duration::from_secs(60));
        assert_eq!(callee.sent().len(), 0);
        assert_eq!((callee.errors(), callee.ended()), (0, vec![]));
    }
}

/// What was sent last may have been lost with the connection.
#[test]
fn what_waits_for_a_word_of_the_caller_goes_again_the_other_way() {
    // A 2xx by its own timer.
    let mut callee = Callee::called_by(LISTENS, Transport::Tcp, answered);
    assert_eq!(callee.sent().len(), 0);
    callee.pass(millis(500));
    callee.only(LISTENS, "200 INVITE");
    // So does a reliable provisional response.
    let mut callee = Callee::called_by(LISTENS, Transport::Tcp, |callee, call| {
        callee.ua.progress(callee.now, call, 183, ANSWER).unwrap();
    });
    callee.pass(millis(500));
    callee.only(LISTENS, "183 INVITE");
    // A refusal has no timer over connections: at once, until its ACK has come.
    let mut callee = Callee::called_by(LISTENS, Transport::Tcp, refused);
    callee.only(LISTENS, "486 INVITE");
    callee.pass(Duration::from_secs(31));
    assert_eq!(callee.sent().len(), 0);
    let acknowledged: fn(&mut Callee, CallKey) = |callee, call| {
        refused(callee, call);
        callee.take(SOURCE, "ACK", LISTENS, "any", "");
    };
    let mut callee = Callee::called_by(LISTENS, Transport::Tcp, acknowledged);
    assert_eq!(callee.sent().len(), 0);
    assert_eq!(callee.errors(), 0);
}

/// A refusal of what became no call is nobody's: a peer that only knocks is not called back.
#[test]
fn a_stranger_is_not_called_back() {
    let mut callee = Callee::new(Transport::Tcp, true);
    callee.take(SOURCE, "INVITE", LISTENS, "", "Require: nonsense\r\n");
    callee.only(SOURCE, "420 INVITE");
    callee.fail(SOURCE);
    assert_eq!(callee.sent().len(), 0);
}

/// RFC 6026: the transaction stays, and its next response is tried again.
#[test]
fn without_a_way_back_each_response_is_tried_and_counted() {
    let mut callee = Callee::called_by(LISTENS, Transport::Tcp, nothing);
    callee.answer();
    callee.only(LISTENS, "200 INVITE");
    callee.fail(LISTENS);
    assert_eq!((callee.errors(), callee.sent().len()), (1, 0));
    callee.pass(millis(500));
    callee.only(LISTENS, "200 INVITE");
    callee.fail(LISTENS);
    assert_eq!(callee.sent().len(), 0);
    assert_eq!((callee.errors(), callee.ended()), (2, vec![]));
}

#[test]
fn the_end_of_a_connection_that_nothing_waits_for_is_no_error() {
    for transport in [Transport::Tcp, Transport::Ws] {
        let mut callee = Callee::new(transport, true);
        callee.take(SOURCE, "INVITE", LISTENS, "", "");
        callee.sent();
        callee.answer();
        let tag = to_tag(&callee.only(SOURCE, "200 INVITE"));
        callee.take(SOURCE, "ACK", LISTENS, &tag, "");
        callee.fail(SOURCE);
        callee.fail(LISTENS);
        assert_eq!(
            (callee.errors(), callee.sent().len()),
            (0, 0),
            "{transport}"
        );
    }
}

/// RFC 7118 §5
#[test]
fn nobody_connects_to_a_client_over_web_socket() {
    for transport in [Transport::Ws, Transport::Wss] {
        let mut callee = Callee::called_by(LISTENS, transport, nothing);
        callee.answer();
        callee.pass(millis(500));
        assert_eq!(callee.sent().len(), 0);
        assert_eq!(callee.errors(), 2, "the 200 and the 200 again");
        assert_eq!(callee.responses(2), 0, "none went out");
        callee.pass(Duration::from_secs(32));
        callee.only(SOURCE, "BYE");
        assert_eq!(callee.ended(), [], "its BYE waits");
    }
}

/// Who has registered over WebSocket has made the connection itself, and can make another. What Via
/// says is no way: behind what ends the server's TLS it names an inner address.
#[test]
fn what_a_server_asked_over_web_socket_is_answered_by_the_next_connection_to_it() {
    for transport in [Transport::Ws, Transport::Wss] {
        let mut callee = Callee::called_by_server(transport, nothing);
        assert_eq!(callee.sent().len(), 0);
        callee.answer();
        let tag = to_tag(&callee.only(SOURCE, "200 INVITE"));
        assert_eq!((callee.responses(2), callee.errors()), (1, 0));
        callee.fail(SOURCE);
        assert_eq!((callee.sent().len(), callee.errors()), (0, 1));
        callee.pass(millis(500));
        callee.only(SOURCE, "200 INVITE");
        callee.take(SOURCE, "ACK", LISTENS, &tag, "");
        callee.pass(Duration::from_secs(60));
        assert_eq!(callee.sent().len(), 0);
        assert_eq!((callee.errors(), callee.ended()), (1, vec![]));

        let mut callee = Callee::called_by_server(transport, refused);
        callee.only(SOURCE, "486 INVITE");
        assert_eq!((callee.responses(4), callee.errors()), (1, 0));
    }
}

/// Nothing is kept of ways whose transactions are over.
#[test]
fn a_connection_that_breaks_later_concerns_nobody() {
    let mut callee = Callee::called_by(LISTENS, Transport::Tcp, refused);
    callee.sent();
    callee.pass(Duration::from_secs(60));
    callee.fail(SOURCE);
    callee.fail(LISTENS);
    assert_eq!((callee.sent().len(), callee.errors()), (0, 0));
    assert_eq!(callee.ua.held().transactions, 0);
}
