//! A next hop of several servers: when one fails, the next is tried (RFC 3263 §4.3).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndReason, EndpointConfig, UaEvent};

use pair::account::{OURS, SERVER, account, at_raw_hop, has, next, register, registered};
use pair::peer::US;
use pair::server::field;
use pair::{Net, addr, header, kind, millis, reply};

const BACKUP: &str = "192.0.2.10:5060";
const LAST: &str = "192.0.2.11:5060";

fn three() -> EndpointConfig {
    EndpointConfig {
        backups: vec![addr(BACKUP), addr(LAST)],
        ..account("a")
    }
}

fn failed(net: &Net) -> usize {
    let events = net.agents[0].events.iter();
    let failed = events.filter(|event| matches!(event, UaEvent::RegistrationFailed(_)));
    failed.count()
}

#[test]
fn a_silent_registrar_gives_way_and_the_endpoint_stays_with_the_one_that_answers() {
    let mut net = at_raw_hop(three());
    register(&mut net, 0, 600);
    net.run_for(millis(31_900));
    assert!(net.take_raw(BACKUP).is_empty(), "before Timer F");
    net.run_for(millis(200));
    let request = net.take_raw(BACKUP).remove(0);
    assert_eq!(kind(&request), "REGISTER");
    // A challenge from there is answered: it is the next hop now.
    let challenge = format!("WWW-Authenticate: {OURS}\r\n");
    net.send_raw(BACKUP, US, &reply(&request, "401 No", "x", &challenge, ""));
    let request = next(&mut net, BACKUP).pop().unwrap();
    assert_eq!(has(&request), (true, false));
    let contact = "Contact: <sip:a@192.0.2.1:5060>;expires=600\r\n";
    net.send_raw(BACKUP, US, &reply(&request, "200 OK", "x", contact, ""));
    net.run_for(millis(20));
    assert_eq!((registered(&net, 0).len(), failed(&net)), (1, 0));
    net.take_raw(SERVER);
    net.call("sip:b@example.org");
    assert_eq!(next(&mut net, BACKUP).len(), 1, "calls go there, too");
    assert!(net.take_raw(SERVER).is_empty());
}

#[test]
fn each_server_is_asked_once() {
    let mut net = at_raw_hop(three());
    register(&mut net, 0, 600);
    for server in [SERVER, BACKUP, LAST] {
        assert_eq!(failed(&net), 0);
        let request = next(&mut net, server).remove(0);
        net.send_raw(server, US, &reply(&request, "503 Busy", "x", "", ""));
    }
    net.run_for(millis(20));
    assert_eq!(failed(&net), 1);
    net.run_out();
    for server in [SERVER, BACKUP] {
        assert!(net.take_raw(server).is_empty(), "{server} is asked again");
    }
}

/// The control: any other refusal is the domain's own word.
#[test]
fn a_refusal_is_not_carried_on() {
    let mut net = at_raw_hop(three());
    register(&mut net, 0, 600);
    let request = next(&mut net, SERVER).remove(0);
    net.send_raw(SERVER, US, &reply(&request, "500 No", "x", "", ""));
    net.run_for(millis(20));
    assert_eq!(failed(&net), 1);
    assert!(net.take_raw(BACKUP).is_empty());
}

#[test]
fn a_call_goes_on_to_the_next_server() {
    let mut net = at_raw_hop(three());
    net.call("sip:b@example.org");
    let first = next(&mut net, SERVER).remove(0);
    net.send_raw(SERVER, US, &reply(&first, "503 Busy", "x", "", ""));
    let second = next(&mut net, BACKUP).remove(0);
    assert_eq!(kind(&second), "INVITE");
    // The next one says nothing at all: Timer B, then the last.
    net.run_for(millis(32_100));
    let third = net.take_raw(LAST).remove(0);
    assert_eq!(kind(&third), "INVITE");
    net.send_raw(LAST, US, &reply(&third, "503 Busy", "x", "", ""));
    net.run_for(millis(20));
    let ends: Vec<_> = net.agents[0].ends().iter().map(|end| end.reason).collect();
    assert_eq!(ends, [EndReason::Refused]);
}

/// A call stays with the server it was placed by, which asks for credentials as before when the
/// endpoint has moved on.
#[test]
fn a_challenge_of_the_server_of_a_standing_call_is_answered() {
    let mut net = at_raw_hop(three());
    let call = net.call("sip:b@example.org");
    let invite = next(&mut net, SERVER).remove(0);
    let line = |nonce: &str| {
        format!("Proxy-Authenticate: Digest realm=\"example.org\", nonce=\"{nonce}\"\r\n")
    };
    net.send_raw(SERVER, US, &reply(&invite, "407 No", "x", &line("1"), ""));
    let invite = next(&mut net, SERVER).pop().unwrap();
    let lines = format!("Record-Route: <sip:{SERVER};lr>\r\nContact: <sip:b@192.0.2.66>\r\n");
    net.send_raw(SERVER, US, &reply(&invite, "200 OK", "x", &lines, ""));
    next(&mut net, SERVER);
    register(&mut net, 0, 600);
    let request = next(&mut net, SERVER).remove(0);
    net.send_raw(SERVER, US, &reply(&request, "503 Busy", "x", "", ""));
    let request = next(&mut net, BACKUP).remove(0);
    assert_eq!(kind(&request), "REGISTER");
    net.hang_up(0, call);
    let bye = next(&mut net, SERVER).remove(0);
    assert_eq!((kind(&bye).as_str(), has(&bye)), ("BYE", (false, true)));
    net.send_raw(SERVER, US, &reply(&bye, "407 No", "", &line("2"), ""));
    let bye = next(&mut net, SERVER).remove(0);
    let value = header(&bye, HeaderName::ProxyAuthorization);
    assert_eq!(field(&value, " nonce").as_deref(), Some("2"));
}

