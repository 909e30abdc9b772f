//! Whether the registrar or proxy is there: OPTIONS at an interval while the run lasts
//! (RFC 3261 §11).

use std::time::{Duration, Instant};

use callmeter_metrics::RowDirection;
use callmeter_sip::OptionsAnswered;
use rand::Rng as _;

use super::Engine;
use crate::assign::ShareId;
use crate::endpoint::{Life, endpoint_of};
use crate::rows::options_values;
use crate::share::Stage;
use crate::timers::Timer;

/// Least time from an answer to the next OPTIONS: a second's row holds one.
const AFTER_ANSWER: Duration = Duration::from_secs(1);

impl Engine {
    /// Spreads the first OPTIONS of a share evenly over the interval, each at a random point of
    /// its part, so that shares of few endpoints do not ask together.
    pub(super) fn plan_first_ask(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        if let Some(interval) = share.assign.registrar.options_interval {
            let part = f64::from(index) + self.rng.random::<f64>();
            let wait = interval.mul_f64(part / f64::from(share.assign.count));
            self.timers.set(now + wait, id, Timer::Options(index));
        }
    }

    /// An endpoint asks. Its answer, or the lack of one, says when it asks again.
    pub(super) fn ask(&mut self, now: Instant, id: ShareId, index: u32) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let endpoint = &share.endpoints[index as usize];
        let over = matches!(endpoint.life, Life::Unregistering | Life::Ended);
        if share.stage != Stage::Running || over {
            return;
        }
        let asked = share
            .assign
            .server()
            .is_some_and(|server| self.ua.options(now, endpoint.key, &server).is_ok());
        // Its next hop is not resolved yet.
        if !asked && let Some(interval) = share.assign.registrar.options_interval {
            self.timers.set(now + interval, id, Timer::Options(index));
        }
    }

    /// An OPTIONS is over. Any final response shows that somebody is there, but 408: a proxy says
    /// by it that nobody answered.
    pub(super) fn options_answered(&mut self, now: Instant, answered: &OptionsAnswered) {
        let (id, index) = endpoint_of(answered.endpoint);
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let interval = share.assign.registrar.options_interval;
        if matches!(answered.code, None | Some(408)) {
            if let Some(endpoint) = share.endpoint(index) {
                endpoint.counts.options_failed += 1;
            }
        } else {
            let second = share.second_at(now).max(share.rows.current());
            let key = (index, 0, RowDirection::None, true);
            share.rows.add(second, key, options_values(answered));
        }
        if let Some(interval) = interval {
            let next = (answered.sent + interval).max(now + AFTER_ANSWER);
            self.timers.set(next, id, Timer::Options(index));
        }
    }
}
