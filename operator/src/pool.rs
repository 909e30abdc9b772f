//! Pools: from a number of workers to `CallMeterWorker` objects.

pub(crate) mod autoscale;
pub(crate) mod member;
pub(crate) mod plan;
pub(crate) mod validate;
pub(crate) mod victims;
