//! An endpoint: how it names itself, and which challenges it answers.

use std::net::SocketAddr;

use bytes::Bytes;

use super::binding::Binding;
use super::config::EndpointConfig;
use crate::core::Core;
use crate::digest::{self, Answer};
use crate::flow::{Listener, Transport};
use crate::message::{Challenge, HeaderName, Message, Method};

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
    learnt: Option<LearntRealm>,
}

/// The realm of an account that names none.
#[derive(Debug)]
struct LearntRealm {
    realm: Vec<u8>,
    by_register: bool,
}

/// How often the challenges to one request have been answered: once, and once more if the server
/// calls the nonce stale.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retries {
    answered: bool,
    stale: bool,
}

/// A challenge that is being answered, kept to answer it again with a higher count.
#[derive(Clone, Debug)]
pub(super) struct Session {
    header: HeaderName,
    challenge: Challenge,
    count: u32,
}

/// The request that was challenged.
pub(super) struct Challenged<'a> {
    pub(super) response: &'a Message,
    pub(super) status: u16,
    pub(super) method: Method,
    /// Where the request was sent.
    pub(super) destination: SocketAddr,
}

impl Retries {
    /// Whether a challenge has been answered.
    pub(super) fn any(self) -> bool {
        self.answered
    }
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
            learnt: None,
        }
    }

    /// The session to answer a challenge with, if it may be answered: the request went to the
    /// configured next hop, the realm is the account's (without one: learnt from the first
    /// REGISTER, else INVITE, that was challenged), and the retries are not used up.
    pub(super) fn session(
        &mut self,
        request: &Challenged<'_>,
        retries: &mut Retries,
    ) -> Option<Session> {
        let credentials = self.config.credentials.as_ref()?;
        if self.config.next_hop != Some(request.destination) {
            return None;
        }
        let (from, header) = if request.status == 407 {
            (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            )
        } else {
            (HeaderName::WwwAuthenticate, HeaderName::Authorization)
        };
        let registers = request.method == Method::Register;
        let learnt = self
            .learnt
            .as_ref()
            .filter(|learnt| learnt.by_register || !registers);
        let realm = match &credentials.realm {
            Some(realm) => Some(realm.as_bytes()),
            None => learnt.map(|learnt| learnt.realm.as_slice()),
        };
        let challenge = digest::select(request.response.challenges(from), realm)?;
        match (retries.answered, challenge.stale, retries.stale) {
            (false, ..) => retries.answered = true,
            (true, true, false) => retries.stale = true,
            _ => return None,
        }
        if realm.is_none() {
            let realm = challenge.realm.clone();
            self.learnt = Some(LearntRealm {
                realm,
                by_register: registers,
            });
        }
        Some(Session {
            header,
            challenge,
            count: 0,
        })
    }

    /// The Authorization header of the next request of a session.
    pub(super) fn authorization(
        &self,
        core: &mut Core,
        session: &mut Session,
        method: Method,
        uri: &[u8],
        body: &Bytes,
    ) -> Option<(HeaderName, String)> {
        session.count += 1;
        let answer = Answer {
            challenge: &session.challenge,
            credentials: self.config.credentials.as_ref()?,
            method: method.as_str(),
            uri,
            body,
            cnonce: &format!("{:016x}", core.token()),
            count: session.count,
        };
        Some((session.header, answer.header_value()?))
    }
}

/// A Contact value on a listener.
pub(super) fn contact(listener: &Listener, user: &str) -> Vec<u8> {
    let Listener {
        transport,
        advertised_host,
        advertised_port,
        ..
    } = listener;
    let at = if user.is_empty() { "" } else { "@" };
    let transport = match transport {
        Transport::Udp => String::new(),
        other => format!(";transport={}", other.as_str().to_ascii_lowercase()),
    };
    let user = escape_user(user);
    format!("<sip:{user}{at}{advertised_host}:{advertised_port}{transport}>").into_bytes()
}

