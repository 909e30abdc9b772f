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

/// A digest hash (RFC 7616 §6.1, RFC 8760 §2.2); session variants are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// MD5
    Md5,
    /// SHA-256
    Sha256,
    /// SHA-512-256
    Sha512T256,
}

/// Quality of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        let mut algorithm = Some(Algorithm::Md5);
        let mut stale = false;
        let mut qop = Qop::None;
        for parameter in scan::list(&value[space..]) {
            let (name, value) = scan::name_value(parameter);
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
    /// Reads an algorithm token, in any case.
    pub fn parse(token: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256, Self::Sha512T256]
            .into_iter()
            .find(|algorithm| token.eq_ignore_ascii_case(algorithm.as_str().as_bytes()))
    }

    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512T256 => "SHA-512-256",
        }
    }
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
        assert_eq!(challenge.algorithm, Some(Algorithm::Sha256));
        assert!(challenge.stale);
        assert_eq!(challenge.qop, Qop::Auth);
    }

    #[test]
    fn defaults_and_unknowns() {
        let plain = Challenge::parse(b"digest realm=\"r\", nonce=\"n\"").unwrap();
        assert_eq!(
            (plain.algorithm, plain.qop),
            (Some(Algorithm::Md5), Qop::None)
        );
        let odd = b"Digest realm=r, nonce=n, algorithm=X-1, qop=\"token\"";
        let odd = Challenge::parse(odd).unwrap();
        assert_eq!((odd.algorithm, odd.qop), (None, Qop::Unknown));
        let body = Challenge::parse(b"Digest realm=r,nonce=n,qop=auth-int").unwrap();
        assert_eq!(body.qop, Qop::AuthInt);
        assert_eq!(Challenge::parse(b"Basic realm=\"r\""), None);
        assert_eq!(Challenge::parse(b"Digest realm=\"r\""), None);
    }
}
