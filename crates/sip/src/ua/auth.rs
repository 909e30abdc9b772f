//! Which challenges are answered (RFC 3261 §22), and with what.
//!
//! A challenge is answered if it came to a request of ours that went to a server of the endpoint's
//! configured next hop and its realm is the account's. In dialogs only towards a proxy, and only if
//! we started them; [`super::EndpointConfig::auth_in_dialog`] lifts both. What was answered is used
//! again, with a higher count, in later requests to the same next hop (RFC 7616 §3.6).

mod within;

use std::net::SocketAddr;

use super::endpoint::Endpoint;
use crate::core::Core;
use crate::digest::{self, Authorization, Request, Session};
use crate::message::{HeaderName, Message, Method, next_nonce};
use crate::password::Credentials;

/// The sessions with one next hop, of one realm: so many and no more.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// 401 to REGISTER.
    registrar: Option<Session>,
    /// 401 to anything else.
    origin: Option<Session>,
    /// 407 to anything.
    proxy: Option<Session>,
}

/// The realm of an account that names none.
#[derive(Debug)]
pub(super) struct LearntRealm {
    realm: Vec<u8>,
    by_register: bool,
}

/// How often the challenges to one request have been answered, by kind of challenge: once, and
/// once more if the server calls the nonce stale.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retries {
    origin: Tries,
    proxy: Tries,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    answered: bool,
    stale: bool,
}

/// A request that was challenged.
pub(super) struct Challenged<'a> {
    /// The 401 or 407.
    pub(super) response: &'a Message,
    pub(super) method: Method,
    /// Where the request was sent.
    pub(super) destination: SocketAddr,
}

/// What follows from a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The request goes again, with its authorization.
    Again,
    /// It is a refusal.
    Refused,
    /// It is a refusal, since what would answer it is longer than a header field may be.
    TooLong,
}

impl Verdict {
    /// The reason phrase of the refusal: the peer's, and what kept us from answering.
    pub(super) fn phrase(self, response: &Message) -> String {
        let phrase = response.reason();
        match self {
            Self::Again | Self::Refused => phrase,
            Self::TooLong => {
                format!("{phrase} (the challenge is too long to be answered in a header field)")
            }
        }
    }
}

impl Retries {
    /// Whether a challenge has been answered.
    pub(super) fn any(self) -> bool {
        self.origin.answered || self.proxy.answered
    }
}

impl Tries {
    /// Whether a challenge may be answered, which then counts.
    fn take(&mut self, stale: bool) -> bool {
        match (self.answered, stale, self.stale) {
            (false, ..) => self.answered = true,
            (true, true, false) => self.stale = true,
            _ => return false,
        }
        true
    }
}

impl Sessions {
    fn is_empty(&self) -> bool {
        let Self {
            registrar,
            origin,
            proxy,
        } = self;
        registrar.is_none() && origin.is_none() && proxy.is_none()
    }

    fn of_origin(&mut self, method: Method) -> &mut Option<Session> {
        match method {
            Method::Register => &mut self.registrar,
            _ => &mut self.origin,
        }
    }

    /// The credentials of the next request.
    fn authorization(
        &mut self,
        credentials: &Credentials,
        method: Method,
        request: Request<'_>,
    ) -> Authorization {
        let answer = |session: &mut Option<Session>| session.as_mut()?.answer(credentials, request);
        Authorization {
            origin: answer(self.of_origin(method)),
            proxy: answer(&mut self.proxy),
        }
    }

