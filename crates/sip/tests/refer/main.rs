//! Transfers: REFER and its NOTIFYs (RFC 3515), blind and attended (RFC 3891).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod loss;
mod notify;
mod outlived;
#[path = "../pair/mod.rs"]
mod pair;

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    CallEvent, CallKey, EndReason, EndpointKey, Invite, Refer, Replaces, UaError, UaEvent,
    UserAgent,
};

use pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use pair::{Agent, Net, OFFER, answer_at_once, config, header, millis, nothing, reply};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Answers calls and takes transfers.
fn willing(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    answer_at_once(ua, now, event);
    if let UaEvent::Call {
        call,
        event: CallEvent::Referred { .. },
        ..
    } = event
    {
        ua.accept_refer(now, *call).unwrap();
    }
}

/// Agents a, b and c, and a call from a to b.
fn three() -> (Net, [CallKey; 2]) {
    seeded(1)
}

fn seeded(seed: u64) -> (Net, [CallKey; 2]) {
    let mut net = Net::new(0.0, seed);
    for (index, user) in ["a", "b", "c"].into_iter().enumerate() {
        let host = format!("192.0.2.{}", index + 1);
        net.agent(&format!("{host}:5060"), willing);
        net.endpoint(index, 1, config(&format!("sip:{user}@{host}")));
    }
    let caller = net.call("sip:b@192.0.2.2");
    net.run_for(millis(100));
    let callee = net.agents[B].incoming();
    (net, [caller, callee])
}

fn to_c(replaces: Option<CallKey>) -> Refer {
    Refer {
        to: "sip:c@192.0.2.3".parse().unwrap(),
        replaces,
    }
}

/// A asks B in a call of theirs to call C.
fn refer_to_c(net: &mut Net, call: CallKey) {
    net.with(A, |ua, now| ua.refer(now, call, &to_c(None)))
        .unwrap();
}

fn referred(agent: &Agent) -> (String, Option<Replaces>) {
    agent
        .told(|event| match event {
            CallEvent::Referred { to, replaces } => Some((to.to_string(), replaces.clone())),
            _ => None,
        })
        .pop()
        .unwrap()
}

fn progress(agent: &Agent) -> Vec<(Option<u16>, bool)> {
    agent.told(|event| match event {
        CallEvent::TransferProgress { code, last } => Some((*code, *last)),
        _ => None,
    })
}

fn answers(agent: &Agent) -> Vec<Option<u16>> {
    agent.told(|event| match event {
        CallEvent::ReferAnswered { code } => Some(*code),
        _ => None,
    })
}

fn invite(to: &str) -> Invite {
    Invite {
        target: to.parse().unwrap(),
        next_hop: None,
        body: Bytes::from_static(OFFER),
    }
}

#[test]
fn a_blind_transfer() {
    let (mut net, [a, b]) = three();
    refer_to_c(&mut net, a);
    net.run_for(millis(100));
    assert_eq!(answers(&net.agents[A]), [Some(202)]);
    assert_eq!(progress(&net.agents[A]), [(Some(100), false)]);
    let (to, replaces) = referred(&net.agents[B]);
    assert_eq!((&to[..], replaces), ("sip:c@192.0.2.3", None));
    let again = net.with(A, |ua, now| ua.refer(now, a, &to_c(None)));
    assert_eq!(again, Err(UaError::TransferPending(a)));
    let call = net.with(B, |ua, now| ua.invite(now, EndpointKey(1), invite(&to)));
    net.with(B, |ua, now| ua.notify_refer(now, b, 180, false))
        .unwrap();
    net.run_for(millis(100));
    net.with(B, |ua, now| ua.notify_refer(now, b, 200, true))
        .unwrap();
    net.run_for(millis(100));
    let all = [(Some(100), false), (Some(180), false), (Some(200), true)];
    assert_eq!(progress(&net.agents[A]), all);
    let done = net.with(B, |ua, now| ua.notify_refer(now, b, 200, true));
    assert_eq!(done, Err(UaError::WrongState(b)));
    assert_eq!(net.agents[A].ua.counters().refers_sent, 1);
    assert_eq!(net.agents[B].ua.counters().refers_received, 1);
    net.hang_up(A, a);
    net.hang_up(B, call.unwrap());
    net.run_out();
    let times = net.agents[A].ends()[0].mid.as_deref().unwrap();
    let at = |ms| Some(net.start + millis(ms));
    assert_eq!((times.refer_sent, times.refer_ended), (at(100), at(310)));
    for agent in &net.agents {
        let held = agent.ua.held();
        assert_eq!((held.calls, held.transactions, held.timers), (0, 0, 0));
    }
}

