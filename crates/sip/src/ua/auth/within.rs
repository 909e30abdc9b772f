//! Challenges to requests within dialogs.

use std::net::SocketAddr;

use super::{Challenged, Retries, Verdict};
use crate::digest::{Authorization, Request};
use crate::message::{Message, Method};
use crate::ua::{CallKey, UserAgent};

impl UserAgent {
    /// The credentials of a request within the dialog of a call with `peer`, a tag: of challenges
    /// answered before.
    pub(in crate::ua) fn authorization_within(
        &mut self,
        key: CallKey,
        peer: &[u8],
        method: Method,
        body: &[u8],
    ) -> Authorization {
        self.credentials_within(key, peer, method, body)
            .unwrap_or_default()
    }

    fn credentials_within(
        &mut self,
        key: CallKey,
        peer: &[u8],
        method: Method,
        body: &[u8],
    ) -> Option<Authorization> {
        let call = self.calls.get_mut(&key)?;
        let endpoint = self.endpoints.get_mut(&call.endpoint?)?;
        let credentials = endpoint.config.credentials.as_ref()?;
        if endpoint.sessions.is_empty() && call.sessions.is_none() {
            return None;
        }
        let dialog = call.dialog_with(peer)?;
        let (routing, routed) = (dialog.routing(), dialog.is_routed());
        let request = Request {
            method: method.as_str(),
            uri: routing.request_uri.as_bytes(),
            body,
        };
        let free = endpoint.config.auth_in_dialog;
        if endpoint.config.is_next_hop(routing.destination) {
            (free || (call.caller && routed)).then(|| {
                endpoint
                    .sessions
                    .authorization(credentials, method, request)
            })
        } else {
            let sessions = call.sessions.as_mut().filter(|_| free)?;
            Some(sessions.authorization(credentials, method, request))
        }
    }

    /// Whether a challenge to a request within the dialog of a call is answered: by sending it
    /// again with its [`Self::authorization_within`]. Counts the challenge. The realm is never
    /// learnt here.
    pub(in crate::ua) fn challenged_within(
        &mut self,
        key: CallKey,
        peer: &[u8],
        request: &Challenged<'_>,
        retries: &mut Retries,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        self.core
            .ledger
            .count(call.endpoint, |counters| counters.auth_challenges += 1);
        let Some(endpoint) = call.endpoint.and_then(|key| self.endpoints.get_mut(&key)) else {
            return false;
        };
        let Some(realm) = endpoint.realm(false) else {
            return false;
        };
        let (Some(credentials), Some(dialog)) =
            (&endpoint.config.credentials, call.dialog_with(peer))
        else {
            return false;
        };
        let uri = dialog.routing().request_uri;
        let free = endpoint.config.auth_in_dialog;
        let ours = call.caller && dialog.is_routed();
        let sessions = match endpoint.config.is_next_hop(request.destination) {
            true if free || ours => &mut endpoint.sessions,
            false if free => &mut **call.sessions.get_or_insert_default(),
            _ => return false,
        };
        let by = (credentials, uri.as_bytes());
        let verdict = sessions.challenged(&mut self.core, request, by, retries, &mut Some(realm));
        verdict == Verdict::Again
    }

    /// Takes the next nonce of a 2xx to a request of a call.
    pub(in crate::ua) fn accepted_within(
        &mut self,
        key: CallKey,
        method: Method,
        destination: SocketAddr,
        response: &Message,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(endpoint) = call.endpoint.and_then(|key| self.endpoints.get_mut(&key)) else {
            return;
        };
        if endpoint.config.is_next_hop(destination) {
            endpoint.sessions.renew(method, response);
        } else if let Some(sessions) = &mut call.sessions {
            sessions.renew(method, response);
        }
    }
}
