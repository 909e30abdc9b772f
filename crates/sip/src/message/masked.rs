//! Messages as they may be logged.

/// The message as text for a trace log: digest `response` and `cnonce` are masked, bytes that are
/// no UTF-8 replaced. The body is left as it is.
pub fn masked(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let mut shown = String::with_capacity(text.len());
    let mut secret = false;
    let mut body = false;
    for line in text.split_inclusive('\n') {
        body = body || line.trim_end_matches(['\r', '\n']).is_empty();
        // A fold belongs to the header before it.
        if !line.starts_with([' ', '\t']) {
            let name = line
                .split(':')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            secret = matches!(
                &*name,
                "authorization" | "proxy-authorization" | "authentication-info"
            );
        }
        if secret && !body {
            mask_line(line, &mut shown);
        } else {
            shown.push_str(line);
        }
    }
    shown
}

fn mask_line(line: &str, shown: &mut String) {
    for (position, parameter) in line.split(',').enumerate() {
        if position > 0 {
            shown.push(',');
        }
        let name = parameter.split('=').next().unwrap_or_default();
        let word = name.trim().rsplit([' ', '\t']).next().unwrap_or_default();
        if matches!(
            &*word.to_ascii_lowercase(),
            "response" | "cnonce" | "rspauth"
        ) {
            shown.push_str(name);
            shown.push_str("=\"***\"");
            let end = parameter.trim_end_matches(['\r', '\n']).len();
            shown.push_str(&parameter[end..]);
        } else {
            shown.push_str(parameter);
        }
    }
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
}
