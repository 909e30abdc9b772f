//! Composing the responses of calls.

use bytes::Bytes;

use super::UserAgent;
use super::call::{Call, Offered, State};
use super::config::EndpointConfig;
use super::endpoint::contact;
use super::reliable::RELIABLE;
use super::screen::{missing, understands};
use super::session::MIN_SE;
use crate::compose::{self, ALLOW};
use crate::flow::Flow;
use crate::message::{HeaderName, Message, Method};

impl UserAgent {
    /// A response that sets up or keeps the dialog, with Contact and Record-Route; a provisional
    /// one is reliable if it has an RSeq.
    pub(super) fn dialog_response(
        &self,
        call: &Call,
        offered: &Offered,
        code: u16,
        body: &[u8],
        rseq: Option<u32>,
    ) -> Bytes {
        let Offered {
            request, source, ..
        } = offered;
        let tag = matches!(call.state, State::Ringing(_)).then_some(call.tag);
        let mut builder = compose::response(request, source.remote, code, tag);
        builder.copy(request, HeaderName::RecordRoute);
        match call.endpoint.and_then(|key| self.endpoints.get(&key)) {
            Some(endpoint) => {
                builder.header(HeaderName::Contact, endpoint.contact_within());
            }
            None => {
                if let Some(listener) = self.listeners.get(&call.local) {
                    builder.header(HeaderName::Contact, &contact(&listener.listener, ""));
                }
            }
        }
        if let Some(rseq) = rseq {
            builder.header(HeaderName::Require, RELIABLE.as_bytes());
            builder.header_fmt(HeaderName::RSeq, format_args!("{rseq}"));
        }
        if rseq.is_some() || code >= 200 {
            builder.header(HeaderName::Allow, ALLOW);
        }
        if code >= 200
            && let Some(granted) = self.granted(call, request)
        {
            Self::write_granted(&mut builder, granted);
        }
        self.finish_response(builder, body)
    }

    /// The 200 of a PRACK with SDP; a PRACK keeps the target (RFC 3262 table 1: no Contact).
    pub(super) fn prack_response(&self, offered: &Offered, body: &[u8]) -> Bytes {
        let builder = compose::response(&offered.request, offered.source.remote, 200, None);
        self.finish_response(builder, body)
    }

    /// A response without Contact; codes that must name what is accepted do.
    pub(super) fn plain_response(
        &self,
        request: &Message,
        source: Flow,
        code: u16,
        tag: Option<u64>,
    ) -> Bytes {
        let mut builder = compose::response(request, source.remote, code, tag);
        match code {
            200 if request.method() == Some(Method::Options) => {
                builder.header(HeaderName::Allow, ALLOW);
                builder.header(HeaderName::Accept, compose::SDP.as_bytes());
            }
            405 => {
                builder.header(HeaderName::Allow, ALLOW);
            }
            415 => {
                builder.header(HeaderName::Accept, compose::SDP.as_bytes());
            }
            420 => {
                let config = self.called(request, source);
                // In one field: a field each would make the answer many times the request.
                let unsupported: Vec<&[u8]> = request
                    .elements(HeaderName::Require)
                    .filter(|option| !understands(config, option))
                    .collect();
                if !unsupported.is_empty() {
                    builder.header(HeaderName::Unsupported, &unsupported.join(&b", "[..]));
                }
            }
            421 => {
                let config = self.called(request, source);
                for option in config.iter().flat_map(|config| missing(request, config)) {
                    builder.header(HeaderName::Require, option.as_bytes());
                }
            }
            422 => {
                builder.header_fmt(HeaderName::MinSe, format_args!("{MIN_SE}"));
            }
            500 => {
                // A second offer before the first is answered (RFC 3261 §14.2).
                builder.header(HeaderName::RetryAfter, b"1");
            }
            _ => {}
        }
        self.finish_response(builder, b"")
    }

    /// The endpoint whose Contact user is that of the Request-URI.
    fn called(&self, request: &Message, source: Flow) -> Option<&EndpointConfig> {
        let key = self.addressed(request, source)?;
        Some(&self.endpoints.get(&key)?.config)
    }
}
