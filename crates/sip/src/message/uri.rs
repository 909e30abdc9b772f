//! SIP URIs (RFC 3261 §19.1), kept as the bytes they were read from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;

use super::scan;
use crate::flow::Transport;
use crate::limits;

/// A URI; cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    raw: Bytes,
    scheme: Scheme,
    user: Option<Range<u16>>,
    host: Host,
    port: Option<u16>,
    params: Range<u16>,
}

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// Any other, `tel:` for example; such a URI has no host.
    Other,
}

/// A host: an address or a name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// IPv4, or IPv6 (in brackets on the wire).
    Ip(IpAddr),
    /// A DNS name, or empty for URIs without a host.
    Name(HostName),
}

/// A DNS name as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostName(Bytes);

/// What is wrong with a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Longer than this stack takes.
    #[error("URI is longer than {} bytes", limits::URI)]
    TooLong,
    /// More parameters than this stack takes.
    #[error("URI has more than {} parameters", limits::URI_PARAMETERS)]
    TooManyParameters,
    /// No `scheme:` in front, or nothing after it.
    #[error("URI has no scheme; accepted is sip:user@host")]
    Scheme,
    /// White space, control or delimiter characters.
    #[error("URI holds a character that must be escaped")]
    Character,
    /// The host is neither a name nor an address.
    #[error("URI host is neither a name nor an IP address")]
    Host,
    /// The port is not 1 to 65535.
    #[error("URI port is not a number from 1 to 65535")]
    Port,
    /// Header fields (`?name=value`) where none may stand.
    #[error("URI holds header fields, which a Request-URI may not")]
    Headers,
}

impl Uri {
    /// Reads a URI without angle brackets around it.
    pub fn parse(raw: Bytes) -> Result<Self, UriError> {
        if raw.len() > limits::URI {
            return Err(UriError::TooLong);
        }
        if raw
            .iter()
            .any(|&byte| byte <= b' ' || matches!(byte, 0x7f | b'<' | b'>' | b'"'))
        {
            return Err(UriError::Character);
        }
        let colon = raw
            .iter()
            .position(|&byte| byte == b':')
            .ok_or(UriError::Scheme)?;
        let name = &raw[..colon];
        let is_scheme = name.first().is_some_and(u8::is_ascii_alphabetic)
            && name
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
        if !is_scheme || colon + 1 == raw.len() {
            return Err(UriError::Scheme);
        }
        let scheme = match name {
            _ if name.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            _ if name.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            _ => Scheme::Other,
        };
        if scheme == Scheme::Other {
            let end = narrow(raw.len());
            let host = Host::Name(HostName(Bytes::new()));
            return Ok(Self {
                raw,
                scheme,
                user: None,
                host,
                port: None,
                params: end..end,
            });
        }
        let start = colon + 1;
        let at = raw[start..]
            .iter()
            .position(|&byte| byte == b'@')
            .map(|at| start + at);
        let user = at.map(|at| {
            let end = raw[start..at]
                .iter()
                .position(|&b| b == b':')
                .map_or(at, |end| start + end);
            narrow(start)..narrow(end)
        });
        let host_start = at.map_or(start, |at| at + 1);
        let params_start = find_from(&raw, host_start, |byte| byte == b';' || byte == b'?');
        let params_end = find_from(&raw, params_start, |byte| byte == b'?');
        // In front of the first semicolon is nothing.
        let mut parameters = raw[params_start..params_end].split(|&byte| byte == b';');
        if parameters.nth(limits::URI_PARAMETERS + 1).is_some() {
            return Err(UriError::TooManyParameters);
        }
        let (host, port) = parse_host_port(&raw, host_start..params_start)?;
        let params = narrow(params_start)..narrow(params_end);
        Ok(Self {
            raw,
            scheme,
            user,
            host,
            port,
            params,
        })
    }

    /// The URI as it stands on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Its scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part without password, percent escapes resolved, empty if there is none.
    pub fn user(&self) -> String {
        let escaped = self
            .user
            .as_ref()
            .map_or(&[][..], |range| &self.raw[widen(range)]);
        String::from_utf8_lossy(&percent_decode(escaped)).into_owned()
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The value of a URI parameter, empty for a flag.
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        scan::parameter(&self.raw[widen(&self.params)], name)
    }

    /// Whether it holds header fields, `?name=value` (RFC 3261 §19.1.1).
    pub fn has_headers(&self) -> bool {
        self.scheme != Scheme::Other && usize::from(self.params.end) < self.raw.len()
    }

    /// The URI without header fields, and those (`name=value&…`, escaped).
    pub(crate) fn split_headers(&self) -> (Self, &[u8]) {
        let end = usize::from(self.params.end);
        let bare = Self {
            raw: self.raw.slice(..end),
            ..self.clone()
        };
        (bare, self.raw.get(end + 1..).unwrap_or_default())
    }

