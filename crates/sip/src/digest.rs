//! Digest access authentication (RFC 7616, with the algorithms of RFC 8760 in SIP).

use std::fmt;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

use crate::limits;
use crate::message::{Algorithm, Challenge, Hash, HeaderName, Qop};
use crate::password::Credentials;

/// Bytes of an answer, which repeats most of its challenge: one header field with its name.
const LONGEST: usize = limits::HEADER - 32;
/// Bytes of the longest hash, in hexadecimal.
const LONGEST_HASH: usize = 64;

/// A request that credentials are made for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Method name.
    pub(crate) method: &'a str,
    /// Request-URI.
    pub(crate) uri: &'a [u8],
    /// Body, for `auth-int`.
    pub(crate) body: &'a [u8],
}

/// An authentication session (RFC 7616 §3.4.5, §3.6): a challenge that is answered again, with a
/// higher count, until the next challenge.
///
/// The user name goes unhashed whatever `userhash` says, as RFC 7616 §3.4.4 allows: From tells it.
#[derive(Clone)]
pub(crate) struct Session {
    challenge: Challenge,
    /// The nonce of an Authentication-Info that came since (RFC 7616 §3.5).
    next_nonce: Option<Vec<u8>>,
    cnonce: String,
    /// How often the nonce has been used.
    count: u32,
}

/// The values of Authorization and Proxy-Authorization of one request, where it has them.
#[derive(Clone, Default)]
pub(crate) struct Authorization {
    pub(crate) origin: Option<Vec<u8>>,
    pub(crate) proxy: Option<Vec<u8>>,
}

/// The topmost challenge that this stack can answer, of `realm` if one is given (RFC 8760 §2.4).
pub(crate) fn select(challenges: Vec<Challenge>, realm: Option<&[u8]>) -> Option<Challenge> {
    challenges.into_iter().find(|challenge| {
        challenge.algorithm.is_some()
            && challenge.qop != Qop::Unknown
            && realm.is_none_or(|realm| realm == challenge.realm)
    })
}

