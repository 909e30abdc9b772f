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
