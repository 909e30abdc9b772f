//! Messages as they may be logged.

/// The message as text for a trace log: digest `response`, `cnonce` and `rspauth` are masked, as
/// is all of another scheme's credentials; bytes that are no UTF-8 are replaced. The body is left
/// as it is.
pub fn masked(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(length) = field_length(rest) {
        let (field, after) = rest.split_at(length);
        rest = after;
        match field.split_once(':') {
            Some((name, value)) if is_secret(name) => {
                shown.push_str(name);
                shown.push(':');
                mask(name, value, &mut shown);
            }
            _ => shown.push_str(field),
        }
    }
    shown.push_str(rest);
    shown
}

/// The length of the first line and the folds that belong to it; `None` where the body begins.
fn field_length(text: &str) -> Option<usize> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next()?;
    if first.trim_end_matches(['\r', '\n']).is_empty() {
        return None;
    }
    let folds = lines.take_while(|line| line.starts_with([' ', '\t']));
    Some(first.len() + folds.map(str::len).sum::<usize>())
}

fn is_secret(name: &str) -> bool {
    let name = name.trim();
    [
        "authorization",
        "proxy-authorization",
        "authentication-info",
    ]
    .iter()
    .any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Appends the value of a field without its secrets.
fn mask(name: &str, value: &str, shown: &mut String) {
    let (value, line_end) = value.split_at(value.trim_end().len());
    let is_info = name.trim().eq_ignore_ascii_case("authentication-info");
    let is_digest = value
        .trim_start()
        .get(.."digest".len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("digest"));
    match commas(value).filter(|_| is_info || is_digest) {
        Some(commas) => {
            let mut start = 0;
            for comma in commas {
                mask_parameter(&value[start..comma], shown);
                shown.push(',');
                start = comma + 1;
            }
            mask_parameter(&value[start..], shown);
        }
        // Not to be told apart.
        None => shown.push_str(" ***"),
    }
    shown.push_str(line_end);
}

fn mask_parameter(parameter: &str, shown: &mut String) {
    match parameter.split_once('=') {
        Some((name, _)) if is_secret_parameter(name) => {
            shown.push_str(name);
            shown.push_str("=\"***\"");
        }
        _ => shown.push_str(parameter),
    }
}

fn is_secret_parameter(name: &str) -> bool {
    let word = name.split_whitespace().next_back().unwrap_or_default();
    ["response", "cnonce", "rspauth"]
        .iter()
        .any(|secret| word.eq_ignore_ascii_case(secret))
}

/// Where the commas outside quotes are; `None` if a quote is left open.
fn commas(value: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    let mut quoted = false;
    let mut escaped = false;
    for (position, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => found.push(position),
            _ => {}
        }
    }
    (!quoted).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_masked_and_nothing_else() {
        let text = "REGISTER sip:h SIP/2.0\r\nAuthorization: Digest username=\"a\", \
            Response = \"5ec7e7\",\r\n cnonce=\"5ec7e7\", uri=\"sip:h\"\r\n\
            proxy-authorization: Digest response=\"5ec7e7\"\r\nX-Other: response=1\r\n\r\n\
            response=2";
        let shown = masked(text.as_bytes());
        assert!(!shown.contains("5ec7e7"), "{shown}");
        assert_eq!(shown.matches("***").count(), 3);
        for kept in [
            "username=\"a\"",
            "uri=\"sip:h\"",
            "X-Other: response=1",
            "\r\n\r\nresponse=2",
        ] {
            assert!(shown.contains(kept), "{shown}");
        }
        assert_eq!(
            masked(text.replace('\r', "").as_bytes()),
            shown.replace('\r', "")
        );
        assert_eq!(masked(b"no headers"), "no headers");
    }

    /// Odd but readable for a server, and no way to smuggle a digest into a log.
    #[test]
    fn folds_commas_and_open_quotes_hide_nothing() {
        for odd in [
            "Authorization: Digest response=\r\n \"5ec7e7\", uri=\"u\"\r\n",
            "Authorization: Digest realm=\"a, b\", response=\"x,5ec7e7\"\r\n",
            "Authorization : Digest realm=\"a, response=\"5ec7e7\"\r\n",
            "Authorization: Digest realm=\"\\\"\",cnonce\t=\t\"5ec7e7\"\r\n",
            "Authorization: Basic 5ec7e7\r\n",
            "Authorization: Basic 5ec7e7==\r\n",
            "Authorization: Digest uri=<sip:a, response=\"5ec7e7\"\r\n",
            "Authentication-Info: rspauth=\"5ec7e7\", nextnonce=\"n\"\r\n",
            "Authorization:\r\n\tDigest\r\n\tresponse=5ec7e7",
        ] {
            let shown = masked(format!("BYE sip:h SIP/2.0\r\n{odd}\r\nbody").as_bytes());
            assert!(!shown.contains("5ec7e7"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
        let kept = "Authorization: Digest uri=\"sip:a,b\", nonce=\"n\"\r\n\r\n";
        assert_eq!(masked(kept.as_bytes()), kept);
    }
}
