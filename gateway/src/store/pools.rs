//! Pools as room to grow.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, attempt};
use crate::link::PoolRegistration;

impl Store {
    /// All pools, with the time of their registration in Unix milliseconds.
    pub async fn pools(&self) -> Result<Vec<(PoolRegistration, i64)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM pools ORDER BY organisation, key")
            .fetch_all(self.reader())
            .await
            .map_err(attempt("read the pools"))?;
        let pool = |row: &SqliteRow| {
            let key: String = row.get("key");
            let labels =
                serde_json::from_str(row.get("labels")).map_err(|_| StoreError::Corrupt {
                    table: "pools",
                    id: key.clone(),
                    column: "labels",
                })?;
            let registration = PoolRegistration {
                organisation: row.get("organisation"),
                key,
                project: row.get("project"),
                region: row.get("region"),
                labels,
                endpoints_per_worker: row.get("endpoints_per_worker"),
                max_workers: row.get("max_workers"),
                live_workers: row.get("live_workers"),
            };
            Ok((registration, row.get("renewed_ms")))
        };
        rows.iter().map(pool).collect()
    }

    /// Registers a pool or renews its registration.
    pub async fn upsert_pool(
        &self,
        pool: &PoolRegistration,
        renewed_ms: i64,
    ) -> Result<(), StoreError> {
        let PoolRegistration {
            organisation,
            key,
            project,
            region,
            labels,
            endpoints_per_worker,
            max_workers,
            live_workers,
        } = pool;
        let labels = serde_json::to_string(labels).unwrap_or_default();
        sqlx::query(
            "INSERT OR REPLACE INTO pools
             (organisation, key, project, region, labels, endpoints_per_worker, max_workers, live_workers, renewed_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(organisation)
        .bind(key)
        .bind(project)
        .bind(region)
        .bind(labels)
        .bind(endpoints_per_worker)
        .bind(max_workers)
        .bind(live_workers)
        .bind(renewed_ms)
        .execute(self.writer())
        .await
        .map_err(attempt("store a pool"))?;
        Ok(())
    }

    /// Forgets a pool.
    pub async fn delete_pool(&self, organisation: &str, key: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM pools WHERE organisation = ? AND key = ?")
            .bind(organisation)
            .bind(key)
            .execute(self.writer())
            .await
            .map_err(attempt("delete a pool"))?;
        Ok(())
    }
}
