//! What becomes of requests whose flow breaks before they are answered (RFC 3261 §17.1.4).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::net::SocketAddr;

use callmeter_sip::{
    CallEvent, EndReason, EndpointKey, Failure, Flow, RegistrationFailed, Transport, UaEvent,
};

use pair::account::{SERVER, net, register, registered};
use pair::{LOCAL, Net, addr, answer_at_once, millis, nothing};

const KEY: EndpointKey = EndpointKey(1);
const NOBODY: &str = "192.0.2.99:5060";

fn fail(net: &mut Net, remote: SocketAddr) {
    let flow = Flow {
        local: LOCAL,
        transport: Transport::Udp,
        remote,
    };
    net.with(0, |ua, now| ua.flow_failed(now, flow, "reset"));
}

fn counted(net: &Net) -> (u64, u64) {
    let counters = net.agents[0].ua.endpoint_counters(KEY).unwrap();
    (counters.transport_errors, counters.timeouts)
}

fn ended(net: &Net) -> Vec<(EndReason, u128)> {
    let events = net.agents[0].events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::Call {
                event: CallEvent::Ended(end),
                at,
                ..
            } => Some((end.reason, (*at - net.start).as_millis())),
            _ => None,
        })
        .collect()
}

#[test]
fn calls_that_wait_for_an_answer_end_at_once() {
    let mut net = Net::pair(0.0, 1, nothing);
    net.call("sip:x@192.0.2.99");
    net.call("sip:y@192.0.2.99");
    net.run_for(millis(1200));
    fail(&mut net, addr(NOBODY));
    assert_eq!(ended(&net), [(EndReason::FlowFailed, 1200); 2]);
    let sent = net.take_raw(NOBODY).len();
    net.run_out();
    assert_eq!(
        net.take_raw(NOBODY).len(),
        0,
        "after {sent} nothing more is sent"
    );
    assert_eq!(counted(&net), (2, 0));
    assert_eq!(ended(&net).len(), 2);
    assert_eq!(net.agents[0].standing(), 0);
}

/// The negative control: another peer by the same socket.
#[test]
fn other_flows_go_on() {
    let mut net = Net::pair(0.0, 1, nothing);
    net.call("sip:x@192.0.2.99");
    net.run_for(millis(100));
    fail(&mut net, addr("192.0.2.98:5060"));
    assert_eq!((ended(&net), counted(&net)), (vec![], (0, 0)));
    net.run_out();
    assert_eq!(ended(&net), [(EndReason::InviteTimeout, 32_000)]);
    assert_eq!(counted(&net), (0, 1));
}

#[test]
fn a_call_that_stands_goes_on_and_its_bye_fails_with_the_flow() {
    let mut net = Net::pair(0.0, 1, answer_at_once);
    let call = net.call("sip:b@192.0.2.2");
    net.run_for(millis(1000));
    fail(&mut net, addr("192.0.2.2:5060"));
    assert_eq!((ended(&net), counted(&net)), (vec![], (0, 0)));
    net.set_loss(1.0);
    net.hang_up(0, call);
    net.run_for(millis(100));
    fail(&mut net, addr("192.0.2.2:5060"));
    assert_eq!(ended(&net), [(EndReason::ByeTimeout, 1100)]);
    assert_eq!(counted(&net), (1, 0));
}

#[test]
fn a_registration_fails_at_once_and_can_be_made_again() {
    let mut net = net(0.0, 1, "MD5");
    let server = net.server.take();
    register(&mut net, 0, 60);
    net.run_for(millis(300));
    fail(&mut net, addr(SERVER));
    let failed: Vec<RegistrationFailed> = net.agents[0]
        .events
        .iter()
        .filter_map(|event| match event {
            UaEvent::RegistrationFailed(failed) => Some(failed.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].failure, Failure::FlowFailed("reset".to_owned()));
    assert_eq!(failed[0].at, net.start + millis(300));
    assert_eq!(counted(&net), (1, 0));
    net.server = server;
    register(&mut net, 0, 60);
    net.run_for(millis(1000));
    assert_eq!(registered(&net, 0).len(), 1);
}
