//! CANCEL and what crosses it, message by message.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallEnd, CallEvent, CallKey, EndReason, UaEvent};

use pair::peer::{ASK, Ask, CONTACT, PEER, US, alone, ask, kinds, to_tag};
use pair::{Net, answer_at_once, header, kind, millis, nothing, reply, ring_only};

/// A call to the raw peer, and its INVITE.
fn called(net: &mut Net) -> (CallKey, Message) {
    let call = net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    (call, invite)
}

fn say(net: &mut Net, request: &Message, status: &str, tag: &str) {
    net.send_raw(PEER, US, &reply(request, status, tag, CONTACT, ""));
    net.run_for(millis(20));
}

fn end(net: &Net) -> &CallEnd {
    let ends = net.agents[0].ends();
    assert_eq!(ends.len(), 1);
    ends[0]
}

/// Steps of the far end after our CANCEL came, and how the call ends then.
struct Race {
    name: &'static str,
    /// Responses to the CANCEL and the INVITE, in order; `None` is nothing at all.
    cancel: Option<&'static str>,
    invite: Option<&'static str>,
    reason: EndReason,
    status: Option<u16>,
    /// What of ours reached the peer after its last word.
    last: &'static [&'static str],
    /// When the call ended, in milliseconds after the CANCEL was sent.
    ends: u64,
}

/// RFC 3261 §9.1, §15; metric 58 is the time from CANCEL to the final response.
#[test]
fn cancel_and_what_crosses_it() {
    let rows = [
        Race {
            name: "as it should be",
            cancel: Some("200 OK"),
            invite: Some("487 Request Terminated"),
            reason: EndReason::Cancelled,
            status: Some(487),
            last: &["ACK"],
            ends: 40,
        },
        Race {
            name: "the 487 first, the answer to CANCEL never",
            cancel: None,
            invite: Some("487 Request Terminated"),
            reason: EndReason::Cancelled,
            status: Some(487),
            last: &["ACK"],
            ends: 20,
        },
        Race {
            name: "a refusal crosses",
            cancel: Some("200 OK"),
            invite: Some("486 Busy Here"),
            reason: EndReason::Refused,
            status: Some(486),
            last: &["ACK"],
            ends: 40,
        },
        Race {
            name: "the answer crosses",
            cancel: Some("481 Call/Transaction Does Not Exist"),
            invite: Some("200 OK"),
            reason: EndReason::Cancelled,
            status: Some(200),
            last: &["ACK", "BYE"],
            ends: 0,
        },
        Race {
            name: "CANCEL is refused and the INVITE forgotten",
            cancel: Some("481 Call/Transaction Does Not Exist"),
            invite: None,
            reason: EndReason::Cancelled,
            status: None,
            last: &[],
            ends: 32_000,
        },
        Race {
            name: "a challenge crosses",
            cancel: Some("200 OK"),
            invite: Some("401 Unauthorized"),
            reason: EndReason::Cancelled,
            status: None,
            last: &["ACK"],
            ends: 40,
        },
    ];
    for row in rows {
        let mut net = alone(nothing);
        let (call, invite) = called(&mut net);
        say(&mut net, &invite, "180 Ringing", "one");
        net.hang_up(0, call);
        let cancelled = net.now;
        net.run_for(millis(10));
        let cancel = net.take_raw(PEER).remove(0);
        assert_eq!(kind(&cancel), "CANCEL");
        for name in [
            HeaderName::Via,
            HeaderName::To,
            HeaderName::From,
            HeaderName::CallId,
        ] {
            assert_eq!(
                header(&cancel, name),
                header(&invite, name),
                "RFC 3261 §9.1"
            );
        }
        if let Some(status) = row.cancel {
            say(&mut net, &cancel, status, "one");
        }
        if let Some(status) = row.invite {
            say(&mut net, &invite, status, "one");
            let got = kinds(&net.take_raw(PEER));
            assert_eq!(got, row.last, "{}", row.name);
        }
        net.run_out();
        let end = end(&net);
        assert_eq!(
            (end.reason, end.status),
            (row.reason, row.status),
            "{}",
            row.name
        );
        assert_eq!(end.times.cancel, Some(cancelled), "{}", row.name);
        let at = net.agents[0].events.iter().find_map(|event| match event {
            UaEvent::Call {
                at,
                event: CallEvent::Ended(_),
                ..
            } => Some(*at),
            _ => None,
        });
        if row.ends > 0 {
            assert_eq!(at, Some(cancelled + millis(row.ends)), "{}", row.name);
        }
        let failed = end.times.failed.map(|at| at - cancelled);
        let expected = row.status.filter(|status| *status >= 300);
        assert_eq!(failed, expected.map(|_| millis(row.ends)), "{}", row.name);
    }
}

/// A CANCEL is repeated like any request (timer E); before the first response there is none, and
/// a call that nobody answers ends with timer B.
#[test]
fn a_lost_cancel_and_one_never_sent() {
    let mut net = alone(nothing);
    let (call, invite) = called(&mut net);
    say(&mut net, &invite, "100 Trying", "");
    net.hang_up(0, call);
    net.run_for(millis(1600));
    let cancels = net.take_raw(PEER);
    assert_eq!(kinds(&cancels), ["CANCEL", "CANCEL", "CANCEL"]);
    say(&mut net, &cancels[2], "200 OK", "one");
    say(&mut net, &invite, "487 Request Terminated", "one");
    assert_eq!(kinds(&net.take_raw(PEER)), ["ACK"]);
    assert_eq!(end(&net).reason, EndReason::Cancelled);
    let mut net = alone(nothing);
    let (call, _) = called(&mut net);
    net.hang_up(0, call);
    net.run_out();
    assert!(
        net.take_raw(PEER)
            .iter()
            .all(|message| kind(message) == "INVITE")
    );
    let end = end(&net);
    assert_eq!((end.reason, end.status), (EndReason::Cancelled, None));
    assert_eq!(end.times.cancel, None);
}

/// RFC 3261 §9.2: CANCEL ends what has no final response yet, and nothing else.
#[test]
fn a_cancel_that_comes_in() {
    let cancel = Ask {
        method: "CANCEL",
        ..ASK
    };
    let mut net = alone(ring_only);
    assert_eq!(
        kinds(&ask(
            &mut net,
            &Ask {
                branch: "9",
                ..cancel
            }
        )),
        ["481 CANCEL"]
    );
    let ringing = ask(&mut net, &Ask { body: "v=0", ..ASK });
    let got = ask(&mut net, &cancel);
    assert_eq!(kinds(&got), ["200 CANCEL", "487 INVITE"]);
    assert!(
        got.iter()
            .all(|message| to_tag(message) == to_tag(&ringing[0]))
    );
    // Once more, as it was lost on the way back: the same answer, and no second end.
    assert_eq!(kinds(&ask(&mut net, &cancel)), ["200 CANCEL"]);
    let ack = Ask {
        method: "ACK",
        ..ASK
    };
    assert!(ask(&mut net, &ack).is_empty());
    net.run_out();
    let end = end(&net);
    assert_eq!(
        (end.reason, end.status),
        (EndReason::CancelledByPeer, Some(487))
    );
    assert!(end.times.cancel.is_some());

    let mut net = alone(answer_at_once);
    let got = ask(&mut net, &Ask { body: "v=0", ..ASK });
    assert_eq!(kinds(&got), ["180 INVITE", "200 INVITE"]);
    assert_eq!(kinds(&ask(&mut net, &cancel)), ["200 CANCEL"]);
    assert!(net.agents[0].ends().is_empty());
    assert_eq!(net.agents[0].standing(), 1);
}
