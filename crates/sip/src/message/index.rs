//! The index of a message: where its start line, header fields and body stand in the bytes.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::auth::Challenge;
use super::error::{HeaderProblem, ParseError};
use super::lines::{
    Field, StartLine, line_at, narrow, parse_field, parse_start_line, salvage_start, widen,
};
use super::name_addr::NameAddr;
use super::names::{HeaderName, Method};
use super::scan;
use super::uri::{Uri, UriError};
use super::via::Via;
use crate::limits;

/// A SIP message; cloning copies the index and shares the bytes.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    fields: Vec<Field>,
    body: Range<u32>,
}

/// The value of CSeq (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Sequence number, below 2³¹.
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method's name.
    pub name: Bytes,
}

/// A message that cannot be taken.
#[derive(Clone, Debug)]
pub(crate) struct Malformed {
    pub(crate) error: ParseError,
    /// If it is a request: what of it can be read, to answer it.
    pub(crate) request: Option<Box<Message>>,
}

impl Malformed {
    pub(crate) fn new(error: ParseError, message: Message) -> Self {
        let is_request = message.method().is_some();
        Self {
            error,
            request: is_request.then(|| Box::new(message)),
        }
    }
}

/// What every message must have (RFC 3261 §8.1.1), read once.
#[derive(Clone, Debug)]
pub(crate) struct Essentials {
    pub(crate) via: Via,
    pub(crate) from: NameAddr,
    pub(crate) to: NameAddr,
    pub(crate) call_id: Bytes,
    pub(crate) cseq: CSeq,
}

