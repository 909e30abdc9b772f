//! The timers of RFC 3261 table 4 (and L, M of RFC 6026) over UDP, each by what it does to a whole
//! user agent. Timer C is a proxy's (§16.6) and none of a user agent's. Times are milliseconds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::Message;
use callmeter_sip::{CallEvent, EndReason, EndpointKey, UaEvent};

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, kinds, to_tag};
use pair::{Net, answer_at_once, millis, nothing, reply};

const KEY: EndpointKey = EndpointKey(1);
/// T1 doubling for ever, as of Timer A.
const DOUBLING: [u128; 7] = [0, 500, 1500, 3500, 7500, 15_500, 31_500];
/// T1 doubling to T2, as of timers E and G.
const CAPPED: [u128; 11] = [
    0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
];

fn called(net: &mut Net) -> Message {
    net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    net.take_raw(PEER).remove(0)
}

fn options(net: &mut Net) -> Message {
    let target = format!("sip:{PEER}").parse().unwrap();
    net.with(0, |ua, now| ua.options(now, KEY, &target))
        .unwrap();
    net.run_for(millis(20));
    net.take_raw(PEER).remove(0)
}

/// Lets time pass to a moment since the start.
fn run_to(net: &mut Net, ms: u64) {
    let at = net.start + millis(ms);
    net.run_for(at.saturating_duration_since(net.now));
}

/// When events of the first agent came.
fn events(net: &Net, wanted: fn(&UaEvent) -> bool) -> Vec<u128> {
    let events = net.agents[0].events.iter().filter(|event| wanted(event));
    events
        .filter_map(|event| match event {
            UaEvent::Call { at, .. } => Some(*at),
            UaEvent::OptionsAnswered(answered) => Some(answered.at),
            _ => None,
        })
        .map(|at| (at - net.start).as_millis())
        .collect()
}

fn is_end(event: &UaEvent) -> bool {
    let ended = |event: &CallEvent| matches!(event, CallEvent::Ended(_));
    matches!(event, UaEvent::Call { event, .. } if ended(event))
}

fn transactions(net: &Net) -> usize {
    net.agents[0].ua.held().transactions
}

#[test]
fn a_repeats_the_invite_and_b_gives_it_up() {
    let mut net = alone(nothing);
    called(&mut net);
    net.run_out();
    assert_eq!(net.times_of("INVITE"), DOUBLING, "A");
    assert_eq!(events(&net, is_end), [32_000], "B");
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::InviteTimeout);
    // A provisional response ends both.
    let mut net = alone(nothing);
    let invite = called(&mut net);
    net.send_raw(PEER, US, &reply(&invite, "100 Trying", "", "", ""));
    run_to(&mut net, 100_000);
    assert_eq!(net.times_of("INVITE"), [0]);
    assert!(net.agents[0].ends().is_empty());
}

#[test]
fn d_acknowledges_refusals_that_come_again() {
    let mut net = alone(nothing);
    let invite = called(&mut net);
    let refusal = reply(&invite, "486 Busy Here", "x", "", "");
    for at in [20, 10_000, 32_030, 40_000] {
        run_to(&mut net, at);
        net.send_raw(PEER, US, &refusal);
    }
    net.run_out();
    // The third comes at 32,040, when the 32 s since the first are over.
    assert_eq!(net.times_of("ACK"), [30, 10_010]);
    let counters = net.agents[0].ua.counters();
    assert_eq!(
        (counters.retransmissions_received, counters.out_of_dialog),
        (1, 2)
    );
    assert_eq!(net.agents[0].ends().len(), 1);
}

#[test]
fn e_repeats_other_requests_and_f_gives_them_up() {
    let mut net = alone(nothing);
    options(&mut net);
    net.run_out();
    assert_eq!(net.times_of("OPTIONS"), CAPPED, "E");
    let answered = |event: &UaEvent| matches!(event, UaEvent::OptionsAnswered(_));
    assert_eq!(events(&net, answered), [32_000], "F");
    // Once a provisional response came, every T2.
    let mut net = alone(nothing);
    let request = options(&mut net);
    net.send_raw(PEER, US, &reply(&request, "100 Trying", "", "", ""));
    net.run_out();
    let every_t2 = [0, 500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500];
    assert_eq!(net.times_of("OPTIONS"), every_t2);
    assert_eq!(events(&net, answered), [32_000]);
}

/// Calls the agent and is refused.
fn refused(net: &mut Net) -> Message {
    ask(net, &Ask { body: "v=0", ..ASK });
    let call = net.agents[0].incoming();
    net.with(0, |ua, now| ua.reject(now, call, 486)).unwrap();
    net.run_for(millis(20));
    net.take_raw(PEER).remove(0)
}

