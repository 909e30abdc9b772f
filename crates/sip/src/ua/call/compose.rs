//! The messages of a call: requests within its dialogs, and how responses end.

use bytes::Bytes;

use super::{CallKey, UserAgent};
use crate::compose::{self, Draft, SDP};
use crate::dialog::Dialog;
use crate::digest::Authorization;
use crate::flow::Flow;
use crate::message::{Builder, Method};
use crate::transaction::ClientKey;

impl UserAgent {
    /// Composes a request within the dialog of a call and says where it goes.
    pub(in crate::ua) fn compose_within(
        &self,
        key: CallKey,
        method: Method,
        client: ClientKey,
        cseq: u32,
        authorization: &Authorization,
    ) -> Option<(Flow, Bytes)> {
        let call = self.calls.get(&key)?;
        let dialog = call.dialog.as_ref()?;
        let flow = dialog.request_flow();
        Some((
            flow,
            self.compose_in_dialog(dialog, method, client, cseq, authorization)?,
        ))
    }

    /// Composes a request within a dialog.
    pub(in crate::ua) fn compose_in_dialog(
        &self,
        dialog: &Dialog,
        method: Method,
        client: ClientKey,
        cseq: u32,
        authorization: &Authorization,
    ) -> Option<Bytes> {
        let flow = dialog.request_flow();
        let routing = dialog.routing();
        let draft = Draft {
            method,
            uri: &routing.request_uri,
            listener: &self.listeners.get(&flow.local)?.listener,
            key: client,
            routes: &routing.routes,
            from: &dialog.local,
            to: &dialog.remote,
            call_id: &dialog.call_id,
            cseq,
            contact: None,
            expires: None,
            authorization,
            more: &compose::no_more,
            product: &self.config.product,
            content_type: SDP,
            body: b"",
        };
        Some(compose::over(draft.compose(), flow.transport))
    }

    /// A flow with the transport that its local transport names in Contact.
    pub(in crate::ua) fn contact_flow(&self, flow: Flow) -> Flow {
        let bound = self.listeners.get(&flow.local);
        let transport = bound.map_or(flow.transport, |bound| bound.listener.transport);
        Flow { transport, ..flow }
    }

    /// Finishes a response with our product name and a body.
    pub(in crate::ua) fn finish_response(&self, mut builder: Builder, body: &[u8]) -> Bytes {
        if !self.config.product.is_empty() {
            builder.named("Server", self.config.product.as_bytes());
        }
        builder.finish(SDP, body)
    }
}
