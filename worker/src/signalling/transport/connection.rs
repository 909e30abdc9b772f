//! One connection: from SYN over the TLS handshake to messages.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use callmeter_engine::Flow;
use callmeter_sip::{Frame, Framer, PING, PONG};
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::tls;

/// How long connecting and the TLS handshake may take together; Timer B gives 32 s in all.
pub(super) const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long the rest of a message may take to come, once some of it has.
const MESSAGE_WITHIN: Duration = Duration::from_secs(32);
/// Bytes that may wait to be written; a peer that reads so slowly gets no more.
const MOST_QUEUED: usize = 1 << 20;
/// Bytes read in one go.
const CHUNK: usize = 16 * 1024;
/// Chunks read before other connections get their turn.
const BURST: usize = 16;

/// What bytes go over.
pub(super) enum Wire {
    Tcp(TcpStream),
    TlsClient(Box<StreamOwned<ClientConnection, TcpStream>>),
    TlsServer(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Handshaking,
    Open,
}

/// A connection to one peer.
pub(super) struct Connection {
    pub(super) flow: Flow,
    by_us: bool,
    wire: Wire,
    stage: Stage,
    framer: Framer,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Bytes of the first in `queue` that are written.
    written: usize,
    begun: Instant,
    established: Option<Instant>,
    keep_alive: Option<Duration>,
    /// When bytes were last written, or the last keep-alive was given to be.
    sent: Instant,
    /// Since when a message has been coming in.
    half_since: Option<Instant>,
    /// Why it is over, to be told in the next turn.
    ending: Option<Broken>,
    /// The entry it has among the timers.
    pub(super) armed: Option<Instant>,
}

/// What came of a turn.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) messages: Vec<Bytes>,
    /// The connection is open now: time to be established, and of the TLS handshake.
    pub(super) opened: Option<(Duration, Option<Duration>)>,
    /// There may be more to read.
    pub(super) more: bool,
}

/// Why a connection is of no use any more.
pub(super) struct Broken {
    pub(super) reason: String,
    /// The peer sent what is no SIP.
    pub(super) malformed: bool,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self {
            reason: tls::reason(&error),
            malformed: false,
        }
    }
}

impl Connection {
    /// A connection that has been begun now, by us or (then it is established) by the peer.
    pub(super) fn new(
        now: Instant,
        flow: Flow,
        wire: Wire,
        by_us: bool,
        keep_alive: Option<Duration>,
    ) -> Self {
        Self {
            flow,
            by_us,
            wire,
            stage: if by_us {
                Stage::Connecting
            } else {
                Stage::Handshaking
            },
            framer: Framer::new(),
            queue: VecDeque::new(),
            queued: 0,
            written: 0,
            begun: now,
            established: None,
            keep_alive,
            sent: now,
            half_since: None,
            ending: None,
            armed: None,
        }
    }

    /// Whether we made it.
    pub(super) fn is_ours(&self) -> bool {
        self.by_us
    }

