//! The gateway: authenticates workers, knows what they do, places tests and keeps the results.

pub mod link;
pub mod store;
