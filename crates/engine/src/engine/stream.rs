//! The one audio stream of a call, from its ports to its last figures.

use std::net::SocketAddr;
use std::time::Instant;

use callmeter_sip::sdp::Negotiated;

use rand::Rng as _;

use super::{Engine, PATIENCE};
use crate::assign::ShareId;
use crate::call::{Call, Stage as CallStage, StreamState};
use crate::event::{Outcome, Output};
use crate::media::{MediaCommand, StreamId};

impl Engine {
    /// Makes a call of an endpoint and asks for its ports.
    pub(super) fn open_call(
        &mut self,
        now: Instant,
        share: ShareId,
        index: u32,
    ) -> Option<StreamId> {
        let session_id = u64::from(self.rng.random::<u32>());
        let owner = self.shares.get_mut(&share)?;
        if let Some(line) = &mut owner.line {
            line.in_call(index, true);
        }
        let endpoint = owner.endpoint(index)?;
        self.streams_opened += 1;
        let stream = StreamId(u64::from(self.config.shard) << 48 | self.streams_opened);
        endpoint.last_call += 1;
        endpoint.open_calls += 1;
        endpoint.current = Some(stream);
        let call = Call::new(share, index, endpoint.last_call, session_id);
        self.calls.insert(stream, call);
        self.outputs
            .push_back(Output::Media(MediaCommand::Open { stream }));
        self.set_call_timer(stream, Some(now + PATIENCE));
        Some(stream)
    }

    pub(super) fn stream_opened(&mut self, now: Instant, stream: StreamId, local: SocketAddr) {
        match self.calls.get_mut(&stream) {
            Some(call) if call.stream == StreamState::Opening => {
                call.stream = StreamState::Open(local);
                if call.stage == CallStage::Removing {
                    self.outputs
                        .push_back(Output::Media(MediaCommand::Remove { stream }));
                } else if call.outgoing {
                    self.try_invite(now, stream);
                } else {
                    self.ring(now, stream);
                    self.try_answer(now, stream);
                }
            }
            Some(_) => {}
            // Its call gave up waiting: nobody needs the ports.
            None => self
                .outputs
                .push_back(Output::Media(MediaCommand::Remove { stream })),
        }
    }

    /// Gives the media thread what was agreed on.
    pub(super) fn start_stream(&mut self, stream: StreamId, agreed: Negotiated, send: bool) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let Some(share) = self.shares.get(&call.share) else {
            return;
        };
        call.negotiated = Some(agreed);
        let sends = agreed.direction.sends();
        let start_sending = send && sends;
        let silenced = call.sending && !start_sending;
        call.sending = start_sending;
        if silenced {
            self.outputs
                .push_back(Output::Media(MediaCommand::StopSending { stream }));
        }
        self.outputs.push_back(Output::Media(MediaCommand::Start {
            stream,
            remote: agreed.remote_rtp,
            remote_rtcp: agreed.remote_rtcp,
            codec: agreed.codec,
            payload_type: agreed.send_payload_type,
            receive_payload_type: agreed.receive_payload_type,
            telephone_events: agreed.telephone_events,
            ptime_ms: u32::from(agreed.ptime_ms),
            dscp: share.assign.audio.dscp,
            start_sending,
        }));
    }

    pub(super) fn stop_sending(&mut self, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if std::mem::take(&mut call.sending) {
            self.outputs
                .push_back(Output::Media(MediaCommand::StopSending { stream }));
        }
    }

    /// Closes the stream; its last figures end the call.
    pub(super) fn remove_stream(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        call.stage = CallStage::Removing;
        match call.stream {
            StreamState::Gone => {
                self.finish_call(now, stream);
                return;
            }
            // Removed as soon as it has opened.
            StreamState::Opening => {}
            StreamState::Open(_) => {
                self.outputs
                    .push_back(Output::Media(MediaCommand::Remove { stream }));
            }
        }
        self.set_call_timer(stream, Some(now + PATIENCE));
    }

    pub(super) fn stream_failed(&mut self, now: Instant, stream: StreamId, reason: &str) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        call.stream = StreamState::Gone;
        call.verdict.raise(Outcome::OsError, reason);
        if call.stage == CallStage::Removing {
            self.finish_call(now, stream);
        } else {
            self.hang_up(now, stream);
        }
    }

    pub(super) fn stream_gone(&mut self, now: Instant, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        call.stream = StreamState::Gone;
        if call.stage == CallStage::Removing {
            self.finish_call(now, stream);
        }
    }
}
