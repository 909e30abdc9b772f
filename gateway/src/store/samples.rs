//! Samples: bulk writing applied once by (run, worker, sequence), and reading back.

use sqlx::{QueryBuilder, Row, Sqlite, Transaction};

use super::{Store, StoreError, attempt};
use crate::link::WorkerId;

/// Rows of one INSERT: the cost of a statement is spread, its variables stay far below the limit.
const ROWS_PER_STATEMENT: usize = 100;

/// One row of measurements of one endpoint, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// Group name.
    pub group: String,
    /// Index within the group.
    pub endpoint: u32,
    /// Second since the start of the run at its worker.
    pub second: u32,
    /// Call number; calls count from 1.
    pub call: u32,
    /// `callmeter_proto::worker::Direction` as its number.
    pub direction: i32,
    /// Figures of a whole call, not of one second.
    pub per_call: bool,
    /// The generator was the limit in this second.
    pub generator_limited: bool,
    /// The delay inputs hold our own parts only.
    pub delay_partial: bool,
    /// (metric id, value) pairs; what was not measured is absent.
    pub values: Vec<(u32, f64)>,
}

/// What became of a message with a sequence number.
#[derive(Debug)]
pub enum Applied {
    /// It is the next one: write its effect into the transaction, then commit.
    Next(Transaction<'static, Sqlite>),
    /// It, or one after it, was applied before; nothing to do but acknowledge.
    Duplicate,
    /// Messages before it are missing; it must not be acknowledged.
    Gap {
        /// The sequence number that would be next.
        expected: u64,
    },
}

impl Store {
    /// Begins to apply message `seq` of a worker about a run, or tells that it was applied.
    pub async fn apply(
        &self,
        run: &str,
        worker: WorkerId,
        seq: u64,
    ) -> Result<Applied, StoreError> {
        let mut tx = self.begin().await?;
        let before: Option<i64> = sqlx::query_scalar(
            "SELECT seq FROM applied WHERE run = (SELECT no FROM runs WHERE id = ?) AND worker = ?",
        )
        .bind(run)
        .bind(worker.to_string())
        .fetch_optional(&mut *tx)
        .await
        .map_err(attempt("read the applied sequence number"))?;
        let before = before.unwrap_or(0) as u64;
        if seq <= before {
            return Ok(Applied::Duplicate);
        }
        if seq != before + 1 {
            return Ok(Applied::Gap {
                expected: before + 1,
            });
        }
        sqlx::query(
            "INSERT OR REPLACE INTO applied (run, worker, seq) VALUES ((SELECT no FROM runs WHERE id = ?), ?, ?)",
        )
        .bind(run)
        .bind(worker.to_string())
        .bind(seq as i64)
        .execute(&mut *tx)
        .await
        .map_err(attempt("store the applied sequence number"))?;
        Ok(Applied::Next(tx))
    }

    /// Highest sequence number of a worker's messages about a run that is applied; 0: none.
    pub async fn applied_seq(&self, run: &str, worker: WorkerId) -> Result<u64, StoreError> {
        let seq: Option<i64> = sqlx::query_scalar(
            "SELECT seq FROM applied WHERE run = (SELECT no FROM runs WHERE id = ?) AND worker = ?",
        )
        .bind(run)
        .bind(worker.to_string())
        .fetch_optional(self.reader())
        .await
        .map_err(attempt("read the applied sequence number"))?;
        Ok(seq.unwrap_or(0) as u64)
    }

    /// How many rows are stored of each endpoint of a share, in order.
    pub async fn rows_per_endpoint(
        &self,
        run: &str,
        worker: WorkerId,
        group: &str,
        first: u32,
        count: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let rows = sqlx::query(
            "SELECT endpoint, COUNT(*) AS n FROM samples
             WHERE run = (SELECT no FROM runs WHERE id = ?) AND grp = ? AND endpoint >= ? AND endpoint < ? AND worker = ?
             GROUP BY endpoint",
        )
        .bind(run)
        .bind(group)
        .bind(first)
        .bind(i64::from(first) + i64::from(count))
        .bind(worker.to_string())
        .fetch_all(self.reader())
        .await
        .map_err(attempt("count stored samples"))?;
        let mut counts = vec![0; count as usize];
        for row in rows {
            let endpoint: u32 = row.get("endpoint");
            if let Some(slot) = counts.get_mut((endpoint - first) as usize) {
                *slot = row.get::<i64, _>("n") as u64;
            }
        }
        Ok(counts)
    }

