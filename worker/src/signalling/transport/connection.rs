//! One connection: from SYN over the TLS handshake to messages.

use std::{
    io,
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use callmeter_engine::Flow;
use rustix::net::sockopt;
use rustls::pki_types::ServerName;

use super::carrier::{Broken, Carrier};

/// How long connecting and all handshakes may take together; Timer B gives 32 s in all.
pub(super) const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long the rest of a message may take to come, once some of it has.
const MESSAGE_WITHIN: Duration = Duration::from_secs(32);
/// How long a peer that keeps the flow may take to answer a keep-alive (RFC 5626 §4.4.1).
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// TLS.
    Handshaking,
    /// WebSocket.
    Upgrading,
    Open,
}

/// A connection to one peer.
pub(super) struct Connection {
    pub(super) flow: Flow,
    by_us: bool,
    /// It comes from the one port its local transport has, which the next one to this peer needs.
    only_port: bool,
    carrier: Box<dyn Carrier>,
    /// What the server is called and has to prove before it gets a message; TLS sees to the first.
    names: Vec<ServerName<'static>>,
    /// How many of them, from the first on, it has proven.
    proven: usize,
    stage: Stage,
    begun: Instant,
    established: Option<Instant>,
    /// How long the TLS handshake took.
    handshake: Option<Duration>,
    keep_alive: Option<Duration>,
    /// The peer has promised to answer keep-alives.
    kept: bool,
    /// Since when one of them has no answer.
    pinged: Option<Instant>,
    /// When bytes were last written, or the last keep-alive was given to be.
    sent: Instant,
    /// Since when a message has been coming in.
    half_since: Option<Instant>,
    /// Why it is over, to be told in the next turn.
    ending: Option<Broken>,
    /// The entry it has among the timers.
    pub(super) armed: Option<Instant>,
    /// Octets queued since its last turn.
    pub(super) unwritten: usize,
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

impl Connection {
    /// A connection that has been begun now, by us or (then it is established) by the peer.
    pub(super) fn new(
        now: Instant,
        flow: Flow,
        carrier: Box<dyn Carrier>,
        by_us: bool,
        keep_alive: Option<Duration>,
    ) -> Self {
        Self {
            flow,
            by_us,
            only_port: false,
            carrier,
            names: Vec::new(),
            proven: 0,
            stage: if by_us {
                Stage::Connecting
            } else {
                Stage::Handshaking
            },
            begun: now,
            established: None,
            handshake: None,
            keep_alive,
            kept: false,
            pinged: None,
            sent: now,
            half_since: None,
            ending: None,
            armed: None,
            unwritten: 0,
        }
    }

    /// The next connection to this peer will need its port: it must be free as soon as this one has
    /// failed. Until it is open nothing is on it that a reset could lose.
    pub(super) fn comes_from_the_only_port(&mut self) {
        self.only_port = true;
        self.reset_on_close(true);
    }

    /// It has failed, and what is still on it is lost.
    pub(super) fn give_up(&self) {
        self.reset_on_close(true);
    }

    /// A connection that we close first keeps its pair of addresses, until the peer closes it and
    /// for a minute more, unless it is reset (RFC 9293 §3.6, §3.10.4). At the end of a run that does
    /// no harm, and the peer shall still read what we sent last.
    fn reset_on_close(&self, reset: bool) {
        let Some(socket) = self.carrier.socket().filter(|_| self.only_port) else {
            return;
        };
        if let Err(error) = sockopt::set_socket_linger(socket, reset.then_some(Duration::ZERO)) {
            tracing::debug!(%error, "SIP connection may keep its port when it is over");
        }
    }

    /// Whether a keep-alive waits for its answer.
    #[cfg(test)]
    pub(super) fn is_unanswered(&self) -> bool {
        self.pinged.is_some()
    }

    /// Whether we made it.
    pub(super) fn is_ours(&self) -> bool {
        self.by_us
    }

