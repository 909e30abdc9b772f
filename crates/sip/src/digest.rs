//! Digest access authentication (RFC 7616, with the algorithms of RFC 8760 in SIP).

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

use crate::message::{Algorithm, Challenge, Qop};
use crate::password::Credentials;

/// One answer to a challenge.
pub(crate) struct Answer<'a> {
    pub(crate) challenge: &'a Challenge,
    pub(crate) credentials: &'a Credentials,
    /// Method name.
    pub(crate) method: &'a str,
    /// Request-URI.
    pub(crate) uri: &'a [u8],
    /// Body, for `auth-int`.
    pub(crate) body: &'a [u8],
    /// Client nonce.
    pub(crate) cnonce: &'a str,
    /// How often the nonce has been used, this time included.
    pub(crate) count: u32,
}

/// The topmost challenge that this stack can answer, of `realm` if one is given (RFC 8760 §2.4).
pub(crate) fn select(challenges: Vec<Challenge>, realm: Option<&[u8]>) -> Option<Challenge> {
    challenges.into_iter().find(|challenge| {
        challenge.algorithm.is_some()
            && challenge.qop != Qop::Unknown
            && realm.is_none_or(|realm| realm == challenge.realm)
    })
}

impl Answer<'_> {
    /// The value of Authorization or Proxy-Authorization; `None` for a challenge that
    /// [`select`] would not choose.
    pub(crate) fn header_value(&self) -> Option<String> {
        let algorithm = self.challenge.algorithm?;
        let qop = match self.challenge.qop {
            Qop::None => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
            Qop::Unknown => return None,
        };
        let response = self.response(algorithm, qop);
        let Self {
            challenge,
            credentials,
            cnonce,
            count,
            ..
        } = self;
        let protection = qop
            .map(|qop| format!(", qop={qop}, nc={count:08x}, cnonce=\"{cnonce}\""))
            .unwrap_or_default();
        let opaque = challenge
            .opaque
            .as_ref()
            .map(|opaque| format!(", opaque=\"{}\"", escape(opaque)))
            .unwrap_or_default();
        Some(format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", \
             response=\"{response}\", algorithm={}{protection}{opaque}",
            escape(credentials.username.as_bytes()),
            escape(&challenge.realm),
            escape(&challenge.nonce),
            escape(self.uri),
            algorithm.as_str(),
        ))
    }

    /// RFC 7616 §3.4.1 to §3.4.3
    fn response(&self, algorithm: Algorithm, qop: Option<&str>) -> String {
        let Self {
            challenge,
            credentials,
            method,
            uri,
            body,
            cnonce,
            count,
        } = self;
        let a1 = hash(
            algorithm,
            &[
                credentials.username.as_bytes(),
                &challenge.realm,
                credentials.password.expose().as_bytes(),
            ],
        );
        let a2 = if qop == Some("auth-int") {
            let body = hash(algorithm, &[body]);
            hash(algorithm, &[method.as_bytes(), uri, body.as_bytes()])
        } else {
            hash(algorithm, &[method.as_bytes(), uri])
        };
        match qop {
            Some(qop) => hash(
                algorithm,
                &[
                    a1.as_bytes(),
                    &challenge.nonce,
                    format!("{count:08x}").as_bytes(),
                    cnonce.as_bytes(),
                    qop.as_bytes(),
                    a2.as_bytes(),
                ],
            ),
            None => hash(algorithm, &[a1.as_bytes(), &challenge.nonce, a2.as_bytes()]),
        }
    }
}

/// The hash of the parts with colons between them, in lower-case hexadecimal.
fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> String {
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
    match algorithm {
        Algorithm::Md5 => over::<Md5>(parts),
        Algorithm::Sha256 => over::<Sha256>(parts),
        Algorithm::Sha512T256 => over::<Sha512_256>(parts),
    }
}

