//! What the connections of a share are made with.

use std::{net::SocketAddr, time::Duration};

use callmeter_engine::{Invalid, Transport};
use callmeter_proto::worker::{Registrar, Tls};
use rustls::pki_types::ServerName;

use super::tls::{self, TlsConfigs};

/// What the connections of a share are made with.
#[derive(Clone)]
pub(in crate::signalling) struct StreamSettings {
    pub(super) transport: Transport,
    pub(super) tls: Option<TlsConfigs>,
    /// Name the server's certificate must hold; none: the address connected to.
    pub(super) name: Option<ServerName<'static>>,
    /// Interval of keep-alives on idle connections.
    pub(super) keep_alive: Option<Duration>,
    /// Each endpoint has a connection of its own.
    pub(in crate::signalling) per_endpoint: bool,
}

impl StreamSettings {
    /// Reads them from an assignment; none for UDP.
    pub(in crate::signalling) fn read(registrar: &Registrar) -> Result<Option<Self>, Invalid> {
        let transport = match registrar.transport.as_str() {
            "" | "udp" => return refuse_stream_fields(registrar).map(|()| None),
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            other => {
                return Err(Invalid {
                    field: "registrar.transport".to_owned(),
                    value: other.to_owned(),
                    accepted: "udp, tcp or tls",
                });
            }
        };
        let secure = transport == Transport::Tls;
        let system = Tls::default();
        let given = registrar.tls.as_ref().unwrap_or(&system);
        Ok(Some(Self {
            transport,
            tls: secure.then(|| tls::configs(given)).transpose()?,
            name: ServerName::try_from(registrar.domain.clone()).ok(),
            keep_alive: (registrar.keep_alive_ms > 0)
                .then(|| Duration::from_millis(registrar.keep_alive_ms.into())),
            per_endpoint: registrar.connection_per_endpoint,
        }))
    }

    /// Whether peers can connect to us: TLS needs a certificate for it.
    pub(in crate::signalling) fn accepts(&self) -> bool {
        !self.per_endpoint
            && self
                .tls
                .as_ref()
                .is_none_or(|configs| configs.server.is_some())
    }

    /// The protocol.
    pub(in crate::signalling) fn transport(&self) -> Transport {
        self.transport
    }

    /// The name the certificate of a server at `remote` must hold.
    pub(super) fn name_of(&self, remote: SocketAddr) -> ServerName<'static> {
        self.name
            .clone()
            .unwrap_or_else(|| ServerName::IpAddress(remote.ip().into()))
    }
}

/// UDP has no connections: what only those have is refused by name.
fn refuse_stream_fields(registrar: &Registrar) -> Result<(), Invalid> {
    let refuse = |field: &str, value: String, accepted| {
        Err(Invalid {
            field: format!("registrar.{field}"),
            value,
            accepted,
        })
    };
    if registrar.connection_per_endpoint {
        return refuse(
            "connection_per_endpoint",
            "true".to_owned(),
            "false with transport udp",
        );
    }
    if registrar.keep_alive_ms > 0 {
        let value = registrar.keep_alive_ms.to_string();
        return refuse("keep_alive_ms", value, "0 with transport udp");
    }
    Ok(())
}
