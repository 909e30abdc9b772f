//! API keys, stored as keyed hashes, and the proof that the pepper belongs to this database.

use std::fmt;
use std::str::FromStr;

use sqlx::Row;

use super::{Store, StoreError, Tenant, attempt};

/// What an API key may do; each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Runs tests.
    Tester,
    /// Makes tests and keys.
    Editor,
    /// Makes, disables and deletes workers.
    Admin,
    /// Everything.
    Owner,
}

impl Role {
    /// The stored and shown name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Tester => "tester",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Viewer,
            Self::Tester,
            Self::Editor,
            Self::Admin,
            Self::Owner,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| format!("role: \"{text}\"; accepted: viewer, tester, editor, admin, owner"))
    }
}

/// An API key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Id.
    pub id: String,
    /// Organisation slug.
    pub organisation: String,
    /// Name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
}

impl Store {
    /// The key with this hash.
    pub async fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let row = sqlx::query("SELECT * FROM api_keys WHERE key_hash = ?")
            .bind(&hash[..])
            .fetch_optional(self.reader())
            .await
            .map_err(attempt("look up an API key"))?;
        row.as_ref().map(api_key).transpose()
    }

    /// Remembers the MAC made with the pepper at the first start; answers with the remembered one.
    pub async fn pepper_check(&self, mac: &[u8; 32]) -> Result<Vec<u8>, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT OR IGNORE INTO pepper_check (only, mac) VALUES (1, ?)")
            .bind(&mac[..])
            .execute(&mut *tx)
            .await
            .map_err(attempt("store the pepper check"))?;
        let stored = sqlx::query_scalar("SELECT mac FROM pepper_check")
            .fetch_one(&mut *tx)
            .await
            .map_err(attempt("read the pepper check"))?;
        tx.commit()
            .await
            .map_err(attempt("commit the pepper check"))?;
        Ok(stored)
    }
}

impl Tenant {
    /// The organisation's keys, oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM api_keys WHERE organisation = ? ORDER BY created_ms, id")
                .bind(self.organisation())
                .fetch_all(self.store().reader())
                .await
                .map_err(attempt("list API keys"))?;
        rows.iter().map(api_key).collect()
    }

    /// Stores a key by its hash.
    pub async fn insert_api_key(&self, key: &ApiKey, hash: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_keys (id, organisation, name, role, key_hash, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.id)
        .bind(self.organisation())
        .bind(&key.name)
        .bind(key.role.as_str())
        .bind(&hash[..])
        .bind(key.created_ms)
        .execute(self.store().writer())
        .await
        .map_err(attempt("store an API key"))?;
        Ok(())
    }

    /// Ends a key; false: the organisation has none with this id.
    pub async fn delete_api_key(&self, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM api_keys WHERE organisation = ? AND id = ?")
            .bind(self.organisation())
            .bind(id)
            .execute(self.store().writer())
            .await
            .map_err(attempt("delete an API key"))?;
        Ok(done.rows_affected() > 0)
    }
}

fn api_key(row: &sqlx::sqlite::SqliteRow) -> Result<ApiKey, StoreError> {
    let id: String = row.get("id");
    let role: &str = row.get("role");
    let role = role.parse().map_err(|_| StoreError::Corrupt {
        table: "api_keys",
        id: id.clone(),
        column: "role",
    })?;
    Ok(ApiKey {
        id,
        organisation: row.get("organisation"),
        name: row.get("name"),
        role,
        created_ms: row.get("created_ms"),
    })
}
