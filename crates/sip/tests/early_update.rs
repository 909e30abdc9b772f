//! UPDATE before an incoming call is answered (RFC 3311 §5).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    CallEvent, CallKey, EndReason, EndpointConfig, OfferBy, Reliable, UaError, UaEvent, UserAgent,
};

use pair::peer::{ASK, Ask, PEER, US, ask, kinds, to_tag};
use pair::{ANSWER, Net, again, config, header, millis, reply};

const OPEN: Ask<'_> = Ask {
    lines: "Supported: 100rel\r\nAllow: INVITE, ACK, UPDATE\r\n",
    body: "v=0",
    ..ASK
};
const THERE: &str = "192.0.2.51:5070";
const HOLD: &[u8] = b"v=0 hold";
const HELD: &[u8] = b"v=0 held";

fn with(aor: &str) -> EndpointConfig {
    EndpointConfig {
        reliable: Reliable::Supported,
        ..config(aor)
    }
}

/// 183 with SDP.
fn early(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    if let UaEvent::Incoming(incoming) = event {
        ua.progress(now, incoming.call, 183, ANSWER).unwrap();
    }
}

/// A raw peer that called an agent and got 183.
struct Early {
    net: Net,
    call: CallKey,
    tag: String,
    rseq: String,
    invite: Message,
}

impl Early {
    fn new(open: &Ask<'_>) -> Self {
        let mut net = Net::new(0.0, 1);
        net.agent(US, early);
        net.endpoint(0, 1, with("sip:a@192.0.2.1"));
        let mut got = ask(&mut net, open);
        assert_eq!(kinds(&got), ["183 INVITE"]);
        let invite = got.remove(0);
        Self {
            call: net.agents[0].incoming(),
            tag: to_tag(&invite),
            rseq: header(&invite, HeaderName::RSeq),
            invite,
            net,
        }
    }

    /// The session is agreed on.
    fn agreed() -> Self {
        let mut early = Self::new(&OPEN);
        early.prack();
        early
    }

    fn within(&mut self, method: &str, cseq: u32, lines: &str, body: &str) -> Vec<Message> {
        let request = Ask {
            method,
            branch: &format!("w{cseq}{method}"),
            to_tag: &self.tag,
            cseq,
            lines,
            body,
            ..ASK
        };
        ask(&mut self.net, &request)
    }

    fn prack(&mut self) {
        let lines = format!("RAck: {} 1 INVITE\r\n", self.rseq);
        assert_eq!(kinds(&self.within("PRACK", 2, &lines, "")), ["200 PRACK"]);
    }

    fn update(&mut self, cseq: u32) -> Vec<Message> {
        self.within("UPDATE", cseq, "", "v=0 hold")
    }

