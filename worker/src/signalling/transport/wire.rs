//! What bytes go over: TCP, or TLS on it.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use rustls::{
    ClientConnection, ServerConnection, StreamOwned, client::verify_server_name,
    pki_types::ServerName, server::ParsedCertificate,
};

/// What bytes go over.
pub(super) enum Wire {
    Tcp(TcpStream),
    TlsClient(Box<StreamOwned<ClientConnection, TcpStream>>),
    TlsServer(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    /// The socket, to be watched.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::TlsClient(tls) => &tls.sock,
            Self::TlsServer(tls) => &tls.sock,
        }
    }

    /// Whether it is TLS.
    pub(super) fn is_secure(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// Whether the certificate of the server that TLS goes to is for this name, too.
    pub(super) fn proves(&self, name: &ServerName<'_>) -> io::Result<()> {
        let Self::TlsClient(tls) = self else {
            return Ok(());
        };
        let shown = tls.conn.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or(io::ErrorKind::NotConnected)?;
        ParsedCertificate::try_from(shown)
            .and_then(|shown| verify_server_name(&shown, name))
            .map_err(io::Error::other)
    }

    /// Tells the peer that nothing more comes (RFC 8446 §6.1), as far as that goes without waiting.
    pub(super) fn close(&mut self) {
        match self {
            Self::Tcp(_) => {}
            Self::TlsClient(tls) => tls.conn.send_close_notify(),
            Self::TlsServer(tls) => tls.conn.send_close_notify(),
        }
        // Who does not hear it learns it from the end of the connection.
        let _ = self.flush();
    }

    /// Goes on with the TLS handshake, if there is one; true once it is done.
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
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
