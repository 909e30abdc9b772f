//! TLS of SIP connections: what is trusted, what we show, and failures by name.

use std::{io, sync::Arc};

use callmeter_engine::Invalid;
use callmeter_proto::worker::{Tls, TlsVerify};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// What is said of a connection that the peer has closed.
pub(super) const CLOSED: &str = "connection closed by the peer";

/// The two sides of TLS of one share.
#[derive(Clone)]
pub(super) struct TlsConfigs {
    pub(super) client: Arc<ClientConfig>,
    /// Servers have to prove who they are.
    pub(super) verifies: bool,
    /// With a certificate to listen with only.
    pub(super) server: Option<Arc<ServerConfig>>,
}

/// Reads what the registrar's `tls` asks for; keys and certificates show in no error.
pub(super) fn configs(tls: &Tls) -> Result<TlsConfigs, Invalid> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("verify", error.to_string(), "versions of the TLS library"))?;
    let builder = match tls.verify() {
        TlsVerify::Skip => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider.clone()))),
        TlsVerify::Custom => builder.with_root_certificates(custom_roots(&tls.ca_pem)?),
        TlsVerify::System | TlsVerify::Unspecified => {
            builder.with_root_certificates(system_roots())
        }
    };
    let client = if tls.client_certificate_pem.is_empty() {
        builder.with_no_client_auth()
    } else {
        let (chain, key) = pair(
            "clientCertRef",
            &tls.client_certificate_pem,
            &tls.client_key_pem,
        )?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|_| mismatch("clientCertRef"))?
    };
    let server = if tls.server_certificate_pem.is_empty() {
        None
    } else {
        let (chain, key) = pair(
            "serverCertRef",
            &tls.server_certificate_pem,
            &tls.server_key_pem,
        )?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("verify", error.to_string(), "versions of the TLS library"))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| mismatch("serverCertRef"))?;
        Some(Arc::new(config))
    };
    Ok(TlsConfigs {
        client: Arc::new(client),
        verifies: tls.verify() != TlsVerify::Skip,
        server,
    })
}

fn custom_roots(pem: &str) -> Result<RootCertStore, Invalid> {
    let refused = || {
        invalid(
            "caRef",
            "unreadable".to_owned(),
            "one or more certificates in PEM",
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| refused())?;
        roots.add(certificate).map_err(|_| refused())?;
    }
    if roots.is_empty() {
        return Err(refused());
    }
    Ok(roots)
}

/// What the system trusts; unreadable files of it are left out, as everywhere.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(field: &str, certificate: &str, key: &str) -> Result<Pair, Invalid> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain
        .ok_or_else(|| invalid(field, "unreadable".to_owned(), "a certificate chain in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        invalid(
            field,
            "an unreadable key".to_owned(),
            "a private key in PEM",
        )
    })?;
    Ok((chain, key))
}

fn mismatch(field: &str) -> Invalid {
    invalid(
        field,
        "a certificate with the key of another".to_owned(),
        "a certificate with its own key",
    )
}

fn invalid(field: &str, value: String, accepted: &'static str) -> Invalid {
    Invalid {
        field: format!("registrar.tls.{field}"),
        value,
        accepted,
    }
}

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether the peer's certificate is for other names than the one it was called by.
pub(super) fn is_misnamed(error: &io::Error) -> bool {
    matches!(
        of_tls(error),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ))
    )
}

/// Why a connection broke, for people; TLS failures by the names users know.
pub(super) fn reason(error: &io::Error) -> String {
    let Some(tls) = of_tls(error) else {
        return match error.kind() {
            // It ends without saying so in TLS, too, as many peers do.
            io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
            _ => error.to_string(),
        };
    };
    let name = match tls {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "certificate has expired".to_owned(),
        // An authority of the right name with another key is unknown, too.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "certificate signed by unknown authority".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }) => not_valid(presented, &expected.to_str()),
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate,
        ) => "bad certificate".to_owned(),
        other => other.to_string(),
    };
    format!("TLS handshake failure: {name}")
}

/// A certificate has none of the names it should.
fn not_valid(presented: &[String], expected: &str) -> String {
    let names: Vec<_> = presented.iter().map(|name| plain(name)).collect();
    let names = if names.is_empty() {
        "no name".to_owned()
    } else {
        names.join(", ")
    };
    format!("certificate is valid for {names}, not {expected}")
}

/// A name of a certificate without the kind that rustls writes around it.
fn plain(presented: &str) -> &str {
    let inner = presented.split_once('(');
    let inner = inner.and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

/// Takes every certificate (`verify: skip`); the signatures of the handshake are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rustls writes the names of a certificate.
    #[test]
    fn names_of_a_certificate_are_told_without_their_kinds() {
        let told = |presented: &[&str]| {
            let presented = presented.iter().map(|name| (*name).to_owned()).collect();
            let expected = ServerName::try_from("pbx.example").unwrap();
            let context = CertificateError::NotValidForNameContext {
                expected,
                presented,
            };
            reason(&io::Error::other(rustls::Error::InvalidCertificate(
                context,
            )))
        };
        for (presented, wanted) in [
            (&["DnsName(\"a.example\")"][..], "a.example"),
            (
                &["IpAddress(10.0.0.1)", "DnsName(\"*.example\")"],
                "10.0.0.1, *.example",
            ),
            (
                &["UniformResourceIdentifier(\"sip:pbx.example\")"],
                "sip:pbx.example",
            ),
            (&[], "no name"),
        ] {
            let wanted = format!(
                "TLS handshake failure: certificate is valid for {wanted}, not pbx.example"
            );
            assert_eq!(told(presented), wanted);
        }
    }
}
