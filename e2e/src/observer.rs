//! The observer: it decides from the API server's audit log, not from what the code under test says.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One request the API server completed.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// `create`, `delete`, `patch` …
    pub verb: String,
    /// Plural resource, with its subresource: `pods`, `workerpools/scale`.
    pub resource: String,
    /// Name of the object; empty where the server made it up.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// When the request arrived, RFC 3339 with microseconds.
    pub at: String,
}

/// Reads the audit log from the moment it was opened on, for one namespace.
#[derive(Debug)]
pub struct Observer {
    path: PathBuf,
    offset: u64,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    stage: String,
    verb: String,
    #[serde(default)]
    object_ref: Option<RawRef>,
    #[serde(default)]
    response_status: Option<RawStatus>,
    user: RawUser,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
struct RawUser {
    username: String,
}

impl Observer {
    /// Starts to observe `namespace` from now on.
    pub fn start(path: PathBuf, namespace: &str) -> Result<Self> {
        let offset = std::fs::metadata(&path)
            .with_context(|| format!("audit log {}", path.display()))?
            .len();
        Ok(Self {
            path,
            offset,
            namespace: namespace.to_owned(),
        })
    }

    /// Every completed request to the namespace since the start, in order of completion.
    pub fn events(&self) -> Result<Vec<AuditEvent>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut events = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half written.
            let Ok(raw) = serde_json::from_str::<RawEvent>(&line?) else {
                continue;
            };
            let Some(object) = raw.object_ref else {
                continue;
            };
            if raw.stage != "ResponseComplete" || object.namespace != self.namespace {
                continue;
            }
            let resource = match object.subresource.as_str() {
                "" => object.resource,
                sub => format!("{}/{sub}", object.resource),
            };
            events.push(AuditEvent {
                verb: raw.verb,
                resource,
                name: object.name,
                user: raw.user.username,
                code: raw.response_status.map_or(0, |s| s.code),
                at: raw.request_received_timestamp,
            });
        }
        Ok(events)
    }
}
