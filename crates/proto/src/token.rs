//! Worker tokens and other secrets in memory: redacted in every `Debug`, wiped when dropped.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A secret text: shown only by [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Token of a user-owned worker: `cmw_` and 64 lowercase hexadecimal characters (R55).
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerToken(Secret);

/// Why a text is not a worker token; never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// The token of a cloud worker, which users never handle (R58).
    #[error(
        "is a cloud worker token (cmc_); a user-owned worker needs cmw_ and 64 lowercase hexadecimal characters"
    )]
    Cloud,
    /// Anything else.
    #[error(
        "is malformed ({length} characters); accepted: cmw_ and 64 lowercase hexadecimal characters (68 in all)"
    )]
    Malformed {
        /// Length of what was given, in bytes.
        length: usize,
    },
}

impl WorkerToken {
    /// Prefix of every worker token.
    pub const PREFIX: &str = "cmw_";
    /// Length of a whole token in characters.
    pub const LENGTH: usize = 68;

    /// Makes a token of 32 random bytes that the caller draws from a cryptographic source (R56).
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(Secret::new(format!(
            "{}{}",
            Self::PREFIX,
            hex::encode(bytes)
        )))
    }

    /// Checks the form `^cmw_[0-9a-f]{64}$`.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        if text.starts_with("cmc_") {
            return Err(MalformedToken::Cloud);
        }
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.strip_prefix(Self::PREFIX) {
            Some(body) if body.len() == 64 && body.bytes().all(is_hex) => {
                Ok(Self(Secret::new(text)))
            }
            _ => Err(MalformedToken::Malformed { length: text.len() }),
        }
    }

    /// The whole token, for the Authorization header or the single answer that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// SHA-256 of the token, the input of the gateway's keyed hash.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.expose().as_bytes()).into()
    }
}

impl fmt::Debug for WorkerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cmw_<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R55, R57
    #[test]
    fn the_documented_example_is_a_token_and_its_neighbours_are_not() {
        let example = format!("cmw_{}", "a1b2c3d4e5f67890".repeat(4));
        assert_eq!(example.len(), WorkerToken::LENGTH);
        assert!(WorkerToken::parse(&example).is_ok());
        for bad in [
            String::new(),
            "cmw_".into(),
            example.to_uppercase(),
            example.replacen("a1", "A1", 1),
            example.replacen("a1", "g1", 1),
            format!("{example}0"),
            example[..67].to_owned(),
            example.replace("cmw_", "cmx_"),
            format!(" {example}"),
        ] {
            assert!(
                matches!(
                    WorkerToken::parse(&bad),
                    Err(MalformedToken::Malformed { .. })
                ),
                "{bad}"
            );
        }
    }

    /// R58
    #[test]
    fn a_cloud_token_is_refused_by_name() {
        let cloud = format!("cmc_{}", "0".repeat(64));
        assert_eq!(WorkerToken::parse(&cloud), Err(MalformedToken::Cloud));
    }

    /// R7
    #[test]
    fn debug_and_errors_never_show_the_token() {
        let body = "0123456789abcdef".repeat(4);
        let token = WorkerToken::parse(&format!("cmw_{body}")).unwrap();
        assert!(!format!("{token:?}").contains(&body[..8]));
        let refused = WorkerToken::parse(&format!("cmw_{body}ff")).unwrap_err();
        assert!(
            !refused.to_string().contains(&body[..8])
                && !format!("{refused:?}").contains(&body[..8])
        );
    }

    /// R56
    #[test]
    fn random_bytes_become_a_token_of_the_documented_form() {
        let token = WorkerToken::from_random([0xab; 32]);
        assert_eq!(WorkerToken::parse(token.expose()).unwrap(), token);
    }
}
