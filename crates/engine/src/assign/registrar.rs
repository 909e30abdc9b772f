//! Where endpoints register, and what their requests go by.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use callmeter_sip::{Host, Transport, Uri};

use super::{Assign, Invalid, check};

/// Intervals of OPTIONS to the next hop.
const OPTIONS_INTERVALS: RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(3600);

/// Where and how endpoints register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    /// Domain of the addresses of record and Request-URI of REGISTER; empty: no registrar, the
    /// domain is the endpoint's own address.
    pub domain: String,
    /// Port of the registrar; 0: the transport's default.
    pub port: u16,
    /// What all requests of the endpoints go by.
    pub transport: Transport,
    /// `host:port` or `host` sent as Route and used as next hop; empty: none.
    pub outbound_proxy: String,
    /// Whether endpoints register; needs a domain.
    pub register: bool,
    /// Lifetime asked for.
    pub expires: Duration,
    /// How often each endpoint asks the next hop with OPTIONS while the run lasts; none: never.
    pub options_interval: Option<Duration>,
    /// Where the next hop is, found before; without, its name is resolved.
    pub located: Option<Located>,
}

/// The servers of a next hop, found by DNS (RFC 3263).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Addresses in the order they are tried.
    pub servers: Vec<SocketAddr>,
    /// How long that took.
    pub took: Duration,
}

impl Assign {
    pub(super) fn validate_registrar(&self) -> Result<(), Invalid> {
        let Registrar {
            located: _,
            domain,
            port: _,
            transport,
            outbound_proxy,
            register,
            expires,
            options_interval,
        } = &self.registrar;
        check(
            "registrar.domain",
            domain,
            !register || !domain.is_empty(),
            "a host name or address, since the endpoints register",
        )?;
        let readable = domain.is_empty() || format!("sip:{domain}").parse::<Uri>().is_ok();
        check(
            "registrar.domain",
            domain,
            readable,
            "a host name or address",
        )?;
        let proxy =
            outbound_proxy.is_empty() || outbound_proxy_uri(outbound_proxy, *transport).is_some();
        check(
            "registrar.outbound_proxy",
            outbound_proxy,
            proxy,
            "host or host:port",
        )?;
        check(
            "registrar.expires_s",
            expires.as_secs(),
            expires.as_secs() >= 1 || !register,
            "1 or more",
        )?;
        let Some(interval) = options_interval else {
            return Ok(());
        };
        check(
            "registrar.options_interval_ms",
            interval.as_millis(),
            OPTIONS_INTERVALS.contains(interval) && self.next_hop().is_some(),
            "5000 to 3600000, with a domain or an outbound proxy",
        )
    }

    /// What OPTIONS ask: the registrar, or the outbound proxy where there is none.
    pub(crate) fn server(&self) -> Option<Uri> {
        let Registrar {
            domain,
            outbound_proxy,
            transport,
            ..
        } = &self.registrar;
        if domain.is_empty() {
            return outbound_proxy_uri(outbound_proxy, *transport);
        }
        format!("sip:{domain}").parse().ok()
    }

    /// Host and port all requests of the endpoints go to first, if one is configured.
    pub(crate) fn next_hop(&self) -> Option<(Host, u16)> {
        let default = self.registrar.transport.default_port();
        let (text, port) = if self.registrar.outbound_proxy.is_empty() {
            let port = self.registrar.port;
            (
                format!("sip:{}", self.registrar.domain),
                (port != 0).then_some(port),
            )
        } else {
            (format!("sip:{}", self.registrar.outbound_proxy), None)
        };
        let uri: Uri = text.parse().ok()?;
        Some((
            uri.host().clone(),
            port.or_else(|| uri.port()).unwrap_or(default),
        ))
    }
}

/// The Route URI of an outbound proxy given as `host` or `host:port`.
pub(crate) fn outbound_proxy_uri(proxy: &str, transport: Transport) -> Option<Uri> {
    if proxy.contains(['@', ';', '?', '/']) {
        return None;
    }
    let transport = transport.uri_param();
    format!("sip:{proxy}{transport};lr").parse().ok()
}
