//! Endpoints that call in turn, where only so many calls of a share may stand at a time.

use std::time::Instant;

use super::Engine;
use crate::assign::ShareId;
use crate::media::StreamId;
use crate::share::Share;

impl Engine {
    /// Places the calls of those whose turn it is, while one more may stand.
    pub(super) fn call_next(&mut self, now: Instant, id: ShareId) {
        while let Some(index) = self.shares.get_mut(&id).and_then(turn) {
            let in_time = self.shares.get(&id).is_some_and(|share| {
                let repeats = share.endpoints[index as usize].repeats;
                if repeats {
                    share.fits(now)
                } else {
                    share.answerable(now)
                }
            });
            if in_time {
                self.call_peer(now, id, index);
            } else {
                self.dial_no_more(now, id, index);
            }
        }
    }

    /// The signalling of a call is over: the next one may be placed.
    pub(super) fn turn_over(&mut self, now: Instant, id: ShareId, stream: StreamId) {
        let line = self
            .shares
            .get_mut(&id)
            .and_then(|share| share.line.as_mut());
        if let Some(line) = line {
            line.over(stream);
            self.call_next(now, id);
        }
    }
}

/// Whose turn it is. Who has been called meanwhile joins the line again after that call.
fn turn(share: &mut Share) -> Option<u32> {
    loop {
        let index = share.line.as_mut()?.turn()?;
        if share.may_dial(index) {
            return Some(index);
        }
    }
}
