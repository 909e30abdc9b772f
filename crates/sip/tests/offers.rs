//! Offers within a call: re-INVITE and UPDATE of either side, glare, refusals, loss.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use callmeter_sip::message::HeaderName;
use callmeter_sip::{
    CallEvent, CallKey, EndReason, EndpointConfig, EndpointKey, OfferBy, UaError, UaEvent,
    UserAgent,
};

use pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use pair::{Agent, Net, addr, answer_at_once, config, header, millis, nothing, reply};

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

/// RFC 3261 §14.1
#[test]
fn offers_that_meet_are_refused_491_and_sent_again_at_different_times() {
    for seed in 1..20 {
        let (mut net, calls) = standing(0.0, seed);
        let wire = net.wire.len();
        offer(&mut net, 0, calls[0], OfferBy::Invite);
        offer(&mut net, 1, calls[1], OfferBy::Invite);
        net.run_for(Duration::from_secs(10));
        let invites: Vec<_> = net.wire[wire..]
            .iter()
            .filter(|(.., kind)| kind == "INVITE")
            .map(|(at, from, ..)| (from.ip().to_string(), at.as_millis()))
            .collect();
        assert_eq!(net.times_of("491 INVITE").len(), 2, "{invites:?}");
        let [_, _, (callee, first), (caller, second)] = &invites[..] else {
            panic!("{invites:?}");
        };
        assert_eq!((&callee[..], &caller[..]), ("192.0.2.2", "192.0.2.1"));
        // 20 ms after the offer the 491 is back.
        assert!((1020..=3020).contains(first), "{first}");
        assert!((3120..=5020).contains(second), "{second}");
        for agent in &net.agents {
            let answered = said(agent, 0);
            let answered = answered.iter().filter(|said| *said == "answered v=0 held");
            assert_eq!(answered.count(), 1);
            assert_eq!(agent.ua.counters().reinvites_sent, 1);
        }
    }
}

/// RFC 3311 §5.2
#[test]
fn an_update_that_meets_a_reinvite_is_refused_491() {
    let (mut net, calls) = standing(0.0, 1);
    offer(&mut net, 0, calls[0], OfferBy::Invite);
    offer(&mut net, 1, calls[1], OfferBy::Update);
    net.run_for(Duration::from_secs(10));
    assert_eq!(net.times_of("491 INVITE").len(), 1);
    assert_eq!(net.times_of("491 UPDATE").len(), 1);
    for agent in &net.agents {
        assert!(said(agent, 0).contains(&"answered v=0 held".to_owned()));
    }
}

/// A peer that always refuses with 491 is not asked for ever.
#[test]
fn endless_glare_is_given_up() {
    let (mut net, calls) = standing(0.0, 1);
    net.agents[1].policy = |ua, now, event| {
        if let UaEvent::Call {
            call,
            event: CallEvent::Offer { .. },
            ..
        } = event
        {
            ua.reject(now, *call, 491).unwrap();
        }
    };
    let from = net.agents[0].events.len();
    offer(&mut net, 0, calls[0], OfferBy::Invite);
    net.run_for(Duration::from_secs(60));
    assert_eq!(said(&net.agents[0], from), ["refused Some(491)"]);
    assert_eq!(net.times_of("491 INVITE").len(), 6);
    assert_eq!(net.agents[0].standing(), 1);
}

