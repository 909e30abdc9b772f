//! A request of ours within a dialog, and whom its final response is for.

use bytes::Bytes;

use crate::compose::SDP;
use crate::digest::Authorization;
use crate::message::{HeaderName, Method};
use crate::transaction::ClientKey;
use crate::ua::auth::Retries;

/// A request of ours within a dialog.
#[derive(Clone, Debug)]
pub(in crate::ua) struct Asked {
    pub(in crate::ua) key: ClientKey,
    /// The tag of whom it goes to.
    pub(in crate::ua) peer: Bytes,
    pub(in crate::ua) method: Method,
    pub(in crate::ua) purpose: Purpose,
    pub(super) cseq: u32,
    pub(super) retries: Retries,
    /// The credentials it was sent with.
    pub(super) authorization: Authorization,
    /// Further header fields.
    pub(in crate::ua) lines: Vec<(HeaderName, Vec<u8>)>,
    pub(in crate::ua) content_type: String,
    pub(in crate::ua) body: Bytes,
    /// How often it met a request of the peer.
    pub(in crate::ua) glares: u8,
}

/// Whom the final response to a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ua) enum Purpose {
    /// An offer of the caller of this stack.
    Offer,
    /// A refresh of the session.
    Refresh,
    /// An INFO of the caller of this stack.
    Info,
    /// A transfer asked for.
    Refer,
    /// What became of a transfer of the peer; ends its subscription only (RFC 5057 §5.2).
    Notify {
        /// CSeq number of the REFER that asked for it.
        refer: u32,
    },
}

impl Asked {
    pub(in crate::ua) fn new(method: Method, purpose: Purpose, body: Bytes) -> Self {
        Self {
            key: ClientKey {
                branch: 0,
                cancel: false,
            },
            peer: Bytes::new(),
            method,
            purpose,
            cseq: 0,
            retries: Retries::default(),
            authorization: Authorization::default(),
            lines: Vec::new(),
            content_type: SDP.to_owned(),
            body,
            glares: 0,
        }
    }

    /// Whether it changes the session or its dialog's target, so that only one may be under way.
    pub(super) fn is_offer(&self) -> bool {
        matches!(self.method, Method::Invite | Method::Update)
    }

    /// Whether it belongs to a subscription, which outlives the session.
    pub(super) fn is_of_transfer(&self) -> bool {
        matches!(self.purpose, Purpose::Refer | Purpose::Notify { .. })
    }

    /// Whether its failure may mean that the dialog is gone, not only a subscription.
    pub(super) fn is_of_session(&self) -> bool {
        !matches!(self.purpose, Purpose::Notify { .. })
    }
}
