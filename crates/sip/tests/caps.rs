//! What a user agent keeps of branches, calls and peers: as many as its limits say, and one more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Duration;

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    EndpointConfig, EndpointKey, Flow, Held, Invite, Listener, Output, Reliable, Transport,
    UaConfig, UaError, UserAgent,
};

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, kinds, to_tag};
use pair::{LOCAL, Net, addr, config, header, kind, millis, nothing, reply};

const KEY: EndpointKey = EndpointKey(1);

/// An agent with other settings than the usual ones.
fn with(settings: UaConfig) -> Net {
    let mut net = alone(nothing);
    let mut ua = UserAgent::new(settings, 1);
    ua.add_listener(Listener::udp(LOCAL, addr(US), None))
        .unwrap();
    ua.add_endpoint(KEY, config("sip:a@192.0.2.1")).unwrap();
    net.agents[0].ua = ua;
    net
}

/// A call to the raw peer, of an endpoint that takes reliable responses or does not.
fn called(reliable: Reliable) -> (Net, callmeter_sip::CallKey, Message) {
    let mut net = Net::new(0.0, 1);
    net.agent(US, nothing);
    let config = EndpointConfig {
        reliable,
        ..config("sip:a@192.0.2.1")
    };
    net.endpoint(0, 1, config);
    let call = net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    (net, call, invite)
}

/// What comes of a response of the branch `tag`.
fn say(
    net: &mut Net,
    invite: &Message,
    status: &str,
    tag: &str,
    lines: &str,
    body: &str,
) -> Vec<String> {
    let lines = format!("{CONTACT}{lines}");
    net.send_raw(PEER, US, &reply(invite, status, tag, &lines, body));
    net.run_for(millis(20));
    kinds(&net.take_raw(PEER))
}

/// Unexpected messages, and duplicates.
fn counted(net: &Net) -> (u64, u64) {
    let counters = net.agents[0].ua.counters();
    (counters.unexpected, counters.retransmissions_received)
}

/// Nothing is left but the listener and its endpoint.
fn finish(mut net: Net) {
    net.run_out();
    let bare = Held {
        listeners: 1,
        endpoints: 1,
        ..Held::default()
    };
    assert_eq!(net.agents[0].ua.held(), bare);
    assert_eq!(net.agents[0].standing(), 0);
}

/// The peer of a branch too many gets no PRACK and gives it up; it may still answer.
#[test]
fn sixteen_early_dialogs_are_acknowledged() {
    let (mut net, call, invite) = called(Reliable::Supported);
    let ring = |net: &mut Net, tag: usize, rseq: u32| {
        let lines = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        say(net, &invite, "180 Ringing", &format!("t{tag}"), &lines, "")
    };
    for tag in 1..=16 {
        assert_eq!(ring(&mut net, tag, 1), ["PRACK"], "{tag}");
    }
    assert_eq!(net.agents[0].call_events(), ["180"; 16]);
    assert!(ring(&mut net, 17, 1).is_empty());
    assert_eq!(net.agents[0].call_events().len(), 16);
    assert_eq!(counted(&net), (1, 0));
    // Those that are known go on, PRACKs that got no answer come again.
    assert!(ring(&mut net, 16, 2).contains(&"PRACK".to_owned()));
    assert_eq!(counted(&net), (1, 0));
    let got = say(&mut net, &invite, "200 OK", "t17", "", "v=0");
    assert!(got.contains(&"ACK".to_owned()), "{got:?}");
    net.hang_up(0, call);
    finish(net);
}

/// 199 gives the place of its branch to another one.
#[test]
fn early_media_of_sixteen_branches_is_kept() {
    let (mut net, call, invite) = called(Reliable::Off);
    let early = |net: &mut Net, tag: usize, status: &str, body: &str| {
        say(net, &invite, status, &format!("t{tag}"), "", body);
        net.agents[0].call_events().len()
    };
    for tag in 1..=16 {
        assert_eq!(early(&mut net, tag, "183 Early", "v=0"), tag);
    }
    assert_eq!(early(&mut net, 17, "183 Early", "v=0"), 16);
    assert_eq!(counted(&net), (1, 0));
    assert_eq!(early(&mut net, 1, "183 Early", "v=0 again"), 17);
    assert_eq!(early(&mut net, 1, "199 Gone", ""), 18);
    assert_eq!(early(&mut net, 17, "183 Early", "v=0"), 19);
    assert_eq!(counted(&net), (1, 0));
    net.hang_up(0, call);
    finish(net);
}