#[test]
fn a_refused_offer_leaves_the_call_as_it_was() {
    let (mut net, calls) = standing(0.0, 1);
    net.agents[1].policy = |ua, now, event| {
        if let UaEvent::Call {
            call,
            event: CallEvent::Offer { .. },
            ..
        } = event
        {
            ua.reject(now, *call, 488).unwrap();
        }
    };
    let from = net.agents[0].events.len();
    offer(&mut net, 0, calls[0], OfferBy::Update);
    net.run_for(Duration::from_secs(40));
    assert_eq!(said(&net.agents[0], from), ["refused Some(488)"]);
    assert_eq!([net.agents[0].standing(), net.agents[1].standing()], [1, 1]);
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

/// RFC 3261 §12.2.1.2
#[test]
fn a_peer_that_knows_no_such_dialog_ends_the_call() {
    for by in [OfferBy::Invite, OfferBy::Update] {
        for status in ["481 Gone", "408 Slow"] {
            let (mut net, ..) = answered_by_peer(by, status);
            let got = kinds(&net.take_raw(PEER));
            assert_eq!(got.last().unwrap(), "BYE", "{got:?}");
            net.run_out();
            let end = net.agents[0].ends()[0];
            assert_eq!(end.reason, EndReason::DialogLost);
            assert_eq!(net.agents[0].ua.held().transactions, 0);
        }
        let (mut net, ..) = answered_by_peer(by, "488 No");
        assert!(!kinds(&net.take_raw(PEER)).contains(&"BYE".to_owned()));
        assert_eq!(net.agents[0].standing(), 1);
    }
}

#[test]
fn an_offer_nobody_answers_ends_the_call() {
    for by in [OfferBy::Invite, OfferBy::Update] {
        let (mut net, calls) = standing(0.0, 1);
        net.set_loss(1.0);
        let from = net.agents[0].events.len();
        offer(&mut net, 0, calls[0], by);
        net.run_for(millis(31_900));
        assert!(said(&net.agents[0], from).is_empty());
        net.run_for(millis(100));
        assert_eq!(said(&net.agents[0], from), ["refused None", "bye sent"]);
        net.run_out();
        assert_eq!(net.agents[0].ends()[0].reason, EndReason::DialogLost);
    }
}

/// A re-INVITE that stays at 100 for ever is given up as one that rings for ever is.
#[test]
fn a_reinvite_stuck_in_proceeding_ends() {
    let (mut net, call, _) = answered_by_peer(OfferBy::Invite, "100 Trying");
    net.run_for(Duration::from_secs(179));
    assert_eq!(net.agents[0].standing(), 1);
    net.run_for(Duration::from_secs(2));
    assert!(said(&net.agents[0], 0).contains(&"refused None".to_owned()));
    net.run_out();
    assert!(!net.agents[0].stands(call));
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

/// The rule of challenges: never in a dialog we did not start.
#[test]
fn a_challenge_to_an_offer_in_a_dialog_of_the_peer_is_a_refusal() {
    let account = |free| EndpointConfig {
        auth_in_dialog: free,
        ..pair::account::account("a")
    };
    for free in [false, true] {
        let mut net = Net::new(0.0, 1);
        net.agent(US, answer_at_once);
        let mut config = EndpointConfig {
            aor: config("sip:a@192.0.2.1").aor,
            next_hop: Some(addr(PEER)),
            ..account(free)
        };
        if let Some(credentials) = &mut config.credentials {
            credentials.realm = Some("r".to_owned());
        }
        net.endpoint(0, 1, config);
        established(&mut net);
        let call = net.agents[0].incoming();
        offer(&mut net, 0, call, OfferBy::Invite);
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
        net.send_raw(PEER, US, &reply(&got[0], "401 No", "", challenge, ""));
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        if free {
            assert_eq!(kinds(&got), ["ACK", "INVITE"]);
            assert!(!header(&got[1], HeaderName::Authorization).is_empty());
        } else {
            assert_eq!(kinds(&got), ["ACK"]);
            assert!(said(&net.agents[0], 0).contains(&"refused Some(401)".to_owned()));
        }
    }
}

#[test]
fn a_reinvite_that_crosses_a_bye_ends_with_the_call() {
    let (mut net, calls) = standing(0.0, 1);
    offer(&mut net, 0, calls[0], OfferBy::Invite);
    net.hang_up(1, calls[1]);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::RemoteBye);
    assert_eq!(net.agents[1].ends()[0].reason, EndReason::LocalBye);
    // The same from one side: BYE right after the re-INVITE.
    let (mut net2, calls) = standing(0.0, 1);
    offer(&mut net2, 0, calls[0], OfferBy::Invite);
    net2.hang_up(0, calls[0]);
    net2.run_out();
    assert_eq!(net2.agents[0].ends()[0].reason, EndReason::LocalBye);
    for agent in net.agents.iter().chain(&net2.agents) {
        assert_eq!(agent.ends().len(), 1);
        let held = agent.ua.held();
        assert_eq!((held.calls, held.transactions), (0, 0));
        let counters = agent.ua.counters();
        assert_eq!((counters.timeouts, counters.malformed), (0, 0));
    }
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
fn under_loss_every_offer_ends_once() {
    for seed in 1..40 {
        let (mut net, calls) = standing(0.0, seed);
        net.set_loss(0.3);
        let from = [0, 1].map(|agent| net.agents[agent].events.len());
        let by = if seed % 2 == 0 {
            OfferBy::Invite
        } else {
            OfferBy::Update
        };
        offer(&mut net, 0, calls[0], by);
        if seed % 3 == 0 {
            offer(&mut net, 1, calls[1], OfferBy::Invite);
        }
        net.run_for(Duration::from_secs(120));
        let done = |agent: usize| {
            let said = said(&net.agents[agent], from[agent]);
            let ended = said
                .iter()
                .filter(|said| said.starts_with("answered") || said.starts_with("refused"));
            (ended.count(), said)
        };
        let (count, said) = done(0);
        assert_eq!(count, 1, "seed {seed}: {said:?}");
        if seed % 3 == 0 && !said.iter().any(|said| said.contains("bye")) {
            assert_eq!(done(1).0, 1, "seed {seed}");
        }
        net.set_loss(0.0);
        if net.agents[0].standing() == 1 {
            net.hang_up(0, calls[0]);
        }
        net.run_out();
        for agent in &net.agents {
            assert_eq!(agent.ends().len(), 1, "seed {seed}");
            assert_eq!(agent.ua.held().transactions, 0, "seed {seed}");
        }
    }
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