/// A talks to B and to C, and connects the two: B's call replaces A's at C.
#[test]
fn an_attended_transfer() {
    let (mut net, [a, _]) = three();
    let other = net.call("sip:c@192.0.2.3");
    net.run_for(millis(100));
    let at_c = net.agents[C].incoming();
    net.with(A, |ua, now| ua.refer(now, a, &to_c(Some(other))))
        .unwrap();
    net.run_for(millis(100));
    let (to, replaces) = referred(&net.agents[B]);
    assert_eq!(to, "sip:c@192.0.2.3");
    let replaces = replaces.unwrap();
    net.with(B, |ua, now| {
        ua.invite_replacing(now, EndpointKey(1), invite(&to), replaces)
    })
    .unwrap();
    net.run_for(millis(100));
    let incoming = net.agents[C]
        .events
        .iter()
        .rev()
        .find_map(|event| match event {
            UaEvent::Incoming(incoming) => Some(incoming),
            _ => None,
        });
    assert_eq!(incoming.unwrap().replaces, Some(at_c));
    assert!(net.agents[C].call_events().contains(&"replaced"));
    assert_eq!(net.agents[C].ends()[0].reason, EndReason::LocalBye);
    assert_eq!(net.agents[A].ends()[0].reason, EndReason::RemoteBye);
    assert_eq!(net.agents[C].standing(), 1);
}

#[test]
fn a_transfer_refused_or_not_answered() {
    let (mut net, [a, b]) = three();
    net.agents[B].policy = nothing;
    refer_to_c(&mut net, a);
    net.run_for(millis(100));
    let wrong = net.with(B, |ua, now| ua.reject_refer(now, b, 200));
    assert_eq!(wrong, Err(UaError::StatusCode(200)));
    let early = net.with(B, |ua, now| ua.notify_refer(now, b, 200, true));
    assert_eq!(early, Err(UaError::WrongState(b)));
    net.with(B, |ua, now| ua.reject_refer(now, b, 486)).unwrap();
    net.run_for(millis(100));
    assert_eq!(answers(&net.agents[A]), [Some(486)]);
    // Nobody decides: declined after 20 s.
    refer_to_c(&mut net, a);
    net.run_for(Duration::from_secs(19));
    assert_eq!(answers(&net.agents[A]).len(), 1);
    net.run_for(Duration::from_secs(2));
    assert_eq!(answers(&net.agents[A]), [Some(486), Some(603)]);
    let late = net.with(B, |ua, now| ua.accept_refer(now, b));
    assert_eq!(late, Err(UaError::WrongState(b)));
    assert!(progress(&net.agents[A]).is_empty());
    assert_eq!(net.agents[A].standing(), 1);
}

#[test]
fn a_transfer_nobody_tells_of_ends_after_three_minutes() {
    let (mut net, [a, b]) = three();
    refer_to_c(&mut net, a);
    net.run_for(Duration::from_secs(179));
    assert_eq!(progress(&net.agents[A]), [(Some(100), false)]);
    net.run_for(Duration::from_secs(2));
    assert_eq!(progress(&net.agents[A]), [(Some(100), false), (None, true)]);
    let late = net.with(B, |ua, now| ua.notify_refer(now, b, 200, true));
    assert_eq!(late, Err(UaError::WrongState(b)));
    assert_eq!(net.agents[A].standing(), 1);
}

#[test]
fn a_refer_that_crosses_a_bye() {
    let (mut net, [a, b]) = three();
    net.agents[B].policy = nothing;
    refer_to_c(&mut net, a);
    net.hang_up(B, b);
    net.run_out();
    assert_eq!(net.times_of("481 REFER").len(), 1);
    // A REFER that waits is declined as the call ends.
    let (mut two, [a, _]) = three();
    two.agents[B].policy = nothing;
    refer_to_c(&mut two, a);
    two.run_for(millis(100));
    two.hang_up(A, a);
    two.run_out();
    assert_eq!(two.times_of("603 REFER").len(), 1);
    for agent in net.agents.iter().chain(&two.agents[..2]) {
        assert!(agent.ends().len() <= 1);
        let held = agent.ua.held();
        assert_eq!((held.calls, held.transactions, held.timers), (0, 0, 0));
    }
}