impl Message {
    /// Indexes a datagram: start line, header fields and body. Values are read on demand.
    ///
    /// A body shorter than Content-Length is an error; bytes after it are left out (RFC 3261
    /// §18.3). Takes time linear in the input.
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        Self::read(bytes).map_err(|malformed| malformed.error)
    }

    /// Like [`Self::parse`]; keeps of a broken request what it takes to answer it.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let refuse = |error| Malformed {
            error,
            request: None,
        };
        if bytes.len() > limits::MESSAGE {
            return Err(refuse(ParseError::TooLong(limits::MESSAGE)));
        }
        let at = bytes
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .ok_or_else(|| refuse(ParseError::Empty))?;
        let (line, next) = line_at(&bytes, at).ok_or_else(|| refuse(ParseError::NoEnd))?;
        let mut fault = None;
        let start = match parse_start_line(&bytes, line.clone()) {
            Ok(start) => start,
            Err(error) => {
                fault = Some(error);
                salvage_start(&bytes, line).ok_or_else(|| refuse(error))?
            }
        };
        let mut message = Self {
            bytes,
            start,
            fields: Vec::with_capacity(16),
            body: 0..0,
        };
        let framed = message
            .index_fields(next)
            .and_then(|()| message.limit_body());
        match fault.or_else(|| framed.err()) {
            None => Ok(message),
            Some(error) => Err(Malformed::new(error, message)),
        }
    }

    /// Indexes the header fields from `at` on, and the body; after an error, those before it are
    /// kept.
    fn index_fields(&mut self, mut at: usize) -> Result<(), ParseError> {
        let Self { bytes, fields, .. } = self;
        loop {
            let (mut line, mut next) = line_at(bytes, at).ok_or(ParseError::NoEnd)?;
            if line.is_empty() {
                at = next;
                break;
            }
            while matches!(bytes.get(next), Some(b' ' | b'\t')) {
                let (fold, after) = line_at(bytes, next).ok_or(ParseError::NoEnd)?;
                line.end = fold.end;
                next = after;
            }
            if fields.len() == limits::HEADERS {
                return Err(ParseError::TooManyHeaders(limits::HEADERS));
            }
            if line.len() > limits::HEADER {
                return Err(ParseError::HeaderTooLong(fields.len() + 1, limits::HEADER));
            }
            let field = parse_field(bytes, line).ok_or(ParseError::HeaderLine(fields.len() + 1));
            fields.push(field?);
            at = next;
        }
        self.body = narrow(at..bytes.len());
        Ok(())
    }

    /// Whether the message has what RFC 3261 §8.1.1 demands of every message, and a request a
    /// Request-URI: what a user agent looks at before it does anything with it.
    pub fn validate(&self) -> Result<(), ParseError> {
        self.essentials().map(drop)
    }

    /// The whole message as received.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The first line.
    pub fn start(&self) -> &StartLine {
        &self.start
    }

    /// The method of a request.
    pub fn method(&self) -> Option<Method> {
        match self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Status { .. } => None,
        }
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Status { code, .. } => Some(code),
        }
    }

    /// The reason phrase of a response, empty for a request.
    pub fn reason(&self) -> String {
        match &self.start {
            StartLine::Request { .. } => String::new(),
            StartLine::Status { reason, .. } => String::from_utf8_lossy(reason).into_owned(),
        }
    }

    /// The Request-URI of a request; it may hold no header fields (RFC 3261 §19.1.1).
    pub fn request_uri(&self) -> Result<Uri, ParseError> {
        match &self.start {
            StartLine::Request { uri, .. } => Uri::parse(uri.clone())
                .and_then(|uri| {
                    if uri.has_headers() {
                        Err(UriError::Headers)
                    } else {
                        Ok(uri)
                    }
                })
                .map_err(ParseError::RequestUri),
            StartLine::Status { .. } => Err(ParseError::StartLine),
        }
    }

    /// The body, which may be empty.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(widen(&self.body))
    }

    /// The values of all fields of a name, in order, folds left in.
    pub fn values(&self, header: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| field.header == header)
            .map(|field| &self.bytes[widen(&field.value)])
    }

    /// The first value of a name.
    pub fn value(&self, header: HeaderName) -> Option<&[u8]> {
        self.values(header).next()
    }

    /// The first value of a name by its text, for headers without a [`HeaderName`].
    pub fn value_of(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|field| self.bytes[widen(&field.name)].eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| &self.bytes[widen(&field.value)])
    }

    /// The elements of a list header, over all its fields.
    pub fn elements(&self, header: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.values(header).flat_map(scan::list)
    }

    /// The elements of a name-addr list header (Contact, Route, Record-Route), read; the first
    /// bad element is the error. At most 64 elements.
    pub fn addresses(&self, header: HeaderName) -> Result<Vec<NameAddr>, ParseError> {
        let mut addresses = Vec::new();
        for element in self.elements(header).filter(|element| *element != b"*") {
            if addresses.len() == limits::ADDRESSES {
                return Err(ParseError::Header(header, HeaderProblem::Range));
            }
            addresses.push(NameAddr::parse(header, self.bytes.slice_ref(element))?);
        }
        Ok(addresses)
    }

    /// A header that is one number of seconds, a comment or parameters after it left out (Expires,
    /// Min-Expires, Retry-After). Unreadable values count as absent (RFC 3261 §20.19).
    pub fn seconds(&self, header: HeaderName) -> Option<Duration> {
        let value = self.value(header)?;
        let digits = value
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        scan::number::<u32>(&value[..digits]).map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// The challenges of WWW-Authenticate or Proxy-Authenticate that could be read, in order.
    pub fn challenges(&self, header: HeaderName) -> Vec<Challenge> {
        self.values(header)
            .filter_map(Challenge::parse)
            .take(limits::CHALLENGES)
            .collect()
    }

    /// Reads what every message must have, once each.
    pub(crate) fn essentials(&self) -> Result<Essentials, ParseError> {
        let via = self.required_first(HeaderName::Via)?;
        let via = scan::list(via)
            .next()
            .ok_or(ParseError::Header(HeaderName::Via, HeaderProblem::Missing))?;
        let via = Via::parse(self.bytes.slice_ref(via))?;
        if self.elements(HeaderName::Via).nth(limits::VIAS).is_some() {
            return Err(ParseError::Header(HeaderName::Via, HeaderProblem::Range));
        }
        let from = self.name_addr(HeaderName::From)?;
        let to = self.name_addr(HeaderName::To)?;
        let call_id = self.bytes.slice_ref(self.required(HeaderName::CallId)?);
        if call_id.iter().copied().any(scan::is_lws) {
            return Err(ParseError::Header(
                HeaderName::CallId,
                HeaderProblem::Syntax,
            ));
        }
        let cseq = self.cseq()?;
        if let StartLine::Request { name, .. } = &self.start {
            if *name != cseq.name {
                return Err(ParseError::Header(HeaderName::CSeq, HeaderProblem::Method));
            }
            self.request_uri()?;
        }
        Ok(Essentials {
            via,
            from,
            to,
            call_id,
            cseq,
        })
    }

    fn name_addr(&self, header: HeaderName) -> Result<NameAddr, ParseError> {
        NameAddr::parse(header, self.bytes.slice_ref(self.required(header)?))
    }

    fn cseq(&self) -> Result<CSeq, ParseError> {
        let error = |problem| ParseError::Header(HeaderName::CSeq, problem);
        let syntax = error(HeaderProblem::Syntax);
        let value = self.required(HeaderName::CSeq)?;
        let end = value
            .iter()
            .position(|&byte| scan::is_lws(byte))
            .ok_or(syntax)?;
        let name = scan::trim(&value[end..]);
        if !scan::is_token(name) {
            return Err(syntax);
        }
        let digits = &value[..end];
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(syntax);
        }
        let number = scan::number::<u32>(digits)
            .filter(|number| *number < 1 << 31)
            .ok_or_else(|| error(HeaderProblem::Range))?;
        Ok(CSeq {
            number,
            method: Method::parse(name),
            name: self.bytes.slice_ref(name),
        })
    }

    /// The only value of a name that must stand exactly once and not be empty.
    fn required(&self, header: HeaderName) -> Result<&[u8], ParseError> {
        let value = self.required_first(header)?;
        if self.values(header).nth(1).is_some() {
            return Err(ParseError::Header(header, HeaderProblem::Repeated));
        }
        Ok(value)
    }

    fn required_first(&self, header: HeaderName) -> Result<&[u8], ParseError> {
        self.value(header)
            .filter(|value| !value.is_empty())
            .ok_or(ParseError::Header(header, HeaderProblem::Missing))
    }

    fn limit_body(&mut self) -> Result<(), ParseError> {
        let error = |problem| ParseError::Header(HeaderName::ContentLength, problem);
        let syntax = error(HeaderProblem::Syntax);
        let Some(value) = self.value(HeaderName::ContentLength) else {
            return Ok(());
        };
        if self.values(HeaderName::ContentLength).nth(1).is_some() {
            return Err(error(HeaderProblem::Repeated));
        }
        let length = scan::number::<u32>(value).ok_or(syntax)?;
        if length > self.body.end - self.body.start {
            return Err(error(HeaderProblem::Length));
        }
        self.body.end = self.body.start + length;
        Ok(())
    }
}

/// Shows the first line only: bodies and credentials stay out of logs.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