/// Percent-encodes what may not stand in the user part of a URI (RFC 3261 §25.1).
fn escape_user(user: &str) -> String {
    let mut escaped = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let digits = format!("{byte:02X}");
            escaped.push('%');
            escaped.push_str(&digits);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::LocalId;
    use crate::message::Host;
    use crate::password::{Credentials, Password};

    const NEXT_HOP: &str = "192.0.2.9:5060";

    fn endpoint(realm: Option<&str>) -> Endpoint {
        let listener = Listener {
            id: LocalId(1),
            transport: Transport::Udp,
            advertised_host: Host::Ip("203.0.113.10".parse().unwrap()),
            advertised_port: 5060,
        };
        let config = EndpointConfig {
            local: listener.id,
            aor: "sip:alice@example.org".parse().unwrap(),
            display_name: "A \"quoted\" name".to_owned(),
            contact_user: "al ice".to_owned(),
            next_hop: Some(NEXT_HOP.parse().unwrap()),
            route: Vec::new(),
            credentials: Some(Credentials {
                username: "alice".to_owned(),
                password: Password::new("secret"),
                realm: realm.map(str::to_owned),
            }),
        };
        Endpoint::new(config, &listener)
    }

    fn answered(
        endpoint: &mut Endpoint,
        method: Method,
        realm: &str,
        destination: &str,
        retries: &mut Retries,
    ) -> bool {
        let stale = if retries.answered { ", stale=true" } else { "" };
        let text = format!(
            "SIP/2.0 401 No\r\nWWW-Authenticate: Digest realm=\"{realm}\", nonce=\"n\"{stale}\r\n\r\n"
        );
        let response = Message::parse(Bytes::from(text)).unwrap();
        let destination = destination.parse().unwrap();
        let challenged = Challenged {
            response: &response,
            status: 401,
            method,
            destination,
        };
        endpoint.session(&challenged, retries).is_some()
    }

    #[test]
    fn only_the_realm_of_the_account_at_the_next_hop_is_answered() {
        let mut endpoint = endpoint(Some("r"));
        let mut ask = |realm, destination| {
            answered(
                &mut endpoint,
                Method::Invite,
                realm,
                destination,
                &mut Retries::default(),
            )
        };
        assert!(ask("r", NEXT_HOP));
        assert!(!ask("R", NEXT_HOP));
        assert!(!ask("r", "192.0.2.9:5061"));
        assert!(!ask("r", "192.0.2.8:5060"));
    }

    #[test]
    fn a_learnt_realm_binds_and_register_teaches_last() {
        let mut endpoint = endpoint(None);
        let mut ask = |method, realm| {
            answered(
                &mut endpoint,
                method,
                realm,
                NEXT_HOP,
                &mut Retries::default(),
            )
        };
        assert!(ask(Method::Invite, "first"));
        assert!(!ask(Method::Invite, "second"));
        assert!(ask(Method::Register, "home"));
        assert!(!ask(Method::Register, "first"));
        assert!(!ask(Method::Invite, "first"));
        assert!(ask(Method::Invite, "home"));
    }

    #[test]
    fn one_retry_and_one_for_stale() {
        let mut endpoint = endpoint(Some("r"));
        let mut retries = Retries::default();
        let mut ask = || answered(&mut endpoint, Method::Register, "r", NEXT_HOP, &mut retries);
        assert_eq!([ask(), ask(), ask()], [true, true, false]);
    }

    #[test]
    fn without_next_hop_or_credentials_nothing_is_answered() {
        let mut one = endpoint(Some("r"));
        one.config.next_hop = None;
        assert!(!answered(
            &mut one,
            Method::Invite,
            "r",
            NEXT_HOP,
            &mut Retries::default()
        ));
        let mut two = endpoint(Some("r"));
        two.config.credentials = None;
        assert!(!answered(
            &mut two,
            Method::Invite,
            "r",
            NEXT_HOP,
            &mut Retries::default()
        ));
    }

    /// R31
    #[test]
    fn names_are_escaped_and_advertised() {
        let endpoint = endpoint(None);
        assert_eq!(endpoint.contact, b"<sip:al%20ice@203.0.113.10:5060>");
        assert_eq!(
            endpoint.from,
            br#""A \"quoted\" name" <sip:alice@example.org>"#
        );
    }
}
