//! Peers that fork, stay silent, repeat themselves or break the rules, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::net::IpAddr;

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    EndReason, EndpointKey, Listener, LocalId, Output, UaConfig, UaEvent, UserAgent,
};

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, kinds, to_tag};
use pair::{
    ANSWER, LOCAL, Net, addr, answer_at_once, config, header, kind, millis, nothing, reply,
};

/// RFC 3261 §13.2.2.4
#[test]
fn the_first_answer_wins_and_other_branches_are_ended() {
    let mut net = alone(nothing);
    let call = net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    for tag in ["one", "two", "one", "two"] {
        let other = "Contact: <sip:p@192.0.2.51:5070>\r\n";
        let contact = if tag == "one" { CONTACT } else { other };
        net.send_raw(PEER, US, &reply(&invite, "200 OK", tag, contact, "v=0"));
        net.run_for(millis(20));
    }
    assert_eq!(kinds(&net.take_raw(PEER)), ["ACK", "ACK"]);
    let fork = net.take_raw("192.0.2.51:5070");
    assert_eq!(kinds(&fork), ["ACK", "BYE", "ACK"]);
    assert!(fork.iter().all(|message| to_tag(message) == "two"));
    assert_eq!(net.agents[0].call_events(), ["answered"]);
    net.hang_up(0, call);
    net.run_for(millis(20));
    let bye = net.take_raw(PEER).remove(0);
    assert_eq!(
        (kind(&bye), to_tag(&bye)),
        ("BYE".to_owned(), "one".to_owned())
    );
    let counters = net.agents[0].ua.counters();
    assert_eq!(
        (
            counters.retransmissions_received,
            counters.responses_received[1]
        ),
        (2, 2)
    );
}

#[test]
fn a_late_2xx_is_acknowledged_after_the_call_has_ended() {
    let mut net = alone(nothing);
    let call = net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    let answer = reply(&invite, "200 OK", "one", CONTACT, "v=0");
    net.send_raw(PEER, US, &answer);
    net.run_for(millis(20));
    net.hang_up(0, call);
    net.run_for(millis(20));
    let got = net.take_raw(PEER);
    assert_eq!(kinds(&got), ["ACK", "BYE"]);
    net.send_raw(PEER, US, &reply(&got[1], "200 OK", "", "", ""));
    net.run_for(millis(20));
    assert_eq!(net.agents[0].ends().len(), 1);
    net.send_raw(PEER, US, &answer);
    net.run_for(millis(20));
    assert_eq!(kinds(&net.take_raw(PEER)), ["ACK"]);
}

/// An INVITE given up after its CANCEL is answered after all: acknowledged and ended.
#[test]
fn an_answer_after_everything_is_ended() {
    let mut net = alone(nothing);
    let call = net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    net.send_raw(PEER, US, &reply(&invite, "180 Ringing", "one", "", ""));
    net.run_for(millis(20));
    net.hang_up(0, call);
    net.run_for(millis(31_000));
    net.send_raw(PEER, US, &reply(&invite, "200 OK", "one", CONTACT, "v=0"));
    net.run_for(millis(500));
    let kinds = kinds(&net.take_raw(PEER));
    assert_eq!(&kinds[kinds.len() - 2..], ["ACK", "BYE"]);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::Cancelled);
}

/// RFC 3261 §13.3.1.4
#[test]
fn a_missing_ack_ends_the_call() {
    let mut net = alone(answer_at_once);
    ask(&mut net, &Ask { body: "v=0", ..ASK });
    net.run_for(millis(32_000));
    let got = kinds(&net.take_raw(PEER));
    // T1 doubling to T2: 0.5, 1.5, 3.5, 7.5, then every 4 s to 31.5 s.
    assert_eq!(got.iter().filter(|kind| *kind == "200 INVITE").count(), 10);
    assert_eq!(got.last().unwrap(), "BYE");
    net.run_out();
    let agent = &net.agents[0];
    assert_eq!(
        agent.call_events(),
        ["incoming", "ack missing", "bye sent", "ended"]
    );
    assert_eq!(agent.ends()[0].reason, EndReason::AckTimeout);
    assert_eq!(agent.ua.counters().timeouts, 2);
}

#[test]
fn repeated_requests_are_absorbed_and_counted() {
    let mut net = alone(answer_at_once);
    let first = ask(&mut net, &Ask { body: "v=0", ..ASK });
    let again = ask(&mut net, &Ask { body: "v=0", ..ASK });
    // RFC 6026: the 2xx is repeated by its own timer, not by the INVITE.
    assert_eq!((first.len(), again.len()), (2, 0));
    let tag = to_tag(&first[1]);
    for _ in 0..2 {
        ask(
            &mut net,
            &Ask {
                method: "ACK",
                branch: "ack",
                to_tag: &tag,
                ..ASK
            },
        );
    }
    let bye = Ask {
        method: "BYE",
        branch: "bye",
        to_tag: &tag,
        cseq: 2,
        ..ASK
    };
    assert_eq!(kinds(&ask(&mut net, &bye)), ["200 BYE"]);
    assert_eq!(kinds(&ask(&mut net, &bye)), ["200 BYE"]);
    let counters = net.agents[0].ua.endpoint_counters(EndpointKey(1)).unwrap();
    assert_eq!(
        (
            counters.retransmissions_received,
            counters.retransmissions_sent
        ),
        (3, 1)
    );
    let total = net.agents[0].ua.counters();
    assert_eq!(
        (total.retransmissions_received, total.messages_received),
        (3, 6)
    );
    assert_eq!(net.agents[0].ends().len(), 1);
}

