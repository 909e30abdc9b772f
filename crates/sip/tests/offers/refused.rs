//! Offers that are refused, challenged or never answered.

use std::time::Duration;

use callmeter_sip::message::HeaderName;
use callmeter_sip::{CallEvent, EndReason, EndpointConfig, OfferBy, UaEvent};

use crate::pair::account::account;
use crate::pair::peer::{PEER, US, established, kinds};
use crate::pair::{Net, addr, answer_at_once, config, header, millis, reply};
use crate::{answered_by_peer, offer, said, standing};

#[test]
fn a_refused_offer_leaves_the_call_as_it_was() {
    let (mut net, calls) = standing(0.0, 1);
    net.agents[1].policy = |ua, now, event| {
        if let UaEvent::Call {
            call,
            event: CallEvent::Offer { .. },
            ..
        } = event
        {
            ua.reject(now, *call, 488).unwrap();
        }
    };
    let from = net.agents[0].events.len();
    offer(&mut net, 0, calls[0], OfferBy::Update);
    net.run_for(Duration::from_secs(40));
    assert_eq!(said(&net.agents[0], from), ["refused Some(488)"]);
    assert_eq!([net.agents[0].standing(), net.agents[1].standing()], [1, 1]);
}

/// RFC 3261 §12.2.1.2
#[test]
fn a_peer_that_knows_no_such_dialog_ends_the_call() {
    for by in [OfferBy::Invite, OfferBy::Update] {
        for status in ["481 Gone", "408 Slow"] {
            let (mut net, ..) = answered_by_peer(by, status);
            let got = kinds(&net.take_raw(PEER));
            assert_eq!(got.last().unwrap(), "BYE", "{got:?}");
            net.run_out();
            let end = net.agents[0].ends()[0];
            assert_eq!(end.reason, EndReason::DialogLost);
            assert_eq!(net.agents[0].ua.held().transactions, 0);
        }
        let (mut net, ..) = answered_by_peer(by, "488 No");
        assert!(!kinds(&net.take_raw(PEER)).contains(&"BYE".to_owned()));
        assert_eq!(net.agents[0].standing(), 1);
    }
}

#[test]
fn an_offer_nobody_answers_ends_the_call() {
    for by in [OfferBy::Invite, OfferBy::Update] {
        let (mut net, calls) = standing(0.0, 1);
        net.set_loss(1.0);
        let from = net.agents[0].events.len();
        offer(&mut net, 0, calls[0], by);
        net.run_for(millis(31_900));
        assert!(said(&net.agents[0], from).is_empty());
        net.run_for(millis(100));
        assert_eq!(said(&net.agents[0], from), ["refused None", "bye sent"]);
        net.run_out();
        assert_eq!(net.agents[0].ends()[0].reason, EndReason::DialogLost);
    }
}

/// A re-INVITE that stays at 100 for ever is given up as one that rings for ever is.
#[test]
fn a_reinvite_stuck_in_proceeding_ends() {
    let (mut net, call, _) = answered_by_peer(OfferBy::Invite, "100 Trying");
    net.run_for(Duration::from_secs(179));
    assert_eq!(net.agents[0].standing(), 1);
    net.run_for(Duration::from_secs(2));
    assert!(said(&net.agents[0], 0).contains(&"refused None".to_owned()));
    net.run_out();
    assert!(!net.agents[0].stands(call));
}

/// The rule of challenges: never in a dialog we did not start.
#[test]
fn a_challenge_to_an_offer_in_a_dialog_of_the_peer_is_a_refusal() {
    let config_of = |free| EndpointConfig {
        auth_in_dialog: free,
        ..account("a")
    };
    // One that is too long to be answered is refused as well.
    for (free, length) in [(false, 1), (true, 1), (true, 8100)] {
        let mut net = Net::new(0.0, 1);
        net.agent(US, answer_at_once);
        let mut config = EndpointConfig {
            aor: config("sip:a@192.0.2.1").aor,
            next_hop: Some(addr(PEER)),
            ..config_of(free)
        };
        if let Some(credentials) = &mut config.credentials {
            credentials.realm = Some("r".to_owned());
        }
        net.endpoint(0, 1, config);
        established(&mut net);
        let call = net.agents[0].incoming();
        offer(&mut net, 0, call, OfferBy::Invite);
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        let nonce = "n".repeat(length);
        let challenge = format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\"\r\n");
        net.send_raw(PEER, US, &reply(&got[0], "401 No", "", &challenge, ""));
        net.run_for(millis(20));
        let got = net.take_raw(PEER);
        if free && length == 1 {
            assert_eq!(kinds(&got), ["ACK", "INVITE"]);
            assert!(!header(&got[1], HeaderName::Authorization).is_empty());
        } else {
            assert_eq!(kinds(&got), ["ACK"]);
            assert!(said(&net.agents[0], 0).contains(&"refused Some(401)".to_owned()));
        }
    }
}
