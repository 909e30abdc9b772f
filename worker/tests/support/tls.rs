//! Certificates as an assignment names them, and as a server of TLS shows them.

use std::sync::Arc;

use callmeter_proto::worker::{Tls, TlsVerify};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::certificates::Certificates;

impl Certificates {
    /// For those who trust this authority alone.
    pub fn trusted(&self) -> Tls {
        Tls {
            verify: TlsVerify::Custom.into(),
            ca_pem: self.ca.clone(),
            ..Tls::default()
        }
    }

    /// For callees that show this certificate, and trust its authority when they call back.
    pub fn shown(&self) -> Tls {
        Tls {
            server_certificate_pem: self.certificate.clone(),
            server_key_pem: self.key.clone(),
            ..self.trusted()
        }
    }
}

/// A server that shows a certificate with its key, both in one text.
pub fn server(pem: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key);
    Arc::new(config.unwrap())
}
