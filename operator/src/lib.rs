//! The operator: turns pools into workers, workers into pods, and call tests into runs of the
//! gateway.

pub mod naming;
pub mod ports;
pub mod revision;
pub mod sizing;
