//! Accounts at the test server, and what becomes of their registrations.

use std::time::Duration;

use callmeter_sip::message::{HeaderName, Message};
use callmeter_sip::{
    Credentials, EndpointConfig, EndpointKey, Password, Registered, Registration, UaEvent,
};

use super::peer::US;
use super::server::Server;
use super::{Net, addr, answer_at_once, config, millis, nothing};

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

/// Whether a request has credentials: of the origin, of the proxy.
pub(crate) fn has(message: &Message) -> (bool, bool) {
    (
        message.value(HeaderName::Authorization).is_some(),
        message.value(HeaderName::ProxyAuthorization).is_some(),
    )
}

/// One agent with an account at a raw next hop.
pub(crate) fn at_raw_hop(config: EndpointConfig) -> Net {
    let mut net = Net::new(0.0, 1);
    net.agent(US, answer_at_once);
    net.endpoint(0, 1, config);
    net
}

pub(crate) fn with_realm(free: bool) -> EndpointConfig {
    let mut config = account("a");
    config.auth_in_dialog = free;
    config.credentials.as_mut().unwrap().realm = Some("example.org".to_owned());
    config
}

/// What came to a raw address in 20 ms.
pub(crate) fn next(net: &mut Net, at: &str) -> Vec<Message> {
    net.run_for(millis(20));
    net.take_raw(at)
}

pub(crate) const OURS: &str = "Digest realm=\"example.org\", nonce=\"1\", qop=\"auth\"";
