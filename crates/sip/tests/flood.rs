//! Floods of INVITEs that become no calls, while calls stand: what they may take, and what is left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Instant;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndpointKey, Listener, UaConfig, UaEvent, UserAgent};

use pair::peer::{ASK, Ask, PEER, US, alone, ask, kinds, to_tag};
use pair::{ANSWER, LOCAL, Net, addr, config, header, kind, millis};

/// With one endpoint, as the documentation of the settings says.
const REFUSALS: usize = 1_032;

/// Answers the first user, lets the second ring, has no others.
fn two_users(ua: &mut UserAgent, now: Instant, event: &UaEvent) {
    if let UaEvent::Incoming(incoming) = event {
        match &incoming.request_user[..] {
            "a" => ua.answer(now, incoming.call, ANSWER).unwrap(),
            "ringing" => ua.ring(now, incoming.call).unwrap(),
            _ => ua.reject(now, incoming.call, 404).unwrap(),
        }
    }
}

/// What a request of a call is answered, whatever comes for others.
fn request(net: &mut Net, call: &str, request: &Ask<'_>) -> Vec<String> {
    let text = request.text();
    let text = text.replace("Call-ID: raw", &format!("Call-ID: {call}"));
    net.send_raw(PEER, US, &text);
    net.run_for(millis(20));
    let mut got = net.take_raw(PEER);
    got.retain(|message| header(message, HeaderName::CallId) == call);
    kinds(&got)
}

/// A call that stands, whose tag is returned, and one that rings.
fn calls(net: &mut Net) -> String {
    let invite = Ask { body: "v=0", ..ASK };
    let got = ask(net, &invite);
    assert_eq!(kinds(&got), ["200 INVITE"]);
    let tag = to_tag(&got[0]);
    let ack = Ask {
        method: "ACK",
        branch: "ack",
        to_tag: &tag,
        ..ASK
    };
    assert!(ask(net, &ack).is_empty());
    let ringing = Ask {
        user: "ringing",
        branch: "ringing",
        ..invite
    };
    assert_eq!(request(net, "ringing", &ringing), ["180 INVITE"]);
    tag
}

/// Both calls end as they would without a flood.
fn ended(net: &mut Net, tag: &str) {
    let bye = Ask {
        method: "BYE",
        branch: "bye",
        to_tag: tag,
        cseq: 2,
        ..ASK
    };
    net.take_raw(PEER);
    assert_eq!(request(net, "raw", &bye), ["200 BYE"]);
    let cancel = Ask {
        method: "CANCEL",
        user: "ringing",
        branch: "ringing",
        ..ASK
    };
    let answers = request(net, "ringing", &cancel);
    assert_eq!(answers, ["200 CANCEL", "487 INVITE"]);
    assert_eq!(net.agents[0].standing(), 0);
}

#[test]
fn a_flood_of_invites_leaves_room_for_calls() {
    let mut net = alone(two_users);
    let tag = calls(&mut net);
    let before = net.agents[0].ua.held().transactions;
    let mut refused = 0;
    while refused < REFUSALS + 200 {
        // What is refused by the endpoint, and what nobody is asked about.
        for (lines, expected) in [("", "404 INVITE"), ("Require: x\r\n", "420 INVITE")] {
            let branch = format!("flood{refused}");
            let invite = Ask {
                user: "nobody",
                branch: &branch,
                body: "v=0",
                lines,
                ..ASK
            };
            let text = invite.text();
            let text = text.replace("Call-ID: raw", &format!("Call-ID: {branch}"));
            net.send_raw(PEER, US, &text);
            let sent = net.agents[0].sent.len();
            net.run_for(millis(10));
            let sent = net.agents[0].sent[sent..].iter();
            let sent = sent.map(|bytes| Message::parse(bytes.clone()).unwrap());
            let answers = sent.filter(|answer| header(answer, HeaderName::CallId) == branch);
            let answers: Vec<_> = answers.map(|answer| kind(&answer)).collect();
            assert_eq!(answers, [expected]);
            refused += 1;
            let held = net.agents[0].ua.held().transactions - before;
            assert_eq!(held, refused.min(REFUSALS), "after {refused}");
        }
    }
    ended(&mut net, &tag);
    net.run_out();
    assert_eq!(net.agents[0].ua.held().transactions, 0);
    // The places of those that have gone are free again.
    net.take_raw(PEER);
    let again = Ask {
        user: "nobody",
        branch: "again",
        body: "v=0",
        ..ASK
    };
    assert_eq!(request(&mut net, "again", &again), ["404 INVITE"]);
    net.run_for(millis(600));
    assert_eq!(kinds(&net.take_raw(PEER)), ["404 INVITE"], "sent again");
    let counters = net.agents[0].ua.counters();
    assert_eq!(counters.unexpected, 0, "nothing was dropped");
}

