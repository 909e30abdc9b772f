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

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

pub use calltest::CallTest;
pub use duration::{Duration, InvalidDuration};
pub use pool::WorkerPool;
pub use worker::CallMeterWorker;

/// The definitions of all custom resources, in the order of their names.
pub fn crds() -> [CustomResourceDefinition; 3] {
    let mut all = [CallMeterWorker::crd(), CallTest::crd(), WorkerPool::crd()];
    for version in all.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        let schema = version.schema.as_mut();
        if let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            drop_unsigned_formats(root);
        }
    }
    all
}

/// Kubernetes has no formats for unsigned integers and warns of each at every install; `minimum`
/// says what they mean.
fn drop_unsigned_formats(schema: &mut JSONSchemaProps) {
    schema.format = schema
        .format
        .take()
        .filter(|format| !format.starts_with("uint"));
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        drop_unsigned_formats(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_unsigned_formats(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_unsigned_formats(values);
    }
}
