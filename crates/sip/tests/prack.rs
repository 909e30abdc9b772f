//! Reliable provisional responses and PRACK (RFC 3262).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallEvent, EndReason, EndpointConfig, Reliable, UaError, UaEvent, UserAgent};

use pair::peer::{ASK, Ask, PEER, US, ask, kinds, to_tag};
use pair::{ANSWER, Net, config, header, kind, millis, nothing, reply};

const B: &str = "sip:b@192.0.2.2";
const ONE: &str = "192.0.2.1:5060";
const TWO: &str = "192.0.2.2:5060";

fn with(aor: &str, reliable: Reliable) -> EndpointConfig {
    EndpointConfig {
        reliable,
        ..config(aor)
    }
}

/// 183 with SDP, 180 and 200 all at once.
fn eager(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    if let UaEvent::Incoming(incoming) = event {
        ua.progress(now, incoming.call, 183, ANSWER).unwrap();
        ua.ring(now, incoming.call).unwrap();
        ua.answer(now, incoming.call, ANSWER).unwrap();
    }
}

/// 180 only.
fn rings(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    if let UaEvent::Incoming(incoming) = event {
        ua.ring(now, incoming.call).unwrap();
    }
}

fn pair(one: Reliable, two: Reliable) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(ONE, nothing);
    net.agent(TWO, eager);
    net.endpoint(0, 1, with("sip:a@192.0.2.1", one));
    net.endpoint(1, 1, with("sip:b@192.0.2.2", two));
    net
}

fn wire(net: &Net) -> Vec<&str> {
    net.wire.iter().map(|(.., kind)| &kind[..]).collect()
}

#[test]
fn each_provisional_is_acknowledged_before_the_next_and_before_the_answer() {
    use Reliable::{Required, Supported};
    for (one, two) in [
        (Supported, Supported),
        (Required, Supported),
        (Supported, Required),
    ] {
        let mut net = pair(one, two);
        let call = net.call(B);
        net.run_for(millis(200));
        assert_eq!(
            wire(&net),
            [
                "INVITE",
                "183 INVITE",
                "PRACK",
                "200 PRACK",
                "180 INVITE",
                "PRACK",
                "200 PRACK",
                "200 INVITE",
                "ACK"
            ]
        );
        assert_eq!(net.agents[0].call_events(), ["1xx", "180", "answered"]);
        assert_eq!(
            net.agents[1].call_events(),
            ["incoming", "pracked", "pracked", "confirmed"]
        );
        // The dialog counts on from the PRACKs.
        net.hang_up(0, call);
        net.run_out();
        let at = |ms| Some(net.start + millis(ms));
        let end = net.agents[0].ends()[0];
        let mid = end.mid.as_deref().unwrap();
        assert_eq!((mid.reliable, mid.pracked), (at(20), at(40)));
        let end = net.agents[1].ends()[0];
        let mid = end.mid.as_deref().unwrap();
        assert_eq!((mid.reliable, mid.pracked), (at(10), at(30)));
        assert_eq!(
            (end.times.early_media, end.times.ringing, end.times.answered),
            (at(10), at(30), at(50))
        );
        assert_eq!(net.agents[0].ends()[0].bye_status, Some(200));
        for agent in &net.agents {
            assert_eq!(agent.ua.held().transactions, 0);
            assert_eq!(agent.ua.counters().unexpected, 0);
        }
    }
}

