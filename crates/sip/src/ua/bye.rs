//! Ending calls that stand: BYE and its responses (RFC 3261 §15.1.1).

use std::time::Instant;

use super::UserAgent;
use super::auth::Challenged;
use super::call::{Call, State};
use super::event::{CallEvent, CallKey, EndReason};
use crate::flow::Flow;
use crate::message::{Message, Method};
use crate::transaction::{ClientKey, Owner};

impl UserAgent {
    /// Sends the BYE of a call that stands; `reason` is reported at the end unless one was set.
    pub(super) fn send_bye(&mut self, now: Instant, key: CallKey, reason: EndReason) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.leave_session(reason);
        if reason == EndReason::DialogLost
            && let Some(mid) = &mut call.mid
        {
            mid.transfer = None;
            mid.referral = None;
        }
        call.times.bye_sent = Some(now);
        self.refuse_offer(now, key, 487);
        self.refuse_referral(now, key);
        self.transmit_bye(now, key);
        self.call_event(now, key, CallEvent::ByeSent);
    }

    /// Puts a BYE on the wire.
    fn transmit_bye(&mut self, now: Instant, key: CallKey) {
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
        let peer = dialog.remote_tag.clone();
        let authorization = self.authorization_within(key, &peer, Method::Bye, b"");
        if let Some((flow, bye)) =
            self.compose_within(key, Method::Bye, client, cseq, &authorization)
        {
            let owner = (Owner::Bye(key), endpoint);
            let request = (Method::Bye, bye);
            self.transactions
                .start(&mut self.core, now, client, flow, request, owner);
        }
    }

    /// A response to our BYE: anything final but a challenge that is answered ends the call.
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
        if status == 401 || status == 407 {
            let challenged = Challenged {
                response: message,
                method: Method::Bye,
                destination: flow.remote,
            };
            let mut retries = match self.calls.get(&key).map(|call| &call.state) {
                Some(State::Ending { retries }) => *retries,
                _ => return,
            };
            let peer = self.calls.get(&key).and_then(Call::peer_tag);
            let peer = peer.unwrap_or_default();
            if self.challenged_within(key, &peer, &challenged, &mut retries) {
                if let Some(call) = self.calls.get_mut(&key) {
                    call.state = State::Ending { retries };
                }
                self.transmit_bye(now, key);
                return;
            }
        }
        if (200..300).contains(&status) {
            self.accepted_within(key, Method::Bye, flow.remote, message);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.bye_status = Some(status);
            call.times.bye_answered = Some(now);
        }
        if (200..300).contains(&status) {
            self.session_over(now, key, EndReason::LocalBye);
        } else {
            self.end(now, key, EndReason::LocalBye);
        }
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
