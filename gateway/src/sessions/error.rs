//! What callers of the session layer may do wrong, and the checks of what they give.

use std::collections::BTreeMap;

use super::CreateWorker;
use crate::keys::NoRandomness;
use crate::link::{InstanceId, WorkerId};
use crate::session::FenceRefused;
use crate::store::{DEFAULT_PROJECT, StoreError};

/// The most endpoints a record may be configured for.
const MAX_CAPACITY: u32 = 1_000_000;
const MAX_NAME: usize = 253;
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 512;

/// Why a request to the session layer was refused.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// No such record in this organisation.
    #[error("worker: \"{0}\" does not exist; accepted: the id of a worker of this organisation")]
    NoWorker(String),
    /// A field is not acceptable.
    #[error("{field}: \"{value}\"; accepted: {accepted}")]
    Invalid {
        /// Field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is accepted.
        accepted: String,
    },
    /// Another process has connected, or none ever did.
    #[error("instance: \"{given}\" is not the worker's; accepted: {}", current_text(*.current))]
    OtherInstance {
        /// What was given.
        given: InstanceId,
        /// The instance of the live or last session.
        current: Option<InstanceId>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The gateway is stopping; try again.
    #[error("the gateway is stopping")]
    Stopping,
}

fn current_text(current: Option<InstanceId>) -> String {
    current.map_or_else(
        || "none, it has never connected".to_owned(),
        |instance| instance.to_string(),
    )
}

impl SessionsError {
    pub(super) fn fence(refused: FenceRefused, id: WorkerId, given: InstanceId) -> Self {
        match refused {
            FenceRefused::NoWorker => Self::NoWorker(id.to_string()),
            FenceRefused::OtherInstance { current } => Self::OtherInstance { given, current },
        }
    }
}

/// The request with its defaults, if every field is acceptable.
pub(super) fn checked(mut request: CreateWorker) -> Result<CreateWorker, SessionsError> {
    if request.project.is_empty() {
        DEFAULT_PROJECT.clone_into(&mut request.project);
    }
    let name = &request.name;
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let accepted = format!("1 to {MAX_NAME} printable characters");
        return Err(SessionsError::Invalid {
            field: "name",
            value: shortened(name),
            accepted,
        });
    }
    if request.key.len() > MAX_NAME || request.key.chars().any(char::is_control) {
        let accepted = format!("at most {MAX_NAME} printable characters");
        return Err(SessionsError::Invalid {
            field: "key",
            value: shortened(&request.key),
            accepted,
        });
    }
    check_capacity(request.capacity)?;
    check_labels(&request.labels)?;
    Ok(request)
}

pub(super) fn check_capacity(capacity: u32) -> Result<(), SessionsError> {
    if (1..=MAX_CAPACITY).contains(&capacity) {
        return Ok(());
    }
    let accepted = format!("1 to {MAX_CAPACITY} endpoints");
    Err(SessionsError::Invalid {
        field: "capacity",
        value: capacity.to_string(),
        accepted,
    })
}

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), SessionsError> {
    if labels.len() > MAX_LABELS {
        let accepted = format!("at most {MAX_LABELS} labels");
        return Err(SessionsError::Invalid {
            field: "labels",
            value: labels.len().to_string(),
            accepted,
        });
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL || value.len() > MAX_LABEL {
            let accepted =
                format!("keys of 1 to {MAX_LABEL} and values of at most {MAX_LABEL} characters");
            let value = shortened(&format!("{key}={value}"));
            return Err(SessionsError::Invalid {
                field: "labels",
                value,
                accepted,
            });
        }
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
