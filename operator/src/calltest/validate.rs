//! A call test as the gateway takes it.

use callmeter_api::CallTest;
use callmeter_proto::fleet::SubmitRunRequest;
use kube::ResourceExt as _;

use crate::{
    context::Settings,
    error::{Error, Result},
};

/// A test that can be submitted.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedTest {
    pub(crate) request: SubmitRunRequest,
}

/// Turns a test into the request that submits it. The gateway judges the definition, as it does for
/// definitions that come by other ways.
pub(crate) fn validate(test: &CallTest, settings: &Settings) -> Result<ValidatedTest> {
    let definition_json =
        serde_json::to_string(&test.spec).map_err(|error| Error::InvalidSpec {
            field: "spec",
            message: format!("is no JSON ({error}); accepted: finite numbers"),
        })?;
    Ok(ValidatedTest {
        request: SubmitRunRequest {
            // The UID: a test that is made again under its name is another run.
            key: test.uid().unwrap_or_default(),
            project: settings.project.clone(),
            namespace: test.namespace().unwrap_or_default(),
            name: test.name_any(),
            definition_json,
        },
    })
}
