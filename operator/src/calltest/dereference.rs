//! What a pass over a test needs beside the test itself.

use std::time::Duration;

use callmeter_api::CallTest;
use callmeter_proto::fleet::RunState;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Tests, watches::Report};

/// What is seen of a test now.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) now: Timestamp,
    /// What the gateway said last of its run.
    pub(crate) report: Report,
    /// Since the status was last written by this process.
    pub(crate) since_write: Option<Duration>,
}

impl Inputs {
    /// The state of the run, if there is one.
    pub(crate) fn state(&self) -> Option<&RunState> {
        match &self.report {
            Report::State(state) => Some(state),
            Report::None | Report::Unknown => None,
        }
    }
}

/// Reads what the watch of the run has brought, and starts it where there is none.
pub(crate) fn dereference(context: &Tests, test: &CallTest) -> Inputs {
    let uid = test.uid().unwrap_or_default();
    let status = test.status.clone().unwrap_or_default();
    let done = status
        .phase
        .is_some_and(callmeter_api::calltest::RunPhase::is_final);
    if let (Some(run), false) = (&status.run, done) {
        context.watches.ensure(&context.shared.fleet, test, run);
    }
    Inputs {
        now: Timestamp::now(),
        report: context.watches.report(&uid),
        since_write: context.watches.since_write(&uid),
    }
}
