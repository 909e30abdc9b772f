//! Digest challenges in WWW-Authenticate and Proxy-Authenticate (RFC 3261 §20.44, RFC 8760).

use super::scan;

/// A digest challenge; texts are without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The realm.
    pub realm: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// Opaque data to return.
    pub opaque: Option<Vec<u8>>,
    /// The hash; `None` for one this stack does not know.
    pub algorithm: Option<Algorithm>,
    /// Whether the nonce alone was out of date.
    pub stale: bool,
    /// The strongest quality of protection offered and known: `auth` before `auth-int`, as the
    /// latter protects the body only.
    pub qop: Qop,
}

/// A digest algorithm (RFC 7616 §6.1, RFC 8760 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithm {
    /// The hash.
    pub hash: Hash,
    /// Whether it is the `-sess` variant: the password's hash is bound to the first nonces of the
    /// session (RFC 7616 §3.4.2).
    pub session: bool,
}

/// A hash that digests are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// MD5
    Md5,
    /// SHA-256
    Sha256,
    /// SHA-512/256
    Sha512T256,
}

/// Quality of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// None offered: the digest of RFC 2069.
    None,
    /// `auth`
    Auth,
    /// `auth-int`
    AuthInt,
    /// Offered, but none that is known; such a challenge cannot be answered.
    Unknown,
}

impl Challenge {
    /// Reads a value; `None` if it is not a digest challenge with realm and nonce.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let space = value.iter().position(|&byte| scan::is_lws(byte))?;
        if !value[..space].eq_ignore_ascii_case(b"Digest") {
            return None;
        }
        let mut realm = None;
        let mut nonce = None;
        let mut opaque = None;
        let mut algorithm = Some(Algorithm::new(Hash::Md5, false));
        let mut stale = false;
        let mut qop = Qop::None;
        for parameter in scan::list(&value[space..]) {
            let (name, value) = scan::name_value(parameter);
            if name.iter().any(|&byte| scan::is_lws(byte)) {
                // Another challenge in the same value, as HTTP has it (RFC 9110 §11.6.1).
                break;
            }
            let text = scan::unquote(value.unwrap_or_default());
            match name.to_ascii_lowercase().as_slice() {
                b"realm" => realm = Some(text),
                b"nonce" => nonce = Some(text),
                b"opaque" => opaque = Some(text),
                b"algorithm" => algorithm = Algorithm::parse(&text),
                b"stale" => stale = text.eq_ignore_ascii_case(b"true"),
                b"qop" => qop = Qop::choose(&text),
                _ => {}
            }
        }
        Some(Self {
            realm: realm?,
            nonce: nonce?,
            opaque,
            algorithm,
            stale,
            qop,
        })
    }
}

impl Algorithm {
    const KNOWN: [(Self, &'static str); 6] = [
        (Self::new(Hash::Md5, false), "MD5"),
        (Self::new(Hash::Sha256, false), "SHA-256"),
        (Self::new(Hash::Sha512T256, false), "SHA-512-256"),
        (Self::new(Hash::Md5, true), "MD5-sess"),
        (Self::new(Hash::Sha256, true), "SHA-256-sess"),
        (Self::new(Hash::Sha512T256, true), "SHA-512-256-sess"),
    ];

    /// An algorithm of a hash, as it is or as a session variant.
    pub const fn new(hash: Hash, session: bool) -> Self {
        Self { hash, session }
    }

    /// Reads an algorithm token, in any case.
    pub fn parse(token: &[u8]) -> Option<Self> {
        Self::KNOWN
            .iter()
            .find(|(_, name)| token.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(algorithm, _)| *algorithm)
    }

    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        Self::KNOWN
            .iter()
            .find(|(algorithm, _)| *algorithm == self)
            .map_or("", |(_, name)| name)
    }
}

