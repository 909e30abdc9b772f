//! Listeners: TLS with a certificate that is read again when its files change, or plain TCP on
//! loopback only.

mod certificate;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

pub use certificate::Certificate;

/// A client that takes longer is no client.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// After a failed accept (no file descriptor left) the next try waits.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Why a listener cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file holds something else.
    #[error("{path} does not hold {accepted} in PEM")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        accepted: &'static str,
    },
    /// Certificate and key do not fit, or the key is of an unknown kind.
    #[error("certificate {cert} and key {key} cannot be used")]
    Unusable {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// Cause.
        #[source]
        source: rustls::Error,
    },
    /// Plain listeners are for loopback only.
    #[error(
        "{address} is not a loopback address; accepted without --tls-cert and --tls-key: 127.0.0.1 or [::1]"
    )]
    PlainOutside {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// An accepted connection.
#[derive(Debug)]
pub enum Connection {
    /// On loopback.
    Plain(TcpStream),
    /// Everywhere else.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepted connections of one listener, handshake done.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
}

/// Listens on an address; the future accepts until the `Incoming` is dropped.
pub async fn listen(
    address: SocketAddr,
    certificate: Option<&Arc<Certificate>>,
    protocol: &'static [u8],
) -> Result<(Incoming, impl Future<Output = ()> + Send + 'static), TlsError> {
    if certificate.is_none() && !address.ip().is_loopback() {
        return Err(TlsError::PlainOutside { address });
    }
    let acceptor = certificate
        .map(|certificate| certificate.server_config(protocol).map(TlsAcceptor::from))
        .transpose()?;
    let bind = |source| TlsError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let (accepted, connections) = mpsc::channel(HANDSHAKES);
    Ok((
        Incoming {
            connections,
            address,
        },
        accept(listener, acceptor, accepted),
    ))
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    accepted: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let handshakes = TaskTracker::new();
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let next = async {
            // The semaphore is never closed: an error cannot be.
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, peer)) => Some((permit, stream, peer)),
                Err(failed) => {
                    tracing::warn!(
                        error = &failed as &dyn std::error::Error,
                        "a connection could not be accepted"
                    );
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                    None
                }
            }
        };
        let (permit, stream, peer) = tokio::select! {
            () = accepted.closed() => break,
            next = next => match next {
                Some(next) => next,
                None => continue,
            },
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        handshakes.spawn(async move {
            let _permit = permit;
            // Small messages both ways: waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            let connection = match acceptor {
                None => Connection::Plain(stream),
                Some(acceptor) => match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Connection::Tls(Box::new(stream)),
                    Ok(Err(failed)) => {
                        tracing::debug!(%peer, error = &failed as &dyn std::error::Error, "TLS handshake failed");
                        return;
                    }
                    Err(_) => return,
                },
            };
            // Closed: the server stops.
            let _ = accepted.send((connection, peer)).await;
        });
    }
    handshakes.close();
    handshakes.wait().await;
}

impl Incoming {
    /// The address in use, with the port the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections
            .poll_recv(cx)
            .map(|next| next.map(|(connection, _)| Ok(connection)))
    }
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(next) => next,
            // The accepting task ended: its owner ends the process.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
