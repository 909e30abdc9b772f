//! What is wrong with a message.

use super::names::HeaderName;
use super::uri::UriError;

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1).
    #[error("message is empty")]
    Empty,
    /// Longer than this stack takes.
    #[error("message is longer than {0} bytes")]
    TooLong(usize),
    /// More header fields than this stack takes.
    #[error("message has more than {0} header fields")]
    TooManyHeaders(usize),
    /// A header field, counted from 1, is longer than this stack takes.
    #[error("header line {0} is longer than {1} bytes")]
    HeaderTooLong(usize, usize),
    /// The first line is neither a request line nor a status line.
    #[error("start line is neither `METHOD uri SIP/2.0` nor `SIP/2.0 code reason`")]
    StartLine,
    /// Another version than SIP/2.0.
    #[error("version is not SIP/2.0")]
    Version,
    /// A header line without colon, or whose name is no token.
    #[error("header line {0} has no name and colon")]
    HeaderLine(usize),
    /// The empty line between headers and body is missing.
    #[error("no empty line after the headers")]
    NoEnd,
    /// A header is missing or cannot be read.
    #[error("header {name}: {problem}", name = .0.as_str(), problem = .1)]
    Header(HeaderName, HeaderProblem),
    /// The Request-URI cannot be read.
    #[error("Request-URI: {0}")]
    RequestUri(UriError),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// It must be there and is not.
    #[error("is missing")]
    Missing,
    /// It may stand once only.
    #[error("stands more than once")]
    Repeated,
    /// Its value does not follow the grammar.
    #[error("does not follow its grammar")]
    Syntax,
    /// A number is out of its range.
    #[error("is out of range")]
    Range,
    /// The body is shorter than declared.
    #[error("declares more bytes than the message has")]
    Length,
    /// The method differs from that of the request line.
    #[error("names another method than the request line")]
    Method,
    /// A URI in it cannot be read.
    #[error("{0}")]
    Uri(UriError),
}