impl Authorization {
    /// The header fields to write.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (HeaderName, &[u8])> {
        let Self { origin, proxy } = self;
        let origin = origin.as_deref().map(|it| (HeaderName::Authorization, it));
        let proxy = proxy
            .as_deref()
            .map(|it| (HeaderName::ProxyAuthorization, it));
        origin.into_iter().chain(proxy)
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(redacted)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            challenge, count, ..
        } = self;
        f.debug_struct("Session")
            .field("challenge", challenge)
            .field("count", count)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session that answers a challenge with this client nonce.
    pub(crate) fn new(challenge: Challenge, cnonce: u64) -> Self {
        Self {
            challenge,
            next_nonce: None,
            cnonce: format!("{cnonce:016x}"),
            count: 0,
        }
    }

    pub(crate) fn realm(&self) -> &[u8] {
        &self.challenge.realm
    }

    /// Goes on with the nonce the server wants next. The one in use is counted on: a lower count
    /// would be a replay (RFC 7616 §3.4).
    pub(crate) fn renew(&mut self, nonce: Vec<u8>) {
        if nonce != self.nonce() {
            self.next_nonce = Some(nonce);
            self.count = 0;
        }
    }

    /// The value of Authorization or Proxy-Authorization for the next request of the session;
    /// `None` for a challenge that [`select`] would not choose, and where it would be too long for
    /// a header field.
    pub(crate) fn answer(
        &mut self,
        credentials: &Credentials,
        request: Request<'_>,
    ) -> Option<Vec<u8>> {
        let (algorithm, qop) = self.asked()?;
        // Ends after four billion requests with one nonce; then the server asks anew.
        self.count = self.count.checked_add(1)?;
        let count = format!("{:08x}", self.count);
        let response = self.response(algorithm, qop, &count, credentials, request);
        self.value(credentials, request.uri, response.as_bytes())
    }

    /// Whether a request to `uri` can be answered for: the value would be no longer than a header
    /// field may be.
    pub(crate) fn fits(&self, credentials: &Credentials, uri: &[u8]) -> bool {
        self.value(credentials, uri, &[b'0'; LONGEST_HASH])
            .is_some()
    }

    fn asked(&self) -> Option<(Algorithm, Option<&'static str>)> {
        let qop = match self.challenge.qop {
            Qop::None => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
            Qop::Unknown => return None,
        };
        Some((self.challenge.algorithm?, qop))
    }

    fn value(&self, credentials: &Credentials, uri: &[u8], response: &[u8]) -> Option<Vec<u8>> {
        let (algorithm, qop) = self.asked()?;
        let mut value = b"Digest ".to_vec();
        quoted(&mut value, "username", credentials.username.as_bytes());
        quoted(&mut value, ", realm", &self.challenge.realm);
        quoted(&mut value, ", nonce", self.nonce());
        quoted(&mut value, ", uri", uri);
        quoted(&mut value, ", response", response);
        value.extend_from_slice(b", algorithm=");
        value.extend_from_slice(algorithm.as_str().as_bytes());
        if let Some(qop) = qop {
            value.extend_from_slice(format!(", qop={qop}, nc={:08x}", self.count).as_bytes());
        }
        if qop.is_some() || algorithm.session {
            quoted(&mut value, ", cnonce", self.cnonce.as_bytes());
        }
        if let Some(opaque) = &self.challenge.opaque {
            quoted(&mut value, ", opaque", opaque);
        }
        (value.len() <= LONGEST).then_some(value)
    }

    fn nonce(&self) -> &[u8] {
        self.next_nonce.as_ref().unwrap_or(&self.challenge.nonce)
    }

    /// RFC 7616 §3.4.1 to §3.4.3
    fn response(
        &self,
        algorithm: Algorithm,
        qop: Option<&str>,
        count: &str,
        credentials: &Credentials,
        request: Request<'_>,
    ) -> String {
        let hash = |parts: &[&[u8]]| hash(algorithm.hash, parts);
        let cnonce = self.cnonce.as_bytes();
        let mut a1 = hash(&[
            credentials.username.as_bytes(),
            &self.challenge.realm,
            credentials.password.expose().as_bytes(),
        ]);
        if algorithm.session {
            // The nonce the session began with, whatever came since.
            a1 = hash(&[a1.as_bytes(), &self.challenge.nonce, cnonce]);
        }
        let Request { method, uri, body } = request;
        let a2 = if qop == Some("auth-int") {
            hash(&[method.as_bytes(), uri, hash(&[body]).as_bytes()])
        } else {
            hash(&[method.as_bytes(), uri])
        };
        let (a1, a2, nonce) = (a1.as_bytes(), a2.as_bytes(), self.nonce());
        match qop {
            Some(qop) => hash(&[a1, nonce, count.as_bytes(), cnonce, qop.as_bytes(), a2]),
            None => hash(&[a1, nonce, a2]),
        }
    }
}

/// The hash of the parts with colons between them, in lower-case hexadecimal.
fn hash(hash: Hash, parts: &[&[u8]]) -> String {
    fn over<D: Digest>(parts: &[&[u8]]) -> String {
        let mut digest = D::new();
        for (position, part) in parts.iter().enumerate() {
            if position > 0 {
                digest.update(b":");
            }
            digest.update(part);
        }
        hex::encode(digest.finalize())
    }
    match hash {
        Hash::Md5 => over::<Md5>(parts),
        Hash::Sha256 => over::<Sha256>(parts),
        Hash::Sha512T256 => over::<Sha512_256>(parts),
    }
}

/// Appends `name="text"`; quotes and backslashes in the text are escaped, other bytes stay.
fn quoted(value: &mut Vec<u8>, name: &str, text: &[u8]) {
    value.extend_from_slice(name.as_bytes());
    value.extend_from_slice(b"=\"");
    for &byte in text {
        if matches!(byte, b'\\' | b'"') {
            value.push(b'\\');
        }
        value.push(byte);
    }
    value.push(b'"');
}

#[cfg(test)]
mod tests;
