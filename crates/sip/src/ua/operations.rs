//! What a caller may do within a call that stands, beyond hanging up.

use std::time::Instant;

use bytes::Bytes;

use super::offer::OfferBy;
use super::refer::Refer;
use super::{CallKey, UaError, UserAgent};

impl UserAgent {
    /// Offers a change of a call that stands, by re-INVITE or UPDATE, or by UPDATE before the
    /// answer once SDP in a reliable provisional response has been acknowledged and if the peer's
    /// Allow has UPDATE (RFC 3311 §5.1); a call that forked offers to the branch whose early dialog
    /// is the last of these. Ends in [`super::CallEvent::OfferAnswered`],
    /// [`super::CallEvent::OfferRefused`] or [`super::CallEvent::OfferMet`], unless the call ends
    /// first; an [`Self::answer`] of the call waits for that.
    pub fn offer(
        &mut self,
        now: Instant,
        call: CallKey,
        body: impl Into<Bytes>,
        by: OfferBy,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.offer_change(now, call, body.into(), by, false)
    }

    /// Makes the offer again that met one of the peer, once the wait of its
    /// [`super::CallEvent::OfferMet`] is over: counted and timed as one with the first try. The
    /// body is of the session as it is now, which the peer may have changed meanwhile.
    pub fn offer_again(
        &mut self,
        now: Instant,
        call: CallKey,
        body: impl Into<Bytes>,
        by: OfferBy,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.offer_change(now, call, body.into(), by, true)
    }

    /// Asks the peer of a call that stands to call somebody else: blind, or attended if the target
    /// is to replace another call of ours. Ends in [`super::CallEvent::ReferAnswered`] and, if
    /// accepted, a last [`super::CallEvent::TransferProgress`], unless the call ends first. After a
    /// BYE of either side that is waited for, 32 s at most, before the call ends.
    pub fn refer(&mut self, now: Instant, call: CallKey, refer: &Refer) -> Result<(), UaError> {
        let now = self.clock(now);
        self.send_refer(now, call, refer)
    }

    /// Accepts the transfer of a [`super::CallEvent::Referred`] with 202 and tells the peer 100; of
    /// what follows it is told with [`Self::notify_refer`].
    pub fn accept_refer(&mut self, now: Instant, call: CallKey) -> Result<(), UaError> {
        let now = self.clock(now);
        self.answer_refer(now, call, 202)
    }

    /// Refuses the transfer of a [`super::CallEvent::Referred`] with a code of 300 to 699.
    pub fn reject_refer(&mut self, now: Instant, call: CallKey, code: u16) -> Result<(), UaError> {
        let now = self.clock(now);
        if !(300..700).contains(&code) {
            return Err(UaError::StatusCode(code));
        }
        self.answer_refer(now, call, code)
    }

    /// Tells the peer, also after a BYE, what became of the transfer it asked for: the status code,
    /// 100 to 699, of the call it led to, and whether that is the last word. What is said while the
    /// peer has not answered to what was said before is sent then, only the latest of it; 100 is
    /// said by [`Self::accept_refer`]. The call lasts until the last word is answered, after a BYE
    /// 32 s at most.
    pub fn notify_refer(
        &mut self,
        now: Instant,
        call: CallKey,
        code: u16,
        last: bool,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.send_notify(now, call, code, last)
    }

    /// Sends an INFO within a call that stands; ends in [`super::CallEvent::InfoAnswered`], unless
    /// the call ends first.
    pub fn info(
        &mut self,
        now: Instant,
        call: CallKey,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<(), UaError> {
        let now = self.clock(now);
        self.send_info(now, call, content_type, body.into())
    }
}
