//! Session timers (RFC 4028): who refreshes, when, and what happens when nobody does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    CallEvent, CallKey, EndReason, EndpointConfig, OfferBy, Refresher, SessionTimer,
    SessionTimerMode, UaEvent, UserAgent,
};

use pair::peer::{ASK, Ask, PEER, US, ask, kinds, to_tag};
use pair::{Net, answer_at_once, config, header, millis, nothing, reply};

const B: &str = "sip:b@192.0.2.2";

/// Answers calls and offers.
fn agreeable(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    answer_at_once(ua, now, event);
    if let UaEvent::Call {
        call,
        event: CallEvent::Offer { .. },
        ..
    } = event
    {
        ua.answer(now, *call, "v=0 same").unwrap();
    }
}

fn timer(mode: SessionTimerMode, expires: u64, refresher: Refresher) -> SessionTimer {
    SessionTimer {
        mode,
        expires: Duration::from_secs(expires),
        refresher,
    }
}

fn with(aor: &str, session_timer: SessionTimer) -> EndpointConfig {
    EndpointConfig {
        session_timer,
        ..config(aor)
    }
}

/// A call of 100 ms between endpoints with these timers.
fn standing(one: SessionTimer, two: SessionTimer) -> (Net, [CallKey; 2]) {
    let mut net = Net::new(0.0, 1);
    net.agent("192.0.2.1:5060", agreeable);
    net.agent("192.0.2.2:5060", agreeable);
    net.endpoint(0, 1, with("sip:a@192.0.2.1", one));
    net.endpoint(1, 1, with("sip:b@192.0.2.2", two));
    let caller = net.call(B);
    net.run_for(millis(100));
    let callee = net.agents[1].incoming();
    (net, [caller, callee])
}

/// When requests of a method left an address, in seconds.
fn sent(net: &Net, from: &str, method: &str) -> Vec<u64> {
    let wire = net.wire.iter();
    wire.filter(|(_, source, _, kind)| source.to_string() == from && kind == method)
        .map(|(at, ..)| at.as_secs())
        .collect()
}

fn refreshes(net: &Net, agent: usize) -> Vec<bool> {
    net.agents[agent].told(|event| match event {
        CallEvent::SessionRefreshed { ours } => Some(*ours),
        _ => None,
    })
}

const ONE: &str = "192.0.2.1:5060";
const TWO: &str = "192.0.2.2:5060";

/// RFC 4028 §9, table 2: both know timers; who refreshes is what the caller asks for.
#[test]
fn the_refresher_refreshes_at_half_the_interval() {
    use Refresher::{None, Uac, Uas};
    use SessionTimerMode::{Required, Supported};
    for (caller, callee, ours) in [
        (timer(Supported, 90, Uac), timer(Supported, 90, Uas), true),
        (timer(Supported, 90, Uas), timer(Supported, 90, Uac), false),
        (timer(Supported, 90, None), timer(Required, 90, Uac), true),
        (timer(Required, 90, None), timer(Supported, 90, Uas), false),
    ] {
        let (mut net, calls) = standing(caller, callee);
        net.run_for(Duration::from_secs(200));
        let (by, other) = if ours { (ONE, TWO) } else { (TWO, ONE) };
        assert_eq!(sent(&net, by, "UPDATE"), [45, 90, 135, 180]);
        assert!(sent(&net, other, "UPDATE").is_empty());
        assert_eq!(refreshes(&net, 0), [ours; 4]);
        assert_eq!(refreshes(&net, 1), [!ours; 4]);
        for agent in &net.agents {
            assert_eq!(agent.ua.counters().session_refreshes, 4);
        }
        net.hang_up(0, calls[0]);
        net.run_out();
        assert_eq!(net.agents[0].ends()[0].reason, EndReason::LocalBye);
        assert_eq!(net.agents[0].ua.held().timers, 0);
    }
}

