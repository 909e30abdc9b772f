//! Header fields of the test's own.

use callmeter_sip::message::is_token;

use super::{Invalid, check};

/// Most header fields of the test's own.
const MOST_HEADERS: usize = 32;
/// Longest name of one, bytes.
const MOST_NAME: usize = 253;
/// Longest value of one, characters.
const MOST_VALUE: usize = 1024;

/// A header field of the test's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// A token that is not one of the names the stack writes itself.
    pub name: String,
    /// One line of text, 1024 characters at most.
    pub value: String,
}

impl Header {
    /// Names that no header field of a test may have: those that the stack writes, or that decide
    /// where a message goes and what it holds, in full and short.
    pub const OWN: &[&str] = &[
        "Via",
        "v",
        "From",
        "f",
        "To",
        "t",
        "Call-ID",
        "i",
        "CSeq",
        "Contact",
        "m",
        "Max-Forwards",
        "Route",
        "Record-Route",
        "Content-Length",
        "l",
        "Content-Type",
        "c",
        "Content-Encoding",
        "e",
        "Content-Disposition",
        "Authorization",
        "Proxy-Authorization",
        "WWW-Authenticate",
        "Proxy-Authenticate",
        "Allow",
        "Supported",
        "k",
        "Require",
        "Proxy-Require",
        "User-Agent",
        "Server",
        "Expires",
        "Session-Expires",
        "x",
        "Min-SE",
        "RSeq",
        "RAck",
        "Replaces",
        "Refer-To",
        "r",
        "Path",
    ];
}

/// Checks names, values and how many there are.
pub(super) fn validate(headers: &[Header]) -> Result<(), Invalid> {
    let count = headers.len();
    check("headers", count, count <= MOST_HEADERS, "at most 32")?;
    for (index, Header { name, value }) in headers.iter().enumerate() {
        check(
            &format!("headers[{index}].name"),
            name,
            is_token(name.as_bytes()) && name.len() <= MOST_NAME,
            "letters, digits and -.!%*_+`'~ (RFC 3261 token)",
        )?;
        check(
            &format!("headers[{index}].name"),
            name,
            !Header::OWN.iter().any(|own| own.eq_ignore_ascii_case(name)),
            "a header field the SIP stack does not write itself",
        )?;
        check(
            &format!("headers[{index}].value"),
            value,
            value.chars().count() <= MOST_VALUE
                && !value.contains(|c: char| c.is_control() && c != '\t'),
            "one line of up to 1024 characters without control characters",
        )?;
    }
    Ok(())
}
