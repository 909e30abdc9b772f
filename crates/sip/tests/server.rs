//! Registration, digest and calls by way of a registrar and proxy, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::Duration;

use bytes::Bytes;
use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{EndReason, EndpointConfig, EndpointKey, Failure, RegistrationFailed, UaEvent};

use pair::account::{SERVER, account, net, register, registered};
use pair::server::REALM;
use pair::{Net, addr, header, kind, millis, nothing};

const KEY: EndpointKey = EndpointKey(1);

fn failed(net: &Net) -> Vec<RegistrationFailed> {
    let events = net.agents[0].events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::RegistrationFailed(failed) => Some(failed.clone()),
            _ => None,
        })
        .collect()
}

fn unregistered(net: &Net) -> Vec<bool> {
    let events = net.agents[0].events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::Unregistered { confirmed, .. } => Some(*confirmed),
            _ => None,
        })
        .collect()
}

/// R99
#[test]
fn register_refresh_and_deregister_with_digest() {
    for algorithm in ["MD5", "SHA-256"] {
        let mut net = net(0.0, 1, algorithm);
        register(&mut net, 0, 3600);
        net.run_for(millis(1000));
        let first = registered(&net, 0)[0];
        assert_eq!(first.granted, Duration::from_secs(120));
        assert_eq!((first.sent, first.at), (net.start, net.start + millis(40)));
        assert_eq!(first.authenticated, Some(net.start + millis(20)));
        assert!(!first.refresh);
        assert_eq!(
            net.server.as_ref().unwrap().bindings["a"],
            "sip:a@192.0.2.1:5060"
        );
        // Half of the granted lifetime later, with the nonce used once more.
        net.run_for(millis(60_000));
        let all = registered(&net, 0);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].sent, first.at + millis(60_000));
        assert!(all[1].refresh);
        net.with(0, |ua, now| ua.unregister(now, KEY)).unwrap();
        net.run_out();
        assert_eq!(unregistered(&net), [true]);
        let server = net.server.as_ref().unwrap();
        assert!(server.bindings.is_empty());
        assert_eq!(server.asked, [3600, 3600, 0]);
        assert_eq!(server.challenges, 1, "{algorithm}");
        let counters = net.agents[0].ua.endpoint_counters(KEY).unwrap();
        assert_eq!((counters.reg_attempts, counters.reg_success), (3, 3));
        assert_eq!((counters.auth_challenges, counters.reg_failed), (1, 0));
    }
}

#[test]
fn a_wrong_password_fails_after_one_retry() {
    let mut net = net(0.0, 1, "SHA-256");
    net.server.as_mut().unwrap().password = "another";
    register(&mut net, 0, 60);
    net.run_out();
    let failed = failed(&net);
    let failure = Failure::Status {
        code: 401,
        reason: "Unauthorized".to_owned(),
    };
    assert_eq!((failed.len(), &failed[0].failure), (1, &failure));
    let counters = net.agents[0].ua.counters();
    assert_eq!((counters.reg_attempts, counters.reg_failed), (1, 1));
    assert_eq!(counters.auth_challenges, 2);
}

#[test]
fn a_stale_nonce_is_replaced() {
    let mut net = net(0.0, 1, "MD5");
    net.server.as_mut().unwrap().stale.insert("n1".to_owned());
    register(&mut net, 0, 60);
    net.run_for(millis(1000));
    assert_eq!(registered(&net, 0).len(), 1);
    assert_eq!(net.server.as_ref().unwrap().challenges, 2);
}

#[test]
fn a_longer_lifetime_is_taken() {
    let mut net = net(0.0, 1, "MD5");
    net.server.as_mut().unwrap().min_expires = 90;
    register(&mut net, 0, 30);
    net.run_for(millis(1000));
    assert_eq!(registered(&net, 0)[0].granted, Duration::from_secs(90));
    assert_eq!(net.server.as_ref().unwrap().asked, [30, 90]);
    assert_eq!(net.agents[0].ua.counters().reg_attempts, 1);
}

#[test]
fn a_dead_registrar_times_out() {
    let mut net = net(0.0, 1, "MD5");
    net.server = None;
    register(&mut net, 0, 60);
    net.with(0, |ua, now| ua.unregister(now, KEY)).unwrap();
    net.run_out();
    let failed = failed(&net);
    assert_eq!(failed[0].failure, Failure::Timeout);
    assert_eq!(failed[0].at, net.start + millis(32_000));
    assert_eq!(unregistered(&net), [false]);
    assert_eq!(net.agents[0].ua.counters().retransmissions_sent, 10);
}

#[test]
fn deregistration_waits_for_the_register_under_way() {
    let mut net = net(0.0, 1, "MD5");
    register(&mut net, 0, 60);
    net.with(0, |ua, now| ua.unregister(now, KEY)).unwrap();
    net.run_out();
    assert_eq!(registered(&net, 0).len(), 1);
    assert_eq!(unregistered(&net), [true]);
    assert!(net.server.as_ref().unwrap().bindings.is_empty());
}

