//! Calls that fork or are sent elsewhere, as raw peers make them, message by message.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallEnd, CallEvent, CallKey, EndReason, EndpointConfig};

use pair::account::{SERVER, account};
use pair::peer::{CONTACT, PEER, US, alone, kinds, to_tag};
use pair::{Net, header, kind, millis, nothing, reply};

/// A call to the raw peer, and its INVITE.
fn called(net: &mut Net) -> (CallKey, Message) {
    let call = net.call(&format!("sip:p@{PEER}"));
    net.run_for(millis(20));
    let invite = net.take_raw(PEER).remove(0);
    (call, invite)
}

fn say(net: &mut Net, request: &Message, status: &str, tag: &str, body: &str) {
    let lines = if body.is_empty() {
        CONTACT.to_owned()
    } else {
        format!("{CONTACT}Content-Type: application/sdp\r\n")
    };
    net.send_raw(PEER, US, &reply(request, status, tag, &lines, body));
    net.run_for(millis(20));
}

fn end(net: &Net) -> &CallEnd {
    let ends = net.agents[0].ends();
    assert_eq!(ends.len(), 1);
    ends[0]
}

/// The SDP that each response handed up, and the one of the answer.
fn bodies(net: &Net) -> Vec<(u16, String)> {
    let text = |body: &bytes::Bytes| String::from_utf8(body.to_vec()).unwrap();
    net.agents[0].told(|event| match event {
        CallEvent::Progress { code, body } => Some((*code, text(body))),
        CallEvent::Answered { body } => Some((200, text(body))),
        _ => None,
    })
}

/// RFC 3261 §13.2.2.1, §13.2.2.4: each branch has its early dialog and media; the one that answers
/// counts, with what it said if its 2xx says nothing. RFC 6228: 199 ends an early dialog.
#[test]
fn early_media_of_each_branch() {
    for (winner, body, agreed) in [
        ("one", "v=0 late", "v=0 late"),
        ("one", "", "v=0 one again"),
        ("two", "", "v=0 two"),
        ("gone", "", ""),
        ("new", "", ""),
    ] {
        let mut net = alone(nothing);
        let (call, invite) = called(&mut net);
        say(&mut net, &invite, "100 Trying", "", "");
        say(&mut net, &invite, "183 Session Progress", "one", "v=0 one");
        say(&mut net, &invite, "183 Session Progress", "two", "v=0 two");
        say(&mut net, &invite, "180 Ringing", "gone", "v=0 gone");
        say(&mut net, &invite, "199 Early Dialog Terminated", "gone", "");
        say(&mut net, &invite, "180 Ringing", "one", "v=0 one again");
        say(&mut net, &invite, "200 OK", winner, body);
        let row = |code, body: &str| (code, body.to_owned());
        assert_eq!(
            bodies(&net),
            [
                row(100, ""),
                row(183, "v=0 one"),
                row(183, "v=0 two"),
                row(180, "v=0 gone"),
                row(199, ""),
                row(180, "v=0 one again"),
                row(200, agreed),
            ]
        );
        let ack = net.take_raw(PEER).remove(0);
        assert_eq!(
            (kind(&ack), to_tag(&ack)),
            ("ACK".to_owned(), winner.to_owned())
        );
        net.hang_up(0, call);
        net.run_out();
        let times = net.agents[0].ends()[0].times;
        let at = |ms| Some(net.start + millis(ms));
        assert_eq!((times.first_response, times.early_media), (at(30), at(50)));
        assert_eq!((times.ringing, times.answered), (at(90), at(150)));
    }
}

/// A peer cannot make us keep early dialogs without end, and the call goes on.
#[test]
fn early_dialogs_are_bounded() {
    let mut net = alone(nothing);
    let (_, invite) = called(&mut net);
    for tag in 0..40 {
        say(
            &mut net,
            &invite,
            "183 Session Progress",
            &format!("t{tag}"),
            "v=0",
        );
    }
    assert_eq!(bodies(&net).len(), 16);
    assert_eq!(net.agents[0].ua.counters().unexpected, 24);
    say(&mut net, &invite, "200 OK", "t39", "v=0 late");
    assert_eq!(bodies(&net).pop().unwrap(), (200, "v=0 late".to_owned()));
}

fn moved_net(follow: bool) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, nothing);
    let config = EndpointConfig {
        follow_redirects: follow,
        ..account("a")
    };
    net.endpoint(0, 1, config);
    net
}

