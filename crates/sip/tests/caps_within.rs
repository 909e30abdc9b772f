//! What a peer may ask for in a dialog: as much as the limits say, and one more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Duration;

use callmeter_sip::message::HeaderName;
use callmeter_sip::{
    CallEvent, EndpointConfig, Refer, Refresher, SessionTimer, SessionTimerMode, UaEvent,
};

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, established, kinds};
use pair::{Net, answer_at_once, config, header, millis, nothing, reply};

/// A value of Replaces with so many bytes.
fn replaces(length: usize) -> String {
    let value = "raw;to-tag=1;from-tag=";
    format!("{value}{}", "x".repeat(length - value.len()))
}

/// 1024 bytes name a call, if none of ours; longer ones are not read.
#[test]
fn the_longest_replaces() {
    let mut net = alone(answer_at_once);
    for (cseq, length, expected) in [(1, 1024, "481 INVITE"), (2, 1025, "400 INVITE")] {
        let invite = Ask {
            branch: &cseq.to_string(),
            cseq,
            lines: &format!("Replaces: {}\r\n", replaces(length)),
            body: "v=0",
            ..ASK
        };
        assert_eq!(kinds(&ask(&mut net, &invite)), [expected], "{length}");
    }
}

/// The same in the Refer-To of a transfer: a longer one is a transfer without.
#[test]
fn the_longest_replaces_of_a_transfer() {
    for (length, taken) in [(1024, true), (1025, false)] {
        let mut net = alone(answer_at_once);
        let tag = established(&mut net);
        let escaped = replaces(length).replace(';', "%3B").replace('=', "%3D");
        let refer = Ask {
            method: "REFER",
            branch: "refer",
            to_tag: &tag,
            cseq: 2,
            lines: &format!("Refer-To: <sip:x@192.0.2.9?Replaces={escaped}>\r\n"),
            ..ASK
        };
        assert!(ask(&mut net, &refer).is_empty());
        let mut events = net.agents[0].events.iter();
        let referred = events.find_map(|event| match event {
            UaEvent::Call {
                event: CallEvent::Referred { replaces, .. },
                ..
            } => Some(replaces.is_some()),
            _ => None,
        });
        assert_eq!(referred, Some(taken), "{length}");
    }
}

/// A peer cannot keep us waiting for the end of a transfer for longer than an hour.
#[test]
fn a_transfer_is_waited_for_an_hour_at_most() {
    for (expires, seconds) in [(3599, 3599), (3600, 3600), (3601, 3600), (u32::MAX, 3600)] {
        let mut net = alone(answer_at_once);
        let tag = established(&mut net);
        let call = net.agents[0].incoming();
        let to = Refer {
            to: "sip:x@192.0.2.9".parse().unwrap(),
            replaces: None,
        };
        net.with(0, |ua, now| ua.refer(now, call, &to)).unwrap();
        net.run_for(millis(20));
        let refer = net.take_raw(PEER).pop().unwrap();
        net.send_raw(PEER, US, &reply(&refer, "202 Accepted", "", CONTACT, ""));
        let notify = Ask {
            method: "NOTIFY",
            branch: "notify",
            to_tag: &tag,
            cseq: 2,
            lines: &format!("Event: refer\r\nSubscription-State: active;expires={expires}\r\n"),
            ..ASK
        };
        assert_eq!(kinds(&ask(&mut net, &notify)), ["200 NOTIFY"]);
        let ended = |net: &Net| net.agents[0].call_events().contains(&"transferred");
        net.run_for(Duration::from_secs(seconds - 1));
        assert!(!ended(&net), "{expires}");
        net.run_for(Duration::from_secs(1));
        assert!(ended(&net), "{expires}");
        assert_eq!(net.agents[0].standing(), 1);
    }
}

/// Three times a longer session interval is taken, and its call may be answered; a fourth 422 is a
/// refusal.
#[test]
fn three_longer_intervals_are_taken() {
    for last in ["200 OK", "422 Short"] {
        let mut net = Net::new(0.0, 1);
        net.agent(US, nothing);
        let config = EndpointConfig {
            session_timer: SessionTimer {
                mode: SessionTimerMode::Supported,
                expires: Duration::from_secs(90),
                refresher: Refresher::Uac,
            },
            ..config("sip:a@192.0.2.1")
        };
        net.endpoint(0, 1, config);
        let call = net.call("sip:p@192.0.2.50");
        for (number, status) in ["422 Short", "422 Short", "422 Short", last]
            .into_iter()
            .enumerate()
        {
            net.run_for(millis(20));
            let invite = net.take_raw(PEER).pop().unwrap();
            let asked = format!("{};refresher=uac", 90 + number);
            assert_eq!(header(&invite, HeaderName::SessionExpires), asked);
            let lines = format!("{CONTACT}Min-SE: {}\r\n", 91 + number);
            net.send_raw(PEER, US, &reply(&invite, status, "x", &lines, ""));
        }
        net.run_for(millis(20));
        assert_eq!(kinds(&net.take_raw(PEER)), ["ACK"]);
        let stands = last == "200 OK";
        assert_eq!(net.agents[0].stands(call), stands);
        if !stands {
            assert_eq!(net.agents[0].ends()[0].status, Some(422));
            net.run_out();
            assert_eq!(net.agents[0].ua.held().transactions, 0);
        }
    }
}