/// The inside of a quoted string. Bytes that are no UTF-8 cannot be quoted and are replaced; such
/// a challenge is then answered wrongly, which its sender has to expect.
fn escape(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::Password;

    struct Case {
        user: &'static str,
        password: &'static str,
        challenge: &'static str,
        method: &'static str,
        uri: &'static str,
        body: &'static str,
        cnonce: &'static str,
        response: &'static str,
    }

    fn answer(case: &Case) -> String {
        Answer {
            challenge: &Challenge::parse(case.challenge.as_bytes()).unwrap(),
            credentials: &Credentials {
                username: case.user.to_owned(),
                password: Password::new(case.password),
                realm: None,
            },
            method: case.method,
            uri: case.uri.as_bytes(),
            body: case.body.as_bytes(),
            cnonce: case.cnonce,
            count: 1,
        }
        .header_value()
        .unwrap()
    }

    const RFC7616_CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    /// RFC 2617 §3.5, RFC 7616 §3.9.1, RFC 2069 §2.4 with erratum 749; SHA-512-256 and `auth-int`
    /// worked out with another implementation.
    #[test]
    fn published_vectors() {
        let cases = [
            Case {
                user: "Mufasa",
                password: "Circle Of Life",
                challenge: r#"Digest realm="testrealm@host.com", qop="auth,auth-int",
                    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
                    opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
                method: "GET",
                uri: "/dir/index.html",
                body: "",
                cnonce: "0a4f113b",
                response: "6629fae49393a05397450978507c4ef1",
            },
            Case {
                user: "Mufasa",
                password: "Circle of Life",
                challenge: r#"Digest realm="http-auth@example.org", qop="auth, auth-int",
                    algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v""#,
                method: "GET",
                uri: "/dir/index.html",
                body: "",
                cnonce: RFC7616_CNONCE,
                response: "8ca523f5e9506fed4657c9700eebdbec",
            },
            Case {
                user: "Mufasa",
                password: "Circle of Life",
                challenge: r#"Digest realm="http-auth@example.org", qop="auth, auth-int",
                    algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v""#,
                method: "GET",
                uri: "/dir/index.html",
                body: "",
                cnonce: RFC7616_CNONCE,
                response: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            },
            Case {
                user: "Mufasa",
                password: "CircleOfLife",
                challenge: r#"Digest realm="testrealm@host.com",
                    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#,
                method: "GET",
                uri: "/dir/index.html",
                body: "",
                cnonce: "",
                response: "1949323746fe6a43ef61f9606e7febea",
            },
            Case {
                user: "J\u{e4}s\u{f8}n Doe",
                password: "Secret, or not?",
                challenge: r#"Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256,
                    nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK""#,
                method: "GET",
                uri: "/doe.json",
                body: "",
                cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm",
                response: "7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c",
            },
            Case {
                user: "bob",
                password: "zanzibar",
                challenge: r#"Digest realm="r", nonce="nnn", qop="auth-int", algorithm=SHA-256"#,
                method: "INVITE",
                uri: "sip:bob@h",
                body: "v=0\r\n",
                cnonce: "ccc",
                response: "736ac72367cde740ea2774e4b296d41724469ee2cbc84761d9c4f9eae69f76a5",
            },
        ];
        for case in cases {
            let value = answer(&case);
            let expected = format!("response=\"{}\"", case.response);
            assert!(value.contains(&expected), "{value}");
        }
    }

    #[test]
    fn the_value_carries_what_the_server_checks() {
        let value = answer(&Case {
            user: "a\"b",
            password: "p",
            challenge: r#"Digest realm="r", nonce="n", opaque="o\"", qop="auth", algorithm=md5"#,
            method: "REGISTER",
            uri: "sip:h",
            body: "",
            cnonce: "c",
            response: "",
        });
        for part in [
            r#"username="a\"b""#,
            r#"opaque="o\"""#,
            "algorithm=MD5",
            "qop=auth, nc=00000001, cnonce=\"c\"",
            r#"uri="sip:h""#,
        ] {
            assert!(value.contains(part), "{value} has no {part}");
        }
    }

    /// RFC 8760 §2.4
    #[test]
    fn the_topmost_supported_challenge_of_the_realm_is_chosen() {
        let challenges: Vec<_> = [
            r#"Digest realm="other", nonce="0", algorithm=SHA-256"#,
            r#"Digest realm="r", nonce="1", algorithm=SHA-999"#,
            r#"Digest realm="r", nonce="2", algorithm=SHA-256, qop="token""#,
            r#"Digest realm="r", nonce="3", algorithm=SHA-256, qop="auth""#,
            r#"Digest realm="r", nonce="4", algorithm=MD5"#,
        ]
        .iter()
        .map(|value| Challenge::parse(value.as_bytes()).unwrap())
        .collect();
        let nonce = |realm: Option<&[u8]>| {
            select(challenges.clone(), realm).map(|challenge| challenge.nonce)
        };
        assert_eq!(nonce(Some(b"r")), Some(b"3".to_vec()));
        assert_eq!(nonce(None), Some(b"0".to_vec()));
        assert_eq!(nonce(Some(b"R")), None);
    }
}