/// The `nextnonce` of an Authentication-Info value (RFC 7616 §3.5), if it has one.
pub(crate) fn next_nonce(value: &[u8]) -> Option<Vec<u8>> {
    scan::list(value)
        .map(scan::name_value)
        .find(|(name, _)| name.eq_ignore_ascii_case(b"nextnonce"))
        .map(|(_, value)| scan::unquote(value.unwrap_or_default()))
        .filter(|nonce| !nonce.is_empty())
}

impl Qop {
    fn choose(options: &[u8]) -> Self {
        let offers = |wanted: &str| {
            scan::list(options).any(|option| option.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        if offers("auth") {
            Self::Auth
        } else if offers("auth-int") {
            Self::AuthInt
        } else if scan::trim(options).is_empty() {
            Self::None
        } else {
            Self::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_challenge() {
        let value = b"Digest realm=\"a \\\"b\\\", c\", nonce=\"n=1\",opaque=\"o\",\r\n \
            algorithm=sha-256, stale=TRUE , qop=\"auth,auth-int\"";
        let challenge = Challenge::parse(value).unwrap();
        assert_eq!(challenge.realm, b"a \"b\", c");
        assert_eq!(challenge.nonce, b"n=1");
        assert_eq!(challenge.opaque.as_deref(), Some(&b"o"[..]));
        assert_eq!(challenge.algorithm, Algorithm::parse(b"SHA-256"));
        assert_eq!(
            challenge.algorithm,
            Some(Algorithm::new(Hash::Sha256, false))
        );
        assert!(challenge.stale);
        assert_eq!(challenge.qop, Qop::Auth);
    }

    #[test]
    fn defaults_and_unknowns() {
        let plain = Challenge::parse(b"digest realm=\"r\", nonce=\"n\"").unwrap();
        assert_eq!(
            (plain.algorithm, plain.qop),
            (Some(Algorithm::new(Hash::Md5, false)), Qop::None)
        );
        let odd = b"Digest realm=r, nonce=n, algorithm=X-1, qop=\"token\"";
        let odd = Challenge::parse(odd).unwrap();
        assert_eq!((odd.algorithm, odd.qop), (None, Qop::Unknown));
        let body = Challenge::parse(b"Digest realm=r,nonce=n,qop=auth-int").unwrap();
        assert_eq!(body.qop, Qop::AuthInt);
        assert_eq!(Challenge::parse(b"Basic realm=\"r\""), None);
        assert_eq!(Challenge::parse(b"Digest realm=\"r\""), None);
    }

    #[test]
    fn a_second_challenge_in_the_value_changes_nothing() {
        let value = b"Digest realm=\"a\", nonce=\"1\", Digest realm=\"b\", nonce=\"2\"";
        let challenge = Challenge::parse(value).unwrap();
        assert_eq!(
            (&challenge.realm[..], &challenge.nonce[..]),
            (&b"a"[..], &b"1"[..])
        );
    }

    #[test]
    fn the_next_nonce_stands_among_others() {
        let value = b"qop=auth, NextNonce = \"a\\\"b\" , rspauth=\"5\"";
        assert_eq!(next_nonce(value), Some(b"a\"b".to_vec()));
        assert_eq!(next_nonce(b"qop=auth, rspauth=\"nextnonce=1\""), None);
        assert_eq!(next_nonce(b"nextnonce=\"\""), None);
    }

    #[test]
    fn algorithms_are_read_in_any_case_and_written_as_registered() {
        for name in [
            "MD5",
            "SHA-256",
            "SHA-512-256",
            "MD5-sess",
            "SHA-256-sess",
            "SHA-512-256-sess",
        ] {
            let algorithm = Algorithm::parse(name.to_ascii_lowercase().as_bytes()).unwrap();
            assert_eq!(algorithm.as_str(), name);
            assert_eq!(algorithm.session, name.ends_with("-sess"));
        }
        for unknown in ["SHA-1", "SHA-512", "MD5-", "", "AKAv1-MD5"] {
            assert_eq!(Algorithm::parse(unknown.as_bytes()), None);
        }
    }
}
