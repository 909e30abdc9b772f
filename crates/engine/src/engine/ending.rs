//! The end of endpoints and shares.

use std::time::Instant;

use super::{CALLEE_GRACE, Engine, FORCED_END, HARD_END, LATE_REQUESTS};
use crate::assign::ShareId;
use crate::call::Stage as CallStage;
use crate::endpoint::Life;
use crate::event::{Outcome, Output, Phase, What};
use crate::media::StreamId;
use crate::share::{EndCause, Stage};
use crate::timers::Timer;

impl Engine {
    /// Ends a share. One that is ending already can still be forced.
    pub(super) fn end_share(&mut self, now: Instant, id: ShareId, cause: &EndCause) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let forced = *cause == EndCause::Forced;
        match &share.stage {
            Stage::Assigned | Stage::Running => {}
            Stage::Ending(held) if forced && *held != EndCause::Forced => {}
            Stage::Ending(_) | Stage::Closed => return,
        }
        share.forced |= forced;
        share.stage = Stage::Ending(cause.clone());
        share.idle.clear();
        let callers_first = !forced;
        self.timers.set(
            now + if forced { FORCED_END } else { HARD_END },
            id,
            Timer::HardEnd,
        );
        if callers_first {
            self.timers.set(now + CALLEE_GRACE, id, Timer::Grace);
        }
        for index in 0..share.assign.count {
            self.end_cause_of(id, index, cause);
            self.set_endpoint_timer(id, index, None);
            let beside = self
                .endpoint(id, index)
                .and_then(|endpoint| endpoint.beside);
            if let Some(stream) = beside {
                self.mark_cut(stream, cause);
                self.hang_up(now, stream);
            }
            let outgoing = |stream: &StreamId| self.calls.get(stream).is_some_and(|c| c.outgoing);
            match self.current_call(id, index) {
                Some(stream) if forced || outgoing(&stream) => {
                    self.mark_cut(stream, cause);
                    self.hang_up(now, stream);
                }
                Some(_) => {}
                None => self.end_endpoint(now, id, index),
            }
        }
        self.finish_share(now, id);
    }

    fn current_call(&self, id: ShareId, index: u32) -> Option<StreamId> {
        self.shares.get(&id)?.endpoints.get(index as usize)?.current
    }

    /// What the end of the share means to an endpoint that has not ended.
    fn end_cause_of(&mut self, id: ShareId, index: u32, cause: &EndCause) {
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        if endpoint.life == Life::Ended {
            return;
        }
        match cause {
            EndCause::NeverStarted => endpoint.verdict.raise(Outcome::Timeout, "no start in time"),
            EndCause::Forced => endpoint
                .verdict
                .raise(Outcome::Timeout, "ended by a deadline"),
            EndCause::RunOver | EndCause::Stopped(_) => {}
        }
    }

    /// What the end of the share means to a call it cuts: an answered one ends as planned, one
    /// that was never answered did not make it in time.
    fn mark_cut(&mut self, stream: StreamId, cause: &EndCause) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        if call.stage == CallStage::Disconnecting && *cause != EndCause::Forced {
            return;
        }
        let answered = call.stage == CallStage::Established;
        match cause {
            EndCause::Forced => call.verdict.raise(Outcome::Timeout, "ended by a deadline"),
            EndCause::Stopped(reason) if !answered => {
                let detail = format!("not answered before the stop: {reason}");
                call.verdict.raise(Outcome::CompletedWithWarnings, detail);
            }
            EndCause::RunOver if !answered => {
                let detail = "not answered before the end of the run";
                call.verdict.raise(Outcome::Timeout, detail);
            }
            _ => {}
        }
    }

    /// Callees no longer wait for their callers.
    pub(super) fn hang_up_all(&mut self, now: Instant, id: ShareId) {
        let count = self.shares.get(&id).map_or(0, |share| share.assign.count);
        for index in 0..count {
            if let Some(stream) = self.current_call(id, index) {
                self.hang_up(now, stream);
            }
        }
    }

    /// An endpoint without calls removes its registration, then is done.
    pub(super) fn end_endpoint(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        if endpoint.open_calls > 0 || matches!(endpoint.life, Life::Unregistering | Life::Ended) {
            return;
        }
        // A step's REGISTER is under way, too.
        let bound = endpoint.registered
            || endpoint.life == Life::Registering
            || endpoint.registers_for.is_some();
        let key = endpoint.key;
        if bound {
            endpoint.life = Life::Unregistering;
            if self.ua.unregister(now, key).is_ok() {
                return;
            }
        }
        self.endpoint_over(now, id, index);
    }

    pub(super) fn unregistered(&mut self, now: Instant, id: ShareId, index: u32, confirmed: bool) {
        let Some(endpoint) = self.endpoint(id, index) else {
            return;
        };
        endpoint.registered = false;
        if endpoint.life != Life::Unregistering {
            return;
        }
        if !confirmed {
            let detail = "un-REGISTER was refused or not answered";
            endpoint
                .verdict
                .raise(Outcome::CompletedWithWarnings, detail);
        }
        self.endpoint_over(now, id, index);
    }

    fn endpoint_over(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        share.take_idle(index);
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        if endpoint.life == Life::Ended {
            return;
        }
        endpoint.life = Life::Ended;
        let outcome = endpoint.verdict.outcome();
        let detail = endpoint.verdict.detail().to_owned();
        share.left -= 1;
        self.set_endpoint_timer(id, index, None);
        self.emit(now, id, index, 0, What::Phase(Phase::Closed));
        self.emit(now, id, index, 0, What::Ended { outcome, detail });
        self.finish_share(now, id);
    }

    /// Drops what has not ended by itself.
    pub(super) fn drop_all(&mut self, now: Instant, id: ShareId) {
        let count = self.shares.get(&id).map_or(0, |share| share.assign.count);
        for index in 0..count {
            let Some(share) = self.shares.get_mut(&id) else {
                return;
            };
            let Some(endpoint) = share.endpoint(index) else {
                return;
            };
            if endpoint.life == Life::Ended {
                continue;
            }
            let detail = "dropped: it did not end in time";
            endpoint.verdict.raise(Outcome::TeardownError, detail);
            endpoint.registered = false;
            let key = endpoint.key;
            endpoint.dropped = self.ua.endpoint_counters(key).map(Box::new);
            // Its calls are reported as dropped; unknown only if it was never added.
            let _ = self.ua.remove_endpoint(now, key);
            self.settle(now);
            let waits = self.endpoint(id, index);
            if waits.is_some_and(|endpoint| endpoint.open_calls == 0) {
                self.endpoint_over(now, id, index);
            }
        }
    }

    /// Reports the share once all its endpoints have ended.
    pub(super) fn finish_share(&mut self, now: Instant, id: ShareId) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        if share.stage == Stage::Closed || share.left > 0 {
            return;
        }
        self.write_last_rows(id);
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        share.stage = Stage::Closed;
        let totals = share.totals();
        for endpoint in &share.endpoints {
            // Unknown only if it was never added or was dropped.
            let _ = self.ua.remove_endpoint(now, endpoint.key);
        }
        self.timers.forget(id);
        self.timers.set(now + LATE_REQUESTS, id, Timer::Close);
        self.outputs
            .push_back(Output::ShareEnded { share: id, totals });
    }

    /// Late requests need no answer any more: forgets the share.
    pub(super) fn close(&mut self, now: Instant, id: ShareId) {
        let own = self
            .shares
            .get(&id)
            .map_or(0, |share| share.assign.listeners.len());
        for local in (0..own as u32)
            .map(|index| id.local_of(index))
            .chain([id.local()])
        {
            // Known, since the share was.
            let _ = self.ua.remove_listener(now, local);
        }
        self.settle(now);
        self.shares.remove(&id);
        self.timers.forget(id);
        self.outputs.push_back(Output::ShareClosed { share: id });
    }
}
