//! Messages as they may be logged.

use super::scan;

/// Parameters whose values never show: with nonce and URI they allow an offline search for the
/// password (RFC 7616 §5.8).
const SECRETS: [&str; 3] = ["response", "cnonce", "rspauth"];
const MASK: &str = "<redacted>";

/// The message as text for a trace log: digest `response`, `cnonce` and `rspauth` are masked
/// wherever they stand, as a message need not be well formed; bytes that are no UTF-8 are
/// replaced.
pub fn masked(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let bytes = text.as_bytes();
    let mut shown = String::with_capacity(text.len());
    let (mut from, mut at) = (0, 0);
    while let Some(offset) = bytes[at..].iter().position(|&byte| byte == b'=') {
        at += offset + 1;
        if names_secret(&bytes[..at - 1]) {
            shown.push_str(&text[from..at]);
            shown.push_str(MASK);
            at = value_end(bytes, at);
            from = at;
        }
    }
    shown.push_str(&text[from..]);
    shown
}

/// Whether what stands before an equals sign ends in the name of a secret, white space after it.
fn names_secret(before: &[u8]) -> bool {
    let end = before.iter().rposition(|&byte| !scan::is_lws(byte));
    let name = &before[..end.map_or(0, |last| last + 1)];
    SECRETS.iter().any(|secret| {
        let start = name.len().checked_sub(secret.len());
        start.is_some_and(|start| {
            name[start..].eq_ignore_ascii_case(secret.as_bytes())
                && !name[..start]
                    .last()
                    .is_some_and(|&byte| scan::is_token_byte(byte))
        })
    })
}

/// Where the value ends that begins at `at`, white space and line folds before it left out. A
/// quote that is never closed reaches to the end.
fn value_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += match &bytes[at..] {
            [b' ' | b'\t', ..] => 1,
            [b'\r', b'\n', b' ' | b'\t', ..] => 3,
            [b'\r' | b'\n', b' ' | b'\t', ..] => 2,
            _ => break,
        };
    }
    let value = &bytes[at..];
    let length = if value.first() == Some(&b'"') {
        let mut escaped = false;
        let close = value[1..].iter().position(|&byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        close.map(|close| close + 2)
    } else {
        value
            .iter()
            .position(|&byte| scan::is_lws(byte) || byte == b',')
    };
    at + length.unwrap_or(value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7, R40
    #[test]
    fn digests_are_masked_and_the_rest_is_shown() {
        let text = "REGISTER sip:h SIP/2.0\r\nAuthorization: Digest username=\"a\", \
            Response = \"5ec7e7\",\r\n cnonce=\"5ec7e7\", uri=\"sip:h\", nc=00000001, nonce=\"n\"\
            \r\nproxy-authorization: Digest response=5ec7e7, qop=auth\r\n\
            Authentication-Info: rspauth=\"5ec7e7\", nextnonce=\"m\"\r\n\
            X-Response=1\r\nX-Other: x-response=2\r\n\r\nv=0";
        let shown = masked(text.as_bytes());
        assert!(!shown.contains("5ec7e7"), "{shown}");
        assert_eq!(shown.matches("<redacted>").count(), 4);
        for kept in [
            "username=\"a\", Response =<redacted>,\r\n cnonce=<redacted>, uri=\"sip:h\", nc=00000001",
            "nonce=\"n\"\r\n",
            "response=<redacted>, qop=auth",
            "nextnonce=\"m\"",
            "X-Response=1\r\nX-Other: x-response=2\r\n\r\nv=0",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    /// Odd but readable for a server, or broken altogether: no way to get a digest into a log.
    #[test]
    fn folds_commas_and_open_quotes_hide_nothing() {
        for odd in [
            "Digest response=\r\n \"5ec7e7\", uri=\"u\"",
            "Digest response\r\n\t=\n\t5ec7e7, uri=\"u\"",
            "Digest realm=\"a, b\", response=\"x,5ec7e7\"",
            "Digest realm=\"a, response=\"5ec7e7\"",
            "Digest realm=\"\\\"\",cnonce\t=\t\"5ec7e7\"",
            "Digest response=\"\\\"5ec7e7\"",
            "Digest uri=<sip:a, response=\"5ec7e7\"",
            "Digest response=\"5ec7e7",
            "\0\rresponse=5ec7e7",
        ] {
            for before in ["Authorization: ", "authorization :\r\n ", "\r\n\r\n", ""] {
                let shown = masked(format!("BYE sip:h SIP/2.0\r\n{before}{odd}").as_bytes());
                assert!(!shown.contains("5ec7e7"), "{shown}");
                assert!(shown.contains("<redacted>"), "{shown}");
            }
        }
    }

    #[test]
    fn what_has_no_secret_is_shown_whole() {
        for kept in [
            "",
            "=",
            "response",
            "a=b=c",
            "Digest uri=\"sip:a,b\", nonce=\"n\"\r\n\r\n",
        ] {
            assert_eq!(masked(kept.as_bytes()), kept);
        }
        assert_eq!(masked(b"INVITE \xff"), "INVITE \u{fffd}");
        assert_eq!(
            masked(b"response=\r\nVia: x"),
            "response=<redacted>\r\nVia: x"
        );
    }
}
