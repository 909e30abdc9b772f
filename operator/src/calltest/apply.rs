//! Carries out one decision on a test.

use callmeter_api::{CallTest, labels};
use kube::{ResourceExt as _, runtime::events::EventType};
use tracing::{info, warn};

use super::{Tests, decide::Decision, validate::ValidatedTest};
use crate::error::{Error, Result};

/// What a pass has changed, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The object may be gone.
    pub(crate) gone: bool,
    /// It has to be looked at again at once.
    pub(crate) again: bool,
    /// The run it was submitted as.
    pub(crate) run: Option<String>,
    /// Why the gateway refuses it.
    pub(crate) refused: Option<String>,
    /// The gateway cannot be asked; it is tried again.
    pub(crate) unreachable: bool,
}

/// Carries the decision out.
pub(crate) async fn apply(
    context: &Tests,
    test: &CallTest,
    valid: &ValidatedTest,
    decision: Decision,
) -> Result<Applied> {
    let shared = &context.shared;
    let writer = &shared.writer;
    match decision {
        Decision::AddFinalizer => {
            let kept = writer
                .finalizer(
                    "keep the test while its run goes on",
                    test,
                    labels::RUN_FINALIZER,
                    true,
                )
                .await?;
            context.written.keep(kept);
            Ok(Applied {
                again: true,
                ..Applied::default()
            })
        }
        Decision::Submit => match shared.fleet.submit_run(valid.request.clone()).await {
            Ok(run) => {
                info!(
                    namespace = valid.request.namespace,
                    test = valid.request.name,
                    run,
                    "a test is submitted"
                );
                shared
                    .event(test, EventType::Normal, "Submitted", format!("run {run}"))
                    .await;
                Ok(Applied {
                    run: Some(run),
                    again: true,
                    ..Applied::default()
                })
            }
            Err(Error::Gateway { source, .. }) if is_refusal(source.code()) => {
                let why = source.message().to_owned();
                shared
                    .event(test, EventType::Warning, "Refused", why.clone())
                    .await;
                Ok(Applied {
                    refused: Some(why),
                    ..Applied::default()
                })
            }
            Err(error @ Error::Gateway { .. }) => {
                warn!(
                    namespace = valid.request.namespace,
                    test = valid.request.name,
                    error = error.chain(),
                    "a test waits for the gateway"
                );
                Ok(Applied {
                    unreachable: true,
                    ..Applied::default()
                })
            }
            Err(error) => Err(error),
        },
        Decision::Stop { run, reason } => {
            shared.fleet.stop_run(run.clone(), reason).await?;
            info!(
                namespace = valid.request.namespace,
                test = valid.request.name,
                run,
                reason,
                "a run is to stop"
            );
            shared
                .event(test, EventType::Normal, "Stopping", reason.to_owned())
                .await;
            Ok(Applied::default())
        }
        Decision::RemoveFinalizer => {
            let let_go = writer
                .finalizer("let the test go", test, labels::RUN_FINALIZER, false)
                .await;
            match let_go {
                Ok(kept) if test.metadata.deletion_timestamp.is_none() => {
                    context.written.keep(kept);
                    context.watches.forget(&test.uid().unwrap_or_default());
                    Ok(Applied::default())
                }
                Err(error) if !error.status().is_some_and(kube::core::Status::is_not_found) => {
                    Err(error)
                }
                _ => Ok(Applied {
                    gone: true,
                    ..Applied::default()
                }),
            }
        }
        Decision::Follow | Decision::Done => Ok(Applied::default()),
    }
}

/// Whether the gateway says that the definition is wrong, not that something is in its way.
const fn is_refusal(code: tonic::Code) -> bool {
    matches!(
        code,
        tonic::Code::InvalidArgument | tonic::Code::FailedPrecondition | tonic::Code::OutOfRange
    )
}
