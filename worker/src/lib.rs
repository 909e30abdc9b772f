//! callmeter-worker: makes and measures SIP calls for the gateway it dials into.

pub mod config;
pub mod control;
pub mod health;
pub mod logging;
pub mod signalling;
pub mod telemetry;
