//! Certificates for TLS in tests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// A certificate for `names` and the authority it is from, all in PEM.
pub struct Certificates {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// Makes an authority and a certificate of it for `names`; `expired`: its time is over.
pub fn certificates(names: &[&str], expired: bool) -> Certificates {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut leaf = CertificateParams::new(names).unwrap();
    if expired {
        leaf.not_before = date_time_ymd(2020, 1, 1);
        leaf.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    Certificates {
        ca: issuer.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}