/// A refusal has its place until its ACK, though its transaction stays for a while by UDP.
#[test]
fn acknowledged_refusals_leave_room_for_others() {
    let mut net = alone(two_users);
    let to_nobody = |net: &mut Net, method: &str, number: usize| {
        let branch = format!("flood{number}");
        let request = Ask {
            method,
            user: "nobody",
            branch: &branch,
            ..ASK
        };
        let text = request.text();
        let text = text.replace("Call-ID: raw", &format!("Call-ID: {branch}"));
        net.send_raw(PEER, US, &text);
    };
    for method in ["INVITE", "ACK"] {
        for number in 0..REFUSALS {
            to_nobody(&mut net, method, number);
        }
        net.run_for(millis(20));
    }
    assert_eq!(net.take_raw(PEER).len(), REFUSALS);
    assert_eq!(net.agents[0].ua.held().transactions, REFUSALS);
    // As many more are kept, and one beyond is not.
    for number in 0..=REFUSALS {
        to_nobody(&mut net, "INVITE", REFUSALS + number);
    }
    net.run_for(millis(20));
    assert_eq!(net.take_raw(PEER).len(), REFUSALS + 1);
    assert_eq!(net.agents[0].ua.held().transactions, 2 * REFUSALS);
    // Those are sent again.
    net.run_for(millis(500));
    assert_eq!(net.take_raw(PEER).len(), REFUSALS);
    // Those that had their ACK have places for themselves, as many: no more are kept.
    for number in REFUSALS..2 * REFUSALS {
        to_nobody(&mut net, "ACK", number);
    }
    net.run_for(millis(20));
    assert_eq!(net.agents[0].ua.held().transactions, REFUSALS);
    // Each place is given back once.
    net.run_out();
    assert_eq!(net.agents[0].ua.held().transactions, 0);
    for number in 0..=REFUSALS {
        to_nobody(&mut net, "INVITE", 2 * REFUSALS + number);
    }
    net.run_for(millis(20));
    assert_eq!(net.agents[0].ua.held().transactions, REFUSALS);
}

/// When calls themselves have taken all there is, they can still be ended.
#[test]
fn calls_can_be_ended_without_room() {
    let mut net = alone(two_users);
    let mut ua = UserAgent::new(
        UaConfig {
            max_server_transactions: 8,
            ..UaConfig::default()
        },
        1,
    );
    ua.add_listener(Listener::udp(LOCAL, addr(US), None))
        .unwrap();
    ua.add_endpoint(EndpointKey(1), config("sip:a@192.0.2.1"))
        .unwrap();
    net.agents[0].ua = ua;
    let tag = calls(&mut net);
    let options = |net: &mut Net, number: u32| {
        let branch = format!("o{number}");
        let within = Ask {
            method: "OPTIONS",
            branch: &branch,
            to_tag: &tag,
            cseq: number,
            ..ASK
        };
        request(net, "raw", &within)
    };
    for number in 2..8 {
        assert_eq!(options(&mut net, number), ["200 OPTIONS"], "{number}");
    }
    assert_eq!(net.agents[0].ua.held().transactions, 8);
    assert!(options(&mut net, 8).is_empty());
    let invite = Ask {
        branch: "more",
        body: "v=0",
        ..ASK
    };
    assert!(request(&mut net, "more", &invite).is_empty());
    assert_eq!(net.agents[0].ua.counters().unexpected, 2);
    let bye = |branch| Ask {
        method: "BYE",
        branch,
        to_tag: &tag,
        cseq: 9,
        ..ASK
    };
    assert_eq!(request(&mut net, "raw", &bye("bye")), ["200 BYE"]);
    let cancel = Ask {
        method: "CANCEL",
        user: "ringing",
        branch: "ringing",
        ..ASK
    };
    let answers = request(&mut net, "ringing", &cancel);
    assert_eq!(answers, ["200 CANCEL", "487 INVITE"]);
    // A quarter on top, and that is all.
    assert!(request(&mut net, "raw", &bye("late")).is_empty());
    assert_eq!(net.agents[0].ua.held().transactions, 10);
    net.run_out();
    assert_eq!(net.agents[0].ua.held().transactions, 0);
}
