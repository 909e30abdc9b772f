//! Transfers that outlive their call: the subscription goes on after a BYE (RFC 5057 §4.1).

use std::time::Duration;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallKey, EndReason};

use super::{A, B, answers, progress, refer_to_c, three};
use crate::pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use crate::pair::{Net, answer_at_once, header, millis, reply};

/// A subscription goes on after the BYE of either side (RFC 5057 §4.1): what becomes of the transfer
/// is told, then the calls end.
#[test]
fn who_hangs_up_hears_what_becomes_of_the_transfer() {
    for (by, reasons) in [
        (A, [EndReason::LocalBye, EndReason::RemoteBye]),
        (B, [EndReason::RemoteBye, EndReason::LocalBye]),
    ] {
        let (mut net, [a, b]) = three();
        refer_to_c(&mut net, a);
        net.run_for(millis(100));
        net.hang_up(by, [a, b][by]);
        net.run_for(Duration::from_secs(10));
        assert!(net.agents[A].stands(a) && net.agents[B].stands(b));
        for (code, last) in [(180, false), (200, true)] {
            net.with(B, |ua, now| ua.notify_refer(now, b, code, last))
                .unwrap();
            net.run_for(millis(100));
        }
        let all = [(Some(100), false), (Some(180), false), (Some(200), true)];
        assert_eq!(progress(&net.agents[A]), all);
        assert_eq!(net.times_of("200 NOTIFY").len(), 3);
        assert_eq!(net.times_of("BYE").len(), 1);
        for (agent, reason) in net.agents.iter().zip(reasons) {
            assert_eq!(agent.ends()[0].reason, reason);
            assert_eq!(agent.ua.held().calls, 0);
        }
        let end = net.agents[A].ends()[0];
        let ended = end.mid.as_deref().unwrap().refer_ended;
        assert_eq!(ended, Some(net.start + millis(10_310)));
        let bye = end.times.bye_sent.or(end.times.bye_received).unwrap();
        assert!(bye < net.start + millis(220), "the times of the BYE stay");
        net.run_out();
        for agent in &net.agents {
            let held = agent.ua.held();
            assert_eq!((held.calls, held.transactions, held.timers), (0, 0, 0));
        }
    }
}

/// A call that asked the raw peer for a transfer and then hung up: the REFER and the BYE.
fn hung_up() -> (Net, CallKey, Message, Message) {
    let mut net = alone(answer_at_once);
    established(&mut net);
    let call = net.agents[0].incoming();
    refer_to_c(&mut net, call);
    net.hang_up(0, call);
    net.run_for(millis(20));
    let mut got = net.take_raw(PEER);
    assert_eq!(kinds(&got), ["REFER", "BYE"]);
    let bye = got.remove(1);
    (net, call, got.remove(0), bye)
}

fn answer(net: &mut Net, request: &Message, status: &str) {
    net.send_raw(PEER, US, &reply(request, status, "", "", ""));
    net.run_for(millis(20));
}

#[test]
fn a_transfer_that_nobody_tells_of_ends_64_t1_after_the_bye() {
    let (mut net, call, refer, bye) = hung_up();
    let tag = header(&bye, HeaderName::From);
    let tag = tag.split(";tag=").nth(1).unwrap().to_owned();
    answer(&mut net, &bye, "200 OK");
    answer(&mut net, &refer, "202 Accepted");
    assert_eq!(answers(&net.agents[0]), [Some(202)]);
    let lines = "Event: refer\r\nSubscription-State: active;expires=600\r\n";
    let within = |net: &mut Net, cseq: u32, method: &str| {
        let request = Ask {
            method,
            branch: &cseq.to_string(),
            to_tag: &tag,
            cseq,
            lines,
            ..ASK
        };
        kinds(&ask(net, &request))
    };
    assert_eq!(within(&mut net, 2, "NOTIFY"), ["200 NOTIFY"]);
    // Of the session nothing is left.
    for (cseq, method) in [(3, "BYE"), (4, "INFO"), (5, "UPDATE"), (6, "REFER")] {
        let got = within(&mut net, cseq, method);
        assert_eq!(got, [format!("481 {method}")]);
    }
    // However long the subscription lasts.
    net.run_for(Duration::from_secs(31));
    assert!(net.agents[0].stands(call));
    assert_eq!(within(&mut net, 7, "NOTIFY"), ["200 NOTIFY"]);
    net.run_for(Duration::from_secs(1));
    assert!(!net.agents[0].stands(call));
    let told = [(None, false), (None, false), (None, true)];
    assert_eq!(progress(&net.agents[0]), told);
    let end = net.agents[0].ends()[0];
    assert_eq!(
        (end.reason, end.bye_status),
        (EndReason::LocalBye, Some(200))
    );
    assert_eq!(within(&mut net, 8, "NOTIFY"), ["481 NOTIFY"]);
    net.run_out();
    assert_eq!(net.agents[0].ua.held().transactions, 0);
}

/// Who was asked for the transfer does not wait longer either.
#[test]
fn a_transfer_that_is_told_of_no_more_ends_at_both_ends() {
    let (mut net, [a, b]) = three();
    refer_to_c(&mut net, a);
    net.run_for(millis(100));
    net.hang_up(A, a);
    net.run_for(Duration::from_secs(31));
    assert!(net.agents[A].stands(a) && net.agents[B].stands(b));
    net.run_for(Duration::from_secs(2));
    assert!(!net.agents[A].stands(a) && !net.agents[B].stands(b));
}

/// Nothing is waited for if the transfer is refused, or the peer does not know the dialog.
#[test]
fn a_transfer_that_cannot_come_ends_with_the_call() {
    let (mut net, call, refer, bye) = hung_up();
    answer(&mut net, &bye, "200 OK");
    assert!(net.agents[0].stands(call));
    answer(&mut net, &refer, "603 No");
    assert_eq!(answers(&net.agents[0]), [Some(603)]);
    assert!(!net.agents[0].stands(call));

    let (mut net, call, _, bye) = hung_up();
    answer(&mut net, &bye, "481 Unknown");
    assert!(!net.agents[0].stands(call));
    assert_eq!(net.agents[0].ends()[0].bye_status, Some(481));

    // Nobody answers the REFER.
    let (mut net, call, _, bye) = hung_up();
    answer(&mut net, &bye, "200 OK");
    net.run_for(Duration::from_secs(33));
    assert!(!net.agents[0].stands(call));
    assert_eq!(answers(&net.agents[0]).len(), 1);
}