/// The callee asks for a shorter interval than the caller, which it may (RFC 4028 §9).
#[test]
fn the_shorter_interval_counts() {
    use SessionTimerMode::Supported;
    let (mut net, _) = standing(
        timer(Supported, 7200, Refresher::Uac),
        timer(Supported, 100, Refresher::Uac),
    );
    net.run_for(Duration::from_secs(60));
    assert_eq!(sent(&net, ONE, "UPDATE"), [50]);
}

#[test]
fn without_support_on_either_side_there_is_no_timer() {
    use SessionTimerMode::{Disabled, Supported};
    for (one, two) in [
        (Disabled, Supported),
        (Supported, Disabled),
        (Disabled, Disabled),
    ] {
        let (mut net, _) = standing(
            timer(one, 90, Refresher::Uac),
            timer(two, 90, Refresher::Uac),
        );
        net.run_for(Duration::from_secs(600));
        assert!(net.times_of("UPDATE").is_empty());
        assert_eq!([net.agents[0].standing(), net.agents[1].standing()], [1, 1]);
        let invite = Message::parse(net.agents[0].sent[0].clone()).unwrap();
        let asks = invite.value(HeaderName::SessionExpires).is_some();
        assert_eq!(asks, one != Disabled);
    }
}

#[test]
fn who_requires_timers_does_not_talk_to_who_lacks_them() {
    use SessionTimerMode::{Disabled, Required};
    for (one, two, code, end) in [
        (Required, Disabled, "420 INVITE", 420),
        (Disabled, Required, "421 INVITE", 421),
    ] {
        let mut net = Net::new(0.0, 1);
        net.agent(ONE, nothing);
        net.agent(TWO, agreeable);
        net.endpoint(
            0,
            1,
            with("sip:a@192.0.2.1", timer(one, 90, Refresher::Uac)),
        );
        net.endpoint(
            1,
            1,
            with("sip:b@192.0.2.2", timer(two, 90, Refresher::Uac)),
        );
        net.call(B);
        net.run_out();
        assert_eq!(net.times_of(code).len(), 1);
        assert_eq!(net.agents[0].ends()[0].status, Some(end));
        let refusal = Message::parse(net.agents[1].sent[0].clone()).unwrap();
        let name = if end == 420 {
            HeaderName::Unsupported
        } else {
            HeaderName::Require
        };
        assert_eq!(header(&refusal, name), "timer");
    }
}

/// RFC 4028 §10: a BYE the smaller of 32 s and a third before the end.
#[test]
fn a_session_nobody_refreshes_is_ended() {
    use SessionTimerMode::Supported;
    for (seconds, ends, refresher) in [
        // Its refresh still waits for an answer then; in the other case it has given up.
        (90, 60, EndReason::SessionExpired),
        (600, 568, EndReason::DialogLost),
    ] {
        let (mut net, _) = standing(
            timer(Supported, seconds, Refresher::Uas),
            timer(Supported, seconds, Refresher::Uas),
        );
        net.set_loss(1.0);
        net.run_for(Duration::from_secs(ends - 1));
        assert!(sent(&net, ONE, "BYE").is_empty());
        net.run_for(Duration::from_secs(1));
        assert_eq!(sent(&net, ONE, "BYE"), [ends]);
        assert!(net.agents[0].call_events().contains(&"expired"));
        net.run_out();
        assert_eq!(net.agents[0].ends()[0].reason, EndReason::SessionExpired);
        assert_eq!(net.agents[1].ends()[0].reason, refresher);
    }
}

#[test]
fn an_offer_refreshes_too_and_keeps_who_refreshes() {
    use SessionTimerMode::Supported;
    for (agent, by) in [(0, OfferBy::Invite), (1, OfferBy::Update)] {
        let (mut net, calls) = standing(
            timer(Supported, 90, Refresher::Uac),
            timer(Supported, 90, Refresher::Uac),
        );
        net.run_for(Duration::from_secs(40));
        net.with(agent, |ua, now| ua.offer(now, calls[agent], "v=0 hold", by))
            .unwrap();
        net.run_for(Duration::from_secs(44));
        let updates = sent(&net, ONE, "UPDATE");
        assert!(updates.is_empty(), "{updates:?}");
        net.run_for(Duration::from_secs(2));
        assert_eq!(sent(&net, ONE, "UPDATE"), [85]);
        assert_eq!(refreshes(&net, agent).len(), 2);
    }
}

