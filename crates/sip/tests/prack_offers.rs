//! Offers in reliable provisional responses and in PRACK (RFC 3262 §5).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Duration;

use callmeter_sip::UserAgent;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallEvent, CallKey, EndReason, EndpointConfig, OfferBy, Reliable, UaError};

use pair::peer::{ASK, Ask, PEER, US, ask, kinds, to_tag};
use pair::{ANSWER, Net, OFFER, config, header, millis, nothing, reply};

const HELD: &[u8] = b"v=0 held";

/// The INVITE of a peer that takes reliable responses, without SDP.
const BARE: Ask<'_> = Ask {
    lines: "Supported: 100rel\r\nAllow: INVITE, ACK, UPDATE\r\n",
    ..ASK
};
const OFFERS: Ask<'_> = Ask {
    body: "v=0",
    ..BARE
};

/// An agent that a raw peer has called.
struct Called {
    net: Net,
    call: CallKey,
    tag: String,
    cseq: u32,
}

impl Called {
    fn new(invite: &Ask<'_>, reliable: Reliable) -> Self {
        let mut net = Net::new(0.0, 1);
        net.agent(US, nothing);
        let config = EndpointConfig {
            reliable,
            ..config("sip:a@192.0.2.1")
        };
        net.endpoint(0, 1, config);
        assert!(ask(&mut net, invite).is_empty());
        Self {
            call: net.agents[0].incoming(),
            tag: String::new(),
            cseq: 1,
            net,
        }
    }

