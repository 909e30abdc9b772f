//! The custom resources of group `callmeter.io`, version `v1alpha1`: types, schemas, validation
//! rules, and the labels, annotations, condition types and reasons that are part of the contract.
//! No client: whoever talks to an API server brings one.

// The derive `KubeSchema` repeats each struct inside a function.
#![allow(unreachable_pub)]

pub mod calltest;
mod duration;

pub use duration::{Duration, InvalidDuration};
