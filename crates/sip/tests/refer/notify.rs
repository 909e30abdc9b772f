//! What we tell a raw peer of its transfer, and what its answers mean.

use std::time::Duration;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{CallKey, UaError};

use super::willing;
use crate::pair::account::{OURS, has, with_realm};
use crate::pair::peer::{ASK, Ask, PEER, US, alone, ask, established, kinds};
use crate::pair::{Net, header, millis, reply};

/// A REFER of the raw peer, accepted: the call, our tag and the NOTIFY that says 100.
fn referred() -> (Net, CallKey, String, Message) {
    referred_in(alone(willing))
}

fn referred_in(mut net: Net) -> (Net, CallKey, String, Message) {
    let tag = established(&mut net);
    let call = net.agents[0].incoming();
    let notify = refer(&mut net, &tag, 2);
    assert_eq!(header(&notify, HeaderName::Event), "refer");
    assert_eq!(said(&notify), ("SIP/2.0 100 Trying".to_owned(), false));
    (net, call, tag, notify)
}

fn refer(net: &mut Net, tag: &str, cseq: u32) -> Message {
    let request = Ask {
        method: "REFER",
        branch: &format!("refer{cseq}"),
        to_tag: tag,
        cseq,
        lines: "Refer-To: <sip:x@192.0.2.9>\r\n",
        ..ASK
    };
    let mut got = ask(net, &request);
    assert_eq!(kinds(&got), ["202 REFER", "NOTIFY"]);
    got.remove(1)
}

/// What a NOTIFY says, and whether it is the last.
fn said(notify: &Message) -> (String, bool) {
    let body = String::from_utf8_lossy(&notify.body()).into_owned();
    let state = header(notify, HeaderName::SubscriptionState);
    (body.trim_end().to_owned(), state.starts_with("terminated"))
}

fn cseq(message: &Message) -> u32 {
    let value = header(message, HeaderName::CSeq);
    value.split(' ').next().unwrap().parse().unwrap()
}

fn tell(net: &mut Net, call: CallKey, code: u16, last: bool) -> Result<(), UaError> {
    net.with(0, |ua, now| ua.notify_refer(now, call, code, last))
}

/// The peer answers, and what it gets within 20 ms of it.
fn answer(net: &mut Net, notify: &Message, status: &str, lines: &str) -> Vec<Message> {
    net.send_raw(PEER, US, &reply(notify, status, "", lines, ""));
    net.run_for(millis(20));
    net.take_raw(PEER)
}

fn within(net: &mut Net, tag: &str, cseq: u32, method: &str) -> Vec<String> {
    let request = Ask {
        method,
        branch: &format!("within{cseq}"),
        to_tag: tag,
        cseq,
        ..ASK
    };
    kinds(&ask(net, &request))
}

/// One at a time, the latest state, and a 500 to one in the middle ends nothing.
#[test]
fn one_notify_at_a_time_and_the_last_in_any_case() {
    let (mut net, call, _, trying) = referred();
    tell(&mut net, call, 180, false).unwrap();
    tell(&mut net, call, 183, false).unwrap();
    net.run_for(millis(20));
    assert!(net.take_raw(PEER).is_empty(), "one is under way");
    let got = answer(&mut net, &trying, "200 OK", "");
    assert_eq!(kinds(&got), ["NOTIFY"]);
    let middle = &got[0];
    assert_eq!(said(middle).0, "SIP/2.0 183 Session Progress");
    assert!(cseq(middle) > cseq(&trying));
    // What the peer knows already is not repeated.
    tell(&mut net, call, 183, false).unwrap();
    assert!(answer(&mut net, middle, "500 Overtaken", "").is_empty());
    net.run_for(millis(500));
    let got = net.take_raw(PEER);
    assert_eq!(kinds(&got), ["NOTIFY"]);
    let again = &got[0];
    assert_eq!(said(again), said(middle));
    assert!(cseq(again) > cseq(middle));
    tell(&mut net, call, 200, true).unwrap();
    assert_eq!(
        tell(&mut net, call, 200, true),
        Err(UaError::WrongState(call))
    );
    let got = answer(&mut net, again, "200 OK", "");
    assert_eq!(said(&got[0]), ("SIP/2.0 200 OK".to_owned(), true));
    // Busy: as long as it asks for.
    let busy = "Retry-After: 5\r\n";
    assert!(answer(&mut net, &got[0], "503 Busy", busy).is_empty());
    net.run_for(millis(4900));
    assert!(net.take_raw(PEER).is_empty());
    net.run_for(millis(200));
    let got = net.take_raw(PEER);
    assert_eq!(said(&got[0]), ("SIP/2.0 200 OK".to_owned(), true));
    assert!(answer(&mut net, &got[0], "200 OK", "").is_empty());
    net.run_for(Duration::from_secs(60));
    assert!(net.take_raw(PEER).is_empty());
    assert!(net.agents[0].stands(call));
}

