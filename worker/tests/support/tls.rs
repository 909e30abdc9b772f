//! Certificates as an assignment names them.

use callmeter_proto::worker::{Tls, TlsVerify};

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
