//! Byte scanning shared by the header views. Line folds (RFC 3261 §7.3.1) stay in the bytes: CR
//! and LF count as white space everywhere.

/// Whether a byte is linear white space, line folds included.
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a byte may stand in a token (RFC 3261 §25.1).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Whether the bytes are a non-empty token.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// The bytes without white space at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|&byte| !is_lws(byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|&byte| !is_lws(byte))
        .map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// Position of the first `wanted` byte outside quotes and angle brackets.
pub(crate) fn find_outside(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let mut angle = false;
    for (position, &byte) in bytes.iter().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        if !angle && wanted(byte) {
            return Some(position);
        }
        match byte {
            b'"' if !angle => quoted = true,
            b'<' => angle = true,
            b'>' => angle = false,
            _ => {}
        }
    }
    None
}

/// The elements of a comma separated list, trimmed, empty ones left out (RFC 3261 §7.3.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value, b',').filter(|element| !element.is_empty())
}

/// The parts between separators outside quotes and angle brackets, trimmed.
pub(crate) fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = find_outside(bytes, |byte| byte == separator);
        rest = end.map(|end| &bytes[end + 1..]);
        Some(trim(&bytes[..end.unwrap_or(bytes.len())]))
    })
}

/// The name and value of one parameter, `name` or `name = value`; quotes are left on.
pub(crate) fn name_value(parameter: &[u8]) -> (&[u8], Option<&[u8]>) {
    match find_outside(parameter, |byte| byte == b'=') {
        Some(equals) => (
            trim(&parameter[..equals]),
            Some(trim(&parameter[equals + 1..])),
        ),
        None => (trim(parameter), None),
    }
}

/// The value of the first parameter `name` in `;a;b=c`, empty for a flag; quotes are left on.
pub(crate) fn parameter<'a>(parameters: &'a [u8], name: &str) -> Option<&'a [u8]> {
    split(parameters, b';')
        .map(name_value)
        .find_map(|(found, value)| {
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.unwrap_or_default())
        })
}

/// The text of a quoted string without quotes and escapes; other bytes as they are.
pub(crate) fn unquote(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return value.to_vec();
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for &byte in inner {
        if byte == b'\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        text.push(byte);
    }
    text
}

/// A decimal number without sign or spaces.
pub(crate) fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The range of `part`, a slice of `whole`.
pub(crate) fn offset_of(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_respect_quotes_and_brackets() {
        let value = br#" "a, \"b" <sip:x,y@h>;q=1 , ,c"#;
        let elements: Vec<_> = list(value).collect();
        assert_eq!(elements, [&br#""a, \"b" <sip:x,y@h>;q=1"#[..], b"c"]);
    }

    #[test]
    fn parameters_are_found_in_any_case() {
        let parameters = b" ; TAG = abc ;lr;x=\"a;b\"";
        assert_eq!(parameter(parameters, "tag"), Some(&b"abc"[..]));
        assert_eq!(parameter(parameters, "lr"), Some(&b""[..]));
        assert_eq!(parameter(parameters, "x"), Some(&b"\"a;b\""[..]));
        assert_eq!(parameter(parameters, "y"), None);
    }

    #[test]
    fn quotes_and_escapes_go() {
        assert_eq!(unquote(br#""a\"b\\c""#), br#"a"b\c"#);
        assert_eq!(unquote(b"plain"), b"plain");
        assert_eq!(unquote(b"\""), b"\"");
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number::<u32>(b"42"), Some(42));
        for bad in [&b""[..], b"-1", b"+1", b" 1", b"1a", b"4294967296"] {
            assert_eq!(number::<u32>(bad), None, "{bad:?}");
        }
    }
}