/// A peer that is busy for good gets fewer and fewer, and none after 64·T1.
#[test]
fn a_busy_peer_is_told_later_and_not_for_ever() {
    let (mut net, call, _, trying) = referred();
    answer(&mut net, &trying, "200 OK", "");
    tell(&mut net, call, 200, true).unwrap();
    let mut sent = 0;
    for _ in 0..600 {
        net.run_for(millis(100));
        for notify in net.take_raw(PEER) {
            sent += 1;
            net.send_raw(
                PEER,
                US,
                &reply(&notify, "500 No", "", "Retry-After: 0\r\n", ""),
            );
        }
    }
    assert!((8..13).contains(&sent), "{sent}");
    assert!(net.agents[0].stands(call));
    assert_eq!(refer_code(&mut net), "202 REFER", "it may ask again");
}

fn refer_code(net: &mut Net) -> String {
    let sent = net.agents[0].sent.iter().rev();
    let mut notifies = sent.map(|bytes| Message::parse(bytes.clone()).unwrap());
    let tag = header(&notifies.next().unwrap(), HeaderName::From);
    let tag = tag.split(";tag=").nth(1).unwrap().to_owned();
    let request = Ask {
        method: "REFER",
        branch: "again",
        to_tag: &tag,
        cseq: 90,
        lines: "Refer-To: <sip:x@192.0.2.9>\r\n",
        ..ASK
    };
    kinds(&ask(net, &request)).remove(0)
}

/// RFC 6665 §4.2.2: which answers end the subscription. None ends the call.
#[test]
fn what_answers_mean_to_the_subscription() {
    let gone = [
        404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604,
    ];
    let stays = [
        200, 202, 302, 400, 403, 406, 415, 420, 486, 488, 491, 500, 502, 503, 504, 600, 603,
    ];
    let told = gone.iter().map(|code| (*code, false));
    for (code, lives) in told.chain(stays.iter().map(|code| (*code, true))) {
        let (mut net, call, _, trying) = referred();
        answer(&mut net, &trying, &format!("{code} Any"), "");
        let next = tell(&mut net, call, 200, true);
        assert_eq!(next.is_ok(), lives, "{code}: {next:?}");
        net.run_for(Duration::from_secs(1));
        let got = net.take_raw(PEER);
        assert_eq!(got.iter().any(|notify| said(notify).1), lives, "{code}");
        assert!(net.agents[0].stands(call), "{code}");
    }
    // Without an answer, too.
    let (mut net, call, ..) = referred();
    net.run_for(Duration::from_secs(33));
    assert_eq!(
        tell(&mut net, call, 200, true),
        Err(UaError::WrongState(call))
    );
    assert!(net.agents[0].stands(call));
}

