//! Floods of requests that belong to no call take no room and are not amplified.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::EndpointKey;
use callmeter_sip::message::HeaderName;

use pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use pair::{Net, answer_at_once, header, millis};

/// An answer may be this many times as long as its request: it repeats what the request says and
/// adds a tag, Allow and Accept.
const FACTOR: usize = 2;
const EACH: usize = 2_000;

/// Sends `EACH` of each kind of request a scanner sends, each in a transaction of its own, and
/// looks at what comes back. Nothing is held at any time.
fn flood(net: &mut Net, expected: [&str; 7]) {
    let many = format!("Require: {}a\r\n", "a,".repeat(200));
    let kinds_sent = [
        ("OPTIONS", "", ""),
        ("OPTIONS", "", many.as_str()),
        ("REGISTER", "", ""),
        ("SUBSCRIBE", "", "Event: presence\r\n"),
        ("BYE", "0123456789abcdef", ""),
        ("CANCEL", "", ""),
        ("REFER", "", "Refer-To: <sip:x@192.0.2.9>\r\n"),
    ];
    let before = net.agents[0].ua.held();
    for number in 0..EACH {
        for ((method, to_tag, lines), expected) in kinds_sent.into_iter().zip(expected) {
            let branch = format!("{method}{number}{}", lines.len());
            let text = Ask {
                method,
                branch: &branch,
                to_tag,
                lines,
                ..ASK
            }
            .text()
            .replace("Call-ID: raw", "Call-ID: scan");
            let sent = net.agents[0].sent.len();
            net.send_raw(PEER, US, &text);
            net.run_for(millis(10));
            assert_eq!(net.agents[0].ua.held(), before, "{text}");
            let answers = &net.agents[0].sent[sent..];
            assert_eq!(answers.len(), 1, "{text}");
            let allowed = text.len() * FACTOR;
            assert!(answers[0].len() <= allowed, "{text}{:?}", answers[0]);
            net.run_for(millis(10));
            assert_eq!(kinds(&net.take_raw(PEER)), [expected]);
        }
    }
    let sent = net.agents[0].sent.len();
    net.run_for(millis(40_000));
    assert_eq!(net.agents[0].sent.len(), sent, "something was repeated");
}

#[test]
fn during_a_run() {
    let mut net = alone(answer_at_once);
    established(&mut net);
    // The transaction of its INVITE ends meanwhile.
    net.run_for(millis(40_000));
    let expected = [
        "200 OPTIONS",
        "420 OPTIONS",
        "405 REGISTER",
        "405 SUBSCRIBE",
        "481 BYE",
        "481 CANCEL",
        "403 REFER",
    ];
    flood(&mut net, expected);
    assert_eq!(net.agents[0].standing(), 1);
    // The negative control: an INVITE that is refused is held, for its ACK.
    let before = net.agents[0].ua.held().transactions;
    let refused = Ask {
        branch: "held",
        lines: "Require: magic, tricks\r\n",
        ..ASK
    };
    let got = ask(&mut net, &refused);
    assert_eq!(kinds(&got), ["420 INVITE"]);
    assert_eq!(header(&got[0], HeaderName::Unsupported), "magic, tricks");
    assert!(net.agents[0].ua.held().transactions > before);
}

#[test]
fn outside_a_run() {
    let mut net = alone(answer_at_once);
    net.with(0, |ua, now| ua.remove_endpoint(now, EndpointKey(1)))
        .unwrap();
    net.run_for(millis(60_000));
    let expected = [
        "200 OPTIONS",
        "200 OPTIONS",
        "405 REGISTER",
        "405 SUBSCRIBE",
        "405 BYE",
        "405 CANCEL",
        "405 REFER",
    ];
    flood(&mut net, expected);
}

/// RFC 3261 §8.2.7: what comes again is answered the same, To tag included.
#[test]
fn a_repeated_request_gets_the_same_answer() {
    let mut net = alone(answer_at_once);
    let options = Ask {
        method: "OPTIONS",
        ..ASK
    };
    ask(&mut net, &options);
    ask(&mut net, &options);
    let sent = &net.agents[0].sent;
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}
