//! Requests of a peer within and outside calls, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::HeaderName;
use callmeter_sip::{CallEvent, EndpointKey, UaEvent};

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, established, kinds, to_tag};
use pair::{ANSWER, answer_at_once, header, kind, millis};

#[test]
fn offers_within_a_call_are_handed_up() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let offer = Ask {
        branch: "re",
        to_tag: &tag,
        cseq: 2,
        body: "v=0 hold",
        ..ASK
    };
    assert!(ask(&mut net, &offer).is_empty());
    let call = net.agents[0].incoming();
    let last = net.agents[0].events.last();
    assert!(matches!(
        last,
        Some(UaEvent::Call { event: CallEvent::Offer { body }, .. }) if body == "v=0 hold"
    ));
    // RFC 3261 §14.2: a second offer before the first is answered.
    let second = Ask {
        branch: "re2",
        cseq: 3,
        ..offer
    };
    let got = ask(&mut net, &second);
    assert_eq!(kinds(&got), ["500 INVITE"]);
    assert!(got[0].value(HeaderName::RetryAfter).is_some());
    ask(
        &mut net,
        &Ask {
            method: "ACK",
            body: "",
            ..second
        },
    );
    net.with(0, |ua, now| ua.answer(now, call, ANSWER)).unwrap();
    net.run_for(millis(20));
    let got = net.take_raw(PEER);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    assert_eq!(got[0].body(), ANSWER);
    assert_eq!(
        header(&got[0], HeaderName::Contact),
        "<sip:a@192.0.2.1:5060>"
    );
    ask(
        &mut net,
        &Ask {
            method: "ACK",
            branch: "re-ack",
            to_tag: &tag,
            cseq: 2,
            ..ASK
        },
    );
    let update = Ask {
        method: "UPDATE",
        branch: "up",
        cseq: 4,
        ..offer
    };
    assert!(ask(&mut net, &update).is_empty());
    net.with(0, |ua, now| ua.reject(now, call, 488)).unwrap();
    net.run_for(millis(20));
    assert_eq!(kinds(&net.take_raw(PEER)), ["488 UPDATE"]);
    let refresh = Ask {
        method: "UPDATE",
        branch: "up2",
        to_tag: &tag,
        cseq: 5,
        ..ASK
    };
    assert_eq!(kinds(&ask(&mut net, &refresh)), ["200 UPDATE"]);
    let got = ask(
        &mut net,
        &Ask {
            branch: "up3",
            cseq: 6,
            ..refresh
        },
    );
    assert_eq!(
        header(&got[0], HeaderName::Contact),
        "<sip:a@192.0.2.1:5060>"
    );
    // Nothing is repeated: all is acknowledged.
    net.run_for(millis(10_000));
    assert!(net.take_raw(PEER).is_empty());
}

#[test]
fn a_target_refresh_moves_the_bye() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let text = Ask {
        method: "UPDATE",
        branch: "up",
        to_tag: &tag,
        cseq: 2,
        ..ASK
    }
    .text();
    let text = text.replace(CONTACT, "Contact: <sip:p@192.0.2.51:5070>\r\n");
    net.send_raw(PEER, US, &text);
    net.run_for(millis(20));
    let call = net.agents[0].incoming();
    net.hang_up(0, call);
    net.run_for(millis(20));
    let bye = net.take_raw("192.0.2.51:5070").remove(0);
    assert_eq!(kind(&bye), "BYE");
    assert_eq!(
        bye.request_uri().unwrap().to_string(),
        "sip:p@192.0.2.51:5070"
    );
}

