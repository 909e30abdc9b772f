//! An endpoint: how it names itself.

use super::auth::{LearntRealm, Sessions};
use super::binding::Binding;
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
        Self {
            config,
            user,
            from,
            contact,
            binding: None,
            sessions: Sessions::default(),
            learnt: None,
        }
    }
}

impl Endpoint {
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