    /// Samples of one group of a run after a stored position, in order of arrival; with the
    /// position to go on from. Fewer than `limit` rows: that was all.
    pub async fn read_samples(
        &self,
        run: &str,
        group: &str,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<SampleRow>, i64), StoreError> {
        let rows = sqlx::query(
            "SELECT rowid AS position, * FROM samples
             WHERE run = (SELECT no FROM runs WHERE id = ?) AND grp = ? AND rowid > ? ORDER BY rowid LIMIT ?",
        )
        .bind(run)
        .bind(group)
        .bind(after)
        .bind(limit)
        .fetch_all(self.reader())
        .await
        .map_err(attempt("read samples"))?;
        let position = rows.last().map_or(after, |row| row.get("position"));
        Ok((rows.iter().map(sample).collect(), position))
    }
}

/// Writes rows within the transaction of [`Applied::Next`].
pub async fn insert_samples(
    tx: &mut Transaction<'static, Sqlite>,
    run: &str,
    worker: WorkerId,
    rows: &[SampleRow],
) -> Result<(), StoreError> {
    let no: i64 = sqlx::query_scalar("SELECT no FROM runs WHERE id = ?")
        .bind(run)
        .fetch_one(&mut **tx)
        .await
        .map_err(attempt("look up a run"))?;
    let worker = worker.to_string();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO samples (run, worker, grp, endpoint, second, call, direction, per_call, flags, metrics) ",
        );
        insert.push_values(rows, |mut values, row| {
            let flags = i64::from(row.generator_limited) | (i64::from(row.delay_partial) << 1);
            values
                .push_bind(no)
                .push_bind(&worker)
                .push_bind(&row.group)
                .push_bind(row.endpoint)
                .push_bind(row.second)
                .push_bind(row.call)
                .push_bind(row.direction)
                .push_bind(row.per_call)
                .push_bind(flags)
                .push_bind(encode(&row.values));
        });
        insert
            .build()
            .execute(&mut **tx)
            .await
            .map_err(attempt("store samples"))?;
    }
    Ok(())
}

fn encode(values: &[(u32, f64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 12);
    for (metric, value) in values {
        bytes.extend_from_slice(&metric.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Vec<(u32, f64)> {
    let (pairs, _) = bytes.as_chunks::<12>();
    pairs
        .iter()
        .map(|&[a, b, c, d, v @ ..]| (u32::from_le_bytes([a, b, c, d]), f64::from_le_bytes(v)))
        .collect()
}

fn sample(row: &sqlx::sqlite::SqliteRow) -> SampleRow {
    let flags: i64 = row.get("flags");
    SampleRow {
        group: row.get("grp"),
        endpoint: row.get("endpoint"),
        second: row.get("second"),
        call: row.get("call"),
        direction: row.get("direction"),
        per_call: row.get("per_call"),
        generator_limited: flags & 1 != 0,
        delay_partial: flags & 2 != 0,
        values: decode(row.get("metrics")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewRun;

    fn row(endpoint: u32, second: u32, values: &[(u32, f64)]) -> SampleRow {
        SampleRow {
            group: "g".into(),
            endpoint,
            second,
            call: 1,
            direction: 3,
            per_call: false,
            generator_limited: second % 2 == 1,
            delay_partial: false,
            values: values.to_vec(),
        }
    }

    #[tokio::test]
    async fn a_batch_is_applied_once_in_order_and_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let run = NewRun {
            id: "r".into(),
            project: "default".into(),
            key: String::new(),
            namespace: String::new(),
            name: "r".into(),
            definition: "{}".into(),
            accounts: None,
            warnings: "[]".into(),
            created_ms: 0,
        };
        store.tenant("default").insert_run(&run).await.unwrap();
        let worker = WorkerId::random();
        let rows = vec![
            row(4, 0, &[(1, 0.25), (u32::MAX, f64::MIN)]),
            row(5, 1, &[]),
        ];
        let Applied::Next(mut tx) = store.apply("r", worker, 1).await.unwrap() else {
            panic!("the first is next");
        };
        insert_samples(&mut tx, "r", worker, &rows).await.unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(
            store.apply("r", worker, 1).await.unwrap(),
            Applied::Duplicate
        ));
        assert!(matches!(
            store.apply("r", worker, 3).await.unwrap(),
            Applied::Gap { expected: 2 }
        ));
        // Not committed: not applied.
        drop(store.apply("r", worker, 2).await.unwrap());
        assert_eq!(store.applied_seq("r", worker).await.unwrap(), 1);
        let (read, position) = store.read_samples("r", "g", 0, 10).await.unwrap();
        assert_eq!(read, rows);
        assert_eq!(
            store.read_samples("r", "g", position, 10).await.unwrap().0,
            []
        );
        let counts = store
            .rows_per_endpoint("r", worker, "g", 3, 3)
            .await
            .unwrap();
        assert_eq!(counts, [0, 1, 1]);
        let other = store
            .rows_per_endpoint("r", WorkerId::random(), "g", 3, 3)
            .await
            .unwrap();
        assert_eq!(other, [0, 0, 0], "rows of another worker are not counted");
    }
}
