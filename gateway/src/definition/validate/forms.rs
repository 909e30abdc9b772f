//! Forms of names and addresses.

use bytes::Bytes;
use callmeter_sip::Host;

pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("\"{short}\"")
}

/// RFC 1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&b| edge(b) || b == b'-')
        && bytes.first().copied().is_some_and(edge)
        && bytes.last().copied().is_some_and(edge)
}

/// What is taken where a host stands by itself.
pub(super) const HOST: &str =
    "a host name, an IPv4 address or an IPv6 address in brackets, without a port";

/// A host as it stands in a URI (RFC 3261 §25.1).
pub(super) fn is_host(text: &str) -> bool {
    match Host::parse(Bytes::copy_from_slice(text.as_bytes())) {
        Ok(Host::Ip(ip)) => ip.is_ipv4() || text.starts_with('['),
        Ok(Host::Name(_)) => is_name(text),
        Err(_) => false,
    }
}

/// `host` or `host:port`.
pub(super) fn is_host_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port),
        _ => (text, "1"),
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    is_host(host) && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The last label of a name is no number, else it is an address gone wrong.
fn is_name(text: &str) -> bool {
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let whole = labels.clone().all(|label| (1..=63).contains(&label.len()));
    let last = labels.next_back().unwrap_or_default();
    whole && text.len() <= 253 && !last.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}