/// RFC 3261 §13.2.2.4: each branch that answers is acknowledged, and ended unless it is the first.
#[test]
fn sixteen_answers_are_acknowledged() {
    let (mut net, call, invite) = called(Reliable::Off);
    let ok = |net: &mut Net, tag: usize| {
        let got = say(net, &invite, "200 OK", &format!("t{tag}"), "", "v=0");
        let mut got: Vec<_> = got.into_iter().collect();
        // BYEs that got no answer come again.
        got.dedup();
        got
    };
    assert_eq!(ok(&mut net, 1), ["ACK"]);
    for tag in 2..=16 {
        let got = ok(&mut net, tag);
        assert!(got.contains(&"ACK".to_owned()), "{tag}: {got:?}");
    }
    let acks = net.times_of("ACK").len();
    let byes = |net: &Net| {
        let sent = net.agents[0].sent.iter();
        let byes = sent.map(|bytes| Message::parse(bytes.clone()).unwrap());
        let byes = byes.filter(|message| kind(message) == "BYE");
        let mut tags: Vec<_> = byes.map(|message| to_tag(&message)).collect();
        tags.sort_unstable();
        tags.dedup();
        tags.len()
    };
    assert_eq!((acks, byes(&net), counted(&net)), (16, 15, (0, 0)));
    ok(&mut net, 17);
    assert_eq!(net.times_of("ACK").len(), 16);
    assert_eq!((byes(&net), counted(&net)), (15, (1, 0)));
    // One that is known is acknowledged again.
    ok(&mut net, 16);
    assert_eq!((net.times_of("ACK").len(), counted(&net)), (17, (1, 1)));
    net.hang_up(0, call);
    finish(net);
}

/// One is sent, four wait for its PRACK; each PRACK makes room for one more.
#[test]
fn four_provisional_responses_wait() {
    let mut net = Net::new(0.0, 1);
    net.agent(US, nothing);
    let config = EndpointConfig {
        reliable: Reliable::Supported,
        ..config("sip:a@192.0.2.1")
    };
    net.endpoint(0, 1, config);
    let open = Ask {
        lines: "Supported: 100rel\r\n",
        body: "v=0",
        ..ASK
    };
    ask(&mut net, &open);
    let call = net.agents[0].incoming();
    let progress =
        |net: &mut Net, code| net.with(0, move |ua, now| ua.progress(now, call, code, ""));
    for code in 181..=185 {
        assert_eq!(progress(&mut net, code), Ok(()));
    }
    assert_eq!(progress(&mut net, 186), Err(UaError::WrongState(call)));
    net.run_for(millis(20));
    let mut sent = net.take_raw(PEER);
    let mut cseq = 1;
    let mut acknowledge = |net: &mut Net, sent: &[Message], next: Option<u16>| {
        cseq += 1;
        let last = sent.last().unwrap();
        let prack = Ask {
            method: "PRACK",
            branch: &format!("p{cseq}"),
            to_tag: &to_tag(last),
            cseq,
            lines: &format!("RAck: {} 1 INVITE\r\n", header(last, HeaderName::RSeq)),
            ..ASK
        };
        let got = ask(net, &prack);
        let next = next.map(|code| format!("{code} INVITE"));
        let expected: Vec<_> = Some("200 PRACK".to_owned())
            .into_iter()
            .chain(next)
            .collect();
        assert_eq!(kinds(&got), expected);
        got
    };
    assert_eq!(kinds(&sent), ["181 INVITE"]);
    sent = acknowledge(&mut net, &sent, Some(182));
    assert_eq!(progress(&mut net, 187), Ok(()));
    assert_eq!(progress(&mut net, 188), Err(UaError::WrongState(call)));
    for code in [Some(183), Some(184), Some(185), Some(187), None] {
        sent = acknowledge(&mut net, &sent, code);
    }
    net.hang_up(0, call);
    finish(net);
}