    fn answer(&mut self, body: &'static [u8]) -> Vec<Message> {
        let call = self.call;
        self.net
            .with(0, |ua, now| ua.answer(now, call, body))
            .unwrap();
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    fn offer(&mut self, by: OfferBy) -> Result<(), UaError> {
        let call = self.call;
        self.net.with(0, |ua, now| ua.offer(now, call, HOLD, by))
    }

    /// Our UPDATE, as the peer got it.
    fn offered(&mut self) -> Message {
        self.offer(OfferBy::Update).unwrap();
        self.net.run_for(millis(20));
        let mut got = self.net.take_raw(PEER);
        assert_eq!(kinds(&got), ["UPDATE"]);
        assert_eq!(got[0].body(), HOLD);
        got.remove(0)
    }

    /// The peer's answer to a request of ours, and what comes of it.
    fn respond(&mut self, request: &Message, status: &str, body: &str) -> Vec<Message> {
        let contact = "Contact: <sip:p@192.0.2.50:5060>\r\n";
        let response = reply(request, status, "", contact, body);
        self.net.send_raw(PEER, US, &response);
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    fn refusals(&self) -> Vec<Option<u16>> {
        self.net.agents[0].told(|event| match event {
            CallEvent::OfferRefused { code } => Some(*code),
            _ => None,
        })
    }

    fn events(&self) -> Vec<&str> {
        self.net.agents[0].call_events()
    }
}

#[test]
fn an_offer_is_given_up_once_a_session_is_agreed_on() {
    let mut early = Early::new(&OPEN);
    assert!(header(&early.invite, HeaderName::Allow).contains("UPDATE"));
    let got = early.update(2);
    assert_eq!(kinds(&got), ["500 UPDATE"]);
    assert_eq!(header(&got[0], HeaderName::RetryAfter), "1");
    let lines = format!("RAck: {} 1 INVITE\r\n", early.rseq);
    assert_eq!(kinds(&early.within("PRACK", 3, &lines, "")), ["200 PRACK"]);
    let contact = "Contact: <sip:p@192.0.2.51:5070>\r\n";
    let moved = Ask {
        method: "UPDATE",
        branch: "u",
        to_tag: &early.tag,
        cseq: 4,
        body: "v=0 hold",
        ..ASK
    };
    let moved = moved.text().replace(pair::peer::CONTACT, contact);
    early.net.send_raw(PEER, US, &moved);
    early.net.run_for(millis(20));
    assert_eq!(early.events(), ["incoming", "pracked", "offer"]);
    // Theirs is unanswered: no other, and none of ours.
    assert_eq!(kinds(&early.update(5)), ["500 UPDATE"]);
    let ours = early.offer(OfferBy::Update);
    assert_eq!(ours, Err(UaError::OfferPending(early.call)));
    let got = early.answer(HELD);
    assert_eq!(kinds(&got), ["200 UPDATE"]);
    assert_eq!(got[0].body(), HELD);
    assert!(!header(&got[0], HeaderName::Contact).is_empty());
    assert_eq!(early.net.agents[0].ua.counters().reinvites_received, 1);
    // The answer of the call does not bring the old session back.
    let got = early.answer(ANSWER);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert!(got[0].body().is_empty());
    assert!(early.within("ACK", 1, "", "").is_empty());
    early.net.hang_up(0, early.call);
    early.net.run_for(millis(20));
    assert_eq!(kinds(&early.net.take_raw(THERE)), ["BYE"]);
}

/// The INVITE has no SDP: the PRACK must bring the answer.
#[test]
fn an_offer_of_ours_without_answer_agrees_on_nothing() {
    for (body, expected) in [("", "481 UPDATE"), ("v=0 early", "200 UPDATE")] {
        let mut early = Early::new(&Ask { body: "", ..OPEN });
        let lines = format!("RAck: {} 1 INVITE\r\n", early.rseq);
        early.within("PRACK", 2, &lines, body);
        let mut got = early.update(3);
        if got.is_empty() {
            got = early.answer(HELD);
        }
        assert_eq!(kinds(&got), [expected]);
    }
}

#[test]
fn the_answer_of_the_call_waits_for_that_of_our_update() {
    let mut early = Early::agreed();
    let update = early.offered();
    // RFC 3311 §5.2: ours is unanswered.
    assert_eq!(kinds(&early.update(3)), ["491 UPDATE"]);
    assert!(early.answer(ANSWER).is_empty());
    assert_eq!(kinds(&early.update(4)), ["491 UPDATE"]);
    let got = early.respond(&update, "200 OK", "v=0 held");
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert!(got[0].body().is_empty());
    assert_eq!(early.events(), ["incoming", "pracked", "offer answered"]);
    assert!(early.within("ACK", 1, "", "").is_empty());
    assert_eq!(early.net.agents[0].standing(), 1);
}

#[test]
fn a_refused_update_leaves_the_answer_as_it_was() {
    let mut early = Early::agreed();
    let update = early.offered();
    assert!(early.answer(ANSWER).is_empty());
    let got = early.respond(&update, "488 No", "");
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert_eq!(got[0].body(), ANSWER);
    assert_eq!(early.refusals(), [Some(488)]);
}

/// RFC 3261 §14.1: the callee waits up to 2 s, and does not hold the answer back for that.
#[test]
fn glare_is_sent_again_before_the_answer_or_after_it() {
    for answered in [false, true] {
        let mut early = Early::agreed();
        let update = early.offered();
        if answered {
            assert!(early.answer(ANSWER).is_empty());
        }
        let got = early.respond(&update, "491 Pending", "");
        assert_eq!(got.len(), usize::from(answered));
        if answered {
            assert!(early.within("ACK", 1, "", "").is_empty());
        }
        let wait = again::due(&early.net.agents[0])[0] - early.net.now;
        assert!(wait <= millis(2_000), "{wait:?}");
        early.net.run_for(wait);
        let call = early.call;
        let again = |ua: &mut UserAgent, now| ua.offer_again(now, call, HOLD, OfferBy::Update);
        early.net.with(0, again).unwrap();
        early.net.run_for(millis(20));
        let got = early.net.take_raw(PEER);
        let again = got.iter().find(|got| pair::kind(got) == "UPDATE").unwrap();
        assert_ne!(
            header(again, HeaderName::CSeq),
            header(&update, HeaderName::CSeq)
        );
        early.respond(again, "200 OK", "v=0 held");
        assert!(early.events().contains(&"offer answered"));
        assert!(early.refusals().is_empty());
    }
}

#[test]
fn an_update_that_crosses_the_200_is_put_off() {
    let mut early = Early::agreed();
    assert_eq!(kinds(&early.answer(ANSWER)), ["200 INVITE"]);
    let got = early.update(3);
    assert_eq!(kinds(&got), ["500 UPDATE"]);
    assert_eq!(header(&got[0], HeaderName::RetryAfter), "1");
    assert!(early.within("ACK", 1, "", "").is_empty());
    assert!(early.update(4).is_empty());
    assert_eq!(kinds(&early.answer(HELD)), ["200 UPDATE"]);
    assert_eq!(early.net.agents[0].standing(), 1);
}

#[test]
fn a_refusal_is_of_the_offer_while_one_waits() {
    let mut early = Early::agreed();
    assert!(early.update(3).is_empty());
    for expected in ["488 UPDATE", "488 INVITE"] {
        let call = early.call;
        early
            .net
            .with(0, |ua, now| ua.reject(now, call, 488))
            .unwrap();
        early.net.run_for(millis(20));
        assert_eq!(kinds(&early.net.take_raw(PEER)), [expected]);
    }
}

#[test]
fn a_call_that_is_cancelled_or_given_up_refuses_the_offer() {
    let mut early = Early::agreed();
    assert!(early.update(3).is_empty());
    let cancel = Ask {
        method: "CANCEL",
        ..ASK
    };
    let got = kinds(&ask(&mut early.net, &cancel));
    assert_eq!(got, ["200 CANCEL", "487 UPDATE", "487 INVITE"]);
    let mut early = Early::agreed();
    early.offered();
    early.net.run_out();
    let end = early.net.agents[0].ends()[0];
    assert_eq!(end.reason, EndReason::NoAnswer);
    // Nobody answered ours: told, but the INVITE is what ends the call.
    assert_eq!(early.refusals(), [None]);
    let held = early.net.agents[0].ua.held();
    assert_eq!((held.calls, held.transactions, held.timers), (0, 0, 0));
}

/// A session timer of an early UPDATE runs only once the call stands.
#[test]
fn a_session_timer_does_not_run_before_the_answer() {
    let mut early = Early::agreed();
    let lines = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let got = early.within("UPDATE", 3, lines, "");
    assert_eq!(kinds(&got), ["200 UPDATE"]);
    early.net.run_for(Duration::from_secs(100));
    assert_eq!(early.net.agents[0].standing(), 1);
    assert_eq!(kinds(&early.answer(ANSWER)), ["200 INVITE"]);
}

#[test]
fn only_by_update_and_only_to_a_peer_that_takes_it() {
    let mut early = Early::new(&OPEN);
    let call = early.call;
    assert_eq!(early.offer(OfferBy::Update), Err(UaError::WrongState(call)));
    early.prack();
    assert_eq!(early.offer(OfferBy::Invite), Err(UaError::WrongState(call)));
    assert_eq!(early.offer(OfferBy::Update), Ok(()));
    let mut early = Early::new(&Ask {
        lines: "Supported: 100rel\r\n",
        ..OPEN
    });
    early.prack();
    assert_eq!(early.offer(OfferBy::Update), Err(UaError::WrongState(call)));
}

/// Against an agent that answers offers: each ends once, and the answer that waits for it goes.
#[test]
fn under_loss_every_offer_ends_once_and_the_call_is_answered() {
    let (mut answered, mut changed) = (0, 0);
    for seed in 1..40 {
        let mut net = Net::new(0.3, seed);
        net.agent("192.0.2.1:5060", |ua, now, event| {
            if let UaEvent::Call {
                call,
                event: CallEvent::Offer { .. },
                ..
            } = event
            {
                ua.answer(now, *call, HELD).unwrap();
            }
        });
        net.agent("192.0.2.2:5060", |ua, now, event| {
            early(ua, now, event);
            if let UaEvent::Call {
                call,
                event: CallEvent::Pracked { .. },
                ..
            } = event
            {
                ua.offer(now, *call, HOLD, OfferBy::Update).unwrap();
                ua.answer(now, *call, ANSWER).unwrap();
            }
        });
        net.endpoint(0, 1, with("sip:a@192.0.2.1"));
        net.endpoint(1, 1, with("sip:b@192.0.2.2"));
        let call = net.call("sip:b@192.0.2.2");
        net.run_for(Duration::from_secs(100));
        let events = net.agents[1].call_events();
        let count = |name: &str| events.iter().filter(|event| **event == name).count();
        let ended = count("offer refused") + count("offer answered");
        assert_eq!(ended, count("pracked"), "seed {seed}");
        changed += count("offer answered");
        answered += usize::from(net.agents[0].call_events().contains(&"answered"));
        net.set_loss(0.0);
        if net.agents[0].standing() == 1 {
            net.hang_up(0, call);
        }
        net.run_out();
        for agent in &net.agents {
            let held = agent.ua.held();
            assert_eq!((held.calls, held.transactions), (0, 0), "seed {seed}");
        }
    }
    assert!(answered > 30 && changed > 25, "{answered} {changed}");
}