/// Answers the next INVITE at a raw address with a status and Contacts.
fn redirect(net: &mut Net, at: &str, status: &str, contacts: &str) -> Message {
    net.run_for(millis(20));
    let invite = net.take_raw(at).pop().unwrap();
    assert_eq!(kind(&invite), "INVITE");
    let lines = format!("Contact: {contacts}\r\n");
    net.send_raw(at, US, &reply(&invite, status, "r", &lines, ""));
    net.run_for(millis(20));
    invite
}

/// RFC 3261 §8.1.3.4, §21.3; by itself a 3xx is a refusal, told by its status (RFC 6076 takes
/// such INVITEs out of the ratios).
#[test]
fn a_redirected_call() {
    let contacts = "<sip:b@192.0.2.31>;q=0.2, <sip:b@192.0.2.30>;q=0.7, <sip:b@name.example>;q=0.1";
    let mut net = moved_net(false);
    net.call("sip:b@example.org");
    redirect(&mut net, SERVER, "302 Moved Temporarily", contacts);
    assert_eq!(
        (end(&net).reason, end(&net).status),
        (EndReason::Refused, Some(302))
    );
    assert_eq!(net.agents[0].sent_kinds(), ["INVITE", "ACK"]);

    let mut net = moved_net(true);
    let call = net.call("sip:b@example.org");
    let first = redirect(&mut net, SERVER, "302 Moved Temporarily", contacts);
    // A target that is busy leaves the next; one that is a name goes by the next hop.
    redirect(
        &mut net,
        "192.0.2.30:5060",
        "486 Busy Here",
        "<sip:x@192.0.2.99>",
    );
    redirect(
        &mut net,
        "192.0.2.31:5060",
        "480 Gone",
        "<sip:x@192.0.2.99>",
    );
    let last = redirect(&mut net, SERVER, "200 OK", "<sip:b@192.0.2.32>");
    assert_eq!(
        last.request_uri().unwrap().to_string(),
        "sip:b@name.example"
    );
    for name in [HeaderName::To, HeaderName::From, HeaderName::CallId] {
        assert_eq!(header(&first, name), header(&last, name));
    }
    assert_eq!(header(&last, HeaderName::CSeq), "4 INVITE");
    let counters = net.agents[0].ua.counters();
    assert_eq!(
        (counters.invites_sent, counters.responses_received),
        (1, [0, 1, 1, 2, 0, 0])
    );
    assert!(net.take_raw("192.0.2.99:5060").is_empty());
    net.take_raw("192.0.2.32:5060");
    net.hang_up(0, call);
    net.run_for(millis(20));
    assert_eq!(kinds(&net.take_raw("192.0.2.32:5060")), ["BYE"]);
}

/// RFC 3261 §21.6: 6xx ends it everywhere; what is cancelled goes nowhere else.
#[test]
fn a_redirected_call_ends() {
    let contacts = "<sip:b@192.0.2.30>, <sip:b@192.0.2.31>";
    let mut net = moved_net(true);
    net.call("sip:b@example.org");
    redirect(&mut net, SERVER, "302 Moved", contacts);
    redirect(&mut net, "192.0.2.30:5060", "603 Decline", "<sip:x@h>");
    assert_eq!(end(&net).status, Some(603));
    assert!(net.take_raw("192.0.2.31:5060").is_empty());

    for status in ["305 Use Proxy", "380 Alternative Service"] {
        let mut net = moved_net(true);
        net.call("sip:b@example.org");
        redirect(&mut net, SERVER, status, contacts);
        assert_eq!(end(&net).status, status[..3].parse().ok());
        assert!(net.take_raw("192.0.2.30:5060").is_empty());
    }

    let mut net = moved_net(true);
    let call = net.call("sip:b@example.org");
    net.hang_up(0, call);
    redirect(&mut net, SERVER, "302 Moved", contacts);
    assert_eq!(
        (end(&net).reason, end(&net).status),
        (EndReason::Refused, Some(302))
    );
    assert!(net.take_raw("192.0.2.30:5060").is_empty());

    // A challenge from where it was sent is none of the account's server.
    let mut net = moved_net(true);
    net.call("sip:b@example.org");
    redirect(&mut net, SERVER, "302 Moved", "<sip:b@192.0.2.30>");
    net.run_for(millis(20));
    let invite = net.take_raw("192.0.2.30:5060").remove(0);
    let line = "WWW-Authenticate: Digest realm=\"example.org\", nonce=\"1\"\r\n";
    net.send_raw(
        "192.0.2.30:5060",
        US,
        &reply(&invite, "401 No", "r", line, ""),
    );
    net.run_for(millis(20));
    assert_eq!(end(&net).status, Some(401));
    assert_eq!(kinds(&net.take_raw("192.0.2.30:5060")), ["ACK"]);
}
