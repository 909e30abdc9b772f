//! Writing messages.

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;

use super::index::Message;
use super::names::{HeaderName, Method};

/// Room that most messages need; while one is written only.
const ROOM: usize = 1024;

/// Builds one message. Values cannot break out of their line: CR, LF and NUL become spaces.
#[derive(Debug)]
pub(crate) struct Builder {
    buffer: Vec<u8>,
}

impl Builder {
    /// Starts a request.
    pub(crate) fn request(method: Method, uri: &[u8]) -> Self {
        let mut builder = Self::with_start(method.as_str().as_bytes());
        builder.buffer.extend_from_slice(b" ");
        builder.push_value(uri);
        builder.buffer.extend_from_slice(b" SIP/2.0\r\n");
        builder
    }

    /// Starts a response.
    pub(crate) fn response(code: u16, reason: &str) -> Self {
        let mut builder = Self::with_start(b"SIP/2.0 ");
        builder.push_fmt(format_args!("{code} "));
        builder.push_value(reason.as_bytes());
        builder.buffer.extend_from_slice(b"\r\n");
        builder
    }

    /// Adds a header field.
    pub(crate) fn header(&mut self, name: HeaderName, value: &[u8]) -> &mut Self {
        self.named(name.as_str(), value)
    }

    /// Adds a header field with a formatted value.
    pub(crate) fn header_fmt(&mut self, name: HeaderName, value: fmt::Arguments<'_>) -> &mut Self {
        self.buffer.extend_from_slice(name.as_str().as_bytes());
        self.buffer.extend_from_slice(b": ");
        self.push_fmt(value);
        self.buffer.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header field by name.
    pub(crate) fn named(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b": ");
        self.push_value(value);
        self.buffer.extend_from_slice(b"\r\n");
        self
    }

    /// Copies all fields of a name from a message.
    pub(crate) fn copy(&mut self, message: &Message, name: HeaderName) -> &mut Self {
        for value in message.values(name) {
            self.header(name, value);
        }
        self
    }

    /// Ends the message with a body of a type; without a body, with an empty one.
    pub(crate) fn finish(mut self, content_type: &str, body: &[u8]) -> Bytes {
        if !body.is_empty() {
            self.header(HeaderName::ContentType, content_type.as_bytes());
        }
        self.header_fmt(HeaderName::ContentLength, format_args!("{}", body.len()));
        self.buffer.extend_from_slice(b"\r\n");
        self.buffer.extend_from_slice(body);
        // Without spare room: transactions keep messages for 32 s.
        Bytes::copy_from_slice(&self.buffer)
    }

    fn with_start(start: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(ROOM);
        buffer.extend_from_slice(start);
        Self { buffer }
    }

    fn push_value(&mut self, value: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.clean(start);
    }

    fn push_fmt(&mut self, value: fmt::Arguments<'_>) {
        let start = self.buffer.len();
        // Writing to a growing buffer only fails if a Display implementation does; then the value
        // is cut, which keeps the message well formed.
        let _ = self.buffer.write_fmt(value);
        self.clean(start);
    }

    fn clean(&mut self, start: usize) {
        for byte in &mut self.buffer[start..] {
            if matches!(*byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
    }
}

/// The reason phrase of a status code this stack sends.
pub(crate) fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        202 => "Accepted",
        200..=299 => "OK",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => class_phrase(code),
    }
}

/// The phrase of a code that has none of its own here (RFC 3261 §21).
fn class_phrase(code: u16) -> &'static str {
    match code / 100 {
        1 => "Progress",
        3 => "Redirection",
        4 => "Request Failure",
        5 => "Server Failure",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_start_a_new_line() {
        let mut builder = Builder::request(Method::Options, b"sip:h\r\nX: y");
        builder.header(HeaderName::From, b"<sip:a@h>\r\nEvil: 1");
        builder.header_fmt(HeaderName::To, format_args!("{}", "a\nb\0c"));
        let bytes = builder.finish("", b"");
        assert_eq!(
            bytes,
            &b"OPTIONS sip:h  X: y SIP/2.0\r\nFrom: <sip:a@h>  Evil: 1\r\nTo: a b c\r\n\
               Content-Length: 0\r\n\r\n"[..]
        );
    }
}
