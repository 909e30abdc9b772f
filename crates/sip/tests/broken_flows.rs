//! A flow that breaks × every state of a transaction (RFC 3261 §17.1.4, §17.2.4): a client
//! transaction that waits for its final response ends with its request; one that has had it, and
//! every server transaction, goes on as if nothing had been.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use callmeter_sip::{EndReason, EndpointKey, Flow, Transport, UaEvent};

use pair::account::{SERVER, account, at_raw_hop, next, register};
use pair::peer::{ASK, Ask, PEER, US, alone, ask, kinds, to_tag};
use pair::{LOCAL, Net, addr, answer_at_once, kind, nothing, reply, ring_only};

const CONTACT: &str = "Contact: <sip:b@192.0.2.9:5060>\r\n";

fn break_flow(net: &mut Net, remote: &str) {
    let flow = Flow {
        local: LOCAL,
        transport: Transport::Udp,
        remote: addr(remote),
    };
    net.with(0, |ua, now| ua.flow_failed(now, flow, "reset"));
}

fn errors(net: &Net) -> u64 {
    let counters = net.agents[0].ua.endpoint_counters(EndpointKey(1)).unwrap();
    counters.transport_errors
}

fn ends(net: &Net) -> Vec<EndReason> {
    net.agents[0].ends().iter().map(|end| end.reason).collect()
}

/// Figure 5 with RFC 6026 figure 2: what the peer said before the flow broke, how the call stands
/// after it, and what a retransmission of the peer's last word brings.
#[test]
fn an_invite_in_every_state_of_its_client_transaction() {
    for (said, ended, errors_counted, again) in [
        (None, Some(EndReason::FlowFailed), 1, None),
        (Some("180 Ringing"), Some(EndReason::FlowFailed), 1, None),
        (Some("486 Busy"), Some(EndReason::Refused), 0, Some("ACK")),
        (Some("200 OK"), None, 0, Some("ACK")),
    ] {
        let mut net = at_raw_hop(account("a"));
        net.call("sip:b@example.org");
        let invite = next(&mut net, SERVER).remove(0);
        let word = said.map(|said| reply(&invite, said, "x", CONTACT, ""));
        if let Some(word) = &word {
            net.send_raw(SERVER, US, word);
            next(&mut net, SERVER);
        }
        break_flow(&mut net, SERVER);
        next(&mut net, SERVER);
        let reasons: Vec<_> = ended.into_iter().collect();
        assert_eq!(ends(&net), reasons, "after {said:?}");
        assert_eq!(errors(&net), errors_counted, "after {said:?}");
        if let (Some(word), Some(again)) = (&word, again) {
            net.send_raw(SERVER, US, word);
            let sent = next(&mut net, SERVER);
            let sent: Vec<_> = sent.iter().map(kind).collect();
            assert_eq!(sent, [again], "after {said:?}");
        }
    }
}

/// Figure 6.
#[test]
fn a_register_in_every_state_of_its_client_transaction() {
    for (said, failed) in [(None, 1), (Some("100 Trying"), 1), (Some("200 OK"), 0)] {
        let mut net = at_raw_hop(account("a"));
        register(&mut net, 0, 600);
        let request = next(&mut net, SERVER).remove(0);
        if let Some(said) = said {
            let contact = "Contact: <sip:a@192.0.2.1:5060>;expires=600\r\n";
            net.send_raw(SERVER, US, &reply(&request, said, "x", contact, ""));
            next(&mut net, SERVER);
        }
        break_flow(&mut net, SERVER);
        let events = net.agents[0].events.iter();
        let lost = events.filter(|event| matches!(event, UaEvent::RegistrationFailed(_)));
        assert_eq!(lost.count(), failed, "after {said:?}");
        assert_eq!(errors(&net), failed as u64, "after {said:?}");
    }
}

/// Figure 7 with RFC 6026 figure 1: nothing sent, 1xx, a refusal and its ACK, a 2xx. The peer asks
/// again and gets what it got before.
#[test]
fn an_invite_in_every_state_of_its_server_transaction() {
    let refuse: pair::Policy = |ua, now, event| {
        if let UaEvent::Incoming(incoming) = event {
            ua.reject(now, incoming.call, 486).unwrap();
        }
    };
    for (policy, first) in [
        (nothing as pair::Policy, vec![]),
        (ring_only, vec!["180 INVITE"]),
        (refuse, vec!["486 INVITE"]),
        (answer_at_once, vec!["180 INVITE", "200 INVITE"]),
    ] {
        let mut net = alone(policy);
        let invite = Ask { body: "v=0", ..ASK };
        let got = ask(&mut net, &invite);
        assert_eq!(kinds(&got), first);
        break_flow(&mut net, PEER);
        assert_eq!((errors(&net), net.agents[0].standing()), {
            let over = first == ["486 INVITE"];
            (0, usize::from(!over))
        });
        if first.is_empty() {
            continue;
        }
        let again = ask(&mut net, &invite);
        let last = &first[first.len() - 1..];
        if first.len() == 1 {
            assert_eq!(kinds(&again), last);
        }
        if first == ["486 INVITE"] {
            // Confirmed: the ACK ends the retransmissions, whatever has become of the flow.
            let tag = to_tag(&got[0]);
            let ack = Ask {
                method: "ACK",
                to_tag: &tag,
                ..ASK
            };
            assert_eq!(ask(&mut net, &ack).len(), 0);
            break_flow(&mut net, PEER);
            net.run_out();
            assert_eq!(net.take_raw(PEER).len(), 0);
        }
    }
}
