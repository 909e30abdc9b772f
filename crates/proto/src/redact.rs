//! `Debug` of the messages that carry secrets: the secret never shows, at any log level.

use std::fmt;

use crate::{fleet, worker};

const HIDDEN: &str = "<redacted>";

impl fmt::Debug for worker::Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            password: _,
            auth_user,
            realm,
        } = self;
        f.debug_struct("Account")
            .field("user", user)
            .field("password", &HIDDEN)
            .field("auth_user", auth_user)
            .field("realm", realm)
            .finish()
    }
}

impl fmt::Debug for worker::Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verify,
            ca_pem: _,
            client_certificate_pem: _,
            client_key_pem: _,
            server_certificate_pem: _,
            server_key_pem: _,
        } = self;
        f.debug_struct("Tls")
            .field("verify", verify)
            .field("certificates", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for fleet::CreateWorkerResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, token: _ } = self;
        f.debug_struct("CreateWorkerResponse")
            .field("id", id)
            .field("token", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for fleet::RegenerateTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegenerateTokenResponse")
            .field("token", &HIDDEN)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7
    #[test]
    fn debug_of_messages_with_secrets_hides_them() {
        let account = worker::Account {
            password: "hunter2".into(),
            ..Default::default()
        };
        let created = fleet::CreateWorkerResponse {
            id: "w1".into(),
            token: "cmw_ff".into(),
        };
        let regenerated = fleet::RegenerateTokenResponse {
            token: "cmw_ff".into(),
        };
        let tls = worker::Tls {
            client_key_pem: "hunter2".into(),
            server_key_pem: "hunter2".into(),
            ..Default::default()
        };
        let wrapped = worker::Assign {
            accounts: vec![account.clone()],
            registrar: Some(worker::Registrar {
                tls: Some(tls),
                ..Default::default()
            }),
            ..Default::default()
        };
        let shown = format!("{account:?} {created:?} {regenerated:?} {wrapped:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("cmw_ff"),
            "{shown}"
        );
        assert!(shown.contains(HIDDEN));
    }
}
