//! Offers within a call: re-INVITE and UPDATE of either side, glare, refusals, loss.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod glare;
#[path = "../pair/mod.rs"]
mod pair;
mod refreshes;
mod refused;

use std::time::Instant;

use callmeter_sip::message::HeaderName;
use callmeter_sip::{
    CallEvent, CallKey, EndpointConfig, EndpointKey, OfferBy, UaError, UaEvent, UserAgent,
};

use pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use pair::{Agent, Net, answer_at_once, config, header, millis, nothing, reply};

const B: &str = "sip:b@192.0.2.2";
const HOLD: &[u8] = b"v=0 hold";
const HELD: &[u8] = b"v=0 held";

/// Answers calls and offers.
fn agreeable(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    answer_at_once(ua, now, event);
    if let UaEvent::Call {
        call,
        event: CallEvent::Offer { .. },
        ..
    } = event
    {
        ua.answer(now, *call, HELD).unwrap();
    }
}

/// A call that stands for a second between two agreeable agents.
fn standing(loss: f64, seed: u64) -> (Net, [CallKey; 2]) {
    let mut net = Net::pair(loss, seed, agreeable);
    net.agents[0].policy = agreeable;
    let caller = net.call(B);
    net.run_for(millis(1000));
    let callee = net.agents[1].incoming();
    (net, [caller, callee])
}

fn offer(net: &mut Net, agent: usize, call: CallKey, by: OfferBy) {
    net.with(agent, |ua, now| ua.offer(now, call, HOLD, by))
        .unwrap();
}

