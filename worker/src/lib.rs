//! callmeter-worker: makes and measures SIP calls for the gateway it dials into.

pub mod app;
pub mod config;
pub mod control;
pub mod health;
pub mod host;
pub mod logging;
pub mod media;
pub mod signalling;
pub mod sys;
pub mod telemetry;
pub mod vitals;
