//! Messages one after the other in a stream of bytes (RFC 3261 §18.3).

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use bytes::{Buf as _, Bytes, BytesMut};
use callmeter_sip::{Frame, Framer, PING, PONG};
use rustls::pki_types::ServerName;

use super::{
    carrier::{Broken, Carrier, Heard, MOST_QUEUED},
    wire::Wire,
};

/// Bytes read in one go.
const CHUNK: usize = 16 * 1024;
/// Chunks read before other connections get their turn.
const BURST: usize = 16;

/// Messages one after the other, each with its length in Content-Length.
pub(super) struct Stream {
    wire: Wire,
    framer: Framer,
    /// What waits to be written: many messages go with one system call, and in one TLS record.
    queue: BytesMut,
}

impl Stream {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            framer: Framer::new(),
            queue: BytesMut::new(),
        }
    }
}

impl Carrier for Stream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.wire.socket())
    }

    fn is_secure(&self) -> bool {
        self.wire.is_secure()
    }

    fn secure(&mut self) -> Result<bool, Broken> {
        Ok(self.wire.handshake()?)
    }

    fn proves(&self, name: &ServerName<'_>) -> Result<(), Broken> {
        Ok(self.wire.proves(name)?)
    }

    fn upgrade(&mut self) -> Result<bool, Broken> {
        Ok(true)
    }

    fn read(&mut self, messages: &mut Vec<Bytes>, buffer: &mut Vec<u8>) -> Result<Heard, Broken> {
        let mut heard = Heard::default();
        buffer.resize(CHUNK, 0);
        for _ in 0..BURST {
            let length = match self.wire.read(buffer) {
                Ok(0) => return Err(Broken::closed()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            heard.any = true;
            self.framer.push(&buffer[..length]);
            loop {
                match self.framer.next_frame() {
                    Ok(Some(Frame::Message(message))) => messages.push(message),
                    Ok(Some(Frame::Ping)) => self.queue(Bytes::from_static(PONG))?,
                    Ok(Some(Frame::Pong)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        return Err(Broken::malformed(format!("the peer sent no SIP: {error}")));
                    }
                }
            }
        }
        heard.more = true;
        Ok(heard)
    }

    fn queue(&mut self, message: Bytes) -> Result<(), Broken> {
        if self.queue.len() + message.len() > MOST_QUEUED {
            return Err(Broken::slow(self.queue.len()));
        }
        self.queue.extend_from_slice(&message);
        Ok(())
    }

    fn ping(&mut self) -> Result<(), Broken> {
        self.framer.expect_pong();
        self.queue(Bytes::from_static(PING))
    }

    fn write(&mut self) -> Result<bool, Broken> {
        let mut some = false;
        while !self.queue.is_empty() {
            match self.wire.write(&self.queue) {
                Ok(length) => {
                    some = true;
                    self.queue.advance(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(some),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.wire.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(some),
        }
    }

    fn is_within_message(&self) -> bool {
        self.framer.is_within_message()
    }

    fn close(&mut self) {
        self.wire.close();
    }
}
