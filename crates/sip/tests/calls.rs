//! Whole calls between user agents in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallEvent, EndReason, EndpointKey, UaEvent};

use pair::{ANSWER, Net, OFFER, answer_at_once, header, millis, nothing, ring_only};

const B: &str = "sip:b@192.0.2.2";

#[test]
fn a_full_call_without_a_retransmission() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    let call = net.call(B);
    net.run_for(millis(1000));
    net.hang_up(0, call);
    net.run_for(millis(1000));
    let [caller, callee] = &net.agents[..] else {
        panic!()
    };
    assert_eq!(
        caller.call_events(),
        ["180", "answered", "bye sent", "ended"]
    );
    assert_eq!(
        callee.call_events(),
        ["incoming", "confirmed", "bye received", "ended"]
    );
    let at = |ms| Some(net.start + millis(ms));
    let end = caller.ends()[0];
    assert_eq!((end.reason, end.caller), (EndReason::LocalBye, true));
    assert_eq!((end.status, end.bye_status), (Some(200), Some(200)));
    let times = end.times;
    assert_eq!(
        (times.invite, times.first_response, times.ringing),
        (at(0), at(20), at(20))
    );
    assert_eq!((times.answered, times.ack), (at(20), at(20)));
    assert_eq!((times.bye_sent, times.bye_answered), (at(1000), at(1020)));
    assert_eq!(times.invite_authenticated, None);
    let end = callee.ends()[0];
    assert_eq!((end.reason, end.caller), (EndReason::RemoteBye, false));
    let times = end.times;
    assert_eq!(
        (times.invite, times.answered, times.ack),
        (at(10), at(10), at(30))
    );
    assert_eq!(times.bye_received, at(1010));
    let a = caller.ua.endpoint_counters(EndpointKey(1)).unwrap();
    assert_eq!((a.messages_sent, a.messages_received), (3, 3));
    assert_eq!(a.responses_received, [1, 2, 0, 0, 0, 0]);
    assert_eq!(
        (a.invites_sent, a.retransmissions_sent, a.timeouts),
        (1, 0, 0)
    );
    assert_eq!(a, caller.ua.counters());
    let b = callee.ua.endpoint_counters(EndpointKey(1)).unwrap();
    assert_eq!((b.messages_sent, b.messages_received), (3, 3));
    assert_eq!(
        (b.responses_sent, b.invites_received),
        ([1, 2, 0, 0, 0, 0], 1)
    );
    assert_eq!(b, callee.ua.counters());
}

#[test]
fn bodies_go_both_ways() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    net.call(B);
    net.run_for(millis(100));
    let UaEvent::Incoming(incoming) = &net.agents[1].events[0] else {
        panic!()
    };
    assert_eq!(incoming.body, OFFER);
    assert_eq!(incoming.request_user, "b");
    assert_eq!(incoming.from.user(), "a");
    assert_eq!(incoming.endpoint, Some(EndpointKey(1)));
    let answered = net.agents[0].events.iter().any(|event| {
        matches!(event, UaEvent::Call { event: CallEvent::Answered { body }, .. } if body == ANSWER)
    });
    assert!(answered);
}

#[test]
fn nobody_there_times_out_after_timer_b() {
    let mut net = Net::pair(0.0, 1, nothing);
    net.call("sip:x@192.0.2.99");
    net.run_out();
    let end = net.agents[0].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::InviteTimeout, None));
    let sent: Vec<_> = net.take_raw("192.0.2.99:5060");
    assert_eq!(sent.len(), 7);
    let counters = net.agents[0].ua.counters();
    assert_eq!((counters.retransmissions_sent, counters.timeouts), (6, 1));
    let ended_at = net.agents[0].events.iter().find_map(|event| match event {
        UaEvent::Call {
            event: CallEvent::Ended(_),
            at,
            ..
        } => Some(*at - net.start),
        _ => None,
    });
    assert_eq!(ended_at, Some(millis(32_000)));
}

#[test]
fn a_silent_callee_sends_100_and_gives_up_in_the_end() {
    let mut net = Net::pair(0.0, 1, nothing);
    net.call(B);
    net.run_for(millis(209));
    assert_eq!(net.agents[1].sent_kinds(), Vec::<String>::new());
    net.run_for(millis(1));
    assert_eq!(net.agents[1].sent_kinds(), ["100 INVITE"]);
    net.run_out();
    let ends: Vec<_> = net.agents.iter().map(|agent| agent.ends()[0]).collect();
    // The caller's ring timeout comes first and cancels.
    assert_eq!(
        (ends[0].reason, ends[0].status),
        (EndReason::NoAnswer, Some(487))
    );
    assert_eq!(
        (ends[1].reason, ends[1].status),
        (EndReason::CancelledByPeer, Some(487))
    );
}

#[test]
fn refused_calls_report_code_and_phrase() {
    let mut net = Net::pair(0.0, 1, ring_only);
    net.call(B);
    net.run_for(millis(100));
    let call = net.agents[1].incoming();
    net.with(1, |ua, now| ua.reject(now, call, 486)).unwrap();
    net.run_out();
    let end = net.agents[0].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Refused, Some(486)));
    assert_eq!(end.phrase, "Busy Here");
    assert_eq!(end.times.failed, Some(net.start + millis(110)));
    let end = net.agents[1].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Rejected, Some(486)));
    let kinds = net.agents[0].sent_kinds();
    assert_eq!(kinds, ["INVITE", "ACK"]);
}