    /// Whether this is the URI of a loose router (RFC 3261 §19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The address it points at if its host is one; without a port that of its `transport`
    /// parameter, else 5060 (sips: 5061) (RFC 3261 §19.1.2, RFC 7118 §5).
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let named = self.param("transport").and_then(Transport::parse);
        let default = match (self.scheme, named) {
            (Scheme::Sips, None | Some(Transport::Udp | Transport::Tcp)) => 5061,
            (Scheme::Sips, Some(Transport::Ws)) => 443,
            (_, named) => named.unwrap_or(Transport::Udp).default_port(),
        };
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port.unwrap_or(default))),
            Host::Name(_) => None,
        }
    }

    /// The same for who uses `own`: WebSocket has one name with and without TLS (RFC 7118 §5.2).
    pub(crate) fn socket_addr_over(&self, own: Transport) -> Option<SocketAddr> {
        let mut address = self.socket_addr()?;
        let named = self.param("transport").and_then(Transport::parse);
        if self.port.is_none() && (own, named) == (Transport::Wss, Some(Transport::Ws)) {
            address.set_port(own.default_port());
        }
        Some(address)
    }

    /// Whether both name the same user at the same host and port, the rest aside.
    pub fn same_address(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.port.unwrap_or(5060) == other.port.unwrap_or(5060)
            && self.host.same(&other.host)
            && self.user() == other.user()
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({self})")
    }
}

impl Host {
    /// Reads a host: an IPv4 address, an IPv6 address with or without brackets, or a name.
    pub fn parse(text: Bytes) -> Result<Self, UriError> {
        let inner = text
            .strip_prefix(b"[")
            .and_then(|rest| rest.strip_suffix(b"]"));
        if let Some(inner) = inner {
            return parse_ip6(inner)
                .map(|ip| Self::Ip(ip.into()))
                .ok_or(UriError::Host);
        }
        if let Some(ip) = parse_ip::<IpAddr>(&text) {
            return Ok(Self::Ip(ip));
        }
        let is_name = !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
        if is_name {
            Ok(Self::Name(HostName(text)))
        } else {
            Err(UriError::Host)
        }
    }

    /// Whether both are the same host; names in any case.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(two)) => one == two,
            (Self::Name(one), Self::Name(two)) => one.0.eq_ignore_ascii_case(&two.0),
            _ => false,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(&String::from_utf8_lossy(&name.0)),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

impl HostName {
    /// The name as it was written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName({})", String::from_utf8_lossy(&self.0))
    }
}

/// Reads `host`, `host:port` or `[v6]:port` from a range of `raw`; spaces around the colon are
/// taken, as Via allows them.
pub(crate) fn parse_host_port(
    raw: &Bytes,
    range: Range<usize>,
) -> Result<(Host, Option<u16>), UriError> {
    let bytes = &raw[range.clone()];
    let after_bracket = bytes
        .iter()
        .position(|&byte| byte == b']')
        .map_or(0, |end| end + 1);
    let colon = find_from(bytes, after_bracket, |byte| byte == b':');
    let host = scan::trim(&bytes[..colon]);
    let start = range.start + scan::offset_of(bytes, host);
    let host = Host::parse(raw.slice(start..start + host.len()))?;
    let port = match bytes.get(colon + 1..) {
        None => None,
        Some(digits) => match scan::number(scan::trim(digits)) {
            None | Some(0) => return Err(UriError::Port),
            port => port,
        },
    };
    Ok((host, port))
}

fn parse_ip<T: FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// An IPv6 address; `:::` before an embedded IPv4 address is what the ABNF of RFC 3261 demands by
/// mistake and counts as `::` (RFC 5118 §4.10).
fn parse_ip6(bytes: &[u8]) -> Option<Ipv6Addr> {
    parse_ip(bytes).or_else(|| {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, tail) = text.split_once(":::")?;
        let embedded: Ipv4Addr = tail.parse().ok()?;
        format!("{head}::{embedded}").parse().ok()
    })
}

pub(crate) fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            decoded.push(high * 16 + low);
            rest = &rest[3..];
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    decoded
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn find_from(bytes: &[u8], start: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes[start..]
        .iter()
        .position(|&byte| wanted(byte))
        .map_or(bytes.len(), |at| start + at)
}

/// URIs are at most [`limits::URI`] bytes long, so every position fits.
fn narrow(position: usize) -> u16 {
    position as u16
}

fn widen(range: &Range<u16>) -> Range<usize> {
    usize::from(range.start)..usize::from(range.end)
}

#[cfg(test)]
mod tests;
