//! The answer to a refresh of the session by re-INVITE, which offers anew what stands (RFC 4028
//! §7.4).

use std::time::Instant;

use bytes::Bytes;
use callmeter_sip::sdp;

use super::Engine;
use crate::call::Stage as CallStage;
use crate::event::Outcome;
use crate::media::StreamId;

impl Engine {
    /// By its answer the far end may move its media, hold the call or take it up again. No step
    /// waits for it.
    pub(super) fn refresh_answered(&mut self, now: Instant, stream: StreamId, body: &Bytes) {
        let Some(call) = self.calls.get(&stream) else {
            return;
        };
        let Some(stands) = call
            .negotiated
            .filter(|_| call.stage == CallStage::Established)
        else {
            return;
        };
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        let Some(local) = call.local_audio(&share.assign) else {
            return;
        };
        match sdp::accept_again(body, &local, &stands) {
            Ok(agreed) if agreed == stands => {}
            Ok(agreed) => {
                self.start_stream(stream, agreed, true);
                self.held_by_peer(now, stream, stands.held, agreed.held);
            }
            // The media goes on as it was: whether that is heard, the far end's figures tell.
            Err(error) => {
                let detail = format!("the answer to a refresh of the session: {error}");
                self.raise(stream, Outcome::CompletedWithWarnings, &detail);
            }
        }
    }
}
