//! Messages out of a byte stream: TCP and TLS (RFC 3261 §18.3).

use bytes::{Buf, Bytes, BytesMut};

use crate::limits;
use crate::message::content_lengths;

/// Cuts what arrives on one connection into messages and keep-alives.
///
/// It holds at most one message that is not whole yet, plus what was pushed since
/// [`Self::next_frame`] last returned `None`: take all frames after each push.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes at the front of `buffer` that are lines of the head without its end.
    scanned: usize,
    /// The length of the first message in `buffer`, once its head is there.
    whole: Option<usize>,
    /// A line end stood alone: another one makes it a ping.
    half_ping: bool,
    pongs_expected: u32,
    failed: Option<FrameError>,
}

/// One thing a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message: head and as many bytes of body as Content-Length says. Only its length is
    /// checked.
    Message(Bytes),
    /// A double CRLF between messages, to be answered with [`PONG`] (RFC 5626 §3.5.1).
    Ping,
    /// The CRLF that answers a ping of ours.
    Pong,
}

/// What keeps a connection alive and asks for [`PONG`] (RFC 5626 §3.5.1).
pub const PING: &[u8] = b"\r\n\r\n";
/// The answer to [`PING`].
pub const PONG: &[u8] = b"\r\n";

/// Why nothing more can be read from a connection: where the next message starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The head has no end within the limit.
    #[error("start line and header fields are longer than {0} bytes")]
    HeadTooLong(usize),
    /// No Content-Length, which a stream needs (RFC 3261 §20.14).
    #[error("header Content-Length: is missing")]
    LengthMissing,
    /// More than one Content-Length.
    #[error("header Content-Length: stands more than once")]
    LengthRepeated,
    /// Content-Length is negative, not a number, or more than a message may have.
    #[error("header Content-Length: is no number from 0 to {0}")]
    Length(usize),
}

impl Framer {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what arrived; after an error it is left out.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// A ping was sent: the next CRLF between messages is its answer, not half a ping.
    pub fn expect_pong(&mut self) {
        self.pongs_expected = self.pongs_expected.saturating_add(1);
    }

    /// The next whole frame; `None` until more arrives. An error is final: the connection is of no
    /// use any more. Time is linear in what arrives, however it is cut into pieces.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let frame = self.read();
        if let Err(error) = frame {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        frame
    }

    /// Whether the peer is in the midst of a message: closing now loses it.
    pub fn is_within_message(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.scanned == 0
            && let Some(frame) = self.read_line_ends()
        {
            return Ok(Some(frame));
        }
        let whole = if let Some(whole) = self.whole {
            whole
        } else {
            let Some(head) = self.find_head_end()? else {
                return Ok(None);
            };
            let whole = head + body_length(&self.buffer[..head])?;
            self.whole = Some(whole);
            whole
        };
        if self.buffer.len() < whole {
            return Ok(None);
        }
        (self.scanned, self.whole, self.half_ping) = (0, None, false);
        Ok(Some(Frame::Message(self.buffer.split_to(whole).freeze())))
    }

    /// Takes the line ends in front of a message; some of them are keep-alives.
    fn read_line_ends(&mut self) -> Option<Frame> {
        loop {
            let length = match &self.buffer[..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return None,
            };
            self.buffer.advance(length);
            if self.pongs_expected > 0 {
                self.pongs_expected -= 1;
                return Some(Frame::Pong);
            }
            self.half_ping = !self.half_ping;
            if !self.half_ping {
                return Some(Frame::Ping);
            }
        }
    }

    /// Where the body starts, once the empty line is there.
    fn find_head_end(&mut self) -> Result<Option<usize>, FrameError> {
        let limit = limits::STREAM_HEAD;
        loop {
            // Only the last line is looked at again, and only from where it was left.
            let from = self.scanned;
            let window = &self.buffer[..self.buffer.len().min(limit)];
            let Some(newline) = window[from..].iter().position(|&byte| byte == b'\n') else {
                return self.no_head_end(limit);
            };
            let next = from + newline + 1;
            self.scanned = next;
            let line = &window[..next - 1];
            if matches!(line, [.., b'\n'] | [.., b'\n', b'\r']) {
                return Ok(Some(next));
            }
        }
    }

    fn no_head_end(&mut self, limit: usize) -> Result<Option<usize>, FrameError> {
        if self.buffer.len() >= limit {
            return Err(FrameError::HeadTooLong(limit));
        }
        // A lone CR may still become a line end in front of the message.
        if &self.buffer[..] != b"\r" {
            self.scanned = self.buffer.len();
        }
        Ok(None)
    }
}

/// Bytes of body that follow `head`, its empty line included.
fn body_length(head: &[u8]) -> Result<usize, FrameError> {
    let most = limits::MESSAGE - limits::STREAM_HEAD;
    let mut values = content_lengths(head);
    let value = values.next().ok_or(FrameError::LengthMissing)?;
    if values.next().is_some() {
        return Err(FrameError::LengthRepeated);
    }
    value
        .and_then(|length| usize::try_from(length).ok())
        .filter(|&length| length <= most)
        .ok_or(FrameError::Length(most))
}

#[cfg(test)]
mod tests;
