//! Digest as a registrar and a proxy see it, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndReason, UaEvent};

use pair::account::{OURS, SERVER, at_raw_hop, has, net, next, register, registered, with_realm};
use pair::peer::US;
use pair::server::field;
use pair::{Net, header, kind, millis, reply};

fn sent(net: &Net, agent: usize, wanted: &str) -> Vec<Message> {
    let sent = net.agents[agent].sent.iter();
    sent.map(|bytes| Message::parse(bytes.clone()).unwrap())
        .filter(|message| kind(message) == wanted)
        .collect()
}

/// RFC 7616 §3.4, RFC 8760: two user agents of ours register and call by a server that checks
/// every digest.
#[test]
fn every_algorithm_with_every_protection() {
    for algorithm in [
        "MD5",
        "SHA-256",
        "SHA-512-256",
        "MD5-sess",
        "SHA-256-sess",
        "SHA-512-256-sess",
    ] {
        for qop in ["auth", "auth-int", "", "auth,auth-int"] {
            let row = format!("{algorithm} {qop}");
            let mut net = net(0.0, 1, algorithm);
            net.server.as_mut().unwrap().qop = qop;
            for agent in [0, 1] {
                register(&mut net, agent, 3600);
            }
            net.run_for(millis(1000));
            let call = net.call("sip:b@example.org");
            net.run_for(millis(1000));
            net.hang_up(0, call);
            net.run_for(millis(1000));
            assert_eq!(registered(&net, 0).len() + registered(&net, 1).len(), 2);
            let end = net.agents[0].ends()[0];
            assert_eq!((end.reason, end.status), (EndReason::LocalBye, Some(200)));
            // One challenge to each REGISTER, one to the INVITE.
            assert_eq!(net.server.as_ref().unwrap().challenges, 3, "{row}");
            let invite = sent(&net, 0, "INVITE").pop().unwrap();
            let value = header(&invite, HeaderName::ProxyAuthorization);
            let expected = match qop {
                "" => None,
                "auth-int" => Some("auth-int"),
                _ => Some("auth"),
            };
            assert_eq!(field(&value, " qop").as_deref(), expected, "{value}");
            let session = algorithm.ends_with("-sess");
            assert_eq!(value.contains("cnonce="), session || !qop.is_empty());
        }
    }
}

/// RFC 7616 §3.6: as long as the nonce is good there is no second round, for REGISTER and INVITE.
#[test]
fn a_good_nonce_is_used_again() {
    let mut net = net(0.0, 1, "SHA-512-256");
    for agent in [0, 1] {
        register(&mut net, agent, 60);
    }
    net.run_for(millis(1000));
    for _ in 0..3 {
        let call = net.call("sip:b@example.org");
        net.run_for(millis(1000));
        net.hang_up(0, call);
        net.run_for(millis(1000));
    }
    net.run_for(millis(90_000));
    let registers = sent(&net, 0, "REGISTER");
    let (refreshes, received) = (registered(&net, 0).len() - 1, net.agents[0].ua.counters());
    assert_eq!(refreshes, 3);
    assert_eq!(registers.len(), 2 + refreshes);
    assert_eq!(received.auth_challenges, 2);
    let counts = |messages: &[Message], name| -> Vec<_> {
        let values = messages.iter().map(|message| header(message, name));
        values
            .map(|value| field(&value, " nc").unwrap_or_default())
            .collect()
    };
    assert_eq!(
        counts(&registers, HeaderName::Authorization),
        ["", "00000001", "00000002", "00000003", "00000004"]
    );
    // Every INVITE and BYE after the first challenge counts on; the ACK repeats its INVITE's.
    let within = |wanted| counts(&sent(&net, 0, wanted), HeaderName::ProxyAuthorization);
    assert_eq!(within("INVITE"), ["", "00000001", "00000003", "00000005"]);
    assert_eq!(within("ACK"), ["", "00000001", "00000003", "00000005"]);
    assert_eq!(within("BYE"), ["00000002", "00000004", "00000006"]);
    // What a REGISTER was challenged for is not shown to whoever is called.
    assert!(sent(&net, 0, "INVITE").iter().all(|invite| !has(invite).0));
    let times: Vec<_> = net.agents[0]
        .ends()
        .iter()
        .map(|end| end.times.invite_authenticated.is_some())
        .collect();
    assert_eq!(times, [true, false, false]);
}

/// RFC 7616 §3.5; without the next nonce, a nonce for once costs a round each time.
#[test]
fn the_next_nonce_saves_the_round() {
    for algorithm in ["MD5", "SHA-256-sess"] {
        for next_nonce in [true, false] {
            let mut net = net(0.0, 1, algorithm);
            let server = net.server.as_mut().unwrap();
            (server.one_time, server.next_nonce) = (true, next_nonce);
            register(&mut net, 0, 60);
            net.run_for(millis(100_000));
            let refreshes = registered(&net, 0).len() - 1;
            assert_eq!(refreshes, 3);
            let challenges = if next_nonce { 1 } else { 1 + refreshes };
            assert_eq!(net.server.as_ref().unwrap().challenges, challenges);
            assert_eq!(sent(&net, 0, "REGISTER").len(), 1 + refreshes + challenges);
            let refresh = registered(&net, 0)[1];
            assert_eq!(refresh.authenticated.is_some(), !next_nonce);
        }
    }
}