/// Who is called knows of the call once it rings: it is not placed a second time.
#[test]
fn a_call_that_rang_is_not_placed_again() {
    let mut net = at_raw_hop(three());
    net.call("sip:b@example.org");
    let invite = next(&mut net, SERVER).remove(0);
    net.send_raw(SERVER, US, &reply(&invite, "180 Ringing", "x", "", ""));
    net.run_for(millis(20));
    net.send_raw(SERVER, US, &reply(&invite, "503 Busy", "x", "", ""));
    net.run_for(millis(20));
    assert_eq!(net.agents[0].ends().len(), 1);
    assert!(net.take_raw(BACKUP).is_empty());
}

fn challenged(net: &mut Net, at: &str, request: &Message, nonce: &str) {
    let line = format!("WWW-Authenticate: Digest realm=\"example.org\", nonce=\"{nonce}\"\r\n");
    net.send_raw(at, US, &reply(request, "401 No", "x", &line, ""));
}

/// What came to a server in 20 ms: a REGISTER with credentials for this nonce.
fn answered(net: &mut Net, at: &str, nonce: &str) -> Message {
    let request = next(net, at).pop().unwrap();
    assert_eq!(kind(&request), "REGISTER");
    let value = header(&request, HeaderName::Authorization);
    assert_eq!(field(&value, " nonce").as_deref(), Some(nonce));
    request
}

/// A call is placed that this server does not take, so that the endpoint goes on to the next.
fn call_moves_on(net: &mut Net, from: &str, to: &str) {
    net.call("sip:b@example.org");
    let invite = next(net, from).pop().unwrap();
    net.send_raw(from, US, &reply(&invite, "503 Busy", "x", "", ""));
    assert_eq!(kind(&next(net, to).pop().unwrap()), "INVITE");
}

/// RFC 3261 §22.2: each server has a nonce of its own, wherever a call has taken the endpoint
/// meanwhile.
#[test]
fn a_registration_is_answered_by_the_server_a_call_has_moved_to() {
    let mut net = at_raw_hop(three());
    register(&mut net, 0, 600);
    let first = next(&mut net, SERVER).remove(0);
    call_moves_on(&mut net, SERVER, BACKUP);
    challenged(&mut net, SERVER, &first, "a");
    let second = answered(&mut net, BACKUP, "a");
    challenged(&mut net, BACKUP, &second, "b");
    let third = answered(&mut net, BACKUP, "b");
    let lines = "Contact: <sip:a@192.0.2.1:5060>;expires=600\r\n";
    net.send_raw(BACKUP, US, &reply(&third, "200 OK", "x", lines, ""));
    net.run_for(millis(20));
    assert_eq!((registered(&net, 0).len(), failed(&net)), (1, 0));
}

/// The same where the first server wants a longer lifetime, and the next one a longer one still.
#[test]
fn a_lifetime_is_asked_for_of_each_server() {
    let mut net = at_raw_hop(three());
    register(&mut net, 0, 600);
    let first = next(&mut net, SERVER).remove(0);
    challenged(&mut net, SERVER, &first, "a");
    let first = answered(&mut net, SERVER, "a");
    call_moves_on(&mut net, SERVER, BACKUP);
    let wanted = |net: &mut Net, at: &str, request: &Message, seconds: u64| {
        let line = format!("Min-Expires: {seconds}\r\n");
        net.send_raw(at, US, &reply(request, "423 Too Brief", "x", &line, ""));
    };
    wanted(&mut net, SERVER, &first, 700);
    let second = answered(&mut net, BACKUP, "a");
    challenged(&mut net, BACKUP, &second, "b");
    let second = answered(&mut net, BACKUP, "b");
    wanted(&mut net, BACKUP, &second, 800);
    let third = answered(&mut net, BACKUP, "b");
    assert_eq!(header(&third, HeaderName::Expires), "800");
    wanted(&mut net, BACKUP, &third, 900);
    net.run_for(millis(20));
    assert_eq!(failed(&net), 1, "each is obeyed once");
}

/// Calls that fail at two servers in turn take a REGISTER to and fro no longer than each was asked.
#[test]
fn a_registration_between_two_servers_has_an_end() {
    let mut config = three();
    config.backups.pop();
    let mut net = at_raw_hop(config);
    register(&mut net, 0, 600);
    let mut at = [SERVER, BACKUP];
    let mut request = next(&mut net, SERVER).remove(0);
    for nonce in ["a", "b"] {
        call_moves_on(&mut net, at[0], at[1]);
        challenged(&mut net, at[0], &request, nonce);
        request = answered(&mut net, at[1], nonce);
        at.reverse();
    }
    assert_eq!(failed(&net), 0);
    challenged(&mut net, SERVER, &request, "c");
    net.run_for(millis(20));
    assert_eq!(failed(&net), 1);
}
