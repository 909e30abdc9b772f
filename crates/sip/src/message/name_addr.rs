//! From, To, Contact, Route and Record-Route elements: `"name" <uri>;params` (RFC 3261 §20).

use bytes::Bytes;

use super::error::{HeaderProblem, ParseError};
use super::names::HeaderName;
use super::scan;
use super::uri::Uri;

/// A URI with an optional display name and header parameters.
#[derive(Clone, Debug)]
pub struct NameAddr {
    /// The URI.
    pub uri: Uri,
    raw: Bytes,
    display: usize,
    params: usize,
}

impl NameAddr {
    /// Reads one element of a header. Without angle brackets, parameters belong to the header
    /// (RFC 3261 §20.10).
    pub fn parse(header: HeaderName, raw: Bytes) -> Result<Self, ParseError> {
        let error = |problem| ParseError::Header(header, problem);
        let syntax = error(HeaderProblem::Syntax);
        let (display, uri, params) = if let Some(open) = find_angle(&raw) {
            let close = raw[open..].iter().position(|&byte| byte == b'>');
            let close = open + close.ok_or(syntax)?;
            if !is_display_name(scan::trim(&raw[..open])) {
                return Err(syntax);
            }
            (open, &raw[open + 1..close], close + 1)
        } else {
            let end = raw
                .iter()
                .position(|&byte| byte == b';')
                .unwrap_or(raw.len());
            let uri = scan::trim(&raw[..end]);
            if uri.iter().any(|byte| b"?,\"".contains(byte)) {
                return Err(syntax);
            }
            (0, uri, end)
        };
        if !matches!(scan::trim(&raw[params..]).first(), None | Some(b';')) {
            return Err(syntax);
        }
        let uri =
            Uri::parse(raw.slice_ref(uri)).map_err(|fault| error(HeaderProblem::Uri(fault)))?;
        Ok(Self {
            uri,
            raw,
            display,
            params,
        })
    }

    /// The whole element as it was written.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The display name without quotes, empty if there is none.
    pub fn display_name(&self) -> String {
        let name = scan::unquote(scan::trim(&self.raw[..self.display]));
        String::from_utf8_lossy(&name).into_owned()
    }

    /// The value of a header parameter, empty for a flag; quotes are left on.
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        scan::parameter(&self.raw[self.params..], name)
    }

    /// The tag of From or To.
    pub fn tag(&self) -> Option<Bytes> {
        self.param("tag")
            .filter(|tag| !tag.is_empty())
            .map(|tag| self.raw.slice_ref(tag))
    }
}

/// Position of the `<` that opens the URI: the first one outside quotes.
fn find_angle(bytes: &[u8]) -> Option<usize> {
    scan::find_outside(bytes, |byte| byte == b'<')
}

/// A display name is a quoted string or words of token characters; other bytes above ASCII are
/// taken too, and so is what most peers send unquoted, as long as it holds no structure.
fn is_display_name(name: &[u8]) -> bool {
    let quoted = name.len() >= 2 && name.starts_with(b"\"") && name.ends_with(b"\"");
    quoted || !name.iter().any(|byte| b"\"<>;,".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NameAddr, ParseError> {
        NameAddr::parse(HeaderName::From, Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn quoted_name_with_brackets_inside() {
        let from = parse(r#""A. \"<B>\" ; C" <sip:a@h;lr>;tag=x1;p="q;r""#).unwrap();
        assert_eq!(from.display_name(), r#"A. "<B>" ; C"#);
        assert_eq!(from.uri.to_string(), "sip:a@h;lr");
        assert_eq!(from.tag().unwrap(), &b"x1"[..]);
        assert_eq!(from.param("p"), Some(&br#""q;r""#[..]));
    }

    #[test]
    fn without_brackets_parameters_are_the_headers() {
        let from = parse("sip:a@h;tag=x1").unwrap();
        assert_eq!(from.uri.to_string(), "sip:a@h");
        assert_eq!(from.tag().unwrap(), &b"x1"[..]);
        assert_eq!(from.display_name(), "");
    }

    #[test]
    fn folds_and_words() {
        let from = parse("Watson, come here <sip:a@h>");
        assert!(from.is_err());
        let from = parse("Mr\r\n  Watson\t<sip:a@h>\r\n ; tag = x").unwrap();
        assert_eq!(from.tag().unwrap(), &b"x"[..]);
    }

    #[test]
    fn faults_name_the_header() {
        for text in [
            "<sip:a@h",
            "<sip:a@h> x",
            "\"a <sip:a@h>",
            "a",
            "sip:a@h?x=y",
            "",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("header From: "), "{text}: {error}");
        }
    }
}