    /// The socket, to be watched.
    pub(super) fn socket(&self) -> io::Result<&TcpStream> {
        let socket = self.carrier.socket();
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Puts a message behind what waits to be written.
    pub(super) fn queue(&mut self, message: Bytes) -> Result<(), Broken> {
        self.carrier.queue(message)
    }

    /// The peer keeps the flow: it answers keep-alives, or is gone (RFC 5626 §4.4.1). It may want to
    /// hear something this often.
    pub(super) fn keep_alive(&mut self, every: Option<Duration>) {
        self.keep_alive = every.or(self.keep_alive);
        self.kept = true;
    }

    /// Says goodbye where there is a way to.
    pub(super) fn close(&mut self) {
        self.carrier.close();
    }

    /// Whether its peer, whom TLS has shown, may be called this; none: it is not known yet.
    pub(super) fn proves(&self, name: &ServerName<'_>) -> Option<Result<(), Broken>> {
        let known = matches!(self.stage, Stage::Upgrading | Stage::Open);
        known.then(|| self.carrier.proves(name))
    }

    /// The peer has to prove this name too, if it has not shown yet who it is.
    pub(super) fn is_called(&mut self, name: ServerName<'static>) {
        if matches!(self.stage, Stage::Connecting | Stage::Handshaking) {
            self.names.push(name);
        }
    }

    /// The names it has proven.
    pub(super) fn proven(&self) -> &[ServerName<'static>] {
        self.names.get(..self.proven).unwrap_or_default()
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
            if !self.carrier.secure()? {
                return Ok(turn);
            }
            self.proven = self.names.len().min(1);
            while let Some(name) = self.names.get(self.proven) {
                self.carrier.proves(name)?;
                self.proven += 1;
            }
            self.stage = Stage::Upgrading;
            let established = self.established.unwrap_or(now);
            let took = now.saturating_duration_since(established);
            self.handshake = self.carrier.is_secure().then_some(took);
        }
        if self.stage == Stage::Upgrading {
            if !self.carrier.upgrade()? {
                return Ok(turn);
            }
            self.stage = Stage::Open;
            self.reset_on_close(false);
            let established = self.established.unwrap_or(now);
            let connect = established.saturating_duration_since(self.begun);
            turn.opened = self.by_us.then_some((connect, self.handshake));
        }
        // What the peer said before it closed counts, so reading comes before a failed write ends
        // the connection.
        let read = self.carrier.read(&mut turn.messages, buffer);
        // A message that follows a whole one has its own time.
        let since = self.half_since.filter(|_| turn.messages.is_empty());
        let within = self.carrier.is_within_message();
        if read.as_ref().is_ok_and(|heard| heard.any) {
            self.pinged = None;
        }
        self.half_since = within.then(|| since.unwrap_or(now));
        let written = self.write(now);
        match read.and_then(|heard| written.map(|()| heard.more)) {
            Err(broken) if !turn.messages.is_empty() => {
                self.ending = Some(broken);
                turn.more = true;
            }
            over => turn.more = over?,
        }
        Ok(turn)
    }

    /// When [`Self::timeout`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Open => {
                let keep_alive = self.keep_alive.map(|interval| self.sent + interval);
                let message = self.half_since.map(|since| since + MESSAGE_WITHIN);
                let pong = self.pinged.map(|since| since + PONG_WITHIN);
                [keep_alive, message, pong].into_iter().flatten().min()
            }
            Stage::Connecting | Stage::Handshaking | Stage::Upgrading => {
                Some(self.begun + OPEN_WITHIN)
            }
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
            Stage::Upgrading => ("WebSocket handshake: no end", OPEN_WITHIN, false),
            Stage::Open if half.is_some_and(|since| since + MESSAGE_WITHIN <= now) => {
                ("the peer's message: no end", MESSAGE_WITHIN, true)
            }
            Stage::Open if self.pinged.is_some_and(|since| since + PONG_WITHIN <= now) => {
                ("keep-alive: no answer", PONG_WITHIN, false)
            }
            Stage::Open => {
                self.carrier.ping()?;
                if self.kept {
                    self.pinged.get_or_insert(now);
                }
                // A peer that takes nothing is not asked again before its time.
                self.sent = now;
                return self.write(now);
            }
        };
        Err(Broken {
            malformed,
            ..Broken::because(format!("{what} within {} s", within.as_secs()))
        })
    }

    fn is_connected(&mut self, now: Instant) -> Result<bool, Broken> {
        let socket = self.socket()?;
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

    /// Writes what waits, as far as the socket takes it.
    fn write(&mut self, now: Instant) -> Result<(), Broken> {
        if self.carrier.write()? {
            self.sent = now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
