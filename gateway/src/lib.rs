//! The gateway: authenticates workers, knows what they do, places tests and keeps the results.

pub mod keys;
pub mod link;
pub mod scheduler;
pub mod session;
pub mod sessions;
pub mod store;
pub mod token;