/// An agent that asks for timers calls a raw peer.
fn calling(session_timer: SessionTimer) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, agreeable);
    net.endpoint(0, 1, with("sip:a@192.0.2.1", session_timer));
    net.call("sip:p@192.0.2.50");
    net.run_for(millis(20));
    net
}

fn next(net: &mut Net) -> Message {
    net.run_for(millis(20));
    net.take_raw(PEER).remove(0)
}

/// RFC 4028 §7.3
#[test]
fn a_422_is_answered_with_a_longer_interval_only() {
    let on = timer(SessionTimerMode::Supported, 90, Refresher::Uac);
    let mut net = calling(on);
    let invite = next(&mut net);
    assert_eq!(
        header(&invite, HeaderName::SessionExpires),
        "90;refresher=uac"
    );
    assert_eq!(header(&invite, HeaderName::Supported), "timer");
    assert!(invite.value(HeaderName::MinSe).is_none());
    let contact = "Contact: <sip:p@192.0.2.50>\r\n";
    let answer = |net: &mut Net, invite: &Message, min: u32| {
        let lines = format!("{contact}Min-SE: {min}\r\n");
        net.send_raw(PEER, US, &reply(invite, "422 Short", "x", &lines, ""));
        net.run_for(millis(20));
        net.take_raw(PEER)
    };
    let got = answer(&mut net, &invite, 300);
    assert_eq!(kinds(&got), ["ACK", "INVITE"]);
    let again = &got[1];
    assert_eq!(
        header(again, HeaderName::SessionExpires),
        "300;refresher=uac"
    );
    assert_eq!(header(again, HeaderName::MinSe), "300");
    assert_eq!(
        header(again, HeaderName::CallId),
        header(&invite, HeaderName::CallId)
    );
    let got = answer(&mut net, again, 300);
    assert_eq!(kinds(&got), ["ACK"]);
    net.run_out();
    assert_eq!(net.agents[0].ends()[0].status, Some(422));
}

/// RFC 4028 §7.2, §7.4: the peer allows no UPDATE, so a re-INVITE with the SDP that stands.
#[test]
fn without_update_in_allow_the_refresh_is_a_reinvite() {
    let on = timer(SessionTimerMode::Supported, 90, Refresher::Uac);
    let mut net = calling(on);
    let invite = next(&mut net);
    let lines = "Contact: <sip:p@192.0.2.50>\r\nSession-Expires: 120;refresher=uac\r\n\
        Require: timer\r\nAllow: INVITE, ACK, BYE\r\n";
    net.send_raw(PEER, US, &reply(&invite, "200 OK", "x", lines, "v=0 peer"));
    net.run_for(Duration::from_secs(59));
    assert_eq!(kinds(&net.take_raw(PEER)), ["ACK"]);
    net.run_for(Duration::from_secs(1));
    let refresh = next(&mut net);
    assert_eq!(kinds(std::slice::from_ref(&refresh)), ["INVITE"]);
    assert_eq!(refresh.body(), invite.body());
    assert_eq!(
        header(&refresh, HeaderName::SessionExpires),
        "120;refresher=uac"
    );
    // Its answer is told: it may change the session.
    let moved = reply(&refresh, "200 OK", "", lines, "v=0 moved");
    net.send_raw(PEER, US, &moved);
    net.run_for(millis(20));
    assert_eq!(kinds(&net.take_raw(PEER)), ["ACK"]);
    assert_eq!(refresh_answers(&net), ["v=0 moved"]);
    net.run_for(Duration::from_secs(60));
    let refresh = next(&mut net);
    // Not now: tried again, and the session ends if nothing helps.
    net.send_raw(PEER, US, &reply(&refresh, "503 Busy", "", "", ""));
    net.run_for(Duration::from_secs(20));
    let got = kinds(&net.take_raw(PEER));
    assert_eq!(got[..2], ["ACK", "INVITE"], "{got:?}");
    net.run_for(Duration::from_secs(10));
    assert!(kinds(&net.take_raw(PEER)).contains(&"BYE".to_owned()));
    assert!(net.agents[0].call_events().contains(&"expired"));
    assert_eq!(refresh_answers(&net).len(), 1);
}

