//! Forms of names and addresses.

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

pub(super) fn is_host(text: &str, most: usize) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:[]-".contains(&b);
    (1..=most).contains(&text.len()) && text.bytes().all(allowed)
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Why a text is no SIP or SIPS URI that can be dialled: what is accepted instead.
pub(super) fn not_dialled(text: &str) -> Option<&'static str> {
    let secure = text.starts_with("sips:");
    let Some(rest) = text
        .strip_prefix("sip:")
        .or_else(|| text.strip_prefix("sips:"))
    else {
        return Some(SIP_URI);
    };
    let unfit = |c: char| c.is_whitespace() || c.is_control() || "<>".contains(c);
    if rest.is_empty() || text.len() > 255 || rest.contains(unfit) {
        return Some(SIP_URI);
    }
    let parameters = rest.split_once('?').map_or(rest, |(before, _)| before);
    let transport = parameters.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.eq_ignore_ascii_case("transport")
            .then(|| value.to_ascii_lowercase())
    })?;
    match transport.as_str() {
        "udp" if secure => Some("transport tcp, tls, ws or wss in a sips: URI"),
        "udp" | "tcp" | "tls" | "ws" | "wss" => None,
        _ => Some("transport udp, tcp, tls, ws or wss"),
    }
}

const SIP_URI: &str =
    "a SIP URI like sip:100@pbx.example or sips:100@pbx.example, at most 255 characters";
