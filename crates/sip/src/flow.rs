//! Where a message comes from and goes to: opaque keys, so that the core needs no socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::message::Host;

/// The caller's key of one local transport: a bound UDP socket and the TCP connections beside it
/// (RFC 3261 §18.1.1), or the connections over TCP, TLS or WebSocket of those who share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u64);

/// A transport protocol as it stands in Via (RFC 3261 §20.42, RFC 7118 §5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: unreliable, the transaction timers retransmit.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Every one of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Reads a Via or URI transport token, in any case.
    pub fn parse(token: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|transport| token.eq_ignore_ascii_case(transport.as_str().as_bytes()))
    }

    /// The token of Via, in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The parameter that names it in a URI, with its semicolon; empty for UDP, which is what a URI
    /// without one means (RFC 3261 §19.1.1), and the same for WebSocket with and without TLS (RFC 7118
    /// §5.2).
    pub fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// Whether the transport delivers by itself, so that nothing is sent twice (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// The port used where a URI or Via names none (RFC 3261 §19.1.2, RFC 7118 §5).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One way to one peer: the local transport used and the peer's address. Over a stream transport
/// it names one connection: the one to or from that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The local transport.
    pub local: LocalId,
    /// Its protocol.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// A local transport of a user agent and what it calls itself in SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The caller's key; unique in one user agent.
    pub id: LocalId,
    /// The protocol.
    pub transport: Transport,
    /// Host in Via and Contact: the external address behind a NAT, else the bound address.
    pub advertised_host: Host,
    /// Port in Via and Contact, normally the bound port.
    pub advertised_port: u16,
    /// Whether peers can open connections to it; without, a registration lives and dies with the
    /// connection it was made over. UDP: true.
    pub accepts: bool,
    /// UDP: requests above 1,300 bytes go by TCP first (RFC 3261 §18.1.1).
    pub large_by_tcp: bool,
    /// UDP: how often the next hop of its endpoints gets a keep-alive, less up to a fifth.
    pub keep_alive: Option<Duration>,
}

impl Listener {
    /// The same for a stream transport; `accepts` as in the field.
    pub fn stream(
        id: LocalId,
        transport: Transport,
        bound: SocketAddr,
        external: Option<IpAddr>,
        accepts: bool,
    ) -> Self {
        Self {
            transport,
            accepts,
            ..Self::udp(id, bound, external)
        }
    }

    /// The URI under which `user` is reached on it; empty: the host itself.
    pub fn uri(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let user = escape_user(user);
        let (host, port) = (&self.advertised_host, self.advertised_port);
        format!("sip:{user}{at}{host}:{port}{}", self.transport.uri_param())
    }

    /// A UDP listener on `bound` that advertises `external`, or its own address without one.
    pub fn udp(id: LocalId, bound: SocketAddr, external: Option<IpAddr>) -> Self {
        Self {
            id,
            transport: Transport::Udp,
            advertised_host: Host::Ip(external.unwrap_or_else(|| bound.ip())),
            advertised_port: bound.port(),
            accepts: true,
            large_by_tcp: false,
            keep_alive: None,
        }
    }
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