    /// The socket, to be watched.
    pub(super) fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Tcp(stream) => stream,
            Wire::TlsClient(tls) => &tls.sock,
            Wire::TlsServer(tls) => &tls.sock,
        }
    }

    /// Puts bytes behind what waits to be written.
    pub(super) fn queue(&mut self, bytes: Bytes) -> Result<(), Broken> {
        if self.queued + bytes.len() > MOST_QUEUED {
            return Err(Broken {
                reason: format!("the peer reads too slowly: {} bytes wait", self.queued),
                malformed: false,
            });
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
        Ok(())
    }

    /// Does what can be done without waiting.
    pub(super) fn turn(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Result<Turn, Broken> {
        if let Some(broken) = self.ending.take() {
            return Err(broken);
        }
        let mut turn = Turn::default();
        if self.stage == Stage::Connecting && !self.is_connected(now)? {
            return Ok(turn);
        }
        if self.stage == Stage::Handshaking {
            if !self.wire.handshake()? {
                return Ok(turn);
            }
            self.stage = Stage::Open;
            let established = self.established.unwrap_or(now);
            let tls = !matches!(self.wire, Wire::Tcp(_));
            let handshake = tls.then(|| now.saturating_duration_since(established));
            let connect = established.saturating_duration_since(self.begun);
            turn.opened = self.by_us.then_some((connect, handshake));
        }
        // What the peer said before it closed counts, so reading comes before a failed write ends
        // the connection.
        let read = self.read(&mut turn, buffer);
        // A message that follows a whole one has its own time.
        let since = self.half_since.filter(|_| turn.messages.is_empty());
        let within = self.framer.is_within_message();
        self.half_since = within.then(|| since.unwrap_or(now));
        let written = self.write(now);
        match read.and(written) {
            Err(broken) if !turn.messages.is_empty() => {
                self.ending = Some(broken);
                turn.more = true;
            }
            over => over?,
        }
        Ok(turn)
    }

    /// When [`Self::timeout`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Open => {
                let keep_alive = self.keep_alive.map(|interval| self.sent + interval);
                let message = self.half_since.map(|since| since + MESSAGE_WITHIN);
                [keep_alive, message].into_iter().flatten().min()
            }
            Stage::Connecting | Stage::Handshaking => Some(self.begun + OPEN_WITHIN),
        }
    }

    /// Gives up an opening that takes too long, keeps an idle connection alive.
    pub(super) fn timeout(&mut self, now: Instant) -> Result<(), Broken> {
        if self.next().is_none_or(|at| at > now) {
            return Ok(());
        }
        let half = self.half_since;
        let (what, within, malformed) = match self.stage {
            Stage::Connecting => ("connection: no answer", OPEN_WITHIN, false),
            Stage::Handshaking => ("TLS handshake: no end", OPEN_WITHIN, false),
            Stage::Open if half.is_some_and(|since| since + MESSAGE_WITHIN <= now) => {
                ("the peer's message: no end", MESSAGE_WITHIN, true)
            }
            Stage::Open => {
                self.framer.expect_pong();
                self.queue(Bytes::from_static(PING))?;
                // A peer that takes nothing is not asked again before its time.
                self.sent = now;
                return self.write(now);
            }
        };
        Err(Broken {
            reason: format!("{what} within {} s", within.as_secs()),
            malformed,
        })
    }

    fn is_connected(&mut self, now: Instant) -> Result<bool, Broken> {
        let socket = self.socket();
        if let Some(error) = socket.take_error()? {
            return Err(error.into());
        }
        match socket.peer_addr() {
            Ok(_) => {
                self.stage = Stage::Handshaking;
                self.established = Some(now);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, turn: &mut Turn, buffer: &mut Vec<u8>) -> Result<(), Broken> {
        buffer.resize(CHUNK, 0);
        for _ in 0..BURST {
            let length = match self.wire.read(buffer) {
                Ok(0) => {
                    return Err(Broken {
                        reason: "connection closed by the peer".to_owned(),
                        malformed: false,
                    });
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.framer.push(&buffer[..length]);
            loop {
                match self.framer.next_frame() {
                    Ok(Some(Frame::Message(message))) => turn.messages.push(message),
                    Ok(Some(Frame::Ping)) => self.queue(Bytes::from_static(PONG))?,
                    Ok(Some(Frame::Pong)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        return Err(Broken {
                            reason: format!("the peer sent no SIP: {error}"),
                            malformed: true,
                        });
                    }
                }
            }
        }
        turn.more = true;
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it.
    fn write(&mut self, now: Instant) -> Result<(), Broken> {
        while let Some(first) = self.queue.front() {
            match self.wire.write(&first[self.written..]) {
                Ok(length) => {
                    self.sent = now;
                    self.written += length;
                    self.queued -= length;
                    if self.written == first.len() {
                        self.queue.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.wire.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Wire {
    /// Goes on with the TLS handshake, if there is one; true once it is done.
    fn handshake(&mut self) -> io::Result<bool> {
        let done = match self {
            Self::TlsClient(tls) if tls.conn.is_handshaking() => {
                tls.conn.complete_io(&mut tls.sock)
            }
            Self::TlsServer(tls) if tls.conn.is_handshaking() => {
                tls.conn.complete_io(&mut tls.sock)
            }
            Self::Tcp(_) | Self::TlsClient(_) | Self::TlsServer(_) => Ok((0, 0)),
        };
        match done {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::TlsClient(tls) => tls.read(buffer),
            Self::TlsServer(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::TlsClient(tls) => tls.write(bytes),
            Self::TlsServer(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::TlsClient(tls) => tls.flush(),
            Self::TlsServer(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
mod tests;
