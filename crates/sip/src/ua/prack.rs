//! Reliable provisional responses of the peer, and our PRACK (RFC 3262 §4).

use std::time::Instant;

use bytes::Bytes;

use super::UserAgent;
use super::call::{Outgoing, State};
use super::config::Reliable;
use super::event::CallKey;
use super::reliable::RELIABLE;
use super::screen::names_option;
use crate::compose::{self, Draft};
use crate::dialog::Dialog;
use crate::digest::Authorization;
use crate::message::{Builder, Essentials, HeaderName, Message, Method, scan};
use crate::transaction::{ClientKey, Owner};

/// Most branches of one INVITE whose reliable responses are acknowledged.
const MAX_BRANCHES: usize = 16;

/// An early dialog with reliable responses.
#[derive(Debug)]
pub(super) struct EarlyDialog {
    pub(super) dialog: Dialog,
    /// RSeq of the last response taken.
    rseq: u32,
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
}

impl Outgoing {
    /// Places a provisional response in the order of its early dialog.
    fn sequence(&mut self, message: &Message, essentials: &Essentials) -> Sequence {
        let rseq = message
            .value(HeaderName::RSeq)
            .and_then(scan::number::<u32>)
            .filter(|rseq| *rseq > 0);
        let required = names_option(message, HeaderName::Require, RELIABLE);
        let (Some(rseq), true, Some(tag)) = (rseq, required, essentials.to.tag()) else {
            return Sequence::Unreliable;
        };
        let full = self.branches.len() >= MAX_BRANCHES;
        let known = self
            .branches
            .iter_mut()
            .find(|branch| branch.dialog.remote_tag == tag);
        match known {
            Some(branch) if branch.rseq.checked_add(1) == Some(rseq) => {
                branch.rseq = rseq;
                branch.dialog.refresh_target(message);
                Sequence::Next(rseq)
            }
            Some(_) => Sequence::Ignored,
            None if full => Sequence::Ignored,
            None => {
                let mut dialog = Dialog::of_response(message, essentials, self.flow);
                dialog.local = Bytes::copy_from_slice(&self.from);
                self.branches.push(EarlyDialog { dialog, rseq });
                Sequence::Next(rseq)
            }
        }
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
        if !on {
            return false;
        }
        match outgoing.sequence(message, essentials) {
            Sequence::Unreliable => false,
            Sequence::Ignored => {
                self.core.ledger.count(call.endpoint, |counters| {
                    counters.retransmissions_received += 1;
                });
                true
            }
            Sequence::Next(rseq) => {
                let times = &mut call.mid.get_or_insert_default().times;
                times.reliable.get_or_insert(now);
                let tag = essentials.to.tag().unwrap_or_default();
                self.send_prack(now, key, &tag, rseq);
                false
            }
        }
    }

    fn send_prack(&mut self, now: Instant, key: CallKey, tag: &Bytes, rseq: u32) {
        let client = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let State::Calling(outgoing) = &mut call.state else {
            return;
        };
        let mut branches = outgoing.branches.iter_mut();
        let Some(branch) = branches.find(|branch| branch.dialog.remote_tag == *tag) else {
            return;
        };
        let dialog = &mut branch.dialog;
        dialog.local_cseq += 1;
        let (routing, flow) = (dialog.routing(), dialog.request_flow());
        let endpoint = call.endpoint.and_then(|key| self.endpoints.get_mut(&key));
        // For the eyes of the proxy only, as within dialogs that stand.
        let authorization = match endpoint {
            Some(endpoint) if dialog.is_routed() => endpoint.authorization(
                Method::Prack,
                flow.remote,
                routing.request_uri.as_bytes(),
                b"",
            ),
            _ => Authorization::default(),
        };
        let Some(listener) = self.listeners.get(&flow.local) else {
            return;
        };
        let invite = outgoing.cseq;
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

    /// The final response to a PRACK of ours. A PRACK that fails is left alone: the INVITE is what
    /// ends the call.
    pub(super) fn on_prack_response(&mut self, now: Instant, key: CallKey, status: u16) {
        if (200..300).contains(&status)
            && let Some(mid) = self.calls.get_mut(&key).and_then(|call| call.mid.as_mut())
        {
            mid.times.pracked.get_or_insert(now);
        }
    }
}
