//! Accounts at the test server, and what becomes of their registrations.

use std::time::Duration;

use callmeter_sip::{
    Credentials, EndpointConfig, EndpointKey, Password, Registered, Registration, UaEvent,
};

use super::server::Server;
use super::{Net, addr, answer_at_once, config, nothing};

pub(crate) const SERVER: &str = "192.0.2.9:5060";

/// An account whose next hop is the server, without a realm.
pub(crate) fn account(user: &str) -> EndpointConfig {
    EndpointConfig {
        next_hop: Some(addr(SERVER)),
        credentials: Some(Credentials {
            username: user.to_owned(),
            password: Password::new("zanzibar"),
            realm: None,
        }),
        ..config(&format!("sip:{user}@example.org"))
    }
}

pub(crate) fn registration(seconds: u64) -> Registration {
    Registration {
        registrar: "sip:example.org".parse().unwrap(),
        expires: Duration::from_secs(seconds),
    }
}

/// Agents 0 and 1 with accounts a and b; the second answers at once.
pub(crate) fn net(loss: f64, seed: u64, algorithm: &'static str) -> Net {
    let mut net = Net::new(loss, seed);
    net.agent("192.0.2.1:5060", nothing);
    net.agent("192.0.2.2:5060", answer_at_once);
    net.server = Some(Server::new(SERVER, algorithm));
    net.endpoint(0, 1, account("a"));
    net.endpoint(1, 1, account("b"));
    net
}

pub(crate) fn register(net: &mut Net, agent: usize, seconds: u64) {
    net.with(agent, |ua, now| {
        ua.register(now, EndpointKey(1), registration(seconds))
    })
    .unwrap();
}

pub(crate) fn registered(net: &Net, agent: usize) -> Vec<Registered> {
    let events = net.agents[agent].events.iter();
    events
        .filter_map(|event| match event {
            UaEvent::Registered(registered) => Some(*registered),
            _ => None,
        })
        .collect()
}