fn refresh_answers(net: &Net) -> Vec<String> {
    net.agents[0].told(|event| match event {
        CallEvent::RefreshAnswered { body } => Some(String::from_utf8_lossy(body).into_owned()),
        _ => None,
    })
}

/// The peer that asks: too short is refused only if it knows why.
#[test]
fn a_short_interval_of_a_peer() {
    let on = timer(SessionTimerMode::Supported, 1800, Refresher::Uac);
    for (lines, expected, granted) in [
        (
            "Supported: timer\r\nSession-Expires: 60\r\n",
            "422 INVITE",
            "",
        ),
        ("Session-Expires: 60\r\n", "200 INVITE", "90;refresher=uas"),
        (
            "Supported: timer\r\nx: 600;refresher=uas\r\n",
            "200 INVITE",
            "600;refresher=uas",
        ),
        (
            "Supported: timer\r\nMin-SE: 3600\r\n",
            "200 INVITE",
            "3600;refresher=uac",
        ),
        ("Session-Expires: what\r\n", "200 INVITE", ""),
        (
            "k: timer\r\nx: 4294967296\r\n",
            "200 INVITE",
            "1800;refresher=uac",
        ),
        (
            "Require: timer\r\nx: 4294967295\r\n",
            "200 INVITE",
            "1800;refresher=uac",
        ),
    ] {
        let mut net = Net::new(0.0, 1);
        net.agent(US, agreeable);
        net.endpoint(0, 1, with("sip:a@192.0.2.1", on));
        let got = ask(
            &mut net,
            &Ask {
                lines,
                body: "v=0",
                ..ASK
            },
        );
        let last = got.last().unwrap();
        assert_eq!(kinds(std::slice::from_ref(last)), [expected], "{lines}");
        assert_eq!(header(last, HeaderName::SessionExpires), granted, "{lines}");
        if expected.starts_with("422") {
            assert_eq!(header(last, HeaderName::MinSe), "90");
        }
        let binds = header(last, HeaderName::Require) == "timer";
        assert_eq!(binds, granted.ends_with("uac"), "{lines}");
    }
}

/// A peer that refreshes by UPDATE keeps the session up; when it stops, the call ends.
#[test]
fn a_peer_that_stops_refreshing() {
    let on = timer(SessionTimerMode::Supported, 1800, Refresher::Uac);
    let mut net = Net::new(0.0, 1);
    net.agent(US, agreeable);
    net.endpoint(0, 1, with("sip:a@192.0.2.1", on));
    let lines = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let invite = Ask {
        lines,
        body: "v=0",
        ..ASK
    };
    let got = ask(&mut net, &invite);
    let tag = to_tag(&got[1]);
    let ack = Ask {
        method: "ACK",
        branch: "ack",
        to_tag: &tag,
        ..ASK
    };
    ask(&mut net, &ack);
    for (round, branch) in ["u1", "u2", "u3"].into_iter().enumerate() {
        net.run_for(Duration::from_secs(45));
        let update = Ask {
            method: "UPDATE",
            branch,
            to_tag: &tag,
            cseq: 2 + round as u32,
            lines,
            ..ASK
        };
        let got = ask(&mut net, &update);
        assert_eq!(kinds(&got), ["200 UPDATE"]);
        assert_eq!(
            header(&got[0], HeaderName::SessionExpires),
            "90;refresher=uac"
        );
    }
    assert_eq!(refreshes(&net, 0), [false; 3]);
    net.run_for(Duration::from_secs(59));
    assert!(net.take_raw(PEER).is_empty());
    net.run_for(Duration::from_secs(2));
    assert_eq!(kinds(&net.take_raw(PEER))[0], "BYE");
}
