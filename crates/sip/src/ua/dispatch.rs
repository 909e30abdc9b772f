//! Which part of the user agent a message or timer is for.

use std::time::Instant;

use super::UserAgent;
use super::event::{EndReason, Failure};
use crate::core::TimerKey;
use crate::flow::Flow;
use crate::message::{Essentials, HeaderName, Message, Method};
use crate::transaction::{ClientKey, Expired, Owner, Request, Response, Unsent};

/// Why a request gets no final response.
#[derive(Clone, Copy)]
enum Unanswered<'a> {
    /// Timer B or F.
    Timeout,
    /// The flow it went by broke, and how.
    FlowFailed(&'a str),
}

impl UserAgent {
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message,
        essentials: &Essentials,
        status: u16,
    ) {
        // Ours have one Via, the one we wrote (RFC 3261 §8.1.3.3, §18.1.2).
        let ours = self.listeners.get(&flow.local).is_some_and(|bound| {
            bound.listener.advertised_host.same(&essentials.via.host)
                && essentials.via.port == Some(bound.listener.advertised_port)
        });
        if !ours || message.elements(HeaderName::Via).nth(1).is_some() {
            self.core
                .ledger
                .count(None, |counters| counters.unexpected += 1);
            return;
        }
        match self
            .transactions
            .response(&mut self.core, now, message, essentials, status)
        {
            Response::Deliver {
                owner,
                key,
                flow,
                endpoint,
            } => match owner {
                Owner::Invite(call) => {
                    let found = (key, flow, endpoint);
                    self.on_invite_response(now, call, found, message, essentials, status);
                }
                Owner::Bye(call) => self.on_bye_response(now, call, flow, message, status),
                Owner::Prack(call) => {
                    self.on_prack_response(now, call, (key, flow), message, essentials, status);
                }
                Owner::Within(call) => {
                    self.on_asked_response(now, call, (key, flow), message, essentials, status);
                }
                Owner::Register(endpoint) => {
                    self.on_register_response(now, endpoint, key, flow, message, status);
                }
                Owner::Options { endpoint, sent } if status >= 200 => {
                    self.on_options_answered(now, endpoint, sent, Some(status));
                }
                Owner::Options { .. } | Owner::Cancel(_) | Owner::Orphan => {}
            },
            Response::Fork {
                key,
                flow,
                endpoint,
            } => {
                self.end_fork(now, key, flow, endpoint, message, essentials);
            }
            Response::Absorbed => {}
            Response::Unknown => {
                self.core
                    .ledger
                    .count(None, |counters| counters.out_of_dialog += 1);
            }
        }
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        flow: Flow,
        message: Message,
        essentials: &Essentials,
        method: Method,
    ) {
        let found = self
            .transactions
            .request(&mut self.core, now, &message, essentials, method);
        let Request::New(key) = found else {
            return;
        };
        if !self.in_use(flow.local) {
            return self.on_idle(now, flow, &message, essentials, method);
        }
        if method == Method::Ack {
            return self.on_ack(now, flow, &message, essentials);
        }
        let within = essentials.to.tag().is_some();
        let opens = within || matches!(method, Method::Invite | Method::Cancel);
        if opens && !self.transactions.has_room(method) {
            self.core
                .ledger
                .count(None, |counters| counters.unexpected += 1);
            return;
        }
        match method {
            Method::Cancel => self.on_cancel(now, flow, &message, essentials, key),
            _ if within => {
                self.on_request_within(now, flow, message, essentials, key, method);
            }
            Method::Invite => self.on_invite(now, flow, message, essentials, key),
            _ => self.on_stray(now, flow, &message, essentials, key, method),
        }
    }

    /// Runs all timers that are due.
    pub(super) fn run_timers(&mut self, now: Instant) {
        while let Some((entry, key)) = self.core.timers.pop(now) {
            let expired = match key {
                TimerKey::Client(key) => {
                    self.transactions
                        .client_timer(&mut self.core, now, key, entry)
                }
                TimerKey::Server(id) => {
                    self.transactions
                        .server_timer(&mut self.core, now, id, entry)
                }
                TimerKey::Call(key) => {
                    self.on_call_timer(now, key, entry);
                    Expired::Nothing
                }
                TimerKey::KeepAlive(local) => {
                    self.on_keep_alive_timer(now, local, entry);
                    Expired::Nothing
                }
                TimerKey::Registration(key) => {
                    self.on_refresh_timer(now, key, entry);
                    Expired::Nothing
                }
            };
            match expired {
                Expired::Unanswered(client, owner) => {
                    self.on_unanswered(now, client, owner, Unanswered::Timeout);
                }
                Expired::Silent(id) => {
                    if let Some(key) = self.transactions.server_call(id) {
                        self.send_trying(now, key, id);
                    }
                }
                Expired::Nothing => {}
            }
        }
    }

    /// Ends all requests that wait for an answer by a flow that broke; responses go another way, or
    /// are counted.
    pub(super) fn fail_flow(&mut self, now: Instant, flow: Flow, reason: &str) {
        for (client, owner) in self.transactions.fail_flow(&mut self.core, now, flow) {
            self.on_unanswered(now, client, owner, Unanswered::FlowFailed(reason));
        }
        for Unsent {
            call,
            endpoint,
            by_dialog,
        } in self.transactions.fail_ways(&mut self.core, flow)
        {
            let call = call.and_then(|key| self.calls.get(&key));
            if !by_dialog || call.is_some_and(|call| call.unacknowledged.is_some()) {
                self.core
                    .ledger
                    .count(endpoint, |counters| counters.transport_errors += 1);
            }
        }
    }

    /// A request of ours will get no final response.
    fn on_unanswered(
        &mut self,
        now: Instant,
        client: ClientKey,
        owner: Owner,
        why: Unanswered<'_>,
    ) {
        match owner {
            Owner::Invite(key) => {
                let (reason, phrase) = match why {
                    Unanswered::Timeout => (EndReason::InviteTimeout, ""),
                    Unanswered::FlowFailed(how) => (EndReason::FlowFailed, how),
                };
                self.on_invite_unanswered(now, key, client, reason, phrase);
            }
            Owner::Bye(key) => self.on_bye_timeout(now, key),
            Owner::Within(key) => self.on_asked_timeout(now, key, client),
            Owner::Register(key) => {
                let failure = match why {
                    Unanswered::Timeout => Failure::Timeout,
                    Unanswered::FlowFailed(how) => Failure::FlowFailed(how.to_owned()),
                };
                self.on_register_unanswered(now, key, client, failure);
            }
            Owner::Options { endpoint, sent } => {
                self.on_options_answered(now, endpoint, sent, None);
            }
            Owner::Cancel(_) | Owner::Prack(_) | Owner::Orphan => {}
        }
    }
}
