//! The gateway on loopback: real sockets, real TLS, a real database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests"
)]

mod common;
mod fleet_api;
mod fleet_refusals;
mod serve;
mod wire;
mod worker_protocol;
mod worker_refusals;
