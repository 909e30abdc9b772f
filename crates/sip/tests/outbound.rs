//! Registrations that are bound to their connection (RFC 5626).

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
    EndpointConfig, EndpointKey, Flow, Listener, Output, Transport, UaConfig, UaEvent, UserAgent,
    instance_urn,
};

use pair::account::{SERVER, account, registration};
use pair::peer::US;
use pair::{LOCAL, OFFER, addr, header, kind, millis, reply};

const KEY: EndpointKey = EndpointKey(1);
const OUTBOUND: &str = "Require: outbound\r\n";

struct Client {
    ua: UserAgent,
    now: Instant,
    events: Vec<UaEvent>,
}

fn flow(transport: Transport) -> Flow {
    Flow {
        local: LOCAL,
        transport,
        remote: addr(SERVER),
    }
}

impl Client {
    /// So many endpoints that begin to register over one connection.
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point for virtual time"
    )]
    fn new(transport: Transport, accepts: bool, endpoints: u64) -> Self {
        let mut ua = UserAgent::new(UaConfig::default(), 1);
        let listener = match transport {
            Transport::Udp => Listener::udp(LOCAL, addr(US), None),
            other => Listener::stream(LOCAL, other, addr(US), None, accepts),
        };
        ua.add_listener(listener).unwrap();
        let now = Instant::now();
        for index in 1..=endpoints {
            let config = EndpointConfig {
                instance: Some(instance_urn(&["run", "group", &index.to_string()])),
                ..account(&format!("a{index}"))
            };
            ua.add_endpoint(EndpointKey(index), config).unwrap();
            ua.register(now, EndpointKey(index), registration(3600))
                .unwrap();
        }
        Self {
            ua,
            now,
            events: Vec::new(),
        }
    }

    fn sent(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(output) = self.ua.poll_output() {
            match output {
                Output::Transmit(transmit) => sent.push(Message::parse(transmit.bytes).unwrap()),
                Output::Event(event) => self.events.push(event),
            }
        }
        sent
    }

    fn one(&mut self) -> Message {
        let mut sent = self.sent();
        assert_eq!(
            sent.len(),
            1,
            "{:?}",
            sent.iter().map(kind).collect::<Vec<_>>()
        );
        sent.remove(0)
    }

    /// The registrar answers a request.
    fn answer(&mut self, request: &Message, status: &str, lines: &str) {
        let contact = header(request, HeaderName::Contact);
        let lines = format!("Contact: {contact};expires=3600\r\n{lines}");
        let text = reply(request, status, "r", &lines, "");
        let by = flow(Transport::Tcp);
        self.ua.handle_input(self.now, by, Bytes::from(text));
    }

    /// Accepts all registrations.
    fn accept(&mut self, lines: &str) {
        for register in self.sent() {
            self.answer(&register, "200 OK", lines);
        }
        self.sent();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ua.handle_timeout(self.now);
    }

    fn fail(&mut self) {
        self.ua.flow_failed(self.now, flow(Transport::Tcp), "reset");
    }

    /// The Contact of an INVITE.
    fn contact_of_call(&mut self) -> String {
        let invite = callmeter_sip::Invite {
            target: "sip:b@example.org".parse().unwrap(),
            next_hop: None,
            body: Bytes::from_static(OFFER),
        };
        self.ua.invite(self.now, KEY, invite).unwrap();
        header(&self.one(), HeaderName::Contact)
    }

    /// The intervals that registrars who keep their flows asked for.
    fn kept(&self) -> Vec<Option<Duration>> {
        let events = self.events.iter();
        events
            .filter_map(|event| match event {
                UaEvent::FlowKept { flow: at, every } => {
                    assert_eq!(*at, flow(Transport::Tcp));
                    Some(*every)
                }
                _ => None,
            })
            .collect()
    }
}

fn supports(message: &Message) -> Vec<String> {
    let options = message.elements(HeaderName::Supported);
    options
        .map(|option| String::from_utf8_lossy(option).into_owned())
        .collect()
}

fn contact(message: &Message) -> String {
    header(message, HeaderName::Contact)
}

#[test]
fn an_instance_keeps_its_name_and_shares_it_with_nobody() {
    let name = instance_urn(&["run", "group", "1"]);
    assert_eq!(name, instance_urn(&["run", "group", "1"]));
    for other in [
        ["run", "group", "2"],
        ["run", "group1", ""],
        ["rung", "roup", "1"],
    ] {
        assert_ne!(name, instance_urn(&other));
    }
    let uuid = name.strip_prefix("urn:uuid:").unwrap();
    let parts: Vec<_> = uuid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(&uuid[14..15], "4", "the version");
    assert!("89ab".contains(&uuid[19..20]), "the variant: {uuid}");
}

/// RFC 5626 §4.2, §4.3
#[test]
fn a_registrar_that_keeps_the_flow_is_believed() {
    let mut client = Client::new(Transport::Tcp, false, 1);
    let register = client.one();
    let urn = instance_urn(&["run", "group", "1"]);
    let uri = "sip:a1@192.0.2.1:5060;transport=tcp";
    let wanted = format!("<{uri}>;reg-id=1;+sip.instance=\"<{urn}>\"");
    assert_eq!(contact(&register), wanted);
    assert_eq!(supports(&register), ["path", "outbound"]);
    client.answer(
        &register,
        "200 OK",
        &format!("{OUTBOUND}Flow-Timer: 100\r\n"),
    );
    client.sent();
    let timers = client.kept();
    assert_eq!(timers.len(), 1);
    let every = timers[0].unwrap().as_secs();
    assert!((80..=100).contains(&every), "{timers:?}");
    assert_eq!(client.contact_of_call(), format!("<{uri};ob>"));
    // The binding is refreshed, and removed, by the same name.
    client.ua.unregister(client.now, KEY).unwrap();
    let last = client.one();
    assert_eq!(contact(&last), wanted);
    assert_eq!(header(&last, HeaderName::Expires), "0");
}

