//! Refreshes of the session that are offers (RFC 4028 §7.4): counted alike at both ends.

use std::time::Duration;

use bytes::Bytes;
use callmeter_sip::{
    EndpointConfig, EndpointKey, OfferBy, Refresher, SessionTimer, SessionTimerMode,
};

use crate::pair::{Net, config};
use crate::{agreeable, offer};

/// Takes UPDATE out of Allow, as what is between the ends may.
fn without_update(bytes: Bytes) -> Bytes {
    let text = String::from_utf8(bytes.into()).unwrap();
    Bytes::from(text.replace(", UPDATE", ""))
}

/// A session of 90 s for 200 s is refreshed four times. By re-INVITE each of them is one with an
/// offer, sent by one end and received by the other; by UPDATE it has none. An offer of the test's
/// own is one more either way.
#[test]
fn a_refresh_with_an_offer_is_a_reinvite_at_both_ends() {
    for (refresher, agent) in [(Refresher::Uac, 0), (Refresher::Uas, 1)] {
        for (updates, expected) in [(true, 1), (false, 5)] {
            let mut net = Net::new(0.0, 7);
            if !updates {
                net.between = without_update;
            }
            net.agent("192.0.2.1:5060", agreeable);
            net.agent("192.0.2.2:5060", agreeable);
            for (index, aor) in ["sip:a@192.0.2.1", "sip:b@192.0.2.2"].iter().enumerate() {
                let session_timer = SessionTimer {
                    mode: SessionTimerMode::Supported,
                    expires: Duration::from_secs(90),
                    refresher,
                };
                let config = EndpointConfig {
                    session_timer,
                    ..config(aor)
                };
                net.endpoint(index, 1, config);
            }
            let caller = net.call("sip:b@192.0.2.2");
            net.run_for(Duration::from_secs(200));
            let calls = [caller, net.agents[1].incoming()];
            offer(&mut net, agent, calls[agent], OfferBy::Invite);
            net.run_for(Duration::from_secs(1));
            let counted = [0, 1].map(|agent| {
                let ua = &net.agents[agent].ua;
                let counters = ua.endpoint_counters(EndpointKey(1)).unwrap();
                assert_eq!(counters.session_refreshes, 5, "the offer refreshes, too");
                (counters.reinvites_sent, counters.reinvites_received)
            });
            let mut wanted = [(expected, 0), (0, expected)];
            wanted.rotate_left(agent);
            assert_eq!(counted, wanted, "{refresher:?}, by UPDATE: {updates}");
        }
    }
}
