//! Requests that belong to no call, and what answers them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::UserAgent;
use super::screen::response_flow;
use crate::compose;
use crate::counters::class_index;
use crate::flow::{Flow, LocalId};
use crate::message::{Essentials, HeaderName, Message, Method};

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
        let code = match method {
            Method::Options => 200,
            Method::Bye | Method::Info | Method::Update => {
                self.core
                    .ledger
                    .count(None, |counters| counters.out_of_dialog += 1);
                481
            }
            _ => {
                self.core
                    .ledger
                    .count(None, |counters| counters.unexpected += 1);
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
        self.send_stateless(essentials, flow, code, response);
    }

    /// Refuses (or, for OPTIONS, answers) a request in a transaction of its own.
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
        let to = response_flow(essentials, flow);
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

    /// A To tag for a request that starts no dialog, the same each time it comes.
    pub(super) fn stray_tag(&self, essentials: &Essentials) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        essentials.via.branch().hash(&mut hasher);
        essentials.call_id.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether a listener serves endpoints.
    pub(super) fn in_use(&self, local: LocalId) -> bool {
        self.listeners
            .get(&local)
            .is_some_and(|bound| bound.endpoints > 0)
    }

    fn send_stateless(&mut self, essentials: &Essentials, flow: Flow, code: u16, response: Bytes) {
        self.core.ledger.count(None, |counters| {
            counters.responses_sent[class_index(code)] += 1;
        });
        self.core
            .send(response_flow(essentials, flow), response, None);
    }
}
