//! Worker records: what an organisation says of a worker, its token's hash, its fence.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, Tenant, attempt};
use crate::link::{InstanceId, Refusal, RefusalReason, WorkerId};

/// What one worker may carry under the organisation's licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Licence {
    /// 50 endpoints per worker.
    Standard,
    /// 200 endpoints per worker.
    Professional,
    /// No limit.
    Enterprise,
}

impl Licence {
    /// The most endpoints of one worker; none: no limit.
    pub const fn endpoints(self) -> Option<u32> {
        match self {
            Self::Standard => Some(50),
            Self::Professional => Some(200),
            Self::Enterprise => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "standard" => Some(Self::Standard),
            "professional" => Some(Self::Professional),
            "enterprise" => Some(Self::Enterprise),
            _ => None,
        }
    }
}

/// A fence as stored; survives reconnects and restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFence {
    /// The process instance it binds to.
    pub instance: InstanceId,
    /// Why, for people.
    pub reason: String,
    /// Drain deadline, Unix milliseconds; none: waits for ever.
    pub deadline_unix_ms: Option<i64>,
}

/// A worker record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Id.
    pub id: WorkerId,
    /// Organisation slug.
    pub organisation: String,
    /// Project slug.
    pub project: String,
    /// The creator's own key; empty: made by a person.
    pub key: String,
    /// Display name.
    pub name: String,
    /// Configured capacity, endpoints.
    pub capacity: u32,
    /// What a worker may carry under the licence.
    pub licence: Licence,
    /// Labels of the record.
    pub labels: BTreeMap<String, String>,
    /// Keyed hash of the token.
    pub token_hash: [u8; 32],
    /// Disabled by an admin.
    pub disabled: bool,
    /// Who made it.
    pub created_by: String,
    /// When, Unix milliseconds.
    pub created_ms: i64,
    /// The last fence number given out; with `fence` set, that fence's.
    pub fence_seq: u64,
    /// The fence in force.
    pub fence: Option<StoredFence>,
    /// The last refusal under its token.
    pub last_refusal: Option<Refusal>,
}

/// A record to be made.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Id.
    pub id: WorkerId,
    /// Project slug; must exist.
    pub project: String,
    /// The creator's own key; empty: made by a person.
    pub key: String,
    /// Display name.
    pub name: String,
    /// Configured capacity, endpoints.
    pub capacity: u32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Keyed hash of the token.
    pub token_hash: [u8; 32],
    /// Who makes it.
    pub created_by: String,
    /// Now, Unix milliseconds.
    pub created_ms: i64,
}

/// Whose token a hash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenOwner {
    /// The record.
    pub id: WorkerId,
    /// The hash is that of the token before the last regeneration.
    pub revoked: bool,
}

const SELECT: &str =
    "SELECT w.*, o.worker_licence FROM workers w JOIN organisations o ON o.slug = w.organisation";

impl Store {
    /// All records of all organisations, for the session layer.
    pub async fn all_workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        let rows = sqlx::query(SELECT)
            .fetch_all(self.reader())
            .await
            .map_err(attempt("list workers"))?;
        rows.iter().map(record).collect()
    }

    /// Whose token has this hash.
    pub async fn token_owner(&self, hash: &[u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
        let row = sqlx::query(
            "SELECT id, 0 AS revoked FROM workers WHERE token_hash = ?1
             UNION ALL SELECT id, 1 FROM workers WHERE revoked_hash = ?1 ORDER BY revoked LIMIT 1",
        )
        .bind(&hash[..])
        .fetch_optional(self.reader())
        .await
        .map_err(attempt("look up a token"))?;
        row.map(|row| {
            Ok(TokenOwner {
                id: worker_id(&row, "id")?,
                revoked: row.get("revoked"),
            })
        })
        .transpose()
    }

    /// Replaces the token of a record; the old one is remembered as revoked.
    pub async fn set_token(&self, id: WorkerId, hash: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query("UPDATE workers SET revoked_hash = token_hash, token_hash = ? WHERE id = ?")
            .bind(&hash[..])
            .bind(id.to_string())
            .execute(self.writer())
            .await
            .map_err(attempt("replace a token"))?;
        Ok(())
    }

    /// Sets capacity and labels of a record.
    pub async fn set_capacity(
        &self,
        id: WorkerId,
        capacity: u32,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE workers SET capacity = ?, labels = ? WHERE id = ?")
            .bind(capacity)
            .bind(to_json(labels))
            .bind(id.to_string())
            .execute(self.writer())
            .await
            .map_err(attempt("update a worker"))?;
        Ok(())
    }

    /// Disables or enables a record.
    pub async fn set_disabled(&self, id: WorkerId, disabled: bool) -> Result<(), StoreError> {
        sqlx::query("UPDATE workers SET disabled = ? WHERE id = ?")
            .bind(disabled)
            .bind(id.to_string())
            .execute(self.writer())
            .await
            .map_err(attempt("disable or enable a worker"))?;
        Ok(())
    }

    /// Sets or lifts the fence of a record.
    pub async fn set_fence(
        &self,
        id: WorkerId,
        seq: u64,
        fence: Option<&StoredFence>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE workers SET fence_seq = ?, fence_instance = ?, fence_reason = ?, fence_deadline_ms = ?
             WHERE id = ?",
        )
        .bind(seq as i64)
        .bind(fence.map(|f| f.instance.0.to_vec()))
        .bind(fence.map_or("", |f| f.reason.as_str()))
        .bind(fence.and_then(|f| f.deadline_unix_ms))
        .bind(id.to_string())
        .execute(self.writer())
        .await
        .map_err(attempt("store a fence"))?;
        Ok(())
    }

    /// Records the last refusal under a record's token.
    pub async fn set_refusal(&self, id: WorkerId, refusal: &Refusal) -> Result<(), StoreError> {
        sqlx::query("UPDATE workers SET refusal_reason = ?, refusal_pod_uid = ?, refusal_ms = ? WHERE id = ?")
            .bind(refusal_name(refusal.reason))
            .bind(&refusal.pod_uid)
            .bind(refusal.at_unix_ms)
            .bind(id.to_string())
            .execute(self.writer())
            .await
            .map_err(attempt("store a refusal"))?;
        Ok(())
    }

    /// Ends a record and its token; false: there was none.
    pub async fn delete_worker(&self, id: WorkerId) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM workers WHERE id = ?")
            .bind(id.to_string())
            .execute(self.writer())
            .await
            .map_err(attempt("delete a worker"))?;
        Ok(done.rows_affected() > 0)
    }
}

