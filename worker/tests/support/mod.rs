//! What the integration tests share: a gateway peer that speaks the real protocol over TLS, and
//! the real worker binary as a process that is given its environment only.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod answer;
pub mod baresip;
pub mod calm;
pub mod certificates;
pub mod dns;
pub mod gateway;
pub mod inspect;
pub mod kamailio;
pub mod network;
pub mod peer_process;
pub mod ports;
pub mod process;
pub mod registrar;
pub mod run;
pub mod tls;
#[path = "../../../crates/proto/tests/support/wire.rs"]
pub mod wire;

use std::time::Duration;

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a future, at most [`PATIENCE`]; says what it waited for.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Polls a condition on something outside this process, at most [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
