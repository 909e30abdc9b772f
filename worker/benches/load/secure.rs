//! TLS for programs that have none: a relay between a TCP and a TLS connection.

use std::sync::Arc;

use callmeter_proto::worker::{Tls, TlsVerify};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::support::{
    certificates::{Certificates, certificates},
    tls::server,
};

/// Where relays listen for SIPp.
const RELAY: &str = "127.66.0.4";
/// What a relay reads in one go.
const CHUNK: usize = 64 * 1024;

/// One end with a certificate for its address, and what the other end needs to trust it.
pub(crate) struct Secure {
    certificates: Certificates,
    address: String,
}

/// Takes one connection after the other and passes on what comes; ends when dropped.
pub(crate) struct Relay {
    address: String,
    task: JoinHandle<()>,
}

impl Secure {
    /// An end at an IP address.
    pub(crate) fn new(address: &str) -> Self {
        Self {
            certificates: certificates(&[address], false),
            address: address.to_owned(),
        }
    }

    /// What a worker shows there.
    pub(crate) fn shown(&self) -> Tls {
        Tls {
            server_certificate_pem: self.certificates.certificate.clone(),
            server_key_pem: self.certificates.key.clone(),
            ..Tls::default()
        }
    }

    /// What a worker trusts to call it.
    pub(crate) fn trusted(&self) -> Tls {
        Tls {
            verify: TlsVerify::Custom.into(),
            ca_pem: self.certificates.ca.clone(),
            ..Tls::default()
        }
    }

    /// Certificate and key in one text, for [`server`].
    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.certificates.certificate, self.certificates.key)
    }

    /// A client that trusts it; every handshake is a full one.
    pub(crate) fn client(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.certificates.ca.as_bytes());
        roots.add(ca.unwrap()).unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(self.address.clone()).unwrap();
        (Arc::new(config), name)
    }

    /// From TCP to TLS at `remote`, which is this end.
    pub(crate) fn to_tls(&self, remote: &str) -> Relay {
        let (config, name) = self.client();
        Relay::start(RELAY, remote, Way::ToTls(config.into(), name))
    }

    /// From TLS at this end, on a port of its own, to TCP at `remote`.
    pub(crate) fn to_tcp(&self, remote: &str) -> Relay {
        let acceptor = server(&self.pem()).into();
        Relay::start(&self.address, remote, Way::ToTcp(acceptor))
    }
}

/// On which side TLS is.
enum Way {
    ToTls(TlsConnector, ServerName<'static>),
    ToTcp(TlsAcceptor),
}

impl Way {
    async fn pass(&self, from: TcpStream, remote: &str) -> std::io::Result<()> {
        from.set_nodelay(true)?;
        let to = TcpStream::connect(remote).await?;
        to.set_nodelay(true)?;
        match self {
            Self::ToTls(connector, name) => {
                pass(from, connector.connect(name.clone(), to).await?).await
            }
            Self::ToTcp(acceptor) => pass(acceptor.accept(from).await?, to).await,
        }
    }
}

impl Relay {
    fn start(own: &str, remote: &str, way: Way) -> Self {
        let listener = std::net::TcpListener::bind((own, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let remote = remote.to_owned();
        let task = tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((from, _)) = listener.accept().await {
                // The end of either side is the end of both; who sees calls fail says so.
                let _ = way.pass(from, &remote).await;
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: impl AsyncRead + AsyncWrite + Unpin,
    mut to: impl AsyncRead + AsyncWrite + Unpin,
) -> std::io::Result<()> {
    copy_bidirectional_with_sizes(&mut from, &mut to, CHUNK, CHUNK).await?;
    Ok(())
}
