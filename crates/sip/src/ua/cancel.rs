//! Giving an INVITE up: CANCEL (RFC 3261 §9.1), and the end of branches that answer all the same.

use std::time::Instant;

use super::UserAgent;
use super::call::State;
use super::event::{CallKey, EndReason};
use crate::compose;
use crate::counters::EndpointKey;
use crate::dialog::Dialog;
use crate::digest::Authorization;
use crate::flow::Flow;
use crate::message::{Essentials, Message, Method};
use crate::transaction::{ClientKey, LIFETIME, Owner};

/// What the BYE of a branch that lost leaves of room for PRACKs the branch may have got; a number
/// that is higher than needed is no error (RFC 3261 §12.2.2).
const MAX_PRACKS: u32 = 1000;

impl UserAgent {
    /// Cancels an INVITE: at once, or when the first provisional response comes.
    pub(super) fn cancel(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let State::Calling(outgoing) = &mut call.state else {
            return;
        };
        if std::mem::replace(&mut outgoing.cancelled, true) {
            return;
        }
        call.reason.get_or_insert(EndReason::Cancelled);
        call.give_up_at = None;
        if outgoing.provisional {
            self.send_cancel(now, key);
        }
        self.arm(key);
    }

    pub(super) fn send_cancel(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let State::Calling(outgoing) = &call.state else {
            return;
        };
        let client = outgoing.key;
        let Some((invite, flow)) = self.transactions.pending(client) else {
            return;
        };
        let Some(cancel) = compose::cancel(invite) else {
            return;
        };
        call.times.cancel = Some(now);
        let owner = (Owner::Cancel(key), call.endpoint);
        let cancel_key = ClientKey {
            cancel: true,
            ..client
        };
        let request = (Method::Cancel, cancel);
        self.transactions
            .start(&mut self.core, now, cancel_key, flow, request, owner);
        self.transactions
            .end_by(&mut self.core, client, now + LIFETIME);
    }

    /// Acknowledges the 2xx of a branch that lost and ends it (RFC 3261 §13.2.2.4).
    pub(super) fn end_fork(
        &mut self,
        now: Instant,
        client: ClientKey,
        flow: Flow,
        endpoint: Option<EndpointKey>,
        message: &Message,
        essentials: &Essentials,
    ) {
        let ack_key = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let bye_key = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let dialog = Dialog::of_response(message, essentials, self.contact_flow(flow));
        let number = essentials.cseq.number;
        let flow = dialog.request_flow();
        let none = Authorization::default();
        let ack = self.compose_in_dialog(&dialog, Method::Ack, ack_key, number, &none);
        let bye = self.compose_in_dialog(&dialog, Method::Bye, bye_key, number + MAX_PRACKS, &none);
        if let (Some(ack), Some(bye)) = (ack, bye) {
            let (tag, ack) = (dialog.remote_tag, (flow, ack));
            self.transactions
                .acknowledge(&mut self.core, client, tag, ack, endpoint);
            let owner = (Owner::Orphan, endpoint);
            let request = (Method::Bye, bye);
            self.transactions
                .start(&mut self.core, now, bye_key, flow, request, owner);
        }
    }
}
