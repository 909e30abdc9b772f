//! UPDATE and PRACK before a call of ours is answered (RFC 3311 §5, RFC 3262 §4).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallEvent, CallKey, EndpointConfig, OfferBy, Reliable, UaError, UaEvent};

use pair::account::with_realm;
use pair::peer::{CONTACT, PEER, US, kinds, to_tag};
use pair::{Net, header, kind, millis, nothing, reply};

const UPDATES: &str = "Allow: INVITE, ACK, UPDATE\r\n";

/// A call of ours to the raw peer.
struct Calling {
    net: Net,
    call: CallKey,
    invite: Message,
    rseq: u32,
}

impl Calling {
    fn new(config: EndpointConfig) -> Self {
        let mut net = Net::new(0.0, 1);
        net.agent(US, nothing);
        net.endpoint(
            0,
            1,
            EndpointConfig {
                reliable: Reliable::Supported,
                ..config
            },
        );
        let call = net.call(&format!("sip:p@{PEER}"));
        net.run_for(millis(20));
        let invite = net.take_raw(PEER).remove(0);
        Self {
            net,
            call,
            invite,
            rseq: 0,
        }
    }

    fn plain() -> Self {
        Self::new(pair::config("sip:a@192.0.2.1"))
    }

    /// A response of the branch `tag` to the INVITE.
    fn say(&mut self, status: &str, tag: &str, lines: &str, body: &str) -> Vec<Message> {
        let content = match body {
            "" => "",
            _ => "Content-Type: application/sdp\r\n",
        };
        let lines = format!("{CONTACT}{lines}{content}");
        let response = reply(&self.invite, status, tag, &lines, body);
        self.net.send_raw(PEER, US, &response);
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    /// A reliable 183 with the answer; its PRACK.
    fn early(&mut self, tag: &str) -> Message {
        self.rseq += 1;
        let lines = format!("{UPDATES}Require: 100rel\r\nRSeq: {}\r\n", self.rseq);
        let mut got = self.say("183 Early", tag, &lines, "v=0 early");
        assert_eq!(kinds(&got), ["PRACK"]);
        got.remove(0)
    }

    /// A branch that agreed on a session.
    fn agreed(&mut self, tag: &str) {
        self.rseq = 0;
        let prack = self.early(tag);
        self.respond(&prack, "200 OK", "", "");
    }

    fn respond(
        &mut self,
        request: &Message,
        status: &str,
        lines: &str,
        body: &str,
    ) -> Vec<Message> {
        let lines = format!("{CONTACT}{lines}");
        let response = reply(request, status, "", &lines, body);
        self.net.send_raw(PEER, US, &response);
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    /// A request of the branch `tag`.
    fn within(&mut self, method: &str, tag: &str, cseq: u32, body: &str) -> Vec<Message> {
        let ours = header(&self.invite, HeaderName::From);
        let call_id = header(&self.invite, HeaderName::CallId);
        let request = format!(
            "{method} sip:a@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {PEER};rport;branch=z9hG4bK{method}{tag}{cseq}\r\n\
             From: <sip:p@{PEER}>;tag={tag}\r\nTo: {ours}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n{CONTACT}Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.net.send_raw(PEER, US, &request);
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    fn answer(&mut self) -> Vec<Message> {
        let call = self.call;
        let held = &b"v=0 held"[..];
        self.net
            .with(0, |ua, now| ua.answer(now, call, held))
            .unwrap();
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    fn offer(&mut self, by: OfferBy) -> Result<(), UaError> {
        let call = self.call;
        let hold = &b"v=0 hold"[..];
        self.net.with(0, |ua, now| ua.offer(now, call, hold, by))
    }

    fn sent(&mut self) -> Vec<Message> {
        self.net.run_for(millis(20));
        self.net.take_raw(PEER)
    }

    fn answered_with(&self) -> Vec<u8> {
        let mut events = self.net.agents[0].events.iter();
        let body = events.find_map(|event| match event {
            UaEvent::Call {
                event: CallEvent::Answered { body },
                ..
            } => Some(body.to_vec()),
            _ => None,
        });
        body.unwrap()
    }

    fn count(&self, name: &str) -> usize {
        let events = self.net.agents[0].call_events();
        events.iter().filter(|event| **event == name).count()
    }

    fn finish(mut self) {
        self.net.run_out();
        let held = self.net.agents[0].ua.held();
        assert_eq!((held.transactions, held.timers), (0, 0));
    }
}

/// RFC 3311 §5.2: our offer waits for its answer in a reliable response; without an offer UPDATE
/// is taken in any early dialog that is known.
#[test]
fn an_update_before_the_answer_to_our_offer() {
    let mut one = Calling::plain();
    assert_eq!(kinds(&one.within("UPDATE", "x", 1, "")), ["481 UPDATE"]);
    assert!(one.say("180 Ringing", "x", UPDATES, "").is_empty());
    assert_eq!(kinds(&one.within("UPDATE", "x", 2, "")), ["200 UPDATE"]);
    assert_eq!(kinds(&one.within("UPDATE", "x", 3, "v=0")), ["491 UPDATE"]);
    assert_eq!(kinds(&one.within("OPTIONS", "x", 3, "")), ["500 OPTIONS"]);
    assert_eq!(kinds(&one.within("INVITE", "x", 4, "v=0")), ["491 INVITE"]);
    assert_eq!(kinds(&one.within("BYE", "x", 5, "")), ["481 BYE"]);
    assert_eq!(kinds(&one.within("UPDATE", "y", 1, "")), ["481 UPDATE"]);
}

#[test]
fn an_offer_of_the_callee_changes_the_session_of_its_branch() {
    let mut one = Calling::plain();
    one.agreed("x");
    assert!(one.within("UPDATE", "x", 1, "v=0 theirs").is_empty());
    let got = one.within("UPDATE", "x", 2, "v=0 more");
    assert_eq!(kinds(&got), ["500 UPDATE"]);
    assert_eq!(header(&got[0], HeaderName::RetryAfter), "1");
    let call = one.call;
    assert_eq!(one.offer(OfferBy::Update), Err(UaError::OfferPending(call)));
    let got = one.answer();
    assert_eq!(kinds(&got), ["200 UPDATE"]);
    assert_eq!(got[0].body(), &b"v=0 held"[..]);
    assert!(!header(&got[0], HeaderName::Contact).is_empty());
    // The 2xx does not bring the old session back.
    assert_eq!(
        kinds(&one.say("200 OK", "x", UPDATES, "v=0 early")),
        ["ACK"]
    );
    assert_eq!(one.answered_with(), b"v=0 theirs");
    // The numbers of the early dialog go on.
    assert_eq!(kinds(&one.within("UPDATE", "x", 2, "")), ["500 UPDATE"]);
    assert_eq!(kinds(&one.within("BYE", "x", 3, "")), ["200 BYE"]);
    one.finish();
}

#[test]
fn an_offer_may_be_refused_or_outlive_the_answer() {
    let mut one = Calling::plain();
    one.agreed("x");
    assert!(one.within("UPDATE", "x", 1, "v=0").is_empty());
    let call = one.call;
    one.net
        .with(0, |ua, now| ua.reject(now, call, 488))
        .unwrap();
    assert_eq!(kinds(&one.sent()), ["488 UPDATE"]);
    assert!(one.within("UPDATE", "x", 2, "v=0").is_empty());
    assert_eq!(kinds(&one.say("200 OK", "x", UPDATES, "")), ["ACK"]);
    assert_eq!(kinds(&one.answer()), ["200 UPDATE"]);
}

#[test]
fn ours_goes_to_the_branch_that_agreed() {
    let mut one = Calling::plain();
    let call = one.call;
    one.say("180 Ringing", "w", UPDATES, "");
    assert_eq!(one.offer(OfferBy::Update), Err(UaError::WrongState(call)));
    let prack = one.early("x");
    assert_eq!(one.offer(OfferBy::Update), Err(UaError::WrongState(call)));
    one.respond(&prack, "200 OK", "", "");
    assert_eq!(one.offer(OfferBy::Invite), Err(UaError::WrongState(call)));
    one.offer(OfferBy::Update).unwrap();
    let update = one.sent().remove(0);
    assert_eq!((&kind(&update)[..], &to_tag(&update)[..]), ("UPDATE", "x"));
    assert_eq!(kinds(&one.within("UPDATE", "x", 1, "v=0")), ["491 UPDATE"]);
    one.respond(
        &update,
        "200 OK",
        "Content-Type: application/sdp\r\n",
        "v=0 agreed",
    );
    assert_eq!(one.count("offer answered"), 1);
    assert_eq!(kinds(&one.say("200 OK", "x", UPDATES, "")), ["ACK"]);
    assert_eq!(one.answered_with(), b"v=0 agreed");
}

/// The branch that loses gets no UPDATE answered, and its silence does not end the call.
#[test]
fn what_waits_in_a_branch_that_loses_ends() {
    let mut one = Calling::plain();
    one.agreed("x");
    one.agreed("y");
    one.offer(OfferBy::Update).unwrap();
    let update = one.sent().remove(0);
    assert_eq!(to_tag(&update), "y");
    let got = one.say("200 OK", "x", UPDATES, "v=0 early");
    assert_eq!(kinds(&got), ["ACK"]);
    assert_eq!(one.count("offer refused"), 1);
    one.respond(&update, "481 No", "", "");
    assert_eq!(one.net.agents[0].standing(), 1);

    let mut two = Calling::plain();
    two.agreed("x");
    two.agreed("y");
    assert!(two.within("UPDATE", "y", 1, "v=0").is_empty());
    let got = two.say("200 OK", "x", UPDATES, "v=0 early");
    assert_eq!(kinds(&got), ["ACK", "481 UPDATE"]);
    assert_eq!(two.net.agents[0].standing(), 1);

    let mut three = Calling::plain();
    three.agreed("x");
    assert!(three.within("UPDATE", "x", 1, "v=0").is_empty());
    let got = three.say("486 Busy", "x", "", "");
    assert_eq!(kinds(&got), ["ACK", "487 UPDATE"]);
    three.finish();
}

/// A PRACK is challenged like any request within a dialog.
#[test]
fn a_challenged_prack_is_sent_again_only_where_digest_is_answered() {
    for free in [true, false] {
        let config = EndpointConfig {
            next_hop: Some(PEER.parse().unwrap()),
            ..with_realm(free)
        };
        let mut one = Calling::new(config);
        let prack = one.early("x");
        let challenge = "Proxy-Authenticate: Digest realm=\"example.org\", nonce=\"n\"\r\n";
        let got = one.respond(&prack, "407 Auth", challenge, "");
        assert_eq!(got.len(), usize::from(free));
        if let Some(again) = got.first() {
            assert_eq!(
                header(again, HeaderName::RAck),
                header(&prack, HeaderName::RAck)
            );
            assert_ne!(
                header(again, HeaderName::CSeq),
                header(&prack, HeaderName::CSeq)
            );
            one.respond(again, "200 OK", "", "");
            one.offer(OfferBy::Update).unwrap();
        } else {
            let call = one.call;
            assert_eq!(one.offer(OfferBy::Update), Err(UaError::WrongState(call)));
        }
    }
}

/// A refused PRACK leaves the call to its INVITE, and its early dialog without offers of ours.
#[test]
fn a_refused_prack_leaves_the_call_to_the_invite() {
    let mut one = Calling::plain();
    let prack = one.early("x");
    one.respond(&prack, "488 No", "", "");
    let call = one.call;
    assert_eq!(one.offer(OfferBy::Update), Err(UaError::WrongState(call)));
    assert_eq!(kinds(&one.say("504 Time", "x", "", "")), ["ACK"]);
    assert_eq!(one.net.agents[0].ends()[0].status, Some(504));
}