/// After a BYE the call lasts until the last word is answered, 64·T1 at most.
#[test]
fn after_a_bye_the_last_word_is_waited_for() {
    let last = |refused: bool| {
        let (mut net, call, tag, trying) = referred();
        answer(&mut net, &trying, "200 OK", "");
        assert_eq!(within(&mut net, &tag, 3, "BYE"), ["200 BYE"]);
        net.run_for(Duration::from_secs(10));
        tell(&mut net, call, 200, true).unwrap();
        net.run_for(millis(20));
        let mut got = net.take_raw(PEER);
        assert!(said(&got[0]).1);
        assert!(net.agents[0].stands(call));
        if refused {
            assert!(answer(&mut net, &got[0], "500 Overtaken", "").is_empty());
            assert!(net.agents[0].stands(call));
            net.run_for(millis(500));
            got = net.take_raw(PEER);
            assert!(said(&got[0]).1);
        }
        (net, call, got.remove(0))
    };
    for refused in [false, true] {
        let (mut net, call, notify) = last(refused);
        answer(&mut net, &notify, "200 OK", "");
        assert!(!net.agents[0].stands(call));
        net.run_out();
        assert_eq!(net.agents[0].ua.held().transactions, 0);
    }
    let (mut net, call, _) = last(false);
    net.run_for(Duration::from_secs(21));
    assert!(net.agents[0].stands(call));
    net.run_for(Duration::from_secs(2));
    assert!(!net.agents[0].stands(call));
    net.run_out();
    assert_eq!(net.agents[0].ua.held().transactions, 0);
}

/// A NOTIFY that is challenged is sent again, but not behind a BYE of ours: there it would be refused,
/// and nothing be told any more.
#[test]
fn a_challenged_notify_waits_for_the_answer_to_our_bye() {
    for hangs_up in [false, true] {
        let mut net = Net::new(0.0, 1);
        net.agent(US, willing);
        net.endpoint(0, 1, with_realm(true));
        let (mut net, call, _, trying) = referred_in(net);
        let challenge = format!("WWW-Authenticate: {OURS}\r\n");
        if hangs_up {
            net.hang_up(0, call);
            net.run_for(millis(20));
            let bye = net.take_raw(PEER).remove(0);
            assert!(answer(&mut net, &trying, "401 Who", &challenge).is_empty());
            net.send_raw(PEER, US, &reply(&bye, "200 OK", "", "", ""));
        } else {
            net.send_raw(PEER, US, &reply(&trying, "401 Who", "", &challenge, ""));
        }
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        assert_eq!(kinds(&got), ["NOTIFY"]);
        assert_eq!((said(&got[0]), has(&got[0]).0), (said(&trying), true));
        assert!(answer(&mut net, &got[0], "200 OK", "").is_empty());
        tell(&mut net, call, 200, true).unwrap();
        net.run_for(millis(20));
        let last = net.take_raw(PEER).remove(0);
        assert!(answer(&mut net, &last, "200 OK", "").is_empty());
        assert_eq!(net.agents[0].stands(call), !hangs_up);
    }
}

/// The answer to the last word may be lost while the peer goes on: what comes of that NOTIFY is
/// nothing to its next transfer.
#[test]
fn the_next_transfer_need_not_wait_for_the_answer_to_the_last_word() {
    let (mut net, call, tag, trying) = referred();
    assert_eq!(within(&mut net, &tag, 3, "REFER"), ["400 REFER"]);
    answer(&mut net, &trying, "200 OK", "");
    tell(&mut net, call, 486, true).unwrap();
    net.run_for(millis(20));
    let last = net.take_raw(PEER).remove(0);
    let next = refer(&mut net, &tag, 4);
    // RFC 3515 §2.4.6: not the first of the dialog.
    assert_eq!(header(&next, HeaderName::Event), "refer;id=4");
    answer(&mut net, &last, "481 Late", "");
    tell(&mut net, call, 200, true).unwrap();
    let got = answer(&mut net, &next, "200 OK", "");
    assert_eq!(said(&got[0]), ("SIP/2.0 200 OK".to_owned(), true));
}
