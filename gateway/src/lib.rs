//! The gateway: authenticates workers, knows what they do, places tests and keeps the results.

pub mod args;
pub mod auth;
pub mod definition;
pub mod disk;
pub mod ensure_tls;
pub mod fleet_service;
pub mod keys;
pub mod link;
pub mod logging;
pub mod rest;
pub mod results;
pub mod run;
pub mod scheduler;
pub mod serve;
pub mod session;
pub mod sessions;
pub mod store;
pub mod timestamp;
pub mod tls;
pub mod token;
pub mod worker_service;
