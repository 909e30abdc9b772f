//! Refreshes of the session that are offers (RFC 4028 §7.4): counted alike at both ends.

use std::time::Duration;

use bytes::Bytes;
use callmeter_sip::{
    EndpointConfig, EndpointKey, OfferBy, Refresher, SessionTimer, SessionTimerMode,
};

use crate::pair::{Net, again, config, millis};
use crate::{HOLD, agreeable, offer};

/// Takes UPDATE out of Allow, as what is between the ends may.
fn without_update(bytes: Bytes) -> Bytes {
    let text = String::from_utf8(bytes.into()).unwrap();
    Bytes::from(text.replace(", UPDATE", ""))
}

/// Two agreeable agents whose sessions last 90 s; `updates`: they may refresh by UPDATE.
fn timed(refresher: Refresher, updates: bool) -> Net {
    let mut net = Net::new(0.0, 7);
    if !updates {
        net.between = without_update;
    }
    for (index, user) in ["a", "b"].into_iter().enumerate() {
        let host = format!("192.0.2.{}", index + 1);
        net.agent(&format!("{host}:5060"), agreeable);
        let session_timer = SessionTimer {
            mode: SessionTimerMode::Supported,
            expires: Duration::from_secs(90),
            refresher,
        };
        let config = EndpointConfig {
            session_timer,
            ..config(&format!("sip:{user}@{host}"))
        };
        net.endpoint(index, 1, config);
    }
    net
}

/// re-INVITEs sent and received by an agent.
fn counted(net: &Net, agent: usize) -> (u64, u64) {
    let ua = &net.agents[agent].ua;
    let counters = ua.endpoint_counters(EndpointKey(1)).unwrap();
    (counters.reinvites_sent, counters.reinvites_received)
}

/// A session of 90 s for 200 s is refreshed four times. By re-INVITE each of them is one with an
/// offer, sent by one end and received by the other; by UPDATE it has none. An offer of the test's
/// own is one more either way.
#[test]
fn a_refresh_with_an_offer_is_a_reinvite_at_both_ends() {
    for (refresher, agent) in [(Refresher::Uac, 0), (Refresher::Uas, 1)] {
        for (updates, expected) in [(true, 1), (false, 5)] {
            let mut net = timed(refresher, updates);
            let caller = net.call("sip:b@192.0.2.2");
            net.run_for(Duration::from_secs(200));
            let calls = [caller, net.agents[1].incoming()];
            offer(&mut net, agent, calls[agent], OfferBy::Invite);
            net.run_for(Duration::from_secs(1));
            for agent in &net.agents {
                let counters = agent.ua.endpoint_counters(EndpointKey(1)).unwrap();
                assert_eq!(counters.session_refreshes, 5, "the offer refreshes, too");
            }
            let counted = [0, 1].map(|agent| counted(&net, agent));
            let mut wanted = [(expected, 0), (0, expected)];
            wanted.rotate_left(agent);
            assert_eq!(counted, wanted, "{refresher:?}, by UPDATE: {updates}");
        }
    }
}

/// The refresh of the callee, who waits less than the caller, and an offer of the caller meet: both
/// are refused, sent again and then taken. Each is one.
#[test]
fn a_refresh_that_meets_an_offer_counts_once() {
    let mut net = timed(Refresher::Uas, false);
    let caller = net.call("sip:b@192.0.2.2");
    // Half of the session after the 200 was sent, when it had been on its way for 10 ms.
    net.run_for(millis(45_005));
    let callee = net.agents[1].incoming();
    offer(&mut net, 0, caller, OfferBy::Invite);
    let calls = [(caller, OfferBy::Invite), (callee, OfferBy::Invite)];
    again::run_for(&mut net, calls, HOLD, Duration::from_secs(10));
    assert_eq!(net.times_of("491 INVITE").len(), 2);
    assert_eq!(net.times_of("INVITE").len(), 1 + 2 + 2);
    assert_eq!([0, 1].map(|agent| counted(&net, agent)), [(1, 1); 2]);
}