#[test]
fn rack_names_the_response_and_the_invite() {
    let mut net = pair(Reliable::Supported, Reliable::Supported);
    net.call(B);
    net.run_for(millis(200));
    let all = |agent: usize, wanted: &str| -> Vec<Message> {
        let sent = net.agents[agent].sent.iter();
        sent.map(|bytes| Message::parse(bytes.clone()).unwrap())
            .filter(|message| kind(message) == wanted)
            .collect()
    };
    let pracks = all(0, "PRACK");
    let mut number = 0;
    for (prack, code) in pracks.iter().zip(["183 INVITE", "180 INVITE"]) {
        let response = &all(1, code)[0];
        assert_eq!(header(response, HeaderName::Require), "100rel");
        let rseq = header(response, HeaderName::RSeq);
        assert_eq!(header(prack, HeaderName::RAck), format!("{rseq} 1 INVITE"));
        let this: u32 = rseq.parse().unwrap();
        assert!(number == 0 || this == number + 1);
        number = this;
    }
    assert_eq!(pracks.len(), 2);
}

#[test]
fn without_it_on_either_side_nothing_is_acknowledged() {
    use Reliable::{Off, Supported};
    for (one, two) in [(Off, Supported), (Supported, Off), (Off, Off)] {
        let mut net = pair(one, two);
        net.call(B);
        net.run_for(millis(200));
        let expected = ["INVITE", "183 INVITE", "180 INVITE", "200 INVITE", "ACK"];
        assert_eq!(wire(&net), expected);
        assert!(
            net.agents[0]
                .sent
                .iter()
                .all(|sent| !sent.starts_with(b"PRACK"))
        );
    }
}

#[test]
fn who_requires_it_does_not_talk_to_who_lacks_it() {
    for (one, two, code, name) in [
        (
            Reliable::Required,
            Reliable::Off,
            420,
            HeaderName::Unsupported,
        ),
        (Reliable::Off, Reliable::Required, 421, HeaderName::Require),
    ] {
        let mut net = pair(one, two);
        net.call(B);
        net.run_out();
        assert_eq!(net.agents[0].ends()[0].status, Some(code));
        let refusal = Message::parse(net.agents[1].sent[0].clone()).unwrap();
        assert_eq!(header(&refusal, name), "100rel");
    }
}

#[test]
fn under_loss_the_call_is_answered_or_given_up() {
    let mut answered = 0;
    for seed in 1..60 {
        let mut net = Net::new(0.3, seed);
        net.agent(ONE, nothing);
        net.agent(TWO, eager);
        net.endpoint(0, 1, with("sip:a@192.0.2.1", Reliable::Supported));
        net.endpoint(1, 1, with("sip:b@192.0.2.2", Reliable::Supported));
        let call = net.call(B);
        net.run_for(Duration::from_secs(100));
        let events = net.agents[0].call_events();
        // Duplicates are passed over: each is told once.
        assert!(events.iter().filter(|event| **event == "1xx").count() <= 1);
        assert!(events.iter().filter(|event| **event == "180").count() <= 1);
        answered += usize::from(events.contains(&"answered"));
        net.set_loss(0.0);
        if net.agents[0].standing() == 1 {
            net.hang_up(0, call);
        }
        net.run_out();
        for agent in &net.agents {
            assert_eq!(agent.ua.held().calls, 0, "seed {seed}");
            assert_eq!(agent.ua.held().transactions, 0, "seed {seed}");
        }
    }
    assert!(answered > 50, "{answered}");
}

const OPEN: Ask<'_> = Ask {
    lines: "Supported: 100rel\r\n",
    body: "v=0",
    ..ASK
};

fn called(policy: pair::Policy) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, policy);
    net.endpoint(0, 1, with("sip:a@192.0.2.1", Reliable::Supported));
    net
}

/// RFC 3262 §3: T1, doubling, then a 5xx after 64·T1.
#[test]
fn a_peer_that_never_acknowledges() {
    let mut net = called(rings);
    ask(&mut net, &OPEN);
    net.run_out();
    let expected: Vec<u128> = [10, 510, 1510, 3510, 7510, 15510, 31510].to_vec();
    assert_eq!(net.times_of("180 INVITE"), expected);
    assert_eq!(net.times_of("504 INVITE")[0], 32_010);
    let end = net.agents[0].ends()[0];
    assert_eq!(
        (end.reason, end.status),
        (EndReason::PrackTimeout, Some(504))
    );
    assert_eq!(net.agents[0].ua.held().timers, 0);
}

