//! Keep-alives on UDP (RFC 5626 §3.5).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod pair;

use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_sip::{EndpointKey, Flow, Listener, Output, PING, Transport, UaConfig, UserAgent};

use pair::account::{SERVER, account, registration};
use pair::peer::US;
use pair::{LOCAL, addr};

const INTERVAL: Duration = Duration::from_secs(20);

/// An agent with two endpoints that have begun to register.
#[expect(
    clippy::disallowed_methods,
    reason = "a starting point for virtual time"
)]
fn agent(keep_alive: Option<Duration>) -> (UserAgent, Instant) {
    let mut ua = UserAgent::new(UaConfig::default(), 1);
    let listener = Listener {
        keep_alive,
        ..Listener::udp(LOCAL, addr(US), None)
    };
    ua.add_listener(listener).unwrap();
    let now = Instant::now();
    for (key, user) in [(1, "a"), (2, "b")] {
        ua.add_endpoint(EndpointKey(key), account(user)).unwrap();
        ua.register(now, EndpointKey(key), registration(3600))
            .unwrap();
    }
    (ua, now)
}

/// When keep-alives are sent in a time, from its beginning.
fn pings(ua: &mut UserAgent, now: &mut Instant, time: Duration) -> Vec<Duration> {
    let (start, mut sent) = (*now, Vec::new());
    loop {
        while let Some(output) = ua.poll_output() {
            if let Output::Transmit(transmit) = output
                && transmit.bytes == PING
            {
                let flow = transmit.flow;
                assert_eq!((flow.local, flow.remote), (LOCAL, addr(SERVER)));
                assert_eq!(flow.transport, Transport::Udp);
                sent.push(*now - start);
            }
        }
        let due = ua.next_timeout().filter(|at| *at <= start + time);
        let Some(due) = due else { break };
        *now = due.max(*now);
        ua.handle_timeout(*now);
    }
    *now = start + time;
    sent
}

#[test]
fn endpoints_with_one_next_hop_keep_one_way_open() {
    let (mut ua, mut now) = agent(Some(INTERVAL));
    let sent = pings(&mut ua, &mut now, Duration::from_secs(200));
    assert!((10..=12).contains(&sent.len()), "{sent:?}");
    let mut last = Duration::ZERO;
    for at in sent {
        let since = at.saturating_sub(last);
        assert!(
            since >= INTERVAL.mul_f64(0.8) && since <= INTERVAL,
            "{since:?}"
        );
        last = at;
    }
}

/// The negative control.
#[test]
fn without_an_interval_nothing_is_sent() {
    let (mut ua, mut now) = agent(None);
    assert_eq!(pings(&mut ua, &mut now, Duration::from_secs(200)), []);
}

#[test]
fn nothing_is_kept_open_for_nobody() {
    let (mut ua, mut now) = agent(Some(INTERVAL));
    pings(&mut ua, &mut now, Duration::from_secs(30));
    ua.remove_endpoint(now, EndpointKey(1)).unwrap();
    let one_left = pings(&mut ua, &mut now, Duration::from_secs(40));
    assert!(!one_left.is_empty());
    ua.remove_endpoint(now, EndpointKey(2)).unwrap();
    assert_eq!(pings(&mut ua, &mut now, Duration::from_secs(600)), []);
    assert_eq!(ua.held().timers, 0);
}

#[test]
fn keep_alives_are_no_messages() {
    let (mut ua, now) = agent(Some(INTERVAL));
    while ua.poll_output().is_some() {}
    let before = ua.counters();
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    for datagram in [PING, b"\r\n", &[0; 4], &stun] {
        let flow = Flow {
            local: LOCAL,
            transport: Transport::Udp,
            remote: addr(SERVER),
        };
        ua.handle_input(now, flow, Bytes::copy_from_slice(datagram));
        assert!(ua.poll_output().is_none(), "{datagram:?}");
    }
    assert_eq!(ua.counters(), before);
}
