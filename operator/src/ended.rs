//! Why a task of the operator ended, for its log.

use tokio::task::JoinError;

/// Tells the end of a task; none: there was no task. The message of a panic may hold anything and
/// is not shown.
pub(crate) fn reason(ended: Option<Result<anyhow::Result<()>, JoinError>>) -> String {
    match ended {
        None => "there is none".into(),
        Some(Ok(Ok(()))) => "without an error".into(),
        Some(Ok(Err(failed))) => format!("{failed:#}"),
        Some(Err(joined)) if joined.is_panic() => "it panicked".into(),
        Some(Err(_)) => "it was cancelled".into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// R7
    #[tokio::test]
    async fn a_task_that_panics_is_told_without_its_message() {
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let planted = String::from("planted-secret");
        tasks.spawn(async move { panic!("cannot send {planted}") });
        assert_eq!(reason(tasks.join_next().await), "it panicked");
        tasks.spawn(async { Err(anyhow::anyhow!("why").context("what")) });
        assert_eq!(reason(tasks.join_next().await), "what: why");
    }
}
