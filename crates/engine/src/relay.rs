//! Digits in the bodies of INFO requests: `application/dtmf-relay` and `application/dtmf`.
//!
//! No RFC defines them; this is what PBXs and gateways send and take:
//!
//! ```text
//! Signal=5
//! Duration=160
//! ```

/// Content-Type of the bodies of [`body`].
pub(crate) const CONTENT_TYPE: &str = "application/dtmf-relay";
/// Length of a digit as told to the far end.
const DURATION_MS: u32 = 160;
/// Longest body that is looked at, bytes.
const MAX_LENGTH: usize = 256;

/// The body that sends a digit.
pub(crate) fn body(digit: char) -> String {
    format!("Signal={digit}\r\nDuration={DURATION_MS}\r\n")
}

/// The digit of an INFO, if it carries one.
pub(crate) fn digit(content_type: &str, body: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(body.get(..MAX_LENGTH).unwrap_or(body)).ok()?;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let signal = if kind.eq_ignore_ascii_case(CONTENT_TYPE) {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let named = name.trim().eq_ignore_ascii_case("signal");
            named.then(|| value.trim())
        })?
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        text.trim()
    } else {
        return None;
    };
    match signal {
        // Numbers of the events (RFC 4733 §3.2), which some send for what is no number.
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut characters = signal.chars();
            let digit = characters.next()?.to_ascii_uppercase();
            let known = matches!(digit, '0'..='9' | 'A'..='D' | '*' | '#');
            (known && characters.next().is_none()).then_some(digit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read() {
        for sent in "0123456789ABCD*#".chars() {
            assert_eq!(digit(CONTENT_TYPE, body(sent).as_bytes()), Some(sent));
        }
    }

    #[test]
    fn digits_are_read_as_others_write_them() {
        for (kind, text, expected) in [
            (
                "Application/DTMF-Relay",
                "Signal= 5\r\nDuration= 250",
                Some('5'),
            ),
            ("application/dtmf-relay;x=1", "signal = *\n", Some('*')),
            (CONTENT_TYPE, "Duration=1\r\nSignal=11\r\n", Some('#')),
            (CONTENT_TYPE, "Signal=d", Some('D')),
            ("application/dtmf", "7\r\n", Some('7')),
            ("application/dtmf", "10", Some('*')),
            (CONTENT_TYPE, "Signal=", None),
            (CONTENT_TYPE, "Signal=55", None),
            (CONTENT_TYPE, "Signal=E", None),
            (CONTENT_TYPE, "", None),
            ("application/dtmf", "", None),
            ("text/plain", "Signal=5", None),
            ("", "Signal=5", None),
        ] {
            assert_eq!(digit(kind, text.as_bytes()), expected, "{kind} {text:?}");
        }
        assert_eq!(digit(CONTENT_TYPE, b"Signal=\xff"), None);
        let long = format!("{}\r\nSignal=5", "x".repeat(MAX_LENGTH));
        assert_eq!(digit(CONTENT_TYPE, long.as_bytes()), None);
    }
}
