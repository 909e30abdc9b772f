//! What the texts and numbers of a request may be.

use tonic::Status;

use crate::definition::is_label;

/// Longest text for people and longest key, bytes.
const MAX_TEXT: usize = 253;
/// Longest id of a run.
const MAX_ID: usize = 64;
/// The most endpoints of one worker, and the most workers of a pool.
const MAX_COUNT: u32 = 1_000_000;

/// A text that is shown or compared.
pub(super) fn text(field: &str, value: &str) -> Result<(), Status> {
    bounded(field, value, MAX_TEXT)
}

/// The id of a run.
pub(super) fn run(value: &str) -> Result<(), Status> {
    bounded("run", value, MAX_ID)
}

fn bounded(field: &str, value: &str, most: usize) -> Result<(), Status> {
    if value.len() <= most && !value.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{field}: {} bytes; accepted: at most {most} printable bytes",
        value.len()
    )))
}

/// The caller's own key, `example` of which it may be.
pub(super) fn key(value: &str, of: &str, example: &str) -> Result<(), Status> {
    if value.is_empty() {
        return Err(Status::invalid_argument(format!(
            "key: \"\"; accepted: the caller's own key of the {of}, such as the UID of its {example}"
        )));
    }
    text("key", value)
}

/// A namespace of the caller's cluster; empty: none.
pub(super) fn namespace(value: &str) -> Result<(), Status> {
    if value.is_empty() || is_label(value) {
        return Ok(());
    }
    let shown: String = value.chars().take(64).collect();
    Err(Status::invalid_argument(format!(
        "namespace: {shown:?}; accepted: a namespace, 1 to 63 of a-z, 0-9 and -, or nothing"
    )))
}

/// `namespace/name` of a pool.
pub(super) fn pool(field: &str, value: &str) -> Result<(), Status> {
    let named = value
        .split_once('/')
        .is_some_and(|(namespace, name)| is_label(namespace) && is_label(name));
    if named {
        return Ok(());
    }
    let shown: String = value.chars().take(64).collect();
    Err(Status::invalid_argument(format!(
        "{field}: {shown:?}; accepted: namespace/name of the pool"
    )))
}

/// A number of endpoints or workers.
pub(super) fn count(field: &str, value: u32, least: u32) -> Result<(), Status> {
    if (least..=MAX_COUNT).contains(&value) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{field}: {value}; accepted: {least} to {MAX_COUNT}"
    )))
}
