//! OPTIONS outside of dialogs, asked and answered, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::HeaderName;
use callmeter_sip::{EndpointConfig, EndpointKey, OptionsAnswered, UaError, UaEvent};

use pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use pair::{Net, addr, answer_at_once, config, header, kind, millis, nothing, reply};

const KEY: EndpointKey = EndpointKey(1);

fn options(net: &mut Net, target: &str) -> Result<(), UaError> {
    let target = target.parse().unwrap();
    net.with(0, |ua, now| ua.options(now, KEY, &target))
}

fn answers(net: &Net) -> Vec<OptionsAnswered> {
    let events = net.agents[0].events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::OptionsAnswered(answered) => Some(*answered),
            _ => None,
        })
        .collect()
}

/// RFC 3261 §11.1, §11.2: what is asked, and what a user agent of ours says.
#[test]
fn a_peer_of_our_own_answers() {
    let mut net = Net::pair(0.0, 1, nothing);
    options(&mut net, "sip:b@192.0.2.2").unwrap();
    net.run_out();
    let expected = OptionsAnswered {
        endpoint: KEY,
        at: net.start + millis(20),
        sent: net.start,
        code: Some(200),
    };
    assert_eq!(answers(&net), [expected]);
    let sent = |agent: usize| {
        callmeter_sip::message::Message::parse(net.agents[agent].sent[0].clone()).unwrap()
    };
    let (question, answer) = (sent(0), sent(1));
    assert_eq!(kind(&question), "OPTIONS");
    assert_eq!(header(&question, HeaderName::Accept), "application/sdp");
    assert_eq!(kind(&answer), "200 OPTIONS");
    assert_eq!(header(&answer, HeaderName::Accept), "application/sdp");
    let allow = header(&answer, HeaderName::Allow);
    for method in [
        "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER", "NOTIFY",
    ] {
        assert!(
            allow.split(", ").any(|allowed| allowed == method),
            "{allow}"
        );
    }
    let held = net.agents[0].ua.held();
    assert_eq!((held.transactions, held.timers, held.calls), (0, 0, 0));
}

/// RFC 3261 §11.2: within a call and outside, for an endpoint and for nobody.
#[test]
fn a_peer_is_told_what_we_can() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let rows = [("a", tag.as_str(), 2), ("a", "", 1), ("nobody", "", 1)];
    for (index, (user, to_tag, cseq)) in rows.into_iter().enumerate() {
        let question = Ask {
            method: "OPTIONS",
            branch: &format!("o{index}"),
            user,
            to_tag,
            cseq,
            ..ASK
        };
        let got = ask(&mut net, &question);
        assert_eq!(kinds(&got), ["200 OPTIONS"], "{user}");
        assert_eq!(header(&got[0], HeaderName::Accept), "application/sdp");
        assert!(header(&got[0], HeaderName::Allow).starts_with("INVITE, ACK"));
    }
    assert_eq!(net.agents[0].standing(), 1);
}

/// A refusal and a challenge show that somebody is there; silence shows nothing.
#[test]
fn every_final_response_is_an_answer() {
    let challenge = "WWW-Authenticate: Digest realm=\"192.0.2.1\", nonce=\"n\"\r\n";
    for (status, lines, code) in [
        ("404 Not Found", "", Some(404)),
        ("401 Unauthorized", challenge, Some(401)),
        ("100 Trying", "", None),
        ("", "", None),
    ] {
        let mut net = alone(nothing);
        options(&mut net, &format!("sip:{PEER}")).unwrap();
        net.run_for(millis(100));
        let request = net.take_raw(PEER).remove(0);
        if !status.is_empty() {
            net.send_raw(PEER, US, &reply(&request, status, "x", lines, ""));
        }
        net.run_out();
        let answered = answers(&net)[0];
        assert_eq!((answered.code, answers(&net).len()), (code, 1), "{status}");
        let wait = if code.is_some() { 110 } else { 32_000 };
        assert_eq!(answered.at - answered.sent, millis(wait), "{status}");
        let counters = net.agents[0].ua.endpoint_counters(KEY).unwrap();
        assert_eq!(counters.timeouts, u64::from(code.is_none()));
        assert_eq!(counters.auth_challenges, u64::from(code == Some(401)));
        assert_eq!(counters.invites_sent, 0);
    }
}

#[test]
fn it_goes_by_the_next_hop_and_route_or_not_at_all() {
    let mut net = Net::new(0.0, 1);
    net.agent(US, nothing);
    let route = vec!["sip:192.0.2.9;lr".parse().unwrap()];
    net.endpoint(
        0,
        1,
        EndpointConfig {
            next_hop: Some(addr("192.0.2.9:5060")),
            route,
            ..config("sip:a@example.org")
        },
    );
    options(&mut net, "sip:example.org").unwrap();
    net.run_for(millis(100));
    let request = net.take_raw("192.0.2.9:5060").remove(0);
    assert_eq!(
        request.request_uri().unwrap().to_string(),
        "sip:example.org"
    );
    assert_eq!(header(&request, HeaderName::Route), "<sip:192.0.2.9;lr>");
    let mut net = alone(nothing);
    assert_eq!(
        options(&mut net, "sip:example.org"),
        Err(UaError::NoNextHop)
    );
    // The endpoint goes while the question is under way: nobody is told.
    options(&mut net, &format!("sip:{PEER}")).unwrap();
    net.with(0, |ua, now| ua.remove_endpoint(now, KEY)).unwrap();
    net.run_out();
    assert!(answers(&net).is_empty());
    assert_eq!(
        options(&mut net, "sip:192.0.2.2"),
        Err(UaError::UnknownEndpoint(KEY))
    );
}
