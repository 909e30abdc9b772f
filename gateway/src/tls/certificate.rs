//! A certificate that is read again when its files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

use super::TlsError;

/// How often the certificate's files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// The server certificate of all listeners.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    files: (Vec<u8>, Vec<u8>),
    certified: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads certificate chain and key (PEM).
    pub fn load(cert: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(read(cert, key)?);
        Ok(Arc::new(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current,
        }))
    }

    /// Reads the files again if they changed; true: a new certificate is in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let next = read(&self.cert, &self.key)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.files != next.files;
        *current = next;
        Ok(changed)
    }

    /// Watches the files for ever; a certificate that cannot be used leaves the old one in use.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut every = tokio::time::interval(RELOAD_EVERY);
        loop {
            every.tick().await;
            match self.reload() {
                Ok(true) => tracing::info!(cert = %self.cert.display(), "certificate reloaded"),
                Ok(false) => {}
                Err(failed) => {
                    tracing::warn!(
                        error = &failed as &dyn std::error::Error,
                        "the old certificate stays in use"
                    );
                }
            }
        }
    }

    /// Server configuration for one application protocol (`h2`, `http/1.1`).
    pub(super) fn server_config(
        self: &Arc<Self>,
        protocol: &[u8],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let unusable = |source| TlsError::Unusable {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.certified))
    }
}

fn read(cert: &Path, key: &Path) -> Result<Current, TlsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let malformed = |path: &Path, accepted| TlsError::Malformed {
        path: path.to_owned(),
        accepted,
    };
    let files = (read(cert)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&files.0)
        .collect::<Result<_, _>>()
        .map_err(|_| malformed(cert, "a certificate chain"))?;
    if chain.is_empty() {
        return Err(malformed(cert, "a certificate chain"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&files.1).map_err(|_| malformed(key, "a private key"))?;
    let certified =
        CertifiedKey::from_der(chain, private, &default_provider()).map_err(|source| {
            TlsError::Unusable {
                cert: cert.to_owned(),
                key: key.to_owned(),
                source,
            }
        })?;
    Ok(Current {
        files,
        certified: Arc::new(certified),
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ensure_tls::renewed;

    #[test]
    fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let write = || {
            let names = ["localhost".to_owned()];
            let made = renewed(None, &names, SystemTime::now()).unwrap().unwrap();
            fs::write(&cert, &made.cert).unwrap();
            fs::write(&key, made.key.expose()).unwrap();
        };
        write();
        let certificate = Certificate::load(&cert, &key).unwrap();
        let in_use = || certificate.current.read().unwrap().certified.cert.clone();
        let first = in_use();
        assert!(!certificate.reload().unwrap());
        write();
        assert!(certificate.reload().unwrap());
        let second = in_use();
        assert_ne!(first, second);
        // The key of the pair before: the certificate alone was replaced.
        let old_key = fs::read(&key).unwrap();
        write();
        fs::write(&key, old_key).unwrap();
        assert!(matches!(
            certificate.reload(),
            Err(TlsError::Unusable { .. })
        ));
        fs::write(&cert, "x").unwrap();
        assert!(matches!(
            certificate.reload(),
            Err(TlsError::Malformed { .. })
        ));
        assert_eq!(in_use(), second);
    }
}