/// The events of calls since `from`, with what they bring.
fn said(agent: &Agent, from: usize) -> Vec<String> {
    let events = agent.events[from..].iter();
    events
        .filter_map(|event| match event {
            UaEvent::Call { event, .. } => Some(match event {
                CallEvent::OfferAnswered { body } => format!("answered {}", text(body)),
                CallEvent::OfferRefused { code } => format!("refused {code:?}"),
                CallEvent::Offer { body } => format!("offer {}", text(body)),
                CallEvent::Confirmed { body } => format!("confirmed {}", text(body)),
                CallEvent::Ended(end) => format!("ended {}", end.reason.as_str()),
                other => pair::event_name(other).to_owned(),
            }),
            _ => None,
        })
        .collect()
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

#[test]
fn a_reinvite_and_an_update_of_either_side_are_answered() {
    for (agent, by) in [
        (0, OfferBy::Invite),
        (1, OfferBy::Invite),
        (0, OfferBy::Update),
        (1, OfferBy::Update),
    ] {
        let (mut net, calls) = standing(0.0, 1);
        let from = [0, 1].map(|agent| net.agents[agent].events.len());
        let wire = net.wire.len();
        offer(&mut net, agent, calls[agent], by);
        net.run_for(millis(1000));
        let other = 1 - agent;
        assert_eq!(said(&net.agents[agent], from[agent]), ["answered v=0 held"]);
        assert_eq!(said(&net.agents[other], from[other]), ["offer v=0 hold"]);
        let wire: Vec<_> = net.wire[wire..]
            .iter()
            .map(|(.., kind)| &kind[..])
            .collect();
        match by {
            OfferBy::Invite => assert_eq!(wire, ["INVITE", "200 INVITE", "ACK"]),
            OfferBy::Update => assert_eq!(wire, ["UPDATE", "200 UPDATE"]),
        }
        let counters = net.agents[agent].ua.counters();
        assert_eq!(
            (counters.reinvites_sent, counters.reinvites_received),
            (1, 0)
        );
        let counters = net.agents[other].ua.counters();
        assert_eq!(
            (counters.reinvites_sent, counters.reinvites_received),
            (0, 1)
        );
        net.hang_up(0, calls[0]);
        net.run_out();
        let times = net.agents[agent].ends()[0].mid.as_deref().unwrap();
        assert_eq!(times.offer_sent, Some(net.start + millis(1000)));
        assert_eq!(times.offer_answered, Some(net.start + millis(1020)));
        for agent in &net.agents {
            assert_eq!(agent.ua.held().transactions, 0);
            assert_eq!(agent.ua.held().calls, 0);
        }
    }
}

#[test]
fn only_one_offer_at_a_time_and_only_in_a_call_that_stands() {
    let (mut net, [call, _]) = standing(0.0, 1);
    offer(&mut net, 0, call, OfferBy::Invite);
    let again = net.with(0, |ua, now| ua.offer(now, call, HOLD, OfferBy::Update));
    assert_eq!(again, Err(UaError::OfferPending(call)));
    let empty = net.with(0, |ua, now| ua.offer(now, call, "", OfferBy::Invite));
    assert_eq!(empty, Err(UaError::NoOffer(call)));
    net.run_for(millis(100));
    net.hang_up(0, call);
    let late = net.with(0, |ua, now| ua.offer(now, call, HOLD, OfferBy::Invite));
    assert_eq!(late, Err(UaError::WrongState(call)));
    let mut net = Net::pair(0.0, 1, nothing);
    let call = net.call(B);
    let early = net.with(0, |ua, now| ua.offer(now, call, HOLD, OfferBy::Invite));
    assert_eq!(early, Err(UaError::WrongState(call)));
}

/// The agent is called by a raw peer, offers, and gets this as the answer.
fn answered_by_peer(by: OfferBy, status: &str) -> (Net, CallKey, String) {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let call = net.agents[0].incoming();
    offer(&mut net, 0, call, by);
    net.run_for(millis(20));
    let got = net.take_raw(PEER);
    assert_eq!(got.len(), 1);
    let contact = "Contact: <sip:new@192.0.2.51:5070>\r\n";
    net.send_raw(PEER, US, &reply(&got[0], status, "", contact, ""));
    net.run_for(millis(20));
    (net, call, tag)
}

/// RFC 3261 §12.2.1.2, §13.2.2.4
#[test]
fn a_2xx_moves_the_target_and_is_acknowledged_each_time() {
    let (mut net, call, _) = answered_by_peer(OfferBy::Invite, "200 OK");
    let there = "192.0.2.51:5070";
    let acks = net.take_raw(there);
    assert_eq!(kinds(&acks), ["ACK"]);
    let again = reply(&acks[0], "200 OK", "", "", "").replace(" ACK\r\n", " INVITE\r\n");
    // The branch of the ACK is its own: the 2xx again carries that of the INVITE.
    let invite = net.agents[0]
        .sent
        .iter()
        .rev()
        .find(|sent| sent.starts_with(b"INVITE"))
        .unwrap();
    let invite = callmeter_sip::message::Message::parse(invite.clone()).unwrap();
    let via = format!("Via: {}\r\n", header(&invite, HeaderName::Via));
    let first = again.find("Via:").unwrap();
    let end = first + again[first..].find("\r\n").unwrap() + 2;
    let again = format!("{}{via}{}", &again[..first], &again[end..]);
    net.send_raw(PEER, US, &again);
    net.run_for(millis(20));
    let acks_again = net.take_raw(there);
    assert_eq!(kinds(&acks_again), ["ACK"]);
    assert_eq!(acks_again[0].as_bytes(), acks[0].as_bytes());
    net.hang_up(0, call);
    net.run_for(millis(20));
    assert_eq!(kinds(&net.take_raw(there)), ["BYE"]);
    assert!(net.take_raw(PEER).is_empty());
}

/// RFC 3261 §14.2: our 200 offers, the ACK answers.
#[test]
fn a_reinvite_without_sdp_is_answered_by_the_ack() {
    let mut net = alone(agreeable);
    let tag = established(&mut net);
    let reinvite = Ask {
        branch: "2",
        to_tag: &tag,
        cseq: 2,
        ..ASK
    };
    let got = ask(&mut net, &reinvite);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert_eq!(got[0].body(), HELD);
    let ack = Ask {
        method: "ACK",
        branch: "a2",
        to_tag: &tag,
        cseq: 2,
        body: "v=0 late",
        ..ASK
    };
    assert!(ask(&mut net, &ack).is_empty());
    assert!(said(&net.agents[0], 0).contains(&"confirmed v=0 late".to_owned()));
}

#[test]
fn headers_of_the_endpoint_are_in_the_invite_only() {
    let mut net = Net::new(0.0, 1);
    net.agent("192.0.2.1:5060", nothing);
    net.agent("192.0.2.2:5060", agreeable);
    let headers = vec![
        ("X-Run".to_owned(), "7".to_owned()),
        ("X-Evil".to_owned(), "a\r\nX-More: b".to_owned()),
    ];
    let one = EndpointConfig {
        headers,
        ..config("sip:a@192.0.2.1")
    };
    net.endpoint(0, 1, one);
    net.endpoint(1, 1, config("sip:b@192.0.2.2"));
    let call = net.call(B);
    net.run_for(millis(100));
    offer(&mut net, 0, call, OfferBy::Invite);
    net.run_for(millis(100));
    let lines: Vec<_> = net.agents[0]
        .sent
        .iter()
        .map(|sent| {
            let message = callmeter_sip::message::Message::parse(sent.clone()).unwrap();
            assert!(message.value_of("X-More").is_none());
            message.value_of("X-Run").map(<[u8]>::to_vec)
        })
        .collect();
    assert_eq!(lines, [Some(b"7".to_vec()), None, None, None]);
    assert_eq!(
        net.agents[0]
            .ua
            .endpoint_counters(EndpointKey(1))
            .unwrap()
            .reinvites_sent,
        1
    );
}
