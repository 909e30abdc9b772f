//! What the connections of a share are made with.

use std::{io, net::SocketAddr, time::Duration};

use callmeter_engine::{Invalid, Transport};
use callmeter_proto::worker::{Registrar, Tls};
use callmeter_sip::{Host, Uri as SipUri};
use rustls::pki_types::ServerName;
use tungstenite::http::{Uri, uri::PathAndQuery};

use super::{
    carrier::Carrier,
    stream::Stream,
    tls::{self, TlsConfigs},
    web_socket::Web,
    wire::Wire,
};

/// What the connections of a share are made with.
#[derive(Clone)]
pub(in crate::signalling) struct StreamSettings {
    pub(super) transport: Transport,
    pub(super) tls: Option<TlsConfigs>,
    /// The path asked for; WebSocket only.
    path: Option<String>,
    /// Peers may connect to us.
    listens: bool,
    /// Name of the server that all requests go to first.
    name: Option<ServerName<'static>>,
    /// Interval of keep-alives on idle connections.
    pub(super) keep_alive: Option<Duration>,
    /// Each endpoint has a connection of its own.
    pub(in crate::signalling) per_endpoint: bool,
}

impl StreamSettings {
    /// Reads them from an assignment; none for UDP. `answers`: calls come to its endpoints.
    pub(in crate::signalling) fn read(
        registrar: &Registrar,
        answers: bool,
    ) -> Result<Option<Self>, Invalid> {
        let transport = match registrar.transport.as_str() {
            "" | "udp" => return refuse_stream_fields(registrar).map(|()| None),
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "ws" => Transport::Ws,
            "wss" => Transport::Wss,
            other => {
                return Err(Invalid {
                    field: "registrar.transport".to_owned(),
                    value: other.to_owned(),
                    accepted: "udp, tcp, tls, ws, wss or auto",
                });
            }
        };
        let secure = matches!(transport, Transport::Tls | Transport::Wss);
        let web = matches!(transport, Transport::Ws | Transport::Wss);
        let system = Tls::default();
        let given = registrar.tls.as_ref().unwrap_or(&system);
        let tls = secure.then(|| tls::configs(given)).transpose()?;
        let with_key = tls.as_ref().is_none_or(|tls| tls.server.is_some());
        // Who has registered over WebSocket, or only calls, is found by the connection it made: no
        // server opens one to a client (RFC 7118 §5).
        let wanted = !web || (answers && !registrar.register);
        Ok(Some(Self {
            transport,
            tls,
            path: web.then(|| path(&registrar.ws_path)).transpose()?,
            listens: wanted && with_key && !registrar.connection_per_endpoint,
            name: identity(registrar),
            keep_alive: keep_alive(registrar),
            per_endpoint: registrar.connection_per_endpoint,
        }))
    }

    /// Those of the TCP beside a UDP socket (RFC 3261 §18.1.1).
    pub(in crate::signalling) fn beside_udp(registrar: &Registrar) -> Self {
        Self {
            transport: Transport::Tcp,
            tls: None,
            path: None,
            listens: true,
            name: None,
            keep_alive: keep_alive(registrar),
            per_endpoint: false,
        }
    }

    /// Whether peers can connect to us: TLS needs a certificate for it.
    pub(in crate::signalling) fn accepts(&self) -> bool {
        self.listens
    }

    /// Whether a server is told the name it is called by.
    pub(super) fn names_servers(&self) -> bool {
        self.tls.is_some() || self.path.is_some()
    }

    /// Whether a server has to prove its name.
    pub(super) fn checks_names(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.verifies)
    }

    /// The name of servers that are not called by one of their own.
    pub(super) fn name(&self) -> Option<&ServerName<'static>> {
        self.name.as_ref()
    }

    /// How messages go over a connection of ours to the server of this name.
    pub(super) fn dialled(
        &self,
        wire: Wire,
        name: &ServerName<'_>,
        remote: SocketAddr,
    ) -> io::Result<Box<dyn Carrier>> {
        let Some(path) = &self.path else {
            return Ok(Box::new(Stream::new(wire)));
        };
        let host = match name {
            ServerName::DnsName(name) => format!("{}:{}", name.as_ref(), remote.port()),
            _ => remote.to_string(),
        };
        let scheme = if wire.is_secure() { "wss" } else { "ws" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(host)
            .path_and_query(path.as_str())
            .build()
            .map_err(io::Error::other)?;
        Ok(Box::new(Web::to(wire, uri)))
    }

    /// How messages go over a connection of a peer.
    pub(super) fn accepted(&self, wire: Wire) -> Box<dyn Carrier> {
        if self.path.is_some() {
            Box::new(Web::accepted(wire))
        } else {
            Box::new(Stream::new(wire))
        }
    }

    /// The protocol.
    pub(in crate::signalling) fn transport(&self) -> Transport {
        self.transport
    }
}