#[test]
fn requests_within_a_call() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    let rows = [
        ("INFO", 2, "", "200 INFO"),
        ("OPTIONS", 3, "", "200 OPTIONS"),
        ("MESSAGE", 4, "", "405 MESSAGE"),
        ("INFO", 5, "Require: magic\r\n", "420 INFO"),
        // Out of order (RFC 3261 §12.2.2).
        ("INFO", 4, "", "500 INFO"),
        ("INVITE", 6, "Content-Type: text/plain\r\n", "415 INVITE"),
    ];
    for (method, cseq, lines, expected) in rows {
        let branch = format!("x{method}{cseq}{}", lines.len());
        let body = if expected.starts_with("415") { "x" } else { "" };
        let row = Ask {
            method,
            branch: &branch,
            to_tag: &tag,
            cseq,
            lines,
            body,
            ..ASK
        };
        let text = row.text().replace("Content-Type: application/sdp\r\n", "");
        net.send_raw(PEER, US, &text);
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        assert_eq!(kinds(&got), [expected]);
        if expected.starts_with("405") {
            assert!(header(&got[0], HeaderName::Allow).contains("INVITE"));
        }
        if expected.starts_with("420") {
            assert_eq!(header(&got[0], HeaderName::Unsupported), "magic");
        }
    }
    // Another dialog, by From tag, To tag or Call-ID.
    let other = Ask {
        method: "BYE",
        branch: "b",
        to_tag: &tag,
        cseq: 9,
        ..ASK
    }
    .text();
    for (position, wrong) in [
        other.replace("tag=peer", "tag=someone"),
        other.replace(&tag, "0123456789abcdef"),
        other.replace("Call-ID: raw", "Call-ID: war"),
    ]
    .iter()
    .enumerate()
    {
        let text = wrong.replace("z9hG4bKb", &format!("z9hG4bKb{position}"));
        net.send_raw(PEER, US, &text);
        net.run_for(millis(20));
        assert_eq!(kinds(&net.take_raw(PEER)), ["481 BYE"]);
    }
    assert!(net.agents[0].ends().is_empty());
    assert_eq!(net.agents[0].ua.counters().out_of_dialog, 3);
}

#[test]
fn requests_outside_calls() {
    let mut net = alone(answer_at_once);
    let rows = [
        ("OPTIONS", "", "", "200 OPTIONS"),
        ("MESSAGE", "", "", "405 MESSAGE"),
        ("REGISTER", "", "", "405 REGISTER"),
        ("BYE", "", "", "481 BYE"),
        ("BYE", "0123456789abcdef", "", "481 BYE"),
        ("CANCEL", "", "", "481 CANCEL"),
        ("INVITE", "", "Require: 100rel\r\n", "420 INVITE"),
    ];
    for (position, (method, to_tag, lines, expected)) in rows.into_iter().enumerate() {
        let branch = format!("s{position}");
        let got = ask(
            &mut net,
            &Ask {
                method,
                branch: &branch,
                to_tag,
                lines,
                ..ASK
            },
        );
        assert_eq!(kinds(&got), [expected]);
        let allows = header(&got[0], HeaderName::Allow).contains("INVITE");
        assert_eq!(
            allows,
            matches!(&expected[..3], "200" | "405"),
            "{expected}"
        );
    }
    let counters = net.agents[0].ua.counters();
    assert_eq!((counters.out_of_dialog, counters.unexpected), (3, 2));
}

/// The worker outside a run: OPTIONS and 405, and 481 for 32 s after it; nothing is kept.
#[test]
fn an_idle_listener_answers_the_least() {
    let mut net = alone(answer_at_once);
    let tag = established(&mut net);
    net.with(0, |ua, now| ua.remove_endpoint(now, EndpointKey(1)))
        .unwrap();
    let bye = Ask {
        method: "BYE",
        branch: "b",
        to_tag: &tag,
        cseq: 2,
        ..ASK
    };
    assert_eq!(kinds(&ask(&mut net, &bye)), ["481 BYE"]);
    net.run_for(millis(32_000));
    assert_eq!(kinds(&ask(&mut net, &bye)), ["405 BYE"]);
    let options = ask(
        &mut net,
        &Ask {
            method: "OPTIONS",
            branch: "o",
            ..ASK
        },
    );
    assert_eq!(kinds(&options), ["200 OPTIONS"]);
    assert!(options[0].value(HeaderName::Allow).is_none());
    assert!(options[0].value_of("Server").is_none());
    let invite = Ask {
        branch: "scan",
        ..ASK
    };
    let got = ask(&mut net, &invite);
    assert_eq!(kinds(&got), ["405 INVITE"]);
    assert_eq!(header(&got[0], HeaderName::Allow), "OPTIONS");
    assert_eq!(to_tag(&got[0]), to_tag(&ask(&mut net, &invite)[0]));
    assert!(
        ask(
            &mut net,
            &Ask {
                method: "ACK",
                branch: "scan",
                ..ASK
            }
        )
        .is_empty()
    );
    net.run_out();
    assert_eq!(net.agents[0].ends().len(), 1);
}
