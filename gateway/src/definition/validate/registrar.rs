//! Registrar, transport and certificates of a group.

use std::time::Duration;

use callmeter_api::calltest as api;

use super::forms::{HOST, is_host, is_host_port, is_label, shown};
use super::{Check, Role};
use crate::definition::{Registrar, Tls, TlsVerify, Transport};

/// Below the idle timeouts of proxies and address translators for TCP (RFC 5626 §4.4.1 asks for at
/// most 120 s).
const KEEP_ALIVE: Duration = Duration::from_secs(60);

const WEB_SOCKET: [Transport; 3] = [Transport::Ws, Transport::Wss, Transport::Auto];
const SECURE: [Transport; 3] = [Transport::Tls, Transport::Wss, Transport::Auto];
const DATAGRAM: [Transport; 2] = [Transport::Udp, Transport::Auto];
const CONNECTED: [Transport; 5] = [
    Transport::Tcp,
    Transport::Tls,
    Transport::Ws,
    Transport::Wss,
    Transport::Auto,
];

impl Check<'_> {
    pub(super) fn registrar(
        &mut self,
        at: &str,
        role: Role,
        registrar: &api::Registrar,
    ) -> Registrar {
        let api::Registrar {
            domain,
            port,
            transport: given,
            ws_path,
            connection,
            keep_alive,
            options_interval,
            sip_over_udp,
            outbound_proxy,
            register,
            tls,
        } = registrar;
        let transport = given.unwrap_or_default();
        let register = register.unwrap_or(true);
        let outbound_proxy = outbound_proxy.as_deref().unwrap_or_default();
        match domain {
            Some(domain) if !is_host(domain) => self.refuse(
                format!("{at}.domain"),
                format!("{}; accepted: {HOST}", shown(domain)),
            ),
            None if register || given.is_none() => self.refuse(
                format!("{at}.domain"),
                "is required; only with register false and a transport there may be none",
            ),
            None if transport == Transport::Auto && outbound_proxy.is_empty() => self.refuse(
                format!("{at}.domain"),
                "is required with transport auto where there is no outboundProxy",
            ),
            _ => {}
        }
        if let Some(port) = port {
            let problem = if *port == 0 {
                Some("accepted: 1 to 65535")
            } else if domain.is_none() {
                Some("is accepted with registrar.domain only")
            } else if transport == Transport::Auto {
                Some("is not accepted with transport auto, which takes port and transport from DNS")
            } else {
                None
            };
            if let Some(problem) = problem {
                self.refuse(format!("{at}.port"), format!("{port}; {problem}"));
            }
        }
        let mut only_with = |given: bool, field: &str, transports: &[Transport]| {
            if given && !transports.contains(&transport) {
                let names: Vec<&str> = transports.iter().map(|t| t.as_str()).collect();
                let message = format!(
                    "is accepted with transport {} only, not with {}",
                    names.join(", "),
                    transport.as_str()
                );
                self.refuse(format!("{at}.{field}"), message);
            }
        };
        only_with(ws_path.is_some(), "wsPath", &WEB_SOCKET);
        only_with(connection.is_some(), "connection", &CONNECTED);
        only_with(sip_over_udp.is_some(), "sipOverUdp", &DATAGRAM);
        only_with(tls.is_some(), "tls", &SECURE);
        if let Some(path) = ws_path {
            let fits = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
            if !fits || path.len() > 255 {
                self.refuse(
                    format!("{at}.wsPath"),
                    format!("{}; accepted: a path like /ws", shown(path)),
                );
            }
        }
        if let Some(interval) = keep_alive {
            self.within(
                &format!("{at}.keepAlive"),
                interval.std(),
                Duration::from_secs(1),
                Duration::from_secs(600),
                "1s to 10m",
            );
        }
        if let Some(interval) = options_interval {
            let at = format!("{at}.optionsInterval");
            self.within(
                &at,
                interval.std(),
                Duration::from_secs(5),
                Duration::from_secs(3600),
                "5s to 1h",
            );
            if domain.is_none() && outbound_proxy.is_empty() {
                let problem = "is accepted with registrar.domain or registrar.outboundProxy only";
                self.refuse(at, problem);
            }
        }
        if !outbound_proxy.is_empty() && !is_host_port(outbound_proxy) {
            let accepted = "host or host:port, the port 1 to 65535, an IPv6 address in brackets";
            self.refuse(
                format!("{at}.outboundProxy"),
                format!("{}; accepted: {accepted}", shown(outbound_proxy)),
            );
        }
        let listens = role != Role::Caller && !register;
        let has_certificate = tls.as_ref().is_some_and(|t| t.server_cert_ref.is_some());
        if listens && matches!(transport, Transport::Tls | Transport::Wss) && !has_certificate {
            self.refuse(
                format!("{at}.tls.serverCertRef"),
                format!(
                    "is required where calls are taken by {} without registering",
                    transport.as_str()
                ),
            );
        }
        let own = *connection == Some(api::Connection::PerEndpoint);
        if listens && own {
            let problem = "\"perEndpoint\"; accepted: shared where calls are taken without registering, since nobody can connect to an endpoint";
            self.refuse(format!("{at}.connection"), problem);
        }
        Registrar {
            domain: domain.clone().unwrap_or_default(),
            port: port.unwrap_or(0),
            transport,
            ws_path: ws_path.clone().unwrap_or_else(|| "/".to_owned()),
            connection_per_endpoint: own,
            keep_alive: match (keep_alive, transport) {
                (Some(interval), _) => interval.std(),
                // With auto a worker decides by the transport it finds.
                (None, Transport::Udp | Transport::Auto) => Duration::ZERO,
                (None, _) => KEEP_ALIVE,
            },
            options_interval: options_interval.map_or(Duration::ZERO, callmeter_api::Duration::std),
            sip_over_udp_always: *sip_over_udp == Some(api::SipOverUdp::Always),
            outbound_proxy: outbound_proxy.to_owned(),
            register,
            tls: tls.as_ref().map(|t| self.tls(&format!("{at}.tls"), t)),
        }
    }

    fn tls(&mut self, at: &str, tls: &api::Tls) -> Tls {
        let api::Tls {
            verify,
            ca_ref,
            client_cert_ref,
            server_cert_ref,
        } = tls;
        let verify = verify.unwrap_or_default();
        match (verify, ca_ref) {
            (TlsVerify::Custom, None) => self.refuse(
                format!("{at}.caRef"),
                "is required with verify custom; accepted: the name of a Secret",
            ),
            (TlsVerify::System | TlsVerify::Skip, Some(_)) => {
                self.refuse(format!("{at}.caRef"), "is accepted with verify custom only");
            }
            _ => {}
        }
        let named = [
            ("caRef", ca_ref.as_ref().map(|r| &r.name)),
            ("clientCertRef", client_cert_ref.as_ref().map(|r| &r.name)),
            ("serverCertRef", server_cert_ref.as_ref().map(|r| &r.name)),
        ];
        for (field, name) in named {
            if let Some(name) = name {
                self.secret(&format!("{at}.{field}"), name);
            }
        }
        let key = |given: &Option<String>| given.clone().unwrap_or_else(|| "ca.crt".to_owned());
        if let Some(api::CaRef { key: Some(key), .. }) = ca_ref {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if !(1..=253).contains(&key.len()) || !key.bytes().all(allowed) {
                self.refuse(
                    format!("{at}.caRef.key"),
                    format!("{}; accepted: a key of the Secret", shown(key)),
                );
            }
        }
        Tls {
            namespace: self.namespace.to_owned(),
            verify,
            ca: ca_ref.as_ref().map(|r| (r.name.clone(), key(&r.key))),
            client: client_cert_ref.as_ref().map(|r| r.name.clone()),
            server: server_cert_ref.as_ref().map(|r| r.name.clone()),
        }
    }

    fn secret(&mut self, at: &str, name: &str) {
        if !name.split('.').all(is_label) || name.len() > 253 {
            self.refuse(
                format!("{at}.name"),
                format!("{}; accepted: the name of a Secret", shown(name)),
            );
        }
        if self.namespace.is_empty() {
            let accepted = "a CallTest, this test has no namespace a Secret could be in";
            self.refuse(at, format!("{}; accepted in {accepted}", shown(name)));
        }
    }
}