#[test]
fn cancel_while_ringing() {
    let mut net = Net::pair(0.0, 1, ring_only);
    let call = net.call(B);
    net.run_for(millis(100));
    net.hang_up(0, call);
    net.run_out();
    let [caller, callee] = &net.agents[..] else {
        panic!()
    };
    assert_eq!(caller.sent_kinds(), ["INVITE", "CANCEL", "ACK"]);
    assert_eq!(
        callee.sent_kinds(),
        ["180 INVITE", "200 CANCEL", "487 INVITE"]
    );
    let end = caller.ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Cancelled, Some(487)));
    assert_eq!(end.times.cancel, Some(net.start + millis(100)));
    assert_eq!(end.times.failed, Some(net.start + millis(120)));
    assert_eq!(callee.ends()[0].reason, EndReason::CancelledByPeer);
}

/// RFC 3261 §9.1: no CANCEL before a provisional response.
#[test]
fn an_early_cancel_waits_for_the_first_response() {
    let mut net = Net::pair(0.0, 1, nothing);
    let call = net.call(B);
    net.hang_up(0, call);
    net.run_for(millis(150));
    assert_eq!(net.agents[0].sent_kinds(), ["INVITE"]);
    net.run_out();
    assert_eq!(net.agents[0].sent_kinds(), ["INVITE", "CANCEL", "ACK"]);
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::Cancelled);
}

/// The answer crosses the CANCEL: the call is acknowledged and ended (RFC 3261 §9.1, §15).
#[test]
fn cancel_and_answer_cross() {
    let mut net = Net::pair(0.0, 1, ring_only);
    let call = net.call(B);
    net.run_for(millis(100));
    let incoming = net.agents[1].incoming();
    net.with(1, |ua, now| ua.answer(now, incoming, ANSWER))
        .unwrap();
    net.hang_up(0, call);
    net.run_out();
    let [caller, callee] = &net.agents[..] else {
        panic!()
    };
    assert_eq!(caller.sent_kinds(), ["INVITE", "CANCEL", "ACK", "BYE"]);
    assert_eq!(
        callee.sent_kinds(),
        ["180 INVITE", "200 INVITE", "200 CANCEL", "200 BYE"]
    );
    assert_eq!(
        (caller.ends()[0].reason, caller.ends()[0].status),
        (EndReason::Cancelled, Some(200))
    );
    assert_eq!(callee.ends()[0].reason, EndReason::RemoteBye);
}

#[test]
fn both_hang_up_at_once() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    let call = net.call(B);
    net.run_for(millis(100));
    let incoming = net.agents[1].incoming();
    net.hang_up(0, call);
    net.hang_up(1, incoming);
    net.run_out();
    for agent in &net.agents {
        let end = agent.ends()[0];
        assert_eq!(
            (end.reason, end.bye_status),
            (EndReason::LocalBye, Some(200))
        );
        assert!(end.times.bye_received.is_some());
        assert_eq!(agent.ends().len(), 1);
    }
}

/// RFC 3261 §15: a callee does not send BYE before the ACK.
#[test]
fn a_callees_bye_waits_for_the_ack() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    net.call(B);
    net.run_for(millis(10));
    let incoming = net.agents[1].incoming();
    net.hang_up(1, incoming);
    assert_eq!(net.agents[1].sent_kinds(), ["180 INVITE", "200 INVITE"]);
    net.run_out();
    assert_eq!(
        net.agents[1].sent_kinds(),
        ["180 INVITE", "200 INVITE", "BYE"]
    );
    assert_eq!(net.agents[1].ends()[0].reason, EndReason::LocalBye);
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::RemoteBye);
}

#[test]
fn hanging_up_an_unanswered_incoming_call_refuses_it() {
    let mut net = Net::pair(0.0, 1, ring_only);
    net.call(B);
    net.run_for(millis(100));
    let incoming = net.agents[1].incoming();
    net.hang_up(1, incoming);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].status, Some(480));
}

#[test]
fn a_removed_endpoint_drops_its_calls_silently() {
    let mut net = Net::pair(0.0, 1, ring_only);
    net.call(B);
    net.run_for(millis(100));
    for agent in 0..2 {
        let before = net.agents[agent].sent.len();
        net.with(agent, |ua, now| ua.remove_endpoint(now, EndpointKey(1)))
            .unwrap();
        assert_eq!(net.agents[agent].sent.len(), before);
        assert_eq!(net.agents[agent].ends()[0].reason, EndReason::Dropped);
        assert_eq!(net.agents[agent].ua.endpoint_counters(EndpointKey(1)), None);
    }
    net.run_out();
}

/// RFC 3891 §6.2: a peer may ask for a transfer that replaces a call of ours.
#[test]
fn an_invite_says_that_replaces_is_understood() {
    let mut net = Net::pair(0.0, 1, nothing);
    net.call(B);
    let invite = Message::parse(net.agents[0].sent[0].clone()).unwrap();
    assert_eq!(header(&invite, HeaderName::Supported), "replaces");
    assert_eq!(invite.value(HeaderName::Require), None);
}