/// RAck must be that of the response that waits; a second PRACK is for nothing.
#[test]
fn a_prack_that_matches_nothing_is_refused_481() {
    let mut net = called(rings);
    let got = ask(&mut net, &OPEN);
    let tag = to_tag(&got[0]);
    let rseq: u32 = header(&got[0], HeaderName::RSeq).parse().unwrap();
    let wrong = rseq + 1;
    for (cseq, rack, expected) in [
        (2, format!("{wrong} 1 INVITE"), "481 PRACK"),
        (3, format!("{rseq} 2 INVITE"), "481 PRACK"),
        (4, format!("{rseq} 1 UPDATE"), "481 PRACK"),
        (5, format!("{rseq} 1"), "481 PRACK"),
        (6, "99999999999999999999 1 INVITE".to_owned(), "481 PRACK"),
        (7, String::new(), "481 PRACK"),
        (8, format!("{rseq}  1\tINVITE"), "200 PRACK"),
        (9, format!("{rseq} 1 INVITE"), "481 PRACK"),
    ] {
        let prack = Ask {
            method: "PRACK",
            branch: &cseq.to_string(),
            to_tag: &tag,
            cseq,
            lines: &format!("RAck: {rack}\r\n"),
            ..ASK
        };
        let got = ask(&mut net, &prack);
        assert_eq!(kinds(&got), [expected], "{rack}");
    }
    let sent = net.times_of("180 INVITE").len();
    net.run_for(Duration::from_secs(40));
    assert_eq!(net.times_of("180 INVITE").len(), sent);
    assert_eq!(net.agents[0].standing(), 1);
}

/// A 180 without SDP does not hold the answer back; its late PRACK is still answered.
#[test]
fn an_answer_does_not_wait_for_a_response_without_sdp() {
    let mut net = called(rings);
    let got = ask(&mut net, &OPEN);
    let (tag, rseq) = (to_tag(&got[0]), header(&got[0], HeaderName::RSeq));
    let call = net.agents[0].incoming();
    net.with(0, |ua, now| ua.answer(now, call, ANSWER)).unwrap();
    net.run_for(millis(20));
    assert_eq!(kinds(&net.take_raw(PEER)), ["200 INVITE"]);
    let prack = Ask {
        method: "PRACK",
        branch: "p",
        to_tag: &tag,
        cseq: 2,
        lines: &format!("RAck: {rseq} 1 INVITE\r\n"),
        ..ASK
    };
    assert_eq!(kinds(&ask(&mut net, &prack)), ["200 PRACK"]);
    assert_eq!(net.times_of("180 INVITE").len(), 1);
}

/// The INVITE has no SDP: our 183 offers, the PRACK answers.
#[test]
fn an_offer_in_183_is_answered_by_the_prack() {
    let mut net = called(eager);
    let got = ask(&mut net, &Ask { body: "", ..OPEN });
    assert_eq!(kinds(&got), ["183 INVITE"]);
    assert_eq!(got[0].body(), ANSWER);
    let rseq = header(&got[0], HeaderName::RSeq);
    let prack = Ask {
        method: "PRACK",
        branch: "p",
        to_tag: &to_tag(&got[0]),
        cseq: 2,
        lines: &format!("RAck: {rseq} 1 INVITE\r\n"),
        body: "v=0 early",
        ..ASK
    };
    assert_eq!(kinds(&ask(&mut net, &prack)), ["200 PRACK", "180 INVITE"]);
    let answered = net.agents[0].events.iter().any(|event| {
        matches!(event, UaEvent::Call { event: CallEvent::Pracked { body }, .. } if body == "v=0 early")
    });
    assert!(answered);
}