/// An ACK to a 2xx that wrongly shares the branch of the INVITE is taken all the same.
#[test]
fn an_ack_over_the_invites_branch_is_taken() {
    let mut net = alone(answer_at_once);
    let got = ask(&mut net, &Ask { body: "v=0", ..ASK });
    ask(
        &mut net,
        &Ask {
            method: "ACK",
            to_tag: &to_tag(&got[1]),
            ..ASK
        },
    );
    assert_eq!(net.agents[0].call_events(), ["incoming", "confirmed"]);
    let counters = net.agents[0].ua.endpoint_counters(EndpointKey(1)).unwrap();
    assert_eq!(
        (
            counters.messages_received,
            counters.retransmissions_received
        ),
        (2, 0)
    );
}

/// RFC 3261 §8.2.2.2, but two endpoints called by one forking proxy are two calls.
#[test]
fn a_merged_request_is_a_loop() {
    let mut net = alone(nothing);
    net.endpoint(0, 2, config("sip:a2@192.0.2.1"));
    assert!(ask(&mut net, &ASK).is_empty());
    assert_eq!(
        kinds(&ask(&mut net, &Ask { branch: "2", ..ASK })),
        ["482 INVITE"]
    );
    assert!(
        ask(
            &mut net,
            &Ask {
                branch: "3",
                user: "a2",
                ..ASK
            }
        )
        .is_empty()
    );
    let endpoints: Vec<_> = net.agents[0]
        .events
        .iter()
        .filter_map(|event| match event {
            UaEvent::Incoming(incoming) => Some(incoming.endpoint),
            _ => None,
        })
        .collect();
    assert_eq!(endpoints, [Some(EndpointKey(1)), Some(EndpointKey(2))]);
}

#[test]
fn a_call_for_nobody_can_be_attached() {
    let mut net = alone(nothing);
    ask(
        &mut net,
        &Ask {
            user: "4711",
            body: "v=0",
            ..ASK
        },
    );
    let call = net.agents[0].incoming();
    net.agents[0].ua.attach(call, EndpointKey(1)).unwrap();
    net.with(0, |ua, now| ua.answer(now, call, ANSWER)).unwrap();
    net.run_for(millis(20));
    let got = net.take_raw(PEER);
    assert_eq!(
        header(&got[0], HeaderName::Contact),
        "<sip:a@192.0.2.1:5060>"
    );
    let counters = net.agents[0].ua.endpoint_counters(EndpointKey(1)).unwrap();
    assert_eq!(
        (counters.invites_received, counters.messages_received),
        (1, 1)
    );
    assert_eq!((counters.messages_sent, counters.responses_sent[1]), (1, 1));
}

#[test]
fn garbage_is_counted_and_never_answered() {
    let mut net = alone(nothing);
    let bad = [
        "hello",
        "INVITE sip:a@192.0.2.1 SIP/2.0\r\n\r\n",
        "SIP/2.0 200 OK\r\n\r\n",
        "OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n",
    ];
    for text in bad {
        net.send_raw(PEER, US, text);
    }
    net.send_raw(PEER, US, "\r\n\r\n");
    net.run_for(millis(100));
    let counters = net.agents[0].ua.counters();
    assert_eq!((counters.malformed, counters.messages_received), (4, 4));
    assert_eq!(counters.messages_sent, 0);
    assert!(net.take_raw(PEER).is_empty());
}

#[test]
fn responses_that_are_not_ours_are_ignored() {
    let mut net = alone(nothing);
    net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    let answer = reply(&invite, "200 OK", "x", CONTACT, "v=0");
    let via = header(&invite, HeaderName::Via);
    for wrong in [
        answer.replace(
            "Via: SIP/2.0/UDP 192.0.2.1:5060",
            "Via: SIP/2.0/UDP 192.0.2.7:5060",
        ),
        answer.replace("\r\nFrom", &format!("\r\nVia: {via}\r\nFrom")),
        answer.replace("branch=z9hG4bK", "branch=z9hG4bKx"),
    ] {
        net.send_raw(PEER, US, &wrong);
    }
    net.run_for(millis(20));
    assert!(net.agents[0].call_events().is_empty());
    let counters = net.agents[0].ua.counters();
    assert_eq!((counters.unexpected, counters.out_of_dialog), (2, 1));
}

/// R13, R31, R33: bound to one address, another in Via and Contact.
#[test]
fn the_external_address_is_advertised() {
    let external: IpAddr = "203.0.113.10".parse().unwrap();
    let mut net = Net::new(0.0, 1);
    net.agent("10.0.1.50:5070", nothing);
    let mut ua = UserAgent::new(UaConfig::default(), 7);
    ua.add_listener(Listener::udp(
        LocalId(1),
        addr("10.0.1.50:5070"),
        Some(external),
    ))
    .unwrap();
    ua.add_endpoint(EndpointKey(1), config("sip:a@10.0.1.50"))
        .unwrap();
    let invite = callmeter_sip::Invite {
        target: "sip:b@192.0.2.2".parse().unwrap(),
        next_hop: None,
        body: Bytes::new(),
    };
    ua.invite(net.start, EndpointKey(1), invite).unwrap();
    let Some(Output::Transmit(transmit)) = ua.poll_output() else {
        panic!()
    };
    assert_eq!(
        (transmit.flow.local, transmit.flow.remote),
        (LOCAL, addr("192.0.2.2:5060"))
    );
    let message = Message::parse(transmit.bytes).unwrap();
    let via = header(&message, HeaderName::Via);
    assert!(
        via.starts_with("SIP/2.0/UDP 203.0.113.10:5070;rport;branch=z9hG4bK"),
        "{via}"
    );
    assert_eq!(
        header(&message, HeaderName::Contact),
        "<sip:a@203.0.113.10:5070>"
    );
    net.run_out();
}
