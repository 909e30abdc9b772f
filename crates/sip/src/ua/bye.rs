//! Ending calls that stand: BYE and its responses (RFC 3261 §15.1.1).

use std::time::Instant;

use bytes::Bytes;

use super::UserAgent;
use super::call::State;
use super::endpoint::{Challenged, Retries};
use super::event::{CallEvent, CallKey, EndReason};
use crate::flow::Flow;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::{ClientKey, Owner};

impl UserAgent {
    /// Sends the BYE of a call that stands; `reason` is reported at the end unless one was set.
    pub(super) fn send_bye(&mut self, now: Instant, key: CallKey, reason: EndReason) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.reason.get_or_insert(reason);
        call.state = State::Ending {
            retries: Retries::default(),
        };
        call.unacknowledged = None;
        call.give_up_at = None;
        call.times.bye_sent = Some(now);
        self.refuse_offer(now, key, 487);
        self.transmit_bye(now, key, None);
        self.call_event(now, key, CallEvent::ByeSent);
    }

    /// Puts a BYE on the wire, with credentials if it was challenged.
    fn transmit_bye(
        &mut self,
        now: Instant,
        key: CallKey,
        authorization: Option<(HeaderName, &str)>,
    ) {
        let client = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let endpoint = call.endpoint;
        let Some(dialog) = &mut call.dialog else {
            return;
        };
        dialog.local_cseq += 1;
        let cseq = dialog.local_cseq;
        if let Some((flow, bye)) =
            self.compose_within(key, Method::Bye, client, cseq, authorization)
        {
            let owner = (Owner::Bye(key), endpoint);
            let request = (Method::Bye, bye);
            self.transactions
                .start(&mut self.core, now, client, flow, request, owner);
        }
    }

    /// A response to our BYE: a challenge is answered only in a dialog we started, towards a
    /// proxy that is the configured next hop; anything final ends the call.
    pub(super) fn on_bye_response(
        &mut self,
        now: Instant,
        key: CallKey,
        flow: Flow,
        message: &Message,
        status: u16,
    ) {
        if status < 200 {
            return;
        }
        if (status == 401 || status == 407)
            && let Some((header, value)) = self.answer_bye_challenge(key, flow, message, status)
        {
            self.transmit_bye(now, key, Some((header, &value)));
            return;
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.bye_status = Some(status);
            call.times.bye_answered = Some(now);
        }
        self.end(now, key, EndReason::LocalBye);
    }

    fn answer_bye_challenge(
        &mut self,
        key: CallKey,
        flow: Flow,
        message: &Message,
        status: u16,
    ) -> Option<(HeaderName, String)> {
        let call = self.calls.get_mut(&key)?;
        self.core
            .ledger
            .count(call.endpoint, |counters| counters.auth_challenges += 1);
        let dialog = call
            .dialog
            .as_ref()
            .filter(|dialog| call.caller && dialog.is_routed())?;
        let State::Ending { retries } = &mut call.state else {
            return None;
        };
        let endpoint = self.endpoints.get_mut(&call.endpoint?)?;
        let method = Method::Bye;
        let challenged = Challenged {
            response: message,
            status,
            method,
            destination: flow.remote,
        };
        let mut session = endpoint.session(&challenged, retries)?;
        let uri = dialog.routing().request_uri;
        endpoint.authorization(
            &mut self.core,
            &mut session,
            method,
            uri.as_bytes(),
            &Bytes::new(),
        )
    }

    /// Our BYE got no answer.
    pub(super) fn on_bye_timeout(&mut self, now: Instant, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key)
            && call.reason == Some(EndReason::LocalBye)
            && call.times.bye_received.is_none()
        {
            call.reason = Some(EndReason::ByeTimeout);
        }
        self.end(now, key, EndReason::ByeTimeout);
    }
}
