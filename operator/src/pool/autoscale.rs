//! How many workers a pool should have: a pure function of demand, limits and the recent past.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use callmeter_api::{condition::Reason, pool::Autoscaling};

use crate::fleet::Demand;

/// What was needed recently. Values fall from front to back: an entry holds from its time until the
/// next one, and one that a later, greater need has overtaken is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(VecDeque<(Instant, u32)>);

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) limits: &'a Autoscaling,
    /// Workers asked for now.
    pub(crate) current: u32,
    /// Endpoints one worker bears; at least 1.
    pub(crate) per_worker: u32,
    pub(crate) demand: Demand,
    /// Tokens there are; `None`: as many as needed.
    pub(crate) tokens: Option<u32>,
    pub(crate) now: Instant,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Workers to ask for.
    pub(crate) desired: u32,
    /// What cut it.
    pub(crate) limited: Reason,
    /// Whether the gateway's figures decided.
    pub(crate) fresh: bool,
    /// For people; free of figures that move all the time.
    pub(crate) text: String,
    /// When to decide again though nothing changes.
    pub(crate) again: Option<Duration>,
}

impl History {
    /// Takes a need in, and gives the greatest one of the window with the time until a lower one
    /// could count.
    fn stabilise(&mut self, inputs: &Inputs<'_>, needed: u32) -> (u32, Option<Duration>) {
        let Inputs {
            limits,
            current,
            now,
            ..
        } = *inputs;
        if self.0.is_empty() {
            // A process that just started has not seen the window: what runs counts as needed.
            self.0.push_back((now, current));
        }
        // What was overtaken still tells when the value before it ended.
        let mut since = now;
        while let Some((overtaken, _)) = self.0.pop_back_if(|(_, value)| *value < needed) {
            since = overtaken;
        }
        if self.0.back().is_none_or(|(_, value)| *value != needed) {
            self.0.push_back((since, needed));
        }
        let window = limits.behavior.scale_down.stabilization.std();
        while self
            .0
            .get(1)
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) >= window)
        {
            self.0.pop_front();
        }
        let left = self
            .0
            .get(1)
            .map(|(since, _)| window.saturating_sub(now.saturating_duration_since(*since)));
        (self.0.front().map_or(needed, |(_, value)| *value), left)
    }

    /// How long nothing has been needed.
    fn idle_for(&self, now: Instant) -> Duration {
        match self.0.back() {
            Some((since, 0)) => now.saturating_duration_since(*since),
            _ => Duration::ZERO,
        }
    }
}

/// Decides: up at once, down after the stabilisation window, the last step to zero after
/// `idleAfter`, and not at all on figures that are too old.
pub(crate) fn decide(inputs: &Inputs<'_>, history: &mut History) -> Decision {
    let Inputs {
        limits,
        current,
        per_worker,
        demand,
        tokens,
        now,
    } = *inputs;
    let ceiling = limits.max_replicas.min(tokens.unwrap_or(u32::MAX));
    let floor = limits.min_replicas.min(ceiling);
    let Demand::Fresh { active, queued } = demand else {
        let desired = current.clamp(floor, ceiling);
        return Decision {
            desired,
            limited: limit(current, desired, limits, tokens),
            fresh: false,
            text: format!("Hold at {desired}: the gateway's figures are too old"),
            again: None,
        };
    };
    let needed = active.saturating_add(queued).div_ceil(per_worker.max(1));
    let (stable, mut again) = history.stabilise(inputs, needed);
    let mut target = stable;
    if target == 0 && current > 0 && floor == 0 {
        let left = limits
            .idle_after
            .std()
            .saturating_sub(history.idle_for(now));
        if !left.is_zero() {
            target = 1;
            again = Some(again.map_or(left, |other| other.min(left)));
        }
    }
    let desired = target.clamp(floor, ceiling);
    let mut limited = limit(target, desired, limits, tokens);
    if limited == Reason::WithinLimits && desired > needed.max(floor) {
        limited = Reason::Stabilizing;
    }
    let direction = match desired.cmp(&current) {
        std::cmp::Ordering::Greater => "Up to",
        std::cmp::Ordering::Less => "Down to",
        std::cmp::Ordering::Equal => "Hold at",
    };
    let why = match limited {
        Reason::MaxReplicas => ", limited by maxReplicas",
        Reason::MinReplicas => ", kept by minReplicas",
        Reason::NoFreeTokens => ", limited by the number of tokens",
        Reason::Stabilizing if desired == 1 && needed == 0 => ", waits for idleAfter",
        Reason::Stabilizing => ", waits for the stabilization window",
        _ => "",
    };
    Decision {
        desired,
        limited,
        fresh: true,
        text: format!("{direction} {desired}: {needed} needed{why}"),
        again,
    }
}

fn limit(target: u32, desired: u32, limits: &Autoscaling, tokens: Option<u32>) -> Reason {
    if desired > target {
        Reason::MinReplicas
    } else if desired == target {
        Reason::WithinLimits
    } else if tokens.is_some_and(|tokens| tokens < limits.max_replicas) {
        Reason::NoFreeTokens
    } else {
        Reason::MaxReplicas
    }
}

#[cfg(test)]
mod tests {
    use callmeter_api::{
        Duration as Span,
        pool::{Behavior, ScaleDown},
    };
    use proptest::prelude::*;