/// A peer too many is asked for a connection each time, until others have been forgotten.
#[test]
fn of_1024_peers_it_is_known_that_they_take_no_tcp() {
    let mut net = alone(nothing);
    let listener = Listener {
        large_by_tcp: true,
        ..Listener::udp(LOCAL, addr(US), None)
    };
    let config = EndpointConfig {
        headers: vec![("X-Fill".to_owned(), "x".repeat(1300))],
        ..config("sip:a@192.0.2.1")
    };
    let mut ua = UserAgent::new(UaConfig::default(), 1);
    ua.add_listener(listener).unwrap();
    ua.add_endpoint(KEY, config).unwrap();
    let sent = |ua: &mut UserAgent| -> Vec<Transport> {
        let sent = std::iter::from_fn(|| ua.poll_output());
        sent.filter_map(|output| match output {
            Output::Transmit(transmit) => Some(transmit.flow.transport),
            Output::Event(_) => None,
        })
        .collect()
    };
    let call = |ua: &mut UserAgent, now, peer: usize| {
        let invite = Invite {
            target: format!("sip:b@10.0.{}.{}", peer / 250, peer % 250)
                .parse()
                .unwrap(),
            next_hop: None,
            body: Bytes::from_static(b"v=0"),
        };
        ua.invite(now, KEY, invite).unwrap();
        sent(ua)
    };
    let refuse = |ua: &mut UserAgent, now, peer: usize| {
        let remote = addr(&format!("10.0.{}.{}:5060", peer / 250, peer % 250));
        let flow = Flow {
            local: LOCAL,
            transport: Transport::Tcp,
            remote,
        };
        ua.flow_failed(now, flow, "refused");
        sent(ua)
    };
    for peer in 0..=1024 {
        assert_eq!(call(&mut ua, net.now, peer), [Transport::Tcp]);
        assert_eq!(refuse(&mut ua, net.now, peer), [Transport::Udp]);
    }
    for (peer, transport) in [
        (0, Transport::Udp),
        (1023, Transport::Udp),
        (1024, Transport::Tcp),
    ] {
        assert_eq!(call(&mut ua, net.now, peer), [transport], "{peer}");
    }
    net.now += Duration::from_secs(300);
    assert_eq!(call(&mut ua, net.now, 1024), [Transport::Tcp]);
    assert_eq!(refuse(&mut ua, net.now, 1024), [Transport::Udp; 2]);
    assert_eq!(call(&mut ua, net.now, 1024), [Transport::Udp]);
    net.agents[0].ua = ua;
    net.drain();
    finish(net);
}

/// A call too many is refused with 486, and none is placed.
#[test]
fn as_many_calls_as_the_settings_say() {
    let mut net = with(UaConfig {
        max_calls: 2,
        ..UaConfig::default()
    });
    let invite = |net: &mut Net, cseq: u32| {
        let invite = Ask {
            branch: &cseq.to_string(),
            cseq,
            body: "v=0",
            ..ASK
        };
        kinds(&ask(net, &invite))
    };
    let target = |net: &mut Net| {
        let invite = Invite {
            target: format!("sip:p@{PEER}").parse().unwrap(),
            next_hop: None,
            body: Bytes::new(),
        };
        net.with(0, |ua, now| ua.invite(now, KEY, invite))
    };
    assert!(invite(&mut net, 1).is_empty() && invite(&mut net, 2).is_empty());
    assert_eq!(net.agents[0].ua.held().calls, 2);
    assert_eq!(invite(&mut net, 3), ["486 INVITE"]);
    assert_eq!(target(&mut net), Err(UaError::TooManyCalls));
    assert_eq!(net.agents[0].ua.held().calls, 2);
    let call = net.agents[0].incoming();
    net.hang_up(0, call);
    assert!(target(&mut net).is_ok());
    assert_eq!(target(&mut net), Err(UaError::TooManyCalls));
    finish(net);
}

/// A call too many is dropped and counted; one that is known is still answered.
#[test]
fn as_many_server_transactions_as_the_settings_say() {
    let mut net = with(UaConfig {
        max_server_transactions: 2,
        ..UaConfig::default()
    });
    net.agents[0].policy = pair::ring_only;
    let invite = |net: &mut Net, cseq: u32| {
        let invite = Ask {
            branch: &cseq.to_string(),
            cseq,
            body: "v=0",
            ..ASK
        };
        kinds(&ask(net, &invite))
    };
    assert_eq!(invite(&mut net, 1), ["180 INVITE"]);
    assert_eq!(invite(&mut net, 2), ["180 INVITE"]);
    assert!(invite(&mut net, 3).is_empty());
    assert_eq!(counted(&net), (1, 0));
    assert_eq!(net.agents[0].ua.held().transactions, 2);
    assert_eq!(invite(&mut net, 2), ["180 INVITE"]);
    assert_eq!(counted(&net), (1, 1));
    // Both are refused and forgotten, then there is room.
    net.run_for(Duration::from_secs(300));
    net.take_raw(PEER);
    assert_eq!(invite(&mut net, 3), ["180 INVITE"]);
    finish(net);
}