#[test]
fn what_crosses_a_reliable_response() {
    // CANCEL.
    let mut net = called(eager);
    ask(&mut net, &OPEN);
    let cancel = Ask {
        method: "CANCEL",
        ..ASK
    };
    let got = kinds(&ask(&mut net, &cancel));
    assert_eq!(got, ["200 CANCEL", "487 INVITE"]);
    net.run_out();
    assert!(net.times_of("200 INVITE").is_empty());
    assert_eq!(net.agents[0].ends()[0].reason, EndReason::CancelledByPeer);
    // Hanging up while the answer waits.
    let mut net = called(eager);
    ask(&mut net, &OPEN);
    let call = net.agents[0].incoming();
    net.hang_up(0, call);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].status, Some(480));
    assert_eq!(net.times_of("183 INVITE").len(), 1);
}

#[test]
fn only_provisional_codes_in_a_call_that_rings() {
    let mut net = called(nothing);
    ask(&mut net, &OPEN);
    let call = net.agents[0].incoming();
    let mut progress = |code| net.with(0, |ua, now| ua.progress(now, call, code, ""));
    assert_eq!(progress(100), Err(UaError::StatusCode(100)));
    assert_eq!(progress(200), Err(UaError::StatusCode(200)));
    for _ in 0..5 {
        assert_eq!(progress(180), Ok(()));
    }
    assert_eq!(progress(180), Err(UaError::WrongState(call)));
}

/// A caller behind a forking proxy: an early dialog each, gaps and duplicates left alone.
#[test]
fn each_branch_is_acknowledged_in_its_own_order() {
    let mut net = called(nothing);
    let call = net.call("sip:p@192.0.2.50");
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    assert_eq!(header(&invite, HeaderName::Supported), "100rel");
    let mut say = |tag: &str, rseq: u32| -> Vec<(String, String, String)> {
        let lines =
            format!("Contact: <sip:{tag}@192.0.2.50>\r\nRequire: 100rel\r\nRSeq: {rseq}\r\n");
        let text = reply(&invite, "183 Progress", tag, &lines, "v=0 early");
        net.send_raw(PEER, US, &text);
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        for prack in &got {
            net.send_raw(PEER, US, &reply(prack, "200 OK", "", "", ""));
        }
        got.iter()
            .map(|prack| {
                (
                    prack.request_uri().unwrap().user(),
                    header(prack, HeaderName::RAck),
                    header(prack, HeaderName::CSeq),
                )
            })
            .collect()
    };
    let prack = |tag: &str, rack: &str, cseq: &str| {
        vec![(tag.to_owned(), rack.to_owned(), cseq.to_owned())]
    };
    assert_eq!(say("one", 7), prack("one", "7 1 INVITE", "2 PRACK"));
    assert_eq!(say("two", 3), prack("two", "3 1 INVITE", "2 PRACK"));
    // Again, a gap, an older one.
    assert!(say("one", 7).is_empty());
    assert!(say("one", 9).is_empty());
    assert!(say("one", 6).is_empty());
    assert_eq!(say("one", 8), prack("one", "8 1 INVITE", "3 PRACK"));
    assert_eq!(say("two", 4), prack("two", "4 1 INVITE", "3 PRACK"));
    let events = net.agents[0].call_events();
    assert_eq!(events, ["1xx"; 4]);
    // The second branch answers: its dialog counts on, the other is ended above its PRACKs.
    for tag in ["two", "one"] {
        let contact = format!("Contact: <sip:{tag}@192.0.2.50>\r\n");
        net.send_raw(PEER, US, &reply(&invite, "200 OK", tag, &contact, "v=0"));
        net.run_for(millis(20));
    }
    let got = net.take_raw(PEER);
    assert_eq!(kinds(&got), ["ACK", "ACK", "BYE"]);
    let number: u32 = header(&got[2], HeaderName::CSeq)
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(number > 3);
    net.hang_up(0, call);
    net.run_for(millis(20));
    assert_eq!(header(&net.take_raw(PEER)[0], HeaderName::CSeq), "4 BYE");
}
