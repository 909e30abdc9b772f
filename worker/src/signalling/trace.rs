//! Raw SIP for the log at level trace (R40), without what a password could be guessed from.

/// Parameters of Authorization whose values never show: with nonce and URI they allow an offline
/// search for the password.
const MASKED: [&str; 2] = ["response", "cnonce"];
const MASK: &str = "<redacted>";

/// The text of a message with `response` and `cnonce` masked.
pub(super) fn masked(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    // ASCII lower case keeps every byte offset.
    let lower = text.to_ascii_lowercase();
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((value, end)) = next_secret(&text, &lower, at) {
        shown.push_str(&text[at..value]);
        shown.push_str(MASK);
        at = end;
    }
    shown.push_str(&text[at..]);
    shown
}

/// The next value to mask from `from` on: where it begins and ends.
fn next_secret(text: &str, lower: &str, from: usize) -> Option<(usize, usize)> {
    let first_of = |name: &&str| {
        let mut found = lower[from..].match_indices(*name);
        found.find_map(|(at, _)| value_of(lower, from + at, name.len()))
    };
    let value = MASKED.iter().filter_map(first_of).min()?;
    let rest = &text[value..];
    let length = match rest.strip_prefix('"') {
        Some(quoted) => quoted.find('"').map_or(rest.len(), |at| at + 2),
        None => rest
            .find([',', '\r', '\n', ' ', '\t'])
            .unwrap_or(rest.len()),
    };
    Some((value, value + length))
}

/// Where the value of the parameter begins whose name is at `at`; none if the name is part of
/// another word or no `=` follows (with spaces around it, RFC 3261 §25.1 EQUAL).
fn value_of(lower: &str, at: usize, length: usize) -> Option<usize> {
    let before = lower[..at].bytes().next_back();
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return None;
    }
    let rest = lower[at + length..]
        .trim_start_matches([' ', '\t'])
        .strip_prefix('=')?;
    Some(lower.len() - rest.trim_start_matches([' ', '\t']).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7, R40
    #[test]
    fn digest_answers_are_masked_and_the_rest_is_shown() {
        let message = b"REGISTER sip:pbx SIP/2.0\r\nAuthorization: Digest username=\"u\", \
            RESPONSE=\"0123abcd\",cnonce=\"c0ffee\", nc=00000001, nonce=\"n\"\r\n\
            Proxy-Authorization: Digest response = \"x\", cnonce=token, qop=auth\r\n\r\nv=0";
        let shown = masked(message);
        for secret in ["0123abcd", "c0ffee", "token", "\"x\""] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for kept in [
            "REGISTER sip:pbx",
            "username=\"u\"",
            "nonce=\"n\"",
            "nc=00000001",
            "qop=auth",
            "v=0",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn odd_messages_are_shown_whole() {
        assert_eq!(masked(b""), "");
        assert_eq!(masked(b"INVITE \xff"), "INVITE \u{fffd}");
        assert_eq!(masked(b"a: response=\"open"), "a: response=<redacted>");
        assert_eq!(masked(b"x-response=1"), "x-response=1");
    }
}
