//! A SIP password that cannot be printed.

use std::fmt;

use zeroize::Zeroizing;

/// A digest password: never shown by `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// The password itself, for the digest computation only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// What a digest challenge is answered with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The `username` of the digest.
    pub username: String,
    /// The password.
    pub password: Password,
    /// The only realm that is answered; without one, the realm learnt from the first challenge to
    /// a REGISTER, else to an INVITE.
    pub realm: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let credentials = Credentials {
            username: "alice".to_owned(),
            password: Password::new("s3cr3t"),
            realm: None,
        };
        let shown = format!("{credentials:?}");
        assert!(shown.contains("alice"));
        assert!(!shown.contains("s3cr3t"));
    }
}
