//! How messages are put on a wire and taken off it.

use std::{io, net::TcpStream};

use bytes::Bytes;
use rustls::pki_types::ServerName;

use super::tls;

/// Bytes that may wait to be written; a peer that reads so slowly gets no more.
pub(super) const MOST_QUEUED: usize = 1 << 20;

/// How messages are put on a wire and taken off it, without ever waiting.
pub(super) trait Carrier: Send {
    /// The socket, to be watched; none once it is of no use any more.
    fn socket(&self) -> Option<&TcpStream>;

    /// Whether TLS is below.
    fn is_secure(&self) -> bool;

    /// Goes on with the TLS handshake, if there is one; true once it is done.
    fn secure(&mut self) -> Result<bool, Broken>;

    /// Whether the certificate of a server we have connected to is for this name, too.
    fn proves(&self, name: &ServerName<'_>) -> Result<(), Broken>;

    /// Goes on with what else comes before messages; true once it is done.
    fn upgrade(&mut self) -> Result<bool, Broken>;

    /// Takes the messages that have come.
    fn read(&mut self, messages: &mut Vec<Bytes>, buffer: &mut Vec<u8>) -> Result<Heard, Broken>;

    /// Puts a message behind what waits to be written.
    fn queue(&mut self, message: Bytes) -> Result<(), Broken>;

    /// Asks the peer for a sign of life that keeps the connection open on the way.
    fn ping(&mut self) -> Result<(), Broken>;

    /// Writes what waits, as far as the socket takes it; true: some of it went.
    fn write(&mut self) -> Result<bool, Broken>;

    /// Whether the peer is in the midst of a message.
    fn is_within_message(&self) -> bool;

    /// Says goodbye where there is a way to, as far as that goes without waiting.
    fn close(&mut self);
}

/// What came of reading.
#[derive(Clone, Copy, Default)]
pub(super) struct Heard {
    /// The peer said something.
    pub(super) any: bool,
    /// There may be more.
    pub(super) more: bool,
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) reason: String,
    /// The peer sent what is no SIP.
    pub(super) malformed: bool,
    /// The peer's certificate is for other names.
    pub(super) misnamed: bool,
}

impl Broken {
    /// The far end, the way or we ended it.
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            malformed: false,
            misnamed: false,
        }
    }

    /// The peer sent what is no SIP.
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self {
            malformed: true,
            ..Self::because(reason)
        }
    }

    /// The peer closed it.
    pub(super) fn closed() -> Self {
        Self::because(tls::CLOSED)
    }

    /// The peer does not take what we send.
    pub(super) fn slow(waiting: usize) -> Self {
        Self::because(format!("the peer reads too slowly: {waiting} bytes wait"))
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self {
            misnamed: tls::is_misnamed(&error),
            ..Self::because(tls::reason(&error))
        }
    }
}