/// The next nonce may be the one in use, as Kamailio names it: the count goes on (RFC 7616 §3.4).
#[test]
fn the_same_nonce_as_the_next_is_counted_on() {
    let mut net = net(0.0, 1, "MD5");
    net.server.as_mut().unwrap().same_nonce = true;
    register(&mut net, 0, 60);
    net.run_for(millis(100_000));
    assert_eq!(registered(&net, 0).len(), 4);
    assert_eq!(net.server.as_ref().unwrap().challenges, 1);
    let counts = sent(&net, 0, "REGISTER");
    let counts = counts.iter().map(|request| {
        let value = header(request, HeaderName::Authorization);
        field(&value, " nc").unwrap_or_default()
    });
    let wanted = ["", "00000001", "00000002", "00000003", "00000004"];
    assert_eq!(counts.collect::<Vec<_>>(), wanted);
}

/// The same within a dialog.
#[test]
fn the_same_nonce_as_the_next_is_counted_on_in_a_call() {
    let mut net = at_raw_hop(with_realm(false));
    let call = net.call("sip:b@example.org");
    let invite = next(&mut net, SERVER).remove(0);
    let line = format!("WWW-Authenticate: {OURS}\r\n");
    net.send_raw(SERVER, US, &reply(&invite, "401 No", "x", &line, ""));
    let invite = next(&mut net, SERVER).pop().unwrap();
    let same = "Authentication-Info: nextnonce=\"1\"\r\n";
    let lines = format!("Record-Route: <sip:{SERVER};lr>\r\nContact: <sip:b@{SERVER}>\r\n{same}");
    net.send_raw(SERVER, US, &reply(&invite, "200 OK", "x", &lines, ""));
    next(&mut net, SERVER);
    let mut counts = Vec::new();
    for signal in ["1", "2"] {
        net.with(0, |ua, now| {
            ua.info(now, call, "application/dtmf-relay", signal)
        })
        .unwrap();
        let info = next(&mut net, SERVER).pop().unwrap();
        let value = header(&info, HeaderName::Authorization);
        counts.push(field(&value, " nc").unwrap());
        net.send_raw(SERVER, US, &reply(&info, "200 OK", "", same, ""));
    }
    net.run_for(millis(20));
    net.hang_up(0, call);
    let bye = next(&mut net, SERVER).pop().unwrap();
    counts.push(field(&header(&bye, HeaderName::Authorization), " nc").unwrap());
    assert_eq!(counts, ["00000002", "00000003", "00000004"]);
}

/// One retry, and one for `stale=true`; then it is a refusal.
#[test]
fn a_server_that_is_never_content_ends_it() {
    let mut net = net(0.0, 1, "MD5");
    let stale = (1..9).map(|count| format!("n{count}"));
    net.server.as_mut().unwrap().stale.extend(stale);
    register(&mut net, 0, 60);
    net.run_out();
    assert_eq!(sent(&net, 0, "REGISTER").len(), 3);
    let failed = |event: &&UaEvent| matches!(event, UaEvent::RegistrationFailed(_));
    assert_eq!(net.agents[0].events.iter().filter(failed).count(), 1);
    // What was refused is not tried again at first.
    register(&mut net, 0, 60);
    net.run_for(millis(5));
    assert_eq!(has(&sent(&net, 0, "REGISTER")[3]), (false, false));
}

/// RFC 3261 §22.3: the proxy asks first, the callee's server then; both stay content.
#[test]
fn a_proxy_and_a_server_in_one_call() {
    let mut net = at_raw_hop(with_realm(false));
    net.call("sip:b@example.org");
    let mut seen = Vec::new();
    for (status, line) in [
        ("407 No", format!("Proxy-Authenticate: {OURS}\r\n")),
        ("401 No", format!("WWW-Authenticate: {OURS}\r\n")),
        ("401 No", format!("WWW-Authenticate: {OURS}\r\n")),
    ] {
        let invite = next(&mut net, SERVER).pop().unwrap();
        seen.push(has(&invite));
        net.send_raw(SERVER, US, &reply(&invite, status, "x", &line, ""));
    }
    net.run_out();
    assert_eq!(seen, [(false, false), (false, true), (true, true)]);
    let end = net.agents[0].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Refused, Some(401)));
    assert_eq!(sent(&net, 0, "INVITE").len(), 3);
    assert_eq!(net.agents[0].ua.counters().auth_challenges, 3);
}

/// A forking proxy collects the challenges of its branches: ours are answered, the topmost that
/// we know of each kind, and no other realm.
#[test]
fn several_challenges_get_several_credentials() {
    let mut net = at_raw_hop(with_realm(false));
    net.call("sip:b@example.org");
    let invite = next(&mut net, SERVER).remove(0);
    let lines = "WWW-Authenticate: Digest realm=\"other\", nonce=\"0\", algorithm=MD5\r\n\
        WWW-Authenticate: Digest realm=\"example.org\", nonce=\"1\", algorithm=NEW\r\n\
        WWW-Authenticate: Digest realm=\"example.org\", nonce=\"2\", algorithm=SHA-256\r\n\
        WWW-Authenticate: Digest realm=\"example.org\", nonce=\"3\", algorithm=MD5\r\n\
        Proxy-Authenticate: Digest realm=\"example.org\", nonce=\"4\", opaque=\"o\"\r\n\
        Proxy-Authenticate: Digest realm=\"third\", nonce=\"5\"\r\n";
    net.send_raw(SERVER, US, &reply(&invite, "401 No", "x", lines, ""));
    let invite = next(&mut net, SERVER).pop().unwrap();
    let nonces = |name| -> Vec<_> {
        let values = invite.values(name).map(String::from_utf8_lossy);
        values
            .map(|value| field(&value, " nonce").unwrap())
            .collect()
    };
    assert_eq!(nonces(HeaderName::Authorization), ["2"]);
    assert_eq!(nonces(HeaderName::ProxyAuthorization), ["4"]);
    let proxy = header(&invite, HeaderName::ProxyAuthorization);
    assert_eq!(field(&proxy, " opaque").unwrap(), "o");
}
