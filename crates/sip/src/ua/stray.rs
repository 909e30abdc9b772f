//! Requests that belong to no call, and what answers them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::UserAgent;
use crate::compose;
use crate::counters::class_index;
use crate::flow::{Flow, LocalId};
use crate::message::{
    Essentials, HeaderName, Malformed, Message, Method, NameAddr, ParseError, Scheme, Via,
    reason_phrase,
};

/// How long after its last endpoint a listener still knows of dialogs.
const AFTERLIFE: Duration = Duration::from_secs(32);

impl UserAgent {
    /// A request outside any dialog that is no INVITE, ACK or CANCEL.
    pub(super) fn on_stray(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
        key: Bytes,
        method: Method,
    ) {
        let opaque = message
            .request_uri()
            .is_ok_and(|uri| uri.scheme() == Scheme::Other);
        let code = match method {
            Method::Options if opaque => 416,
            Method::Options if message.elements(HeaderName::Require).next().is_some() => 420,
            Method::Options => 200,
            Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify => {
                self.count_stray(flow, message, |counters| counters.out_of_dialog += 1);
                481
            }
            // Outside of calls nobody is transferred.
            Method::Refer => 403,
            _ => {
                self.count_stray(flow, message, |counters| counters.unexpected += 1);
                405
            }
        };
        self.refuse(now, flow, message, essentials, key, code);
    }

    /// Answers on a listener without endpoints: OPTIONS with 200, in-dialog requests with 481 for
    /// 32 s after the last endpoint went, everything else with 405. Keeps no state.
    pub(super) fn on_idle(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
        method: Method,
    ) {
        let within = essentials.to.tag().is_some();
        let recent = self
            .listeners
            .get(&flow.local)
            .and_then(|bound| bound.emptied)
            .is_some_and(|emptied| now < emptied + AFTERLIFE);
        let code = match method {
            Method::Ack => {
                self.core
                    .ledger
                    .count(None, |counters| counters.out_of_dialog += 1);
                return;
            }
            Method::Options if !within => 200,
            _ if within && recent => {
                self.core
                    .ledger
                    .count(None, |counters| counters.out_of_dialog += 1);
                481
            }
            _ => 405,
        };
        let tag = self.stray_tag(essentials);
        let mut builder = compose::response(message, flow.remote, code, Some(tag));
        if code == 405 {
            builder.header(HeaderName::Allow, Method::Options.as_str().as_bytes());
        }
        let response = builder.finish("", b"");
        self.send_stateless(self.way_back(&essentials.via, flow).flow(), code, response);
    }

    /// Refuses (or, for OPTIONS, answers) a request. An INVITE gets a transaction, whose answer is
    /// repeated until the ACK comes. All else is answered without state (RFC 3261 §8.2.7): a
    /// flood of it takes no room from calls, and what comes again is answered and counted again.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
        key: Bytes,
        code: u16,
    ) {
        let tag = self.stray_tag(essentials);
        let response = self.plain_response(message, flow, code, Some(tag));
        let method = essentials.cseq.method;
        let to = self.way_back(&essentials.via, flow);
        if method != Method::Invite {
            return self.send_stateless(to.flow(), code, response);
        }
        let id = self
            .transactions
            .open(&mut self.core, now, key, to, method, (None, None));
        self.transactions
            .respond(&mut self.core, now, id, code, response);
    }

    /// Refuses a request whose essentials can be read but something else cannot.
    pub(super) fn refuse_malformed(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
        key: Bytes,
    ) {
        self.core
            .ledger
            .count(None, |counters| counters.malformed += 1);
        self.refuse(now, flow, message, essentials, key, 400);
    }

    /// Counts a message that cannot be read. If it is a request with a Via, on a listener with
    /// endpoints, it is answered with 400, or 505 for another version of SIP; no state is kept.
    pub(super) fn on_malformed(&mut self, flow: Flow, malformed: Malformed) {
        self.core
            .ledger
            .count(None, |counters| counters.malformed += 1);
        let Malformed { error, request } = malformed;
        let Some(request) = request.filter(|_| self.in_use(flow.local)) else {
            return;
        };
        let via = request.elements(HeaderName::Via).next();
        let (Some(via), Some(method)) = (via, request.method()) else {
            return;
        };
        if method == Method::Ack {
            return;
        }
        let via = Via::parse(Bytes::copy_from_slice(via)).ok();
        let to = via.map_or(flow, |via| self.way_back(&via, flow).flow());
        let call_id = request.value(HeaderName::CallId).unwrap_or_default();
        // A tag can be added to a To that can be read only.
        let tag = request
            .value(HeaderName::To)
            .is_some_and(|to| NameAddr::parse(HeaderName::To, Bytes::copy_from_slice(to)).is_ok())
            .then(|| self.tag_of(b"", call_id));
        let (code, reason) = match error {
            ParseError::Version => (505, reason_phrase(505).to_owned()),
            error => (400, format!("{} ({error})", reason_phrase(400))),
        };
        let response = compose::response_as(&request, flow.remote, code, &reason, tag);
        let response = self.finish_response(response, b"");
        self.send_stateless(to, code, response);
    }

    /// A To tag for a request that starts no dialog, the same each time it comes.
    pub(super) fn stray_tag(&self, essentials: &Essentials) -> u64 {
        self.tag_of(essentials.via.branch(), &essentials.call_id)
    }

    fn tag_of(&self, branch: &[u8], call_id: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        branch.hash(&mut hasher);
        call_id.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether a listener serves endpoints.
    pub(super) fn in_use(&self, local: LocalId) -> bool {
        self.listeners
            .get(&local)
            .is_some_and(|bound| !bound.endpoints.is_empty())
    }

    fn send_stateless(&mut self, to: Flow, code: u16, response: Bytes) {
        self.core.ledger.count(None, |counters| {
            counters.responses_sent[class_index(code)] += 1;
        });
        self.core.send(to, response, None);
    }
}
