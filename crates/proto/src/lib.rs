//! The gRPC contracts between worker, gateway and operator, and the types that cross them.

mod redact;
mod token;

pub use token::{MalformedToken, Secret, WorkerToken};

/// Version of the worker protocol this build speaks. A gateway also serves the version before it.
pub const PROTOCOL_VERSION: u32 = 1;

/// Refusal of an unknown, revoked or regenerated token (R69).
pub const INVALID_TOKEN: &str = "authentication failed: invalid token";
/// Refusal of a worker that an admin disabled (R70).
pub const WORKER_DISABLED: &str = "authentication failed: worker disabled";
/// Refusal of a second process with a token in use (R71).
pub const DUPLICATE_CONNECTION: &str = "authentication failed: duplicate connection";

/// `callmeter.worker.v1`: between a worker and the gateway.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod worker {
    tonic::include_proto!("callmeter.worker.v1");
}

/// `callmeter.fleet.v1`: between the operator and the gateway.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod fleet {
    tonic::include_proto!("callmeter.fleet.v1");
}