/// RFC 5626 §4.4.1: how often it is asked whether the flow lives is then ours to say.
#[test]
fn a_registrar_that_keeps_the_flow_may_name_no_interval() {
    for lines in ["", "Flow-Timer: 0\r\n"] {
        let mut client = Client::new(Transport::Tcp, false, 1);
        client.accept(&format!("{OUTBOUND}{lines}"));
        assert_eq!(client.kept(), [None], "{lines}");
    }
}

/// The negative control.
#[test]
fn a_registrar_that_ignores_it_changes_nothing() {
    let mut client = Client::new(Transport::Tcp, false, 1);
    client.accept("Flow-Timer: 100\r\n");
    assert_eq!(client.kept(), []);
    let plain = "<sip:a1@192.0.2.1:5060;transport=tcp>";
    assert_eq!(client.contact_of_call(), plain);
}

#[test]
fn over_udp_it_is_not_asked_for() {
    let mut client = Client::new(Transport::Udp, true, 1);
    let register = client.one();
    assert_eq!(contact(&register), "<sip:a1@192.0.2.1:5060>");
    assert_eq!(supports(&register), ["path"]);
}

/// RFC 5626 §11.6
#[test]
fn where_the_first_proxy_cannot_it_is_not_asked_for_again() {
    let mut client = Client::new(Transport::Tcp, false, 1);
    let register = client.one();
    client.answer(&register, "439 First Hop Lacks Outbound Support", "");
    let again = client.one();
    assert_eq!(contact(&again), "<sip:a1@192.0.2.1:5060;transport=tcp>");
    assert_eq!(supports(&again), ["path"]);
    client.answer(&again, "200 OK", "");
    client.sent();
    let ok = |event: &UaEvent| matches!(event, UaEvent::Registered(_));
    assert!(client.events.iter().any(ok));
    client.fail();
    client.pass(millis(1000));
    assert_eq!(supports(&client.one()), ["path"]);
}

/// A connection that only we can make, or one that the registrar keeps, is made again; any other is
/// not needed.
#[test]
fn what_is_lost_is_registered_again_within_a_second() {
    for (accepts, lines, again) in [
        (false, "", true),
        (false, OUTBOUND, true),
        (true, OUTBOUND, true),
        (true, "", false),
    ] {
        let mut client = Client::new(Transport::Tcp, accepts, 1);
        client.accept(lines);
        client.fail();
        assert_eq!(client.sent().len(), 0, "not at once");
        client.pass(millis(1000));
        let sent: Vec<_> = client.sent().iter().map(kind).collect();
        let wanted = if again { vec!["REGISTER"] } else { vec![] };
        assert_eq!(sent, wanted, "accepts: {accepts}, {lines:?}");
    }
}

/// A registrar that has just started again gets 200 a second from us, not all at once.
#[test]
fn ten_thousand_do_not_come_back_at_once() {
    const COUNT: usize = 10_000;
    let mut client = Client::new(Transport::Tcp, false, COUNT as u64);
    client.accept(OUTBOUND);
    client.fail();
    let mut by_second = Vec::new();
    while by_second.iter().sum::<usize>() < COUNT {
        let mut sent = 0;
        for _ in 0..100 {
            client.pass(millis(10));
            let registers = client.sent();
            sent += registers.len();
            for register in registers {
                client.answer(&register, "200 OK", OUTBOUND);
            }
        }
        by_second.push(sent);
        assert!(by_second.len() <= 60, "{by_second:?}");
    }
    assert!(by_second.iter().all(|sent| *sent <= 250), "{by_second:?}");
    assert!(by_second[0] > 100, "the first come soon: {by_second:?}");
}

/// While the server is down every message to it breaks a flow more, those of the recovery too:
/// nobody loses the turn it has.
#[test]
fn a_turn_to_register_again_stays_when_more_flows_break() {
    const COUNT: usize = 1000;
    let mut client = Client::new(Transport::Tcp, false, COUNT as u64);
    client.accept("");
    client.fail();
    let mut turns = 0;
    for _ in 0..600 {
        client.pass(millis(10));
        turns += client.sent().len();
        client.fail();
    }
    assert_eq!(turns, COUNT, "within 6 s");
}

#[test]
fn what_is_lost_again_is_registered_again_each_time() {
    let mut client = Client::new(Transport::Tcp, false, 1);
    client.accept("");
    for _ in 0..3 {
        client.fail();
        client.fail();
        client.pass(millis(1000));
        let register = client.one();
        assert_eq!(kind(&register), "REGISTER");
        client.answer(&register, "200 OK", "");
        client.sent();
    }
    // Nor does who leaves come back.
    client.fail();
    client.ua.unregister(client.now, KEY).unwrap();
    let last = client.one();
    assert_eq!(header(&last, HeaderName::Expires), "0");
    client.answer(&last, "200 OK", "");
    client.pass(millis(1000));
    assert_eq!(client.sent().len(), 0);
}
