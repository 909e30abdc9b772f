//! INFO within calls (RFC 6086, without Info Packages).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::{CallEvent, EndReason, UaError};

use pair::peer::{ASK, Ask, alone, ask, established, kinds};
use pair::{Agent, Net, answer_at_once, millis};

const DTMF: &str = "application/dtmf-relay";
const DIGIT: &str = "Signal=5\r\nDuration=160\r\n";

fn heard(agent: &Agent) -> Vec<(String, String)> {
    agent.told(|event| match event {
        CallEvent::Info { content_type, body } => Some((
            content_type.clone(),
            String::from_utf8_lossy(body).into_owned(),
        )),
        _ => None,
    })
}

fn answers(agent: &Agent) -> Vec<Option<u16>> {
    agent.told(|event| match event {
        CallEvent::InfoAnswered { code } => Some(*code),
        _ => None,
    })
}

#[test]
fn info_goes_both_ways() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    let caller = net.call("sip:b@192.0.2.2");
    net.run_for(millis(100));
    let calls = [caller, net.agents[1].incoming()];
    for (agent, call) in calls.into_iter().enumerate() {
        net.with(agent, |ua, now| ua.info(now, call, DTMF, DIGIT))
            .unwrap();
        net.run_for(millis(100));
        assert_eq!(answers(&net.agents[agent]), [Some(200)]);
        let heard = heard(&net.agents[1 - agent]);
        assert_eq!(heard, [(DTMF.to_owned(), DIGIT.to_owned())]);
    }
    net.hang_up(0, caller);
    net.run_out();
    assert_eq!(net.agents[0].ua.held().transactions, 0);
}

#[test]
fn every_info_arrives_once_under_loss() {
    for seed in 1..20 {
        let mut net = Net::pair(0.0, seed, answer_at_once);
        let call = net.call("sip:b@192.0.2.2");
        net.run_for(millis(100));
        net.set_loss(0.3);
        for _ in 0..3 {
            net.with(0, |ua, now| ua.info(now, call, DTMF, DIGIT))
                .unwrap();
            net.run_for(millis(31_000));
        }
        let answers = answers(&net.agents[0]);
        let heard = heard(&net.agents[1]).len();
        let ok = answers.iter().filter(|code| **code == Some(200)).count();
        assert!(
            ok <= heard && heard <= 3,
            "seed {seed}: {answers:?} {heard}"
        );
    }
}

#[test]
fn as_many_as_fit_and_no_longer_than_fits() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    let call = net.call("sip:b@192.0.2.2");
    net.run_for(millis(100));
    let long = "x".repeat(8193);
    let sent = net.with(0, |ua, now| ua.info(now, call, DTMF, long));
    assert_eq!(sent, Err(UaError::InfoTooLong(call)));
    let kind = format!("text/{}", "x".repeat(252));
    let sent = net.with(0, |ua, now| ua.info(now, call, &kind, DIGIT));
    assert_eq!(sent, Err(UaError::InfoTooLong(call)));
    let longest = "x".repeat(8192);
    net.with(0, |ua, now| ua.info(now, call, &kind[..256], longest))
        .unwrap();
    for _ in 1..16 {
        net.with(0, |ua, now| ua.info(now, call, DTMF, DIGIT))
            .unwrap();
    }
    let sent = net.with(0, |ua, now| ua.info(now, call, DTMF, DIGIT));
    assert_eq!(sent, Err(UaError::TooManyRequests(call)));
    net.run_for(millis(100));
    assert_eq!(answers(&net.agents[0]).len(), 16);
    net.with(0, |ua, now| ua.info(now, call, DTMF, DIGIT))
        .unwrap();
}

#[test]
fn what_is_too_long_or_a_package_is_refused() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let long = "x".repeat(8193);
    let kind = |length: usize| format!("c: text/{}\r\n", "x".repeat(length - 5));
    let (longest, longer) = (kind(256), kind(257));
    let many = [
        (2, "Info-Package: foo\r\n", "x", "469 INFO"),
        (3, "", &long, "413 INFO"),
        (4, "", &long[1..], "200 INFO"),
        (5, "", "", "200 INFO"),
        (6, &longest, "", "200 INFO"),
        (7, &longer, "", "413 INFO"),
    ];
    for (cseq, lines, body, expected) in many {
        let info = Ask {
            method: "INFO",
            branch: &cseq.to_string(),
            to_tag: &tag,
            cseq,
            lines,
            body,
            ..ASK
        };
        assert_eq!(kinds(&ask(&mut net, &info)), [expected]);
    }
    let heard: Vec<_> = heard(&net.agents[0])
        .iter()
        .map(|(_, body)| body.len())
        .collect();
    assert_eq!(heard, [8192, 0, 0]);
}

#[test]
fn an_info_without_answer_ends_the_call() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    let call = net.call("sip:b@192.0.2.2");
    net.run_for(millis(100));
    net.set_loss(1.0);
    net.with(0, |ua, now| ua.info(now, call, DTMF, DIGIT))
        .unwrap();
    net.run_for(millis(40_000));
    assert_eq!(answers(&net.agents[0]), [None]);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::DialogLost);
}
