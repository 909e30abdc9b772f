//! SIP ports that other processes hold, and let go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy's configuration does not count as tests"
)]

mod support;

use std::{net::UdpSocket, time::Duration};

use callmeter_proto::worker::{Heartbeat, Role, from_worker::Message as Up};
use support::{
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, assert_complete, begin, finish},
};

/// A group that got the port proves that one can be bound, long before the worker could hold it
/// again for itself.
#[tokio::test]
async fn the_trouble_with_sip_ports_is_over_when_a_group_has_the_first() {
    let mut gateway = TestGateway::start().await;
    let ports = ports::block();
    let foreign: Vec<_> = (ports.sip_first..=ports.sip_last)
        .map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap())
        .collect();
    let _worker = Worker::spawn(&environment(&gateway, ports));
    let mut peer = gateway.accept().await;
    let first = peer.welcome().await;
    let trouble = |heartbeat: &Heartbeat| heartbeat.unhealthy_reason.contains("no SIP port of");
    if !trouble(&first) {
        peer.until("the trouble", |message| match message {
            Up::Heartbeat(heartbeat) => trouble(heartbeat).then_some(()),
            _ => None,
        })
        .await;
    }
    drop(foreign);
    let callees = Group::new("callees", Role::Callee, 1);
    let mut told = begin(&mut peer, "run-1", &[callees]).await;
    peer.until("health", |message| {
        told.take(message);
        match message {
            Up::Heartbeat(heartbeat) => heartbeat.healthy.then_some(()),
            _ => None,
        }
    })
    .await;
    finish(&mut peer, &mut told, Duration::from_secs(60)).await;
    assert_complete(&told);
    assert_eq!(told.contacts("callees").len(), 1);
}
