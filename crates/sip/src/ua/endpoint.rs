//! An endpoint: how it names itself.

use sha2::{Digest, Sha256};

use super::auth::{LearntRealm, Sessions};
use super::binding::{Binding, Outbound};
use super::config::EndpointConfig;
use crate::flow::Listener;
use crate::message::Uri;

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) config: EndpointConfig,
    /// User that incoming Request-URIs are matched to.
    pub(super) user: String,
    /// From without tag.
    pub(super) from: Vec<u8>,
    /// Contact value.
    pub(super) contact: Vec<u8>,
    /// The same in dialogs that are to stay on the flow of the registration (RFC 5626 §4.3).
    contact_on_flow: Vec<u8>,
    /// Its Contact in a REGISTER if it is an outbound client (RFC 5626 §4.2).
    outbound: Option<Vec<u8>>,
    pub(super) binding: Option<Binding>,
    /// With the configured next hop.
    pub(super) sessions: Sessions,
    pub(super) learnt: Option<LearntRealm>,
}

impl Endpoint {
    pub(super) fn new(config: EndpointConfig, listener: &Listener) -> Self {
        let user = if config.contact_user.is_empty() {
            config.aor.user()
        } else {
            config.contact_user.clone()
        };
        let mut from = Vec::new();
        if !config.display_name.is_empty() {
            let name = config
                .display_name
                .replace('\\', "\\\\")
                .replace('"', "\\\"");
            from.extend_from_slice(format!("\"{name}\" ").as_bytes());
        }
        from.extend_from_slice(&[b"<", config.aor.as_bytes(), b">"].concat());
        let contact = contact(listener, &user);
        let uri = listener.uri(&user);
        let connected = listener.transport.is_reliable();
        let instance = config.instance.as_ref().filter(|_| connected);
        let outbound = instance.map(|instance| {
            format!("<{uri}>;reg-id=1;+sip.instance=\"<{instance}>\"").into_bytes()
        });
        Self {
            config,
            user,
            from,
            contact,
            contact_on_flow: format!("<{uri};ob>").into_bytes(),
            outbound,
            binding: None,
            sessions: Sessions::default(),
            learnt: None,
        }
    }
}

impl Endpoint {
    /// Contact in dialogs.
    pub(super) fn contact_within(&self) -> &[u8] {
        match &self.binding {
            Some(binding) if binding.outbound == Outbound::Confirmed => &self.contact_on_flow,
            _ => &self.contact,
        }
    }

    /// Contact of a REGISTER; the second: it asks for a flow of its own.
    pub(super) fn contact_of_register(&self, outbound: Outbound) -> (&[u8], bool) {
        match &self.outbound {
            Some(contact) if outbound != Outbound::Impossible => (&contact[..], true),
            _ => (&self.contact[..], false),
        }
    }

    /// The Route set of a request that starts something: the configured proxy, then what the
    /// registrar wants on the way (RFC 3608 §6.1).
    pub(super) fn routes(&self) -> Vec<Uri> {
        let mut routes = self.config.route.clone();
        let service = self
            .binding
            .as_ref()
            .filter(|binding| binding.stands)
            .map_or(&[][..], |binding| &binding.service_route);
        let known = match (routes.last(), service.first()) {
            (Some(last), Some(first)) => last.same_address(first),
            _ => false,
        };
        routes.extend_from_slice(&service[usize::from(known)..]);
        routes
    }
}

/// A URN that names one instance of a user agent (RFC 5626 §4.1): the same for the same words, each
/// time. It has the form of a UUID of version 4.
pub fn instance_urn(words: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for word in words {
        hasher.update(word.len().to_be_bytes());
        hasher.update(word);
    }
    let hash = hasher.finalize();
    let mut id: [u8; 16] = std::array::from_fn(|index| hash[index]);
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let hex = hex::encode(id);
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|digits| &hex[digits]);
    format!("urn:uuid:{}", groups.join("-"))
}

/// A Contact value on a listener.
pub(super) fn contact(listener: &Listener, user: &str) -> Vec<u8> {
    format!("<{}>", listener.uri(user)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::LocalId;
    use crate::flow::Transport;
    use crate::message::Host;

    /// R31
    #[test]
    fn names_are_escaped_and_advertised() {
        let listener = Listener {
            id: LocalId(1),
            transport: Transport::Udp,
            advertised_host: Host::Ip("203.0.113.10".parse().unwrap()),
            advertised_port: 5060,
            accepts: true,
            large_by_tcp: false,
            keep_alive: None,
        };
        let config = EndpointConfig {
            display_name: "A \"quoted\" name".to_owned(),
            contact_user: "al ice".to_owned(),
            ..EndpointConfig::new(LocalId(1), "sip:alice@example.org".parse().unwrap())
        };
        let endpoint = Endpoint::new(config, &listener);
        assert_eq!(endpoint.contact, b"<sip:al%20ice@203.0.113.10:5060>");
        assert_eq!(
            endpoint.from,
            br#""A \"quoted\" name" <sip:alice@example.org>"#
        );
    }
}
