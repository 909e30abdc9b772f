//! The lines of a message: start line and header fields.

use std::ops::Range;

use bytes::Bytes;

use super::error::ParseError;
use super::names::{HeaderName, Method};
use super::scan;
use super::uri::UriError;

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartLine {
    /// `METHOD uri SIP/2.0`
    Request {
        /// The method.
        method: Method,
        /// Its name.
        name: Bytes,
        /// The Request-URI, not read yet.
        uri: Bytes,
    },
    /// `SIP/2.0 code reason`
    Status {
        /// Status code, 100 to 699.
        code: u16,
        /// Reason phrase.
        reason: Bytes,
    },
}

/// One header field: where its name and value stand.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) header: HeaderName,
    pub(super) name: Range<u32>,
    pub(super) value: Range<u32>,
}

/// The line that starts at `at`, without its end, and where the next one starts.
pub(super) fn line_at(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let newline = at + bytes.get(at..)?.iter().position(|&byte| byte == b'\n')?;
    let end = if newline > at && bytes[newline - 1] == b'\r' {
        newline - 1
    } else {
        newline
    };
    Some((at..end, newline + 1))
}

pub(super) fn parse_start_line(bytes: &Bytes, line: Range<usize>) -> Result<StartLine, ParseError> {
    const VERSION: &[u8] = b"SIP/2.0";
    let text = &bytes[line];
    let is_version = |part: &[u8]| part.eq_ignore_ascii_case(VERSION);
    let first_space = text
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or(ParseError::StartLine)?;
    let (first, rest) = (&text[..first_space], &text[first_space + 1..]);
    if first.len() >= 4 && first[..4].eq_ignore_ascii_case(b"SIP/") {
        if !is_version(first) {
            return Err(ParseError::Version);
        }
        let (code, reason) = rest.split_at_checked(3).ok_or(ParseError::StartLine)?;
        if !matches!(reason.first(), None | Some(b' ')) {
            return Err(ParseError::StartLine);
        }
        let code = scan::number(code)
            .filter(|code| (100..700).contains(code))
            .ok_or(ParseError::StartLine)?;
        return Ok(StartLine::Status {
            code,
            reason: bytes.slice_ref(scan::trim(reason)),
        });
    }
    let last_space = rest
        .iter()
        .rposition(|&byte| byte == b' ')
        .ok_or(ParseError::StartLine)?;
    let (uri, version) = (&rest[..last_space], &rest[last_space + 1..]);
    if !scan::is_token(first) {
        return Err(ParseError::StartLine);
    }
    if !is_version(version) {
        let is_other = version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
        return Err(if is_other {
            ParseError::Version
        } else {
            ParseError::StartLine
        });
    }
    if uri.is_empty() {
        return Err(ParseError::RequestUri(UriError::Scheme));
    }
    Ok(StartLine::Request {
        method: Method::parse(first),
        name: bytes.slice_ref(first),
        uri: bytes.slice_ref(uri),
    })
}

/// What is left of a broken request line: its method. `None` if it does not start with one, or is
/// a status line.
pub(super) fn salvage_start(bytes: &Bytes, line: Range<usize>) -> Option<StartLine> {
    let name = bytes[line].split(|&byte| byte == b' ').next()?;
    scan::is_token(name).then(|| StartLine::Request {
        method: Method::parse(name),
        name: bytes.slice_ref(name),
        uri: Bytes::new(),
    })
}

pub(super) fn parse_field(bytes: &[u8], line: Range<usize>) -> Option<Field> {
    let text = &bytes[line.clone()];
    let colon = text.iter().position(|&byte| byte == b':')?;
    let name = scan::trim(&text[..colon]);
    if !scan::is_token(name) || scan::is_lws(text[0]) {
        return None;
    }
    let value = scan::trim(&text[colon + 1..]);
    let value_start = if value.is_empty() {
        line.end
    } else {
        line.start + scan::offset_of(text, value)
    };
    Some(Field {
        header: HeaderName::parse(name),
        name: narrow(line.start..line.start + name.len()),
        value: narrow(value_start..value_start + value.len()),
    })
}

/// The Content-Length fields of a whole head, folds and compact names included; `None` for one that
/// is no number of 32 bits.
pub(crate) fn content_lengths(head: &[u8]) -> impl Iterator<Item = Option<u32>> {
    let mut at = line_at(head, 0).map_or(head.len(), |(_, next)| next);
    std::iter::from_fn(move || {
        loop {
            let (mut line, mut next) = line_at(head, at)?;
            while matches!(head.get(next), Some(b' ' | b'\t')) {
                let (fold, after) = line_at(head, next)?;
                line.end = fold.end;
                next = after;
            }
            at = next;
            let field = (!line.is_empty()).then(|| parse_field(head, line));
            if let Some(field) = field.flatten()
                && field.header == HeaderName::ContentLength
            {
                return Some(scan::number(&head[widen(&field.value)]));
            }
        }
    })
}

/// Messages are at most [`crate::limits::MESSAGE`] bytes long, so every position fits.
pub(super) fn narrow(range: Range<usize>) -> Range<u32> {
    range.start as u32..range.end as u32
}

pub(super) fn widen(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
