//! When what is due, by time, then share, then kind.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::assign::ShareId;
use crate::media::StreamId;

/// What is due. A call and an endpoint have one timer each; their state says what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The rows of a second are complete.
    Second,
    /// No start came.
    Start,
    /// Names that were asked for may have gone unanswered.
    Resolve,
    /// The run is over.
    RunEnd,
    /// Callees have waited long enough for their callers' BYEs.
    Grace,
    /// What has not ended by itself is dropped.
    HardEnd,
    /// Late requests need no answer any more.
    Close,
    /// An endpoint registers, registers again, or dials.
    Endpoint(u32),
    /// A call of the group is due at an endpoint.
    Arrival(u32),
    /// An endpoint asks its next hop with OPTIONS.
    Options(u32),
    /// A step of a call's scenario is due, or is waited for no longer.
    Script(StreamId),
    /// A call's next step.
    Call(StreamId),
}

/// The timers of all shares of an engine.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, ShareId, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, share: ShareId, timer: Timer) {
        self.due.insert((at, share, timer));
    }

    pub(crate) fn cancel(&mut self, at: Option<Instant>, share: ShareId, timer: Timer) {
        if let Some(at) = at {
            self.due.remove(&(at, share, timer));
        }
    }

    /// Cancels everything of a share.
    pub(crate) fn forget(&mut self, share: ShareId) {
        self.due.retain(|(_, owner, _)| *owner != share);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(ShareId, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, share, timer)| (share, timer))
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}