#[test]
fn registration_survives_thirty_percent_loss() {
    let mut succeeded = 0;
    for seed in 0..40 {
        let mut net = net(0.3, seed, "SHA-256");
        register(&mut net, 0, 3600);
        net.run_for(millis(40_000));
        assert_eq!(
            registered(&net, 0).len() + failed(&net).len(),
            1,
            "seed {seed}"
        );
        succeeded += registered(&net, 0).len();
    }
    assert!(succeeded >= 38, "{succeeded} of 40");
}

/// R100
#[test]
fn a_call_through_the_proxy_with_digest() {
    for (algorithm, callee_hangs_up) in [("MD5", false), ("SHA-256", true)] {
        let mut net = net(0.0, 1, algorithm);
        for agent in [0, 1] {
            register(&mut net, agent, 3600);
        }
        net.run_for(millis(1000));
        let call = net.call("sip:b@example.org");
        net.run_for(millis(1000));
        if callee_hangs_up {
            let incoming = net.agents[1].incoming();
            net.hang_up(1, incoming);
        } else {
            net.hang_up(0, call);
        }
        net.run_for(millis(1000));
        let reasons: Vec<_> = net
            .agents
            .iter()
            .map(|agent| agent.ends()[0].reason)
            .collect();
        let expected = if callee_hangs_up {
            [EndReason::RemoteBye, EndReason::LocalBye]
        } else {
            [EndReason::LocalBye, EndReason::RemoteBye]
        };
        assert_eq!(reasons, expected);
        let end = net.agents[0].ends()[0];
        let times = end.times;
        assert_eq!(
            times.invite_authenticated,
            Some(times.invite.unwrap() + millis(20))
        );
        let caller = net.agents[0].ua.counters();
        assert_eq!((caller.invites_sent, caller.auth_challenges), (1, 2));
        assert_eq!((caller.retransmissions_sent, caller.out_of_dialog), (0, 0));
        let sent: Vec<_> = messages(&net, 0);
        let ack = sent.iter().rfind(|message| kind(message) == "ACK").unwrap();
        assert_eq!(header(ack, HeaderName::Route), format!("<sip:{SERVER};lr>"));
        assert!(ack.value(HeaderName::ProxyAuthorization).is_some());
        net.run_for(millis(40_000));
        assert_eq!(net.agents[1].ua.counters().unexpected, 0);
    }
}

fn messages(net: &Net, agent: usize) -> Vec<Message> {
    let sent = net.agents[agent].sent.iter();
    sent.map(|bytes| Message::parse(bytes.clone()).unwrap())
        .collect()
}

#[test]
fn an_unknown_callee_is_404() {
    let mut net = net(0.0, 1, "MD5");
    net.call("sip:nobody@example.org");
    net.run_out();
    let end = net.agents[0].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Refused, Some(404)));
    assert_eq!(
        net.agents[0].sent_kinds(),
        ["INVITE", "ACK", "INVITE", "ACK"]
    );
}

/// The configured outbound proxy stands as Route in REGISTER and INVITE.
#[test]
fn an_outbound_proxy_is_preloaded() {
    let mut net = Net::new(0.0, 1);
    net.agent("192.0.2.1:5060", nothing);
    let route: Vec<_> = [format!("sip:{SERVER};lr").parse().unwrap()].into();
    net.endpoint(
        0,
        1,
        EndpointConfig {
            route,
            ..account("a")
        },
    );
    register(&mut net, 0, 60);
    net.call("sip:b@example.org");
    net.run_for(millis(100));
    for message in net.take_raw(SERVER) {
        assert_eq!(
            header(&message, HeaderName::Route),
            format!("<sip:{SERVER};lr>")
        );
    }
    assert_eq!(net.agents[0].sent_kinds(), ["REGISTER", "INVITE"]);
}

/// A challenge with the account's realm is not answered when it comes from the peer itself: the
/// request did not go to the configured next hop.
#[test]
fn a_peer_cannot_harvest_digests() {
    let mut net = net(0.0, 1, "MD5");
    register(&mut net, 0, 60);
    net.run_for(millis(100));
    let invite = callmeter_sip::Invite {
        target: "sip:x@192.0.2.66".parse().unwrap(),
        next_hop: Some(addr("192.0.2.66:5060")),
        body: Bytes::from_static(b"v=0"),
    };
    net.with(0, |ua, now| ua.invite(now, KEY, invite)).unwrap();
    net.run_for(millis(10));
    let got = net.take_raw("192.0.2.66:5060");
    let challenge = format!("WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"n\"\r\n");
    let text = pair::reply(&got[0], "401 Unauthorized", "x", &challenge, "");
    net.send_raw("192.0.2.66:5060", "192.0.2.1:5060", &text);
    net.run_for(millis(1000));
    let end = net.agents[0].ends()[0];
    assert_eq!((end.reason, end.status), (EndReason::Refused, Some(401)));
    let got = net.take_raw("192.0.2.66:5060");
    assert_eq!(got.iter().map(kind).collect::<Vec<_>>(), ["ACK"]);
}
