//! The custom resources of group `callmeter.io`, version `v1alpha1`: types, schemas, validation
//! rules, and the labels, annotations, condition types and reasons that are part of the contract.
//! No client: whoever talks to an API server brings one.

// The derive `KubeSchema` repeats each struct inside a function.
#![allow(unreachable_pub)]
// Each column of a resource is one attribute of the same shape.
#![allow(clippy::duplicated_attributes)]

pub mod calltest;
pub mod condition;
mod duration;
pub mod labels;
pub mod pool;
#[cfg(test)]
mod tests;
pub mod worker;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use calltest::CallTest;
pub use duration::{Duration, InvalidDuration};
pub use pool::WorkerPool;
pub use worker::CallMeterWorker;

/// The definitions of all custom resources, in the order of their names.
pub fn crds() -> [CustomResourceDefinition; 3] {
    [CallMeterWorker::crd(), CallTest::crd(), WorkerPool::crd()]
}
