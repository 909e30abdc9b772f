//! Sessions: which process instance holds a worker's token, or held it last.

use std::collections::BTreeMap;

use sqlx::Row;

use super::workers::{to_json, worker_id};
use super::{Store, StoreError, attempt};
use crate::link::{HostInfo, InstanceId, WorkerId};

/// The live or last session of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The worker.
    pub worker: WorkerId,
    /// Process instance.
    pub instance: InstanceId,
    /// Grows with every accepted stream of the worker.
    pub epoch: u64,
    /// The stream was up when this was stored.
    pub connected: bool,
    /// Last sign of life, Unix milliseconds.
    pub last_seen_ms: i64,
    /// Name the process gave itself; empty: the record's holds.
    pub name: String,
    /// Capacity the process can bear; 0: no limit.
    pub capacity: u32,
    /// Where the process runs.
    pub host: HostInfo,
    /// Labels the process told.
    pub labels: BTreeMap<String, String>,
}

impl Store {
    /// All sessions, for the session layer.
    pub async fn all_sessions(&self) -> Result<Vec<StoredSession>, StoreError> {
        let rows = sqlx::query("SELECT * FROM sessions")
            .fetch_all(self.reader())
            .await
            .map_err(attempt("list sessions"))?;
        rows.iter()
            .map(|row| {
                let worker = worker_id(row, "worker")?;
                let corrupt = |column| StoreError::Corrupt {
                    table: "sessions",
                    id: worker.to_string(),
                    column,
                };
                let instance: Vec<u8> = row.get("instance");
                Ok(StoredSession {
                    worker,
                    instance: InstanceId(instance.try_into().map_err(|_| corrupt("instance"))?),
                    epoch: row.get::<i64, _>("epoch") as u64,
                    connected: row.get("connected"),
                    last_seen_ms: row.get("last_seen_ms"),
                    name: row.get("name"),
                    capacity: row.get("capacity"),
                    host: serde_json::from_str(row.get("host")).map_err(|_| corrupt("host"))?,
                    labels: serde_json::from_str(row.get("labels"))
                        .map_err(|_| corrupt("labels"))?,
                })
            })
            .collect()
    }

    /// Stores the session of a worker in place of the one before.
    pub async fn put_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let host = serde_json::to_string(&session.host).map_err(|_| StoreError::Corrupt {
            table: "sessions",
            id: session.worker.to_string(),
            column: "host",
        })?;
        sqlx::query(
            "INSERT OR REPLACE INTO sessions (worker, instance, epoch, connected, last_seen_ms, name, capacity, host, labels)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(session.worker.to_string())
        .bind(&session.instance.0[..])
        .bind(session.epoch as i64)
        .bind(session.connected)
        .bind(session.last_seen_ms)
        .bind(&session.name)
        .bind(session.capacity)
        .bind(host)
        .bind(to_json(&session.labels))
        .execute(self.writer())
        .await
        .map_err(attempt("store a session"))?;
        Ok(())
    }

    /// Stores that a worker's stream ended, if it is still the one of `epoch`.
    pub async fn end_session(
        &self,
        worker: WorkerId,
        epoch: u64,
        last_seen_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sessions SET connected = 0, last_seen_ms = ? WHERE worker = ? AND epoch = ?",
        )
        .bind(last_seen_ms)
        .bind(worker.to_string())
        .bind(epoch as i64)
        .execute(self.writer())
        .await
        .map_err(attempt("end a session"))?;
        Ok(())
    }
}
