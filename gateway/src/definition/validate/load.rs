//! When callers call.

use std::time::Duration;

use callmeter_api::calltest as api;

use super::{Check, DAY};
use crate::definition::Load;

/// The most points of a ramp and steps.
const MOST: usize = 32;

impl Check<'_> {
    /// `at` is the path of the group.
    pub(super) fn load(
        &mut self,
        at: &str,
        load: Option<&api::Load>,
        call: Option<&api::Call>,
        endpoints: u32,
    ) -> Load {
        let Some(load) = load else {
            return Load::AllAtOnce;
        };
        let api::Load {
            concurrency,
            arrival_rate,
            ramp,
            steps,
        } = load;
        let repeat = call.and_then(|call| call.repeat);
        if (ramp.is_some() || steps.is_some()) && repeat == Some(false) {
            let message = "false; accepted with load.ramp and load.steps: true or nothing, \
                           the load says when calls are placed";
            self.refuse(format!("{at}.call.repeat"), message);
        }
        let at = format!("{at}.load");
        match (concurrency, arrival_rate, ramp, steps) {
            (Some(n), None, None, None) => {
                self.concurrent(&format!("{at}.concurrency"), *n, 1, endpoints);
                Load::Concurrency(*n)
            }
            (None, Some(rate), None, None) => {
                if rate.per_second() <= 0.0 {
                    let message = format!("{rate}; accepted: a rate above 0, like 5/s");
                    self.refuse(format!("{at}.arrivalRate"), message);
                }
                Load::ArrivalRate(rate.per_second())
            }
            (None, None, Some(points), None) => self.ramp(&format!("{at}.ramp"), points),
            (None, None, None, Some(steps)) => self.steps(&format!("{at}.steps"), steps, endpoints),
            _ => {
                let message = "accepted: exactly one of arrivalRate, concurrency, ramp, steps";
                self.refuse(at, message);
                Load::AllAtOnce
            }
        }
    }

    fn concurrent(&mut self, at: &str, n: u32, least: u32, endpoints: u32) {
        if !(least..=endpoints).contains(&n) {
            let accepted = format!("{least} to {endpoints}, the endpoints of the group");
            self.refuse(at, format!("{n}; accepted: {accepted}"));
        }
    }

    fn ramp(&mut self, at: &str, points: &[api::RampPoint]) -> Load {
        let times: Vec<Duration> = points.iter().map(|p| p.at.std()).collect();
        self.times(at, &times);
        let rates: Vec<f64> = points.iter().map(|p| p.rate.per_second()).collect();
        if !rates.iter().any(|rate| *rate > 0.0) {
            self.refuse(at, "has no rate above 0; accepted: at least one");
        }
        Load::Arrivals {
            points: times.into_iter().zip(rates).collect(),
            ramp: true,
        }
    }

    fn steps(&mut self, at: &str, steps: &[api::Step], endpoints: u32) -> Load {
        let times: Vec<Duration> = steps.iter().map(|s| s.at.std()).collect();
        self.times(at, &times);
        let mut rates = Vec::new();
        let mut calls = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            match step {
                api::Step {
                    rate: Some(rate),
                    concurrency: None,
                    ..
                } => rates.push(rate.per_second()),
                api::Step {
                    rate: None,
                    concurrency: Some(n),
                    ..
                } => {
                    self.concurrent(&format!("{at}[{index}].concurrency"), *n, 0, endpoints);
                    calls.push(*n);
                }
                _ => self.refuse(
                    format!("{at}[{index}]"),
                    "accepted: exactly one of rate, concurrency",
                ),
            }
        }
        if !rates.is_empty() && !calls.is_empty() {
            self.refuse(at, "accepted: rate in all steps, or concurrency in all");
        }
        let none = rates.iter().all(|rate| *rate <= 0.0) && calls.iter().all(|n| *n == 0);
        if none && !steps.is_empty() {
            self.refuse(
                at,
                "has no rate or concurrency above 0; accepted: at least one",
            );
        }
        if calls.is_empty() {
            let points = times.into_iter().zip(rates).collect();
            return Load::Arrivals {
                points,
                ramp: false,
            };
        }
        Load::ConcurrencySteps(times.into_iter().zip(calls).collect())
    }

    /// The first at 0, each other one later than the one before.
    fn times(&mut self, at: &str, times: &[Duration]) {
        self.count(at, times.len(), MOST);
        for (index, time) in times.iter().enumerate() {
            let field = format!("{at}[{index}].at");
            let shown = callmeter_api::Duration::from_millis(time.as_millis() as u64);
            match index.checked_sub(1).map(|before| times[before]) {
                None if !time.is_zero() => {
                    self.refuse(
                        field,
                        format!("{shown}; accepted: 0s, where the load begins"),
                    );
                }
                Some(before) if *time <= before => {
                    let before = callmeter_api::Duration::from_millis(before.as_millis() as u64);
                    self.refuse(field, format!("{shown}; accepted: later than {before}"));
                }
                _ => self.within(&field, *time, Duration::ZERO, DAY, "0s to 24h"),
            }
        }
    }
}
