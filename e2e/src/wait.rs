//! Waiting for a condition: every wait has a deadline and says what it waited for.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(250);

/// Polls `condition` until it holds. Errors name `what` and the last state seen.
///
/// The condition answers `Ok(None)` when it holds and `Ok(Some(state))` with what it saw instead.
pub async fn eventually<F, Fut>(what: &str, deadline: Duration, mut condition: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<String>>>,
{
    let end = Instant::now() + deadline;
    loop {
        let seen = match condition().await {
            Ok(None) => return Ok(()),
            Ok(Some(state)) => state,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= end {
            bail!(
                "waited {} s for {what}; last seen: {seen}",
                deadline.as_secs()
            );
        }
        sleep(POLL).await;
    }
}

/// Polls `probe` until it answers with a value. Errors name `what`.
pub async fn eventually_some<T, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + deadline;
    loop {
        let seen = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "nothing yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= end {
            bail!(
                "waited {} s for {what}; last seen: {seen}",
                deadline.as_secs()
            );
        }
        sleep(POLL).await;
    }
}