    use super::*;

    fn limits(min: u32, max: u32) -> Autoscaling {
        Autoscaling {
            min_replicas: min,
            max_replicas: max,
            idle_after: Span::from_secs(600),
            behavior: Behavior {
                scale_down: ScaleDown {
                    stabilization: Span::from_secs(300),
                },
            },
        }
    }

    struct Pool {
        limits: Autoscaling,
        current: u32,
        tokens: Option<u32>,
        history: History,
        start: Instant,
    }

    impl Pool {
        fn new(min: u32, max: u32, current: u32) -> Self {
            Self {
                limits: limits(min, max),
                current,
                tokens: None,
                history: History::default(),
                start: Instant::now(),
            }
        }

        fn at(&mut self, second: u64, demand: Demand) -> Decision {
            let inputs = Inputs {
                limits: &self.limits,
                current: self.current,
                per_worker: 10,
                demand,
                tokens: self.tokens,
                now: self.start + Duration::from_secs(second),
            };
            let decision = decide(&inputs, &mut self.history);
            self.current = decision.desired;
            decision
        }

        fn need(&mut self, second: u64, active: u32, queued: u32) -> u32 {
            self.at(second, Demand::Fresh { active, queued }).desired
        }
    }

    #[test]
    fn from_zero_up_at_once_and_back_to_zero_after_both_waits() {
        let mut pool = Pool::new(0, 40, 0);
        assert_eq!(pool.need(0, 0, 0), 0);
        assert_eq!(pool.need(1, 0, 20), 2);
        assert_eq!(pool.need(2, 20, 0), 2);
        assert_eq!(pool.need(100, 0, 0), 2);
        assert_eq!(pool.need(399, 0, 0), 2);
        let waits = pool.at(
            400,
            Demand::Fresh {
                active: 0,
                queued: 0,
            },
        );
        assert_eq!(
            (waits.desired, waits.limited, waits.again),
            (1, Reason::Stabilizing, Some(Duration::from_secs(300)))
        );
        assert_eq!(pool.need(699, 0, 0), 1);
        assert_eq!(pool.need(700, 0, 0), 0);
    }

    #[test]
    fn the_greatest_need_of_the_window_counts() {
        let mut pool = Pool::new(0, 40, 0);
        assert_eq!(pool.need(0, 0, 100), 10);
        assert_eq!(pool.need(10, 50, 0), 10);
        assert_eq!(pool.need(100, 70, 0), 10);
        assert_eq!(pool.need(150, 20, 0), 10);
        assert_eq!(pool.need(310, 20, 0), 7);
        assert_eq!(pool.need(449, 20, 0), 7);
        assert_eq!(pool.need(450, 20, 0), 2);
    }

    #[test]
    fn a_process_that_just_started_does_not_shrink_a_pool() {
        let mut pool = Pool::new(0, 40, 8);
        assert_eq!(pool.need(0, 10, 0), 8);
        assert_eq!(pool.need(299, 10, 0), 8);
        assert_eq!(pool.need(300, 10, 0), 1);
    }

    #[test]
    fn stale_figures_hold() {
        let mut pool = Pool::new(0, 40, 5);
        let decision = pool.at(5000, Demand::Stale);
        assert_eq!((decision.desired, decision.fresh), (5, false));
    }

    #[test]
    fn limits_are_named() {
        let mut pool = Pool::new(1, 4, 1);
        let cut = pool.at(
            0,
            Demand::Fresh {
                active: 0,
                queued: 500,
            },
        );
        assert_eq!((cut.desired, cut.limited), (4, Reason::MaxReplicas));
        assert_eq!(cut.text, "Up to 4: 50 needed, limited by maxReplicas");
        let mut tokens = Pool::new(0, 40, 0);
        tokens.tokens = Some(3);
        let cut = tokens.at(
            0,
            Demand::Fresh {
                active: 0,
                queued: 500,
            },
        );
        assert_eq!((cut.desired, cut.limited), (3, Reason::NoFreeTokens));
        let mut floor = Pool::new(2, 4, 2);
        let kept = floor.at(
            0,
            Demand::Fresh {
                active: 0,
                queued: 0,
            },
        );
        assert_eq!((kept.desired, kept.limited), (2, Reason::WithinLimits));
        let kept = floor.at(
            301,
            Demand::Fresh {
                active: 0,
                queued: 0,
            },
        );
        assert_eq!((kept.desired, kept.limited), (2, Reason::MinReplicas));
    }

    proptest! {
        #[test]
        fn never_outside_the_limits_and_never_below_what_is_needed(
            min in 0_u32..5, more in 1_u32..20, current in 0_u32..30, steps in prop::collection::vec((1_u64..400, 0_u32..300, any::<bool>()), 1..40)
        ) {
            let mut pool = Pool::new(min, min + more, current);
            let mut second = 0;
            for (wait, need, stale) in steps {
                second += wait;
                let before = pool.current.clamp(min, min + more);
                let demand = if stale { Demand::Stale } else { Demand::Fresh { active: need, queued: 0 } };
                let decision = pool.at(second, demand);
                prop_assert!((min..=min + more).contains(&decision.desired));
                if stale {
                    prop_assert_eq!(decision.desired, before);
                } else {
                    prop_assert!(decision.desired >= need.div_ceil(10).min(min + more));
                }
            }
        }
    }
}