impl Tenant {
    /// The record with the creator's own key.
    pub async fn worker_by_key(&self, key: &str) -> Result<Option<WorkerRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT w.*, o.worker_licence FROM workers w JOIN organisations o ON o.slug = w.organisation
             WHERE w.organisation = ? AND w.key = ?",
        )
        .bind(self.organisation())
        .bind(key)
        .fetch_optional(self.store().reader())
        .await
        .map_err(attempt("look up a worker by key"))?;
        row.as_ref().map(record).transpose()
    }

    /// Makes a record.
    pub async fn insert_worker(&self, new: &NewWorker) -> Result<WorkerRecord, StoreError> {
        let row = sqlx::query(
            "INSERT INTO workers (id, organisation, project, key, name, capacity, labels, token_hash, created_by, created_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             RETURNING *, (SELECT worker_licence FROM organisations WHERE slug = organisation) AS worker_licence",
        )
        .bind(new.id.to_string())
        .bind(self.organisation())
        .bind(&new.project)
        .bind(Some(&new.key).filter(|key| !key.is_empty()))
        .bind(&new.name)
        .bind(new.capacity)
        .bind(to_json(&new.labels))
        .bind(&new.token_hash[..])
        .bind(&new.created_by)
        .bind(new.created_ms)
        .fetch_one(self.store().writer())
        .await
        .map_err(attempt("make a worker"))?;
        record(&row)
    }
}

/// Labels as stored.
pub(super) fn to_json(labels: &BTreeMap<String, String>) -> String {
    let labels: serde_json::Value = labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    labels.to_string()
}

pub(super) fn worker_id(row: &SqliteRow, column: &'static str) -> Result<WorkerId, StoreError> {
    let text: String = row.get(column);
    text.parse().map_err(|_| StoreError::Corrupt {
        table: "workers",
        id: text,
        column,
    })
}

const fn refusal_name(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::InvalidToken => "invalid_token",
        RefusalReason::WorkerDisabled => "worker_disabled",
        RefusalReason::DuplicateConnection => "duplicate_connection",
    }
}

fn parse_refusal(name: &str) -> Option<RefusalReason> {
    [
        RefusalReason::InvalidToken,
        RefusalReason::WorkerDisabled,
        RefusalReason::DuplicateConnection,
    ]
    .into_iter()
    .find(|reason| refusal_name(*reason) == name)
}

fn record(row: &SqliteRow) -> Result<WorkerRecord, StoreError> {
    let id = worker_id(row, "id")?;
    let corrupt = |column| StoreError::Corrupt {
        table: "workers",
        id: id.to_string(),
        column,
    };
    let fence_instance: Option<Vec<u8>> = row.get("fence_instance");
    let fence = fence_instance
        .map(|bytes| {
            Ok(StoredFence {
                instance: InstanceId(bytes.try_into().map_err(|_| corrupt("fence_instance"))?),
                reason: row.get("fence_reason"),
                deadline_unix_ms: row.get("fence_deadline_ms"),
            })
        })
        .transpose()?;
    let refusal: Option<String> = row.get("refusal_reason");
    let last_refusal = refusal
        .map(|name| {
            Ok(Refusal {
                reason: parse_refusal(&name).ok_or_else(|| corrupt("refusal_reason"))?,
                pod_uid: row.get("refusal_pod_uid"),
                at_unix_ms: row.get("refusal_ms"),
            })
        })
        .transpose()?;
    let token_hash: Vec<u8> = row.get("token_hash");
    Ok(WorkerRecord {
        id,
        organisation: row.get("organisation"),
        project: row.get("project"),
        key: row.get::<Option<String>, _>("key").unwrap_or_default(),
        name: row.get("name"),
        capacity: row.get("capacity"),
        licence: Licence::parse(row.get("worker_licence"))
            .ok_or_else(|| corrupt("worker_licence"))?,
        labels: serde_json::from_str(row.get("labels")).map_err(|_| corrupt("labels"))?,
        token_hash: token_hash.try_into().map_err(|_| corrupt("token_hash"))?,
        disabled: row.get("disabled"),
        created_by: row.get("created_by"),
        created_ms: row.get("created_ms"),
        fence_seq: row.get::<i64, _>("fence_seq") as u64,
        fence,
        last_refusal,
    })
}
