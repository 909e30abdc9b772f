//! When callers call.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Rate;
use crate::Duration;

/// When callers call: exactly one field.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("(has(self.arrivalRate) ? 1 : 0) + (has(self.concurrency) ? 1 : 0) + (has(self.ramp) ? 1 : 0) + (has(self.steps) ? 1 : 0) == 1")
        .message("load: exactly one of arrivalRate, concurrency, ramp, steps"),
    validation = Rule::new("!has(self.arrivalRate) || self.arrivalRate.matches('[1-9]')")
        .message("load.arrivalRate: above 0"),
    validation = Rule::new("!has(self.ramp) || (duration(self.ramp[0].at) == duration('0s') && [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31].all(i, i >= self.ramp.size() || duration(self.ramp[i - 1].at) < duration(self.ramp[i].at)))")
        .message("load.ramp: the first point is at 0s, each other one later than the one before"),
    validation = Rule::new("!has(self.steps) || (duration(self.steps[0].at) == duration('0s') && [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31].all(i, i >= self.steps.size() || duration(self.steps[i - 1].at) < duration(self.steps[i].at)))")
        .message("load.steps: the first step is at 0s, each other one later than the one before"),
    validation = Rule::new("!has(self.ramp) || self.ramp.exists(p, p.rate.matches('[1-9]'))")
        .message("load.ramp: at least one rate above 0"),
    validation = Rule::new("!has(self.steps) || self.steps.all(s, has(s.rate) && !has(s.concurrency)) || self.steps.all(s, has(s.concurrency) && !has(s.rate))")
        .message("load.steps: all with rate, or all with concurrency"),
    validation = Rule::new("!has(self.steps) || self.steps.exists(s, (has(s.rate) && s.rate.matches('[1-9]')) || (has(s.concurrency) && s.concurrency > 0))")
        .message("load.steps: at least one rate or concurrency above 0"),
)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// This many calls at a time, at most the endpoints of the group; no more than it has callees
    /// are placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: Option<u32>,
    /// New calls per time, like `5/s`, `0.5/s` or `30/m`; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_rate: Option<Rate>,
    /// New calls per time, changing evenly from point to point; the last one holds until the run
    /// ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub ramp: Option<Vec<RampPoint>>,
    /// New calls per time, or calls at a time, changing at once; the last one holds until the run
    /// ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub steps: Option<Vec<Step>>,
}

/// A point of a ramp.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("duration(self.at) <= duration('24h')")
    .message("load.ramp[].at: at most 24h"))]
pub struct RampPoint {
    /// From the start of the run, at most 24h.
    pub at: Duration,
    /// New calls per time at this point, like `5/s`; 0/s is none.
    pub rate: Rate,
}

/// A step of a load: exactly one of rate and concurrency.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("duration(self.at) <= duration('24h')")
    .message("load.steps[].at: at most 24h"))]
pub struct Step {
    /// From the start of the run, at most 24h.
    pub at: Duration,
    /// New calls per time from here on, like `5/s`; 0/s is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Calls at a time from here on, at most the endpoints of the group; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub concurrency: Option<u32>,
}
