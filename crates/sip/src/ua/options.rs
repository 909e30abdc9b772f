//! Asking a peer whether it is there: OPTIONS outside of dialogs (RFC 3261 §11).

use std::time::Instant;

use super::event::{OptionsAnswered, UaEvent};
use super::{UaError, UserAgent};
use crate::compose::{self, Draft, tagged};
use crate::counters::EndpointKey;
use crate::digest::Authorization;
use crate::flow::Flow;
use crate::message::{Method, Uri};
use crate::transaction::{ClientKey, Owner};

impl UserAgent {
    pub(super) fn send_options(
        &mut self,
        now: Instant,
        key: EndpointKey,
        target: &Uri,
    ) -> Result<(), UaError> {
        let endpoint = self
            .endpoints
            .get(&key)
            .ok_or(UaError::UnknownEndpoint(key))?;
        let local = endpoint.config.local;
        let listener = self
            .listeners
            .get(&local)
            .ok_or(UaError::UnknownListener(local))?;
        let routes = endpoint.routes();
        let remote = endpoint
            .config
            .next_hop
            .or_else(|| {
                let first = routes.first().unwrap_or(target);
                first.socket_addr_over(listener.listener.transport)
            })
            .ok_or(UaError::NoNextHop)?;
        let client = ClientKey {
            branch: self.core.token(),
            cancel: false,
        };
        let call_id = format!("{:016x}{:016x}", self.core.token(), self.core.token());
        let message = Draft {
            method: Method::Options,
            uri: target,
            listener: &listener.listener,
            key: client,
            routes: &routes,
            from: &tagged(&endpoint.from, self.core.token()),
            to: &[b"<", target.as_bytes(), b">"].concat(),
            call_id: call_id.as_bytes(),
            cseq: 1,
            contact: Some(&endpoint.contact),
            expires: None,
            authorization: &Authorization::default(),
            more: &compose::no_more,
            product: &self.config.product,
            content_type: compose::SDP,
            body: b"",
        }
        .compose();
        let flow = Flow {
            local,
            transport: listener.listener.transport,
            remote,
        };
        let owner = Owner::Options {
            endpoint: key,
            sent: now,
        };
        let request = (Method::Options, message);
        self.transactions.start(
            &mut self.core,
            now,
            client,
            flow,
            request,
            (owner, Some(key)),
        );
        Ok(())
    }

    /// An OPTIONS of ours got its final response, or none (`None`).
    pub(super) fn on_options_answered(
        &mut self,
        now: Instant,
        endpoint: EndpointKey,
        sent: Instant,
        code: Option<u16>,
    ) {
        if code == Some(401) || code == Some(407) {
            self.core
                .ledger
                .count(Some(endpoint), |counters| counters.auth_challenges += 1);
        }
        if self.endpoints.contains_key(&endpoint) {
            self.core.event(UaEvent::OptionsAnswered(OptionsAnswered {
                endpoint,
                at: now,
                sent,
                code,
            }));
        }
    }
}
