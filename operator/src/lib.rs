//! The operator: turns pools into workers, workers into pods, and call tests into runs of the
//! gateway.

pub mod args;
mod calltest;
mod context;
pub mod crd;
mod ended;
mod error;
mod fleet;
mod http;
mod lease;
pub mod logging;
mod metrics;
mod naming;
mod pool;
mod ports;
pub mod rbac;
mod revision;
pub mod run;
mod sizing;
pub mod uninstall;
mod worker;
mod writes;