    /// Does something with the call; what the peer gets of it.
    fn does(
        &mut self,
        what: impl FnOnce(&mut UserAgent, std::time::Instant, CallKey) -> Result<(), UaError>,
    ) -> Vec<Message> {
        let call = self.call;
        self.net.with(0, |ua, now| what(ua, now, call)).unwrap();
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    /// A provisional response, as the peer got it.
    fn says(&mut self, code: u16, body: &'static [u8]) -> Message {
        let mut got = self.does(|ua, now, call| ua.progress(now, call, code, body));
        assert_eq!(kinds(&got), [format!("{code} INVITE")]);
        self.tag = to_tag(&got[0]);
        got.remove(0)
    }

    fn answers(&mut self, body: &'static [u8]) -> Vec<Message> {
        self.does(|ua, now, call| ua.answer(now, call, body))
    }

    fn within(&mut self, method: &str, lines: &str, body: &str) -> Vec<Message> {
        self.cseq += u32::from(method != "ACK");
        let request = Ask {
            method,
            branch: &format!("w{}{method}", self.cseq),
            to_tag: &self.tag,
            cseq: if method == "ACK" { 1 } else { self.cseq },
            lines,
            body,
            ..ASK
        };
        ask(&mut self.net, &request)
    }

    fn prack(&mut self, response: &Message, body: &str) -> Vec<Message> {
        let rseq = header(response, HeaderName::RSeq);
        self.within("PRACK", &format!("RAck: {rseq} 1 INVITE\r\n"), body)
    }

    fn events(&self) -> Vec<&str> {
        self.net.agents[0].call_events()
    }

    /// The bodies of PRACKs told.
    fn pracked(&self) -> Vec<String> {
        self.net.agents[0].told(|event| match event {
            CallEvent::Pracked { body } => Some(String::from_utf8(body.to_vec()).unwrap()),
            _ => None,
        })
    }

    fn stands(&self) -> bool {
        self.net.agents[0].stands(self.call)
    }
}

#[test]
fn the_first_reliable_response_to_an_invite_without_sdp_offers() {
    let mut called = Called::new(&BARE, Reliable::Supported);
    let call = called.call;
    let ring = called.net.with(0, |ua, now| ua.ring(now, call));
    assert_eq!(ring, Err(UaError::NoOffer(call)));
    assert!(called.net.agents[0].ua.must_offer_early(call));
    let offered = called.says(180, OFFER);
    assert_eq!(offered.body(), OFFER);
    assert!(!called.net.agents[0].ua.must_offer_early(call));
    // No other before it is answered, and none but by UPDATE after.
    let again = |called: &mut Called| {
        let again = |ua: &mut UserAgent, now| ua.progress(now, call, 183, OFFER);
        called.net.with(0, again)
    };
    assert_eq!(again(&mut called), Err(UaError::WrongState(call)));
    let got = called.prack(&offered, "v=0 answer");
    assert_eq!(kinds(&got), ["200 PRACK"]);
    assert_eq!(called.pracked(), ["v=0 answer"]);
    assert_eq!(again(&mut called), Err(UaError::WrongState(call)));
    let ringing = called.says(180, b"");
    assert_eq!(kinds(&called.prack(&ringing, "")), ["200 PRACK"]);
    // The exchange is over: the 200 brings no SDP.
    let got = called.answers(ANSWER);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert!(got[0].body().is_empty());
    assert!(called.within("ACK", "", "").is_empty());
    assert_eq!(
        called.events(),
        ["incoming", "pracked", "pracked", "confirmed"]
    );
    let bye = called.does(UserAgent::hang_up);
    assert_eq!(kinds(&bye), ["BYE"]);
}

/// The answer of the call waits for the answer to its offer.
#[test]
fn the_200_waits_for_the_answer_in_the_prack() {
    let mut called = Called::new(&BARE, Reliable::Supported);
    let offered = called.says(183, OFFER);
    assert!(called.answers(ANSWER).is_empty());
    let got = called.prack(&offered, "v=0 answer");
    assert_eq!(kinds(&got), ["200 PRACK", "200 INVITE"]);
    assert!(got[1].body().is_empty());
}

/// Where nothing is sent reliably, the 180 has no SDP and the 200 offers.
#[test]
fn without_reliable_responses_the_200_offers() {
    let mut called = Called::new(&BARE, Reliable::Off);
    assert!(!called.net.agents[0].ua.must_offer_early(called.call));
    called.says(180, b"");
    let got = called.answers(OFFER);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert_eq!(got[0].body(), OFFER);
}

#[test]
fn a_prack_without_the_answer_ends_the_call() {
    let text = "Content-Type: text/plain\r\n";
    for (lines, body) in [("", ""), (text, "hello")] {
        for answered in [false, true] {
            let mut called = Called::new(&BARE, Reliable::Supported);
            let offered = called.says(183, OFFER);
            if answered {
                assert!(called.answers(ANSWER).is_empty());
            }
            let rseq = header(&offered, HeaderName::RSeq);
            let lines = format!("RAck: {rseq} 1 INVITE\r\n{lines}");
            let got = called.within("PRACK", &lines, body);
            assert_eq!(kinds(&got), ["200 PRACK", "400 INVITE"]);
            assert_eq!(called.pracked(), [""]);
            let end = called.net.agents[0].ends()[0];
            assert_eq!(
                (end.reason, end.status),
                (EndReason::AnswerMissing, Some(400))
            );
            called.net.run_out();
            assert!(called.net.times_of("200 INVITE").is_empty());
            assert_eq!(called.net.agents[0].ua.held().transactions, 0);
        }
    }
}

/// INVITE and 183 have agreed, the PRACK offers anew: the 200 of the PRACK answers.
#[test]
fn an_offer_in_prack_is_answered_by_its_200() {
    let mut called = Called::new(&OFFERS, Reliable::Supported);
    let early = called.says(183, ANSWER);
    let asked = called.net.now;
    assert!(called.prack(&early, "v=0 hold").is_empty());
    assert_eq!(called.events(), ["incoming", "pracked", "offer"]);
    // It has acknowledged the 183, and is not told again.
    assert_eq!(kinds(&called.prack(&early, "v=0 hold")), ["481 PRACK"]);
    // No offer of ours, and no other of theirs, while it waits.
    let call = called.call;
    let ours = called
        .net
        .with(0, |ua, now| ua.offer(now, call, HELD, OfferBy::Update));
    assert_eq!(ours, Err(UaError::OfferPending(call)));
    assert_eq!(kinds(&called.within("UPDATE", "", "v=0 x")), ["500 UPDATE"]);
    let got = called.answers(HELD);
    assert_eq!(kinds(&got), ["200 PRACK"]);
    assert_eq!(got[0].body(), HELD);
    assert!(header(&got[0], HeaderName::Contact).is_empty());
    // The session was changed: the 200 of the INVITE brings no SDP.
    let got = called.answers(ANSWER);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert!(got[0].body().is_empty());
    assert!(called.within("ACK", "", "").is_empty());
    called.within("BYE", "", "");
    let end = called.net.agents[0].ends()[0];
    // The PRACK's 200, not its arrival.
    let pracked = end.mid.as_deref().unwrap().pracked;
    assert_eq!(pracked, Some(asked + millis(60)));
    assert_eq!(called.net.agents[0].ua.counters().reinvites_received, 0);
    called.net.run_out();
    assert_eq!(called.net.times_of("183 INVITE").len(), 1);
    assert_eq!(called.net.agents[0].ua.held().transactions, 0);
}

/// A 200 that waits for the PRACK waits for the answer to its offer too.
#[test]
fn the_200_waits_for_the_answer_to_the_offer_of_the_prack() {
    for refused in [false, true] {
        let mut called = Called::new(&OFFERS, Reliable::Supported);
        let early = called.says(183, ANSWER);
        assert!(called.answers(ANSWER).is_empty());
        assert!(called.prack(&early, "v=0 hold").is_empty());
        let got = if refused {
            called.does(|ua, now, call| ua.reject(now, call, 488))
        } else {
            called.answers(HELD)
        };
        let code = if refused { "488 PRACK" } else { "200 PRACK" };
        assert_eq!(kinds(&got), [code, "200 INVITE"]);
        // Refused, the session is that of the 183.
        assert_eq!(got[1].body().is_empty(), !refused);
    }
}

/// Offers in PRACK that come at the wrong time; each acknowledges its response all the same.
#[test]
fn an_offer_in_prack_while_one_is_open_is_refused() {
    // The INVITE's is unanswered.
    let mut called = Called::new(&OFFERS, Reliable::Supported);
    let ringing = called.says(180, b"");
    assert_eq!(kinds(&called.prack(&ringing, "v=0 x")), ["488 PRACK"]);
    called.net.run_for(Duration::from_secs(40));
    assert_eq!(called.net.times_of("180 INVITE").len(), 1);
    assert!(called.stands());
    // Ours is.
    let early = called.says(183, ANSWER);
    assert_eq!(kinds(&called.prack(&early, "")), ["200 PRACK"]);
    let update = called.does(|ua, now, call| ua.offer(now, call, HELD, OfferBy::Update));
    assert_eq!(kinds(&update), ["UPDATE"]);
    let more = called.says(183, b"");
    assert_eq!(kinds(&called.prack(&more, "v=0 x")), ["491 PRACK"]);
    let answer = reply(&update[0], "200 OK", "", "", "v=0 held");
    called.net.send_raw(PEER, US, &answer);
    called.net.run_for(millis(20));
    let more = called.says(183, b"");
    assert!(called.prack(&more, "v=0 x").is_empty());
    assert_eq!(called.answers(HELD)[0].body(), HELD);
    // Not SDP.
    let more = called.says(183, b"");
    let rseq = header(&more, HeaderName::RSeq);
    let lines = format!("RAck: {rseq} 1 INVITE\r\nContent-Type: text/plain\r\n");
    assert_eq!(kinds(&called.within("PRACK", &lines, "x")), ["415 PRACK"]);
    assert_eq!(
        called.events(),
        [
            "incoming",
            "pracked",
            "pracked",
            "pracked",
            "offer answered",
            "pracked",
            "offer",
            "pracked"
        ]
    );
    assert_eq!(kinds(&called.answers(ANSWER)), ["200 INVITE"]);
}
