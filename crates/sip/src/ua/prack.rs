//! Reliable provisional responses of the peer, and our PRACK (RFC 3262 §4).

use std::time::Instant;

use bytes::Bytes;

use super::UserAgent;
use super::auth::{Challenged, Retries};
use super::call::{Outgoing, State};
use super::config::Reliable;
use super::early::EarlyDialog;
use super::event::CallKey;
use super::reliable::RELIABLE;
use super::screen::names_option;
use crate::compose::{self, Draft};
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::message::{Builder, Essentials, HeaderName, Message, Method, scan};
use crate::transaction::{ClientKey, Owner};

/// Most early dialogs of one INVITE.
const MAX_BRANCHES: usize = 16;

/// A PRACK of ours that waits for its response.
#[derive(Debug)]
pub(super) struct Prack {
    key: ClientKey,
    rseq: u32,
    retries: Retries,
}

/// What a provisional response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequence {
    /// Not sent reliably.
    Unreliable,
    /// The next one of its early dialog: to be acknowledged.
    Next(u32),
    /// One that came before, or before its turn: left alone (§4).
    Ignored,
    /// Of one early dialog more than are kept: left alone, so that its peer gives it up.
    TooMany,
}

impl Outgoing {
    /// Places a provisional response in the order of its early dialog; `on` is whether reliable
    /// ones are taken. One that is not reliable makes a dialog only for a peer that takes UPDATE,
    /// as nothing else comes in it.
    fn sequence(&mut self, message: &Message, essentials: &Essentials, on: bool) -> Sequence {
        let rseq = message
            .value(HeaderName::RSeq)
            .and_then(scan::number::<u32>)
            .filter(|rseq| on && *rseq > 0)
            .filter(|_| names_option(message, HeaderName::Require, RELIABLE));
        let updates = names_option(message, HeaderName::Allow, Method::Update.as_str());
        let Some(tag) = essentials.to.tag().filter(|_| updates || rseq.is_some()) else {
            return Sequence::Unreliable;
        };
        let known = self
            .branches
            .iter()
            .position(|branch| branch.dialog.remote_tag == tag);
        if known.is_none() {
            if self.branches.len() >= MAX_BRANCHES {
                return rseq.map_or(Sequence::Unreliable, |_| Sequence::TooMany);
            }
            let mut dialog = Dialog::of_response(message, essentials, self.flow);
            dialog.local = Bytes::copy_from_slice(&self.from);
            self.branches.push(EarlyDialog::new(dialog));
        }
        let Some(branch) = self.branch_mut(&tag) else {
            return Sequence::Unreliable;
        };
        let Some(rseq) = rseq else {
            branch.updates = true;
            return Sequence::Unreliable;
        };
        if branch
            .rseq
            .is_some_and(|last| last.checked_add(1) != Some(rseq))
        {
            return Sequence::Ignored;
        }
        branch.rseq = Some(rseq);
        branch.updates |= updates;
        branch.answered |= !message.body().is_empty();
        branch.dialog.refresh_target(message);
        Sequence::Next(rseq)
    }
}

impl UserAgent {
    /// Whether a provisional response is passed over; a reliable one that is not is acknowledged.
    pub(super) fn passes_over(
        &mut self,
        now: Instant,
        key: CallKey,
        message: &Message,
        essentials: &Essentials,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let endpoint = call.endpoint.and_then(|key| self.endpoints.get(&key));
        let on = endpoint.is_some_and(|endpoint| endpoint.config.reliable != Reliable::Off);
        let State::Calling(outgoing) = &mut call.state else {
            return false;
        };
        match outgoing.sequence(message, essentials, on) {
            Sequence::Unreliable => false,
            Sequence::Ignored => {
                self.core.ledger.count(call.endpoint, |counters| {
                    counters.retransmissions_received += 1;
                });
                true
            }
            Sequence::TooMany => {
                self.core
                    .ledger
                    .count(call.endpoint, |counters| counters.unexpected += 1);
                true
            }
            Sequence::Next(rseq) => {
                let times = &mut call.mid.get_or_insert_default().times;
                times.reliable.get_or_insert(now);
                let tag = essentials.to.tag().unwrap_or_default();
                self.send_prack(now, key, &tag, rseq, Retries::default());
                false
            }
        }
    }

    fn send_prack(&mut self, now: Instant, key: CallKey, tag: &Bytes, rseq: u32, retries: Retries) {
        let client = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let authorization = self.authorization_within(key, tag, Method::Prack, b"");
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let State::Calling(outgoing) = &mut call.state else {
            return;
        };
        let invite = outgoing.cseq;
        let Some(branch) = outgoing.branch_mut(tag) else {
            return;
        };
        branch.pracked = false;
        branch.prack = Some(Prack {
            key: client,
            rseq,
            retries,
        });
        let dialog = &mut branch.dialog;
        dialog.local_cseq += 1;
        let (routing, flow) = (dialog.routing(), dialog.request_flow());
        let Some(listener) = self.listeners.get(&flow.local) else {
            return;
        };
        let more = |builder: &mut Builder| {
            builder.header_fmt(
                HeaderName::RAck,
                format_args!("{rseq} {invite} {}", Method::Invite.as_str()),
            );
        };
        let prack = Draft {
            method: Method::Prack,
            uri: &routing.request_uri,
            listener: &listener.listener,
            key: client,
            routes: &routing.routes,
            from: &dialog.local,
            to: &dialog.remote,
            call_id: &dialog.call_id,
            cseq: dialog.local_cseq,
            contact: None,
            expires: None,
            authorization: &authorization,
            more: &more,
            product: &self.config.product,
            content_type: compose::SDP,
            body: b"",
        }
        .compose();
        let owner = (Owner::Prack(key), call.endpoint);
        let request = (Method::Prack, prack);
        self.transactions
            .start(&mut self.core, now, client, flow, request, owner);
    }

    /// The response to a PRACK of ours. A challenge is answered as within dialogs that stand. A
    /// PRACK that is refused, like one without a response, leaves the session of its early dialog
    /// open, so that no UPDATE of ours follows; the peer, which keeps waiting for its PRACK, ends
    /// the INVITE with a 5xx (§3), or answers it from another branch.
    pub(super) fn on_prack_response(
        &mut self,
        now: Instant,
        key: CallKey,
        found: (ClientKey, Flow),
        message: &Message,
        essentials: &Essentials,
        status: u16,
    ) {
        let (client, flow) = found;
        let Some(call) = self.calls.get_mut(&key).filter(|_| status >= 200) else {
            return;
        };
        if status < 300
            && let Some(mid) = &mut call.mid
        {
            mid.times.pracked.get_or_insert(now);
        }
        let tag = essentials.to.tag().unwrap_or_default();
        let State::Calling(outgoing) = &mut call.state else {
            return;
        };
        let branch = outgoing.branch_mut(&tag);
        let last = branch.and_then(|branch| {
            let prack = branch.prack.take_if(|prack| prack.key == client)?;
            branch.pracked = status < 300;
            Some(prack)
        });
        let Some(mut prack) = last else {
            return;
        };
        if status < 300 {
            self.accepted_within(key, Method::Prack, flow.remote, message);
        }
        if status == 401 || status == 407 {
            let challenged = Challenged {
                response: message,
                method: Method::Prack,
                destination: flow.remote,
            };
            if self.challenged_within(key, &tag, &challenged, &mut prack.retries) {
                self.send_prack(now, key, &tag, prack.rseq, prack.retries);
            }
        }
    }
}
