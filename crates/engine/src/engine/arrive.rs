//! Calls that are due by a rate, whatever their endpoint is doing.

use std::time::Instant;

use super::Engine;
use crate::assign::ShareId;
use crate::endpoint::Life;
use crate::load::Load;
use crate::share::Stage;
use crate::timers::Timer;

impl Engine {
    /// Sets the timer of the next call of an endpoint; without one it dials no more.
    pub(super) fn plan_arrival(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let (Load::Arrivals(arrivals), Some(started)) = (&share.assign.load, share.started) else {
            return;
        };
        let number = share.endpoints[index as usize].next_arrival;
        let due = arrivals.due(number).map(|since| started + since);
        match due.filter(|at| share.answerable(*at)) {
            Some(at) => self.timers.set(at.max(now), id, Timer::Arrival(index)),
            None => self.dial_no_more(now, id, index),
        }
    }

    /// A call of the group is due: the endpoint places it, or misses it if it has a call or is not
    /// ready.
    pub(super) fn arrival_due(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        if share.stage != Stage::Running {
            return;
        }
        let Load::Arrivals(arrivals) = &share.assign.load else {
            return;
        };
        let round = u64::from(arrivals.group_endpoints());
        let Some(endpoint) = share.endpoint(index) else {
            return;
        };
        if endpoint.life == Life::Ended || endpoint.dialled_out {
            return;
        }
        endpoint.next_arrival += round;
        if endpoint.life == Life::Ready && endpoint.current.is_none() {
            endpoint.dial_at = Some(now);
            self.dial(now, id, index);
        } else {
            endpoint.counts.arrivals_missed += 1;
        }
        if self.endpoint(id, index).is_some_and(|e| !e.dialled_out) {
            self.plan_arrival(now, id, index);
        }
    }
}
