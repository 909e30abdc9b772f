//! A private authority and the server certificate it signed, as PEM.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callmeter_proto::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Life of the authority.
const CA_LIFE: Duration = DAY.saturating_mul(3650);
/// Life of the server certificate.
const LEAF_LIFE: Duration = DAY.saturating_mul(365);
/// The server certificate is renewed when it has less left.
const RENEW_BEFORE: Duration = DAY.saturating_mul(30);
/// Clocks of clients may be behind ours.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Why a certificate cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A certificate could not be made.
    #[error("make a certificate for {names}")]
    Make {
        /// The names asked for.
        names: String,
        /// Cause.
        #[source]
        source: rcgen::Error,
    },
    /// What is there is no certificate.
    #[error("{what} is no certificate in PEM")]
    Malformed {
        /// Which of the bundle.
        what: &'static str,
    },
}

/// Authority and server certificate with their keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Certificate of the authority (PEM).
    pub ca_cert: String,
    /// Key of the authority (PEM).
    pub ca_key: Secret,
    /// Server certificate (PEM).
    pub cert: String,
    /// Key of the server certificate (PEM).
    pub key: Secret,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("ca_cert", &self.ca_cert)
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

/// What is to replace `existing`; none: it is good for `names` for 30 more days.
pub fn renewed(
    existing: Option<&Bundle>,
    names: &[String],
    now: SystemTime,
) -> Result<Option<Bundle>, BundleError> {
    let make = |source| BundleError::Make {
        names: names.join(", "),
        source,
    };
    let Some(existing) = existing else {
        let (ca_cert, ca_key) = make_ca(now).map_err(make)?;
        return sign(ca_cert, ca_key, names, now).map(Some).map_err(make);
    };
    let authority = facts(&existing.ca_cert, "the authority")?;
    let server = facts(&existing.cert, "the server certificate")?;
    if authority.ends < now + LEAF_LIFE {
        return renewed(None, names, now);
    }
    let wanted: BTreeSet<_> = names.iter().cloned().collect();
    if server.issuer == authority.subject
        && server.ends >= now + RENEW_BEFORE
        && server.names.is_superset(&wanted)
    {
        return Ok(None);
    }
    sign(
        existing.ca_cert.clone(),
        existing.ca_key.clone(),
        names,
        now,
    )
    .map(Some)
    .map_err(make)
}

fn make_ca(now: SystemTime) -> Result<(String, Secret), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // The serial of the subject tells a new authority from the one before.
    params.distinguished_name.push(
        DnType::CommonName,
        format!("callmeter gateway CA {}", unix(now).as_secs()),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    set_life(&mut params, now, CA_LIFE);
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), Secret::new(key.serialize_pem())))
}

fn sign(
    ca_cert: String,
    ca_key: Secret,
    names: &[String],
    now: SystemTime,
) -> Result<Bundle, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&ca_cert, KeyPair::from_pem(ca_key.expose())?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "callmeter gateway");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, now, LEAF_LIFE);
    let cert = params.signed_by(&key, &issuer)?;
    Ok(Bundle {
        ca_cert,
        ca_key,
        cert: cert.pem(),
        key: Secret::new(key.serialize_pem()),
    })
}

fn set_life(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + unix(now - BACKDATED);
    params.not_after = epoch + unix(now + life);
}

fn unix(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What is read back from a certificate.
struct Facts {
    subject: String,
    issuer: String,
    ends: SystemTime,
    names: BTreeSet<String>,
}

fn facts(pem: &str, what: &'static str) -> Result<Facts, BundleError> {
    let malformed = || BundleError::Malformed { what };
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|_| malformed())?;
    let cert = pem.parse_x509().map_err(|_| malformed())?;
    let ends =
        UNIX_EPOCH + Duration::from_secs(cert.validity().not_after.timestamp().max(0) as u64);
    let names = cert.subject_alternative_name().map_err(|_| malformed())?;
    let names = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(name)
        .collect();
    Ok(Facts {
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
        ends,
        names,
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_good_bundle_is_left_alone_and_one_near_its_end_is_renewed_under_the_same_authority() {
        let now = SystemTime::now();
        let names = names(&["gw", "gw.ns.svc", "10.0.0.7"]);
        let first = renewed(None, &names, now).unwrap().unwrap();
        assert_eq!(renewed(Some(&first), &names, now).unwrap(), None);
        assert_eq!(
            renewed(Some(&first), &names, now + LEAF_LIFE - RENEW_BEFORE - DAY).unwrap(),
            None
        );
        let later = now + LEAF_LIFE - RENEW_BEFORE + DAY;
        let second = renewed(Some(&first), &names, later).unwrap().unwrap();
        assert_eq!(
            (&second.ca_cert, &second.ca_key),
            (&first.ca_cert, &first.ca_key)
        );
        assert_ne!(second.cert, first.cert);
        assert!(facts(&second.cert, "leaf").unwrap().ends > later + LEAF_LIFE - DAY);
        let last = now + CA_LIFE - LEAF_LIFE + DAY;
        assert_ne!(
            renewed(Some(&second), &names, last)
                .unwrap()
                .unwrap()
                .ca_cert,
            first.ca_cert
        );
    }

    #[test]
    fn a_new_name_makes_a_new_certificate_and_a_dropped_one_does_not() {
        let now = SystemTime::now();
        let two = names(&["gw", "10.0.0.7"]);
        let first = renewed(None, &two, now).unwrap().unwrap();
        assert_eq!(renewed(Some(&first), &names(&["gw"]), now).unwrap(), None);
        let second = renewed(Some(&first), &names(&["gw", "fd00::7"]), now)
            .unwrap()
            .unwrap();
        assert!(
            facts(&second.cert, "leaf")
                .unwrap()
                .names
                .contains("fd00::7")
        );
    }

    #[test]
    fn a_certificate_of_another_authority_is_replaced_and_garbage_is_named() {
        let now = SystemTime::now();
        let names = names(&["gw"]);
        let first = renewed(None, &names, now).unwrap().unwrap();
        let other = renewed(None, &names, now + DAY).unwrap().unwrap();
        let mixed = Bundle {
            ca_cert: other.ca_cert,
            ca_key: other.ca_key,
            ..first.clone()
        };
        assert!(renewed(Some(&mixed), &names, now).unwrap().is_some());
        let garbage = Bundle {
            cert: "x".into(),
            ..first
        };
        let error = renewed(Some(&garbage), &names, now)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the server certificate is no certificate in PEM");
        assert!(!format!("{garbage:?}").contains("PRIVATE KEY"));
    }
}
