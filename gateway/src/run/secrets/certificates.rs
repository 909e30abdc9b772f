//! Certificates and keys of Secrets: checked before they go to a worker. Errors hold nothing of
//! them but names and dates.

use std::time::{Duration, SystemTime};

use callmeter_proto::Secret;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use crate::timestamp;

/// A certificate that ends within this time is warned of.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// The most bytes of PEM text that one key of a Secret may bring into an assignment.
const MOST: usize = 256 * 1024;

/// What a worker needs for TLS; empty texts where nothing is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsMaterial {
    /// Certificates trusted.
    pub ca_pem: String,
    /// Our certificate as client.
    pub client: Pair,
    /// What callees listen with.
    pub server: Pair,
}

/// A certificate chain and its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// The chain, the end entity first.
    pub certificates_pem: String,
    /// Its key.
    pub key_pem: Secret,
}

/// PEM of certificates, each of them readable and valid now; warnings are added.
pub(super) fn trusted(
    pem: &[u8],
    named: &str,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<String, String> {
    let text = text(pem, named)?;
    valid(&chain(&text, named)?, named, now, warnings)?;
    Ok(text)
}

/// A chain and its key, which belong together; warnings are added.
pub(super) fn pair(
    (chain_pem, chain_named): (&[u8], &str),
    (key_pem, key_named): (&[u8], &str),
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<Pair, String> {
    let certificates_pem = text(chain_pem, chain_named)?;
    let certificates = chain(&certificates_pem, chain_named)?;
    valid(&certificates, chain_named, now, warnings)?;
    let key_pem = Secret::new(text(key_pem, key_named)?);
    let unfit = || {
        format!(
            "{key_named} is no private key as PEM; accepted: RSA, ECDSA or Ed25519, without a passphrase"
        )
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes()).map_err(|_| unfit())?;
    let key = any_supported_type(&key).map_err(|_| unfit())?;
    if CertifiedKey::new(certificates, key).keys_match().is_err() {
        return Err(format!("{key_named} is not the key of {chain_named}"));
    }
    Ok(Pair {
        certificates_pem,
        key_pem,
    })
}

fn text(pem: &[u8], named: &str) -> Result<String, String> {
    if pem.len() > MOST {
        let length = pem.len();
        return Err(format!(
            "{named} has {length} bytes; accepted: at most {MOST}"
        ));
    }
    let text = std::str::from_utf8(pem).map_err(|_| format!("{named} is no PEM text"))?;
    Ok(text.to_owned())
}

fn chain(pem: &str, named: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{named} is no certificate as PEM")),
    }
}

/// Each of the certificates can be read and is valid now.
fn valid(
    chain: &[CertificateDer<'_>],
    named: &str,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let now = unix(now);
    for (index, certificate) in chain.iter().enumerate() {
        let which = if chain.len() == 1 {
            named.to_owned()
        } else {
            format!("certificate {} of {named}", index + 1)
        };
        let (_, certificate) = parse_x509_certificate(certificate)
            .map_err(|_| format!("{which} is no X.509 certificate"))?;
        let validity = certificate.validity();
        let (begins, ends) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let date = |seconds: i64| timestamp::text(seconds.saturating_mul(1000));
        if now > ends {
            return Err(format!("{which} ended at {}", date(ends)));
        }
        if now < begins {
            return Err(format!("{which} is not valid before {}", date(begins)));
        }
        if ends - now <= SOON.as_secs() as i64 {
            let warning = format!("{which} ends at {}", date(ends));
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    Ok(())
}

fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