/// What a peer may send wrongly.
#[test]
fn refer_and_notify_that_do_not_fit() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let two = "Refer-To: <sip:x@h>\r\nRefer-To: <sip:y@h>\r\n";
    let refer = "Event: refer\r\nSubscription-State: active\r\n";
    for (cseq, method, lines, expected) in [
        (2, "REFER", "", "400 REFER"),
        (3, "REFER", two, "400 REFER"),
        (4, "REFER", "r: <sip:x@\r\n", "400 REFER"),
        (5, "NOTIFY", refer, "481 NOTIFY"),
        (6, "NOTIFY", "Event: presence\r\n", "489 NOTIFY"),
        (7, "NOTIFY", "", "489 NOTIFY"),
    ] {
        let request = Ask {
            method,
            branch: &cseq.to_string(),
            to_tag: &tag,
            cseq,
            lines,
            ..ASK
        };
        assert_eq!(kinds(&ask(&mut net, &request)), [expected], "{lines}");
    }
    // One at a time.
    let good = Ask {
        method: "REFER",
        branch: "r8",
        to_tag: &tag,
        cseq: 8,
        lines: "Refer-To: <sip:x@192.0.2.9?Replaces=1%40h%3Bto-tag%3D2%3Bfrom-tag%3D3>\r\n",
        ..ASK
    };
    assert!(ask(&mut net, &good).is_empty());
    let (to, replaces) = referred(&net.agents[0]);
    assert_eq!(to, "sip:x@192.0.2.9");
    assert!(replaces.is_some());
    let next = Ask {
        branch: "r9",
        cseq: 9,
        ..good
    };
    assert_eq!(kinds(&ask(&mut net, &next)), ["491 REFER"]);
    // Our NOTIFY is refused: the subscription ends, the call does not.
    let call = net.agents[0].incoming();
    net.with(0, |ua, now| ua.accept_refer(now, call)).unwrap();
    net.run_for(millis(20));
    let got = net.take_raw(PEER);
    assert_eq!(kinds(&got), ["202 REFER", "NOTIFY"]);
    // Others came before in the dialog, though they were refused (RFC 3515 §2.4.6).
    assert_eq!(header(&got[1], HeaderName::Event), "refer;id=8");
    assert!(header(&got[1], HeaderName::SubscriptionState).starts_with("active;expires="));
    assert_eq!(got[1].body(), &b"SIP/2.0 100 Trying\r\n"[..]);
    net.send_raw(PEER, US, &reply(&got[1], "481 No", "", "", ""));
    net.run_for(millis(20));
    let gone = net.with(0, |ua, now| ua.notify_refer(now, call, 200, true));
    assert_eq!(gone, Err(UaError::WrongState(call)));
    assert_eq!(net.agents[0].standing(), 1);
}

/// RFC 3891 §3
#[test]
fn an_invite_that_replaces_nothing_is_refused() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let ours = format!("raw;to-tag={tag};from-tag=peer");
    for (number, lines, expected) in [
        (
            1,
            format!("Replaces: raw;to-tag={tag};from-tag=other\r\n"),
            "481 INVITE",
        ),
        (
            2,
            format!("Replaces: other;to-tag={tag};from-tag=peer\r\n"),
            "481 INVITE",
        ),
        (
            3,
            "Replaces: raw;to-tag=x;from-tag=peer\r\n".to_owned(),
            "481 INVITE",
        ),
        (4, "Replaces: raw\r\n".to_owned(), "400 INVITE"),
        (
            5,
            format!("Replaces: {ours}\r\nReplaces: {ours}\r\n"),
            "400 INVITE",
        ),
        (6, format!("Replaces: {ours};early-only\r\n"), "486 INVITE"),
        (
            7,
            format!("Require: replaces\r\nReplaces: {ours}\r\n"),
            "200 INVITE",
        ),
    ] {
        let invite = Ask {
            branch: &format!("new{number}"),
            cseq: 100 + number,
            lines: &lines,
            body: "v=0",
            ..ASK
        };
        let text = invite
            .text()
            .replace("Call-ID: raw\r\n", "Call-ID: new\r\n");
        net.send_raw(PEER, US, &text);
        net.run_for(millis(20));
        let got = kinds(&net.take_raw(PEER));
        assert!(got.contains(&expected.to_owned()), "{lines}: {got:?}");
        assert_eq!(got.contains(&"BYE".to_owned()), expected == "200 INVITE");
    }
    assert!(net.agents[0].call_events().contains(&"replaced"));
}

#[test]
fn the_wire_of_a_transfer() {
    let (mut net, [a, _]) = three();
    let other = net.call("sip:c@192.0.2.3");
    net.run_for(millis(100));
    net.with(A, |ua, now| ua.refer(now, a, &to_c(Some(other))))
        .unwrap();
    let sent = net.agents[A].sent.last().unwrap();
    let refer = Message::parse(sent.clone()).unwrap();
    let to = header(&refer, HeaderName::ReferTo);
    assert!(to.starts_with("<sip:c@192.0.2.3?Replaces="), "{to}");
    assert!(
        to.contains("%3Bto-tag%3D") && to.contains("%3Bfrom-tag%3D"),
        "{to}"
    );
    assert_eq!(
        header(&refer, HeaderName::Contact),
        "<sip:a@192.0.2.1:5060>"
    );
}