/// Who the server has to be: whom all requests go to first (RFC 5922 §7.3). A proxy's address is
/// nobody's name, so then it is the domain.
fn identity(registrar: &Registrar) -> Option<ServerName<'static>> {
    let uri = |host: &str| format!("sip:{host}").parse::<SipUri>().ok();
    let proxy = uri(&registrar.outbound_proxy);
    let named = proxy.filter(|proxy| matches!(proxy.host(), Host::Name(_)));
    match named.or_else(|| uri(&registrar.domain))?.host() {
        Host::Ip(ip) => Some(ServerName::IpAddress((*ip).into())),
        name @ Host::Name(_) => ServerName::try_from(name.to_string()).ok(),
    }
}

/// The path of a WebSocket, empty: the root.
fn path(given: &str) -> Result<String, Invalid> {
    let path = if given.is_empty() { "/" } else { given };
    match PathAndQuery::try_from(path) {
        Ok(read) if path.starts_with('/') => Ok(read.as_str().to_owned()),
        _ => Err(Invalid {
            field: "registrar.wsPath".to_owned(),
            value: path.to_owned(),
            accepted: "a path of a URI, beginning with /",
        }),
    }
}

/// The interval of keep-alives, if there are any.
pub(in crate::signalling) fn keep_alive(registrar: &Registrar) -> Option<Duration> {
    let interval = Duration::from_millis(registrar.keep_alive_ms.into());
    (!interval.is_zero()).then_some(interval)
}

/// UDP has no connections: what only those have is refused by name.
fn refuse_stream_fields(registrar: &Registrar) -> Result<(), Invalid> {
    if registrar.connection_per_endpoint {
        return Err(Invalid {
            field: "registrar.connection".to_owned(),
            value: "perEndpoint".to_owned(),
            accepted: "shared with transport udp",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use callmeter_proto::worker::TlsVerify;

    use super::*;

    #[test]
    fn the_server_is_who_all_requests_go_to() {
        for (proxy, domain, wanted) in [
            ("", "pbx.test", Some("pbx.test")),
            ("edge.test:5071", "pbx.test", Some("edge.test")),
            ("192.0.2.1:5071", "pbx.test", Some("pbx.test")),
            ("", "192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]", "[2001:db8::5]", Some("2001:db8::5")),
            ("192.0.2.1", "", None),
            ("", "", None),
        ] {
            let registrar = Registrar {
                outbound_proxy: proxy.into(),
                domain: domain.into(),
                ..Registrar::default()
            };
            let name = identity(&registrar).map(|name| name.to_str().into_owned());
            assert_eq!(name.as_deref(), wanted, "{proxy} {domain}");
        }
    }

    /// Who reads a refusal has written a definition, and knows its names only.
    #[test]
    fn refusals_name_fields_of_definitions() {
        let with = |transport: &str, tls: Tls| Registrar {
            transport: transport.into(),
            tls: Some(tls),
            ..Registrar::default()
        };
        let bad = "no PEM".to_owned();
        let (custom, client, server) = (
            Tls {
                verify: TlsVerify::Custom.into(),
                ..Tls::default()
            },
            Tls {
                client_certificate_pem: bad.clone(),
                ..Tls::default()
            },
            Tls {
                server_certificate_pem: bad,
                ..Tls::default()
            },
        );
        for (registrar, wanted) in [
            (
                Registrar {
                    connection_per_endpoint: true,
                    ..Registrar::default()
                },
                "connection",
            ),
            (
                Registrar {
                    ws_path: "path".into(),
                    ..with("ws", Tls::default())
                },
                "wsPath",
            ),
            (with("sctp", Tls::default()), "transport"),
            (with("tls", custom), "tls.caRef"),
            (with("tls", client), "tls.clientCertRef"),
            (with("wss", server), "tls.serverCertRef"),
        ] {
            let refused = StreamSettings::read(&registrar, false).err().unwrap();
            assert_eq!(refused.field, format!("registrar.{wanted}"));
            let documented = include_str!("../../../../docs/tests.md");
            let named = format!("`groups[].{}", refused.field);
            assert!(documented.contains(&named), "{named}");
        }
    }
}