    /// Takes the challenges of a response, the topmost usable one of each kind (RFC 8760 §2.4; a
    /// forking proxy collects those of its branches, RFC 3261 §22.3). Says whether one may be
    /// answered for a request to `uri`; `realm` is the only one that is, and the one to be learnt if
    /// there is none yet.
    fn challenged(
        &mut self,
        core: &mut Core,
        request: &Challenged<'_>,
        (credentials, uri): (&Credentials, &[u8]),
        retries: &mut Retries,
        realm: &mut Option<Vec<u8>>,
    ) -> Verdict {
        let mut take = |header, session: &mut Option<Session>, tries: &mut Tries| {
            let challenges = request.response.challenges(header);
            let Some(challenge) = digest::select(challenges, realm.as_deref()) else {
                return Verdict::Refused;
            };
            // What was answered before is out of date, or wrong.
            *session = None;
            if !tries.take(challenge.stale) {
                return Verdict::Refused;
            }
            let next = Session::new(challenge, core.token());
            if !next.fits(credentials, uri) {
                return Verdict::TooLong;
            }
            realm.get_or_insert_with(|| next.realm().to_vec());
            *session = Some(next);
            Verdict::Again
        };
        let Retries { origin, proxy } = retries;
        let origin = take(
            HeaderName::WwwAuthenticate,
            self.of_origin(request.method),
            origin,
        );
        let proxy = take(HeaderName::ProxyAuthenticate, &mut self.proxy, proxy);
        match [origin, proxy] {
            // With one answer of two the request would be challenged once more.
            [Verdict::TooLong, _] | [_, Verdict::TooLong] => Verdict::TooLong,
            [Verdict::Again, _] | [_, Verdict::Again] => Verdict::Again,
            [Verdict::Refused, Verdict::Refused] => Verdict::Refused,
        }
    }

    /// Takes the nonce a response wants next, if one of our answers led to it (RFC 7616 §3.5).
    fn renew(&mut self, method: Method, response: &Message) {
        if let Some(session) = self.of_origin(method)
            && let Some(nonce) = response
                .value(HeaderName::AuthenticationInfo)
                .and_then(next_nonce)
        {
            session.renew(nonce);
        }
    }
}

impl Endpoint {
    /// The credentials of a request outside of dialogs: of challenges answered before, none for
    /// other destinations than the configured next hop.
    pub(super) fn authorization(
        &mut self,
        method: Method,
        destination: SocketAddr,
        uri: &[u8],
        body: &[u8],
    ) -> Authorization {
        let Some(credentials) = &self.config.credentials else {
            return Authorization::default();
        };
        if !self.config.is_next_hop(destination) {
            return Authorization::default();
        }
        let request = Request {
            method: method.as_str(),
            uri,
            body,
        };
        self.sessions.authorization(credentials, method, request)
    }

    /// Whether a challenge to a request to `uri` outside of dialogs is answered: by sending it again
    /// with its [`Self::authorization`]. An account without a realm learns it from the first REGISTER,
    /// else INVITE, that is challenged.
    pub(super) fn challenged(
        &mut self,
        core: &mut Core,
        request: &Challenged<'_>,
        uri: &[u8],
        retries: &mut Retries,
    ) -> Verdict {
        if !self.config.is_next_hop(request.destination) {
            return Verdict::Refused;
        }
        let registers = request.method == Method::Register;
        let known = self.realm(registers);
        if known.is_none() && !registers && request.method != Method::Invite {
            return Verdict::Refused;
        }
        let Some(credentials) = &self.config.credentials else {
            return Verdict::Refused;
        };
        let mut realm = known.clone();
        let by = (credentials, uri);
        let verdict = self
            .sessions
            .challenged(core, request, by, retries, &mut realm);
        if let (None, Some(realm)) = (known, realm) {
            // Sessions of a realm learnt before are none of the account's any more.
            let of = |session: &Session| session.realm() == realm;
            let Sessions {
                registrar,
                origin,
                proxy,
            } = &mut self.sessions;
            for session in [registrar, origin, proxy] {
                *session = session.take().filter(of);
            }
            self.learnt = Some(LearntRealm {
                realm,
                by_register: registers,
            });
        }
        verdict
    }

    /// Takes the next nonce of a 2xx to a request outside of dialogs.
    pub(super) fn accepted(&mut self, method: Method, destination: SocketAddr, response: &Message) {
        if self.config.is_next_hop(destination) {
            self.sessions.renew(method, response);
        }
    }

    /// The account's realm; REGISTER teaches it anew if only an INVITE has.
    fn realm(&self, registers: bool) -> Option<Vec<u8>> {
        let configured = self
            .config
            .credentials
            .as_ref()
            .and_then(|credentials| credentials.realm.as_ref());
        match (configured, &self.learnt) {
            (Some(realm), _) => Some(realm.as_bytes().to_vec()),
            (None, Some(learnt)) if learnt.by_register || !registers => Some(learnt.realm.clone()),
            (None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests;
