//! What the texts of the command line and the environment may be; an error says what is accepted.

/// The fleet API: `https://host:port`, the port 443 if there is none.
pub(super) fn fleet_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://");
    let rest = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    match rest {
        Some(rest) if is_host_and_port(rest, true) => Ok(text.to_owned()),
        _ => Err("accepted: https://host:port".to_owned()),
    }
}

/// Where workers dial in: `host:port` as they take it, without a scheme.
pub(super) fn gateway_url(text: &str) -> Result<String, String> {
    if is_host_and_port(text, false) {
        return Ok(text.to_owned());
    }
    Err("accepted: host:port without a scheme, the port from 1 to 65535".to_owned())
}

fn is_host_and_port(text: &str, port_may_lack: bool) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or("no port"))),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let good_host = if text.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        (1..=253).contains(&host.len()) && host.bytes().all(allowed)
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let good_port = match port {
        None => port_may_lack,
        Some(port) => digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0),
    };
    good_host && good_port
}

/// A reference of an image.
pub(super) fn image(text: &str) -> Result<String, String> {
    let readable = text.bytes().all(|b| b.is_ascii_graphic());
    if (1..=512).contains(&text.len()) && readable {
        return Ok(text.to_owned());
    }
    Err("accepted: an image, like registry.example/worker:1.0".to_owned())
}

/// A name of the gateway's or of Kubernetes, compared as it is.
pub(super) fn name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=253).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("accepted: 1 to 253 letters, digits, '-', '_' or '.'".to_owned())
}

/// A namespace (RFC 1123 label).
pub(super) fn label(text: &str) -> Result<String, String> {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text.bytes().all(inner);
    if good {
        return Ok(text.to_owned());
    }
    Err("accepted: a namespace, 1 to 63 of a-z, 0-9 and -".to_owned())
}