#[test]
fn g_repeats_a_refusal_and_h_gives_up_on_its_ack() {
    let mut net = alone(nothing);
    refused(&mut net);
    net.run_out();
    let first = net.times_of("486 INVITE")[0];
    let since: Vec<_> = net
        .times_of("486 INVITE")
        .iter()
        .map(|at| at - first)
        .collect();
    assert_eq!(since, CAPPED, "G");
    assert_eq!(net.agents[0].ua.counters().timeouts, 1, "H");
    assert_eq!(transactions(&net), 0);
}

#[test]
fn i_absorbs_acks_that_come_again() {
    let mut net = alone(nothing);
    refused(&mut net);
    let ack = Ask {
        method: "ACK",
        ..ASK
    };
    ask(&mut net, &ack);
    let held = transactions(&net);
    ask(&mut net, &ack);
    net.run_for(millis(4900));
    assert_eq!((held, transactions(&net)), (1, 1));
    net.run_for(millis(100));
    assert_eq!(transactions(&net), 0);
    assert_eq!(net.times_of("486 INVITE").len(), 1, "the ACK ended G");
    let counters = net.agents[0].ua.counters();
    assert_eq!((counters.unexpected, counters.timeouts), (0, 0));
    // Later it belongs to nothing.
    ask(&mut net, &ack);
    assert_eq!(net.agents[0].ua.counters().out_of_dialog, 1);
}

#[test]
fn j_answers_a_repeated_request_as_before() {
    let mut net = alone(answer_at_once);
    let tag = pair::peer::established(&mut net);
    let bye = Ask {
        method: "BYE",
        branch: "bye",
        to_tag: &tag,
        cseq: 2,
        ..ASK
    };
    let mut seen = Vec::new();
    for wait in [0, 20_000, 11_900, 100] {
        net.run_for(millis(wait));
        seen.extend(kinds(&ask(&mut net, &bye)));
    }
    assert_eq!(seen, ["200 BYE", "200 BYE", "200 BYE", "481 BYE"]);
    assert_eq!(net.agents[0].ends().len(), 1);
}

#[test]
fn k_absorbs_answers_that_come_again() {
    let mut net = alone(nothing);
    let request = options(&mut net);
    let answer = reply(&request, "200 OK", "x", "", "");
    let mut held = Vec::new();
    for at in [20, 4000, 5000, 5030] {
        run_to(&mut net, at);
        net.send_raw(PEER, US, &answer);
        net.run_for(millis(11));
        held.push(transactions(&net));
    }
    // The first came at 30.
    assert_eq!(held, [1, 1, 1, 0]);
    let counters = net.agents[0].ua.counters();
    assert_eq!(
        (counters.retransmissions_received, counters.out_of_dialog),
        (2, 1)
    );
    let answered = |event: &UaEvent| matches!(event, UaEvent::OptionsAnswered(_));
    assert_eq!(events(&net, answered), [30]);
}

/// RFC 6026: an INVITE that comes again after its 2xx is absorbed.
#[test]
fn l_absorbs_an_invite_that_was_answered() {
    let mut net = alone(answer_at_once);
    let invite = Ask { body: "v=0", ..ASK };
    let tag = to_tag(&ask(&mut net, &invite)[0]);
    let ack = Ask {
        method: "ACK",
        branch: "ack",
        to_tag: &tag,
        ..ASK
    };
    ask(&mut net, &ack);
    for wait in [0, 20_000, 11_000] {
        net.run_for(millis(wait));
        assert!(ask(&mut net, &invite).is_empty());
    }
    let incoming = |event: &&UaEvent| matches!(event, UaEvent::Incoming(_));
    let count = |net: &Net| net.agents[0].events.iter().filter(incoming).count();
    assert_eq!((count(&net), transactions(&net)), (1, 1));
    net.run_for(millis(1000));
    assert_eq!(transactions(&net), 0);
}

/// RFC 6026: a 2xx that comes again is acknowledged again.
#[test]
fn m_acknowledges_answers_that_come_again() {
    let mut net = alone(nothing);
    let invite = called(&mut net);
    let answer = reply(&invite, "200 OK", "x", CONTACT, "v=0");
    for at in [20, 10_000, 32_000, 32_030] {
        run_to(&mut net, at);
        net.send_raw(PEER, US, &answer);
    }
    net.run_for(millis(1000));
    assert_eq!(net.times_of("ACK"), [30, 10_010, 32_010]);
    let counters = net.agents[0].ua.counters();
    assert_eq!(
        (counters.retransmissions_sent, counters.out_of_dialog),
        (2, 1)
    );
}
