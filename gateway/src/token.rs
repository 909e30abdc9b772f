//! Worker tokens and API keys: made from the operating system's randomness, stored as keyed
//! hashes, shown once.

use std::fmt;

use callmeter_proto::{Secret, WorkerToken};

use crate::keys::{NoRandomness, random};

/// A new worker token (R55, R56).
pub fn mint_worker_token() -> Result<WorkerToken, NoRandomness> {
    Ok(WorkerToken::from_random(random()?))
}

/// An API key: `cmk_` and 32 lowercase hexadecimal characters.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText(Secret);

impl ApiKeyText {
    /// Prefix of every API key.
    pub const PREFIX: &str = "cmk_";
    /// Hexadecimal characters after the prefix.
    const BODY: usize = 32;

    /// A new key.
    pub fn mint() -> Result<Self, NoRandomness> {
        Ok(Self(Secret::new(format!(
            "{}{}",
            Self::PREFIX,
            hex::encode(random::<16>()?)
        ))))
    }

    /// Checks the form; none: not an API key.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(Self::PREFIX)?;
        let is_hex = body
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (body.len() == Self::BODY && is_hex).then(|| Self(Secret::new(text)))
    }

    /// The whole key, for hashing or the single answer that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cmk_<redacted>")
    }
}

/// The secret of an `authorization: Bearer …` header; none: absent or of another form.
pub fn bearer(header: Option<&[u8]>) -> Option<Secret> {
    let text = std::str::from_utf8(header?).ok()?;
    let (scheme, secret) = text.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Secret::new(secret.trim()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// R55, R56
    #[test]
    fn a_thousand_tokens_have_the_form_and_differ() {
        let tokens: Vec<_> = (0..1000).map(|_| mint_worker_token().unwrap()).collect();
        assert!(
            tokens
                .iter()
                .all(|t| WorkerToken::parse(t.expose()).is_ok())
        );
        assert_eq!(
            tokens
                .iter()
                .map(|t| t.expose().to_owned())
                .collect::<HashSet<_>>()
                .len(),
            1000
        );
        // Every bit of the body is drawn: over 1000 tokens each is set about half the time.
        let mut set = [0; 256];
        for token in &tokens {
            let body = hex::decode(&token.expose()[4..]).unwrap();
            for (i, count) in set.iter_mut().enumerate() {
                *count += i32::from(body[i / 8] >> (i % 8) & 1);
            }
        }
        assert!(
            set.iter().all(|count| (400..600).contains(count)),
            "{set:?}"
        );
    }

    #[test]
    fn api_keys_have_their_form_and_hide() {
        let key = ApiKeyText::mint().unwrap();
        assert_eq!(ApiKeyText::parse(key.expose()), Some(key.clone()));
        assert_eq!(key.expose().len(), 36);
        assert_eq!(format!("{key:?}"), "cmk_<redacted>");
        for bad in [
            "",
            "cmk_",
            "cmk_g0000000000000000000000000000000",
            "cmw_00000000000000000000000000000000",
        ] {
            assert_eq!(ApiKeyText::parse(bad), None);
        }
    }

    #[test]
    fn bearer_takes_the_scheme_in_any_case_and_nothing_else() {
        let secret = |header: &str| bearer(Some(header.as_bytes())).map(|s| s.expose().to_owned());
        assert_eq!(secret("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(secret("bearer abc").as_deref(), Some("abc"));
        assert_eq!(secret("Basic abc"), None);
        assert_eq!(secret("abc"), None);
        assert_eq!(bearer(None), None);
    }
}
