//! The rows of a run: where it is placed, its messages, the state of its endpoints, outcomes.

use callmeter_proto::worker::{Outcome, Phase};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::runs::run_no;
use super::{Store, StoreError, attempt};
use crate::link::{InstanceId, WorkerId};
use crate::run::{Endpoint, OutcomeRow, Reachable};

/// Endpoints of one group on one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// Group name.
    pub group: String,
    /// Worker.
    pub worker: WorkerId,
    /// Its name.
    pub worker_name: String,
    /// First endpoint.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Messages of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// Worker.
    pub worker: WorkerId,
    /// Its process.
    pub instance: InstanceId,
    /// Number of the next message.
    pub next_seq: u64,
    /// It reported the end.
    pub ended: bool,
    /// It was given up, Unix milliseconds.
    pub lost_ms: Option<i64>,
    /// Unconfirmed messages, sealed.
    pub messages: Vec<u8>,
    /// Highest number of its messages that is applied; read only.
    pub applied: u64,
}

/// State of an endpoint, by group name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRow {
    /// Group name.
    pub group: String,
    /// Index within the group.
    pub endpoint: u32,
    /// Its state; its end is an outcome of call 0 and not stored here.
    pub state: Endpoint,
}

/// An outcome, by group name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOutcome {
    /// Group name.
    pub group: String,
    /// The rest; its index of the group is not known here and 0.
    pub row: OutcomeRow,
}

impl Store {
    /// Where a run is placed, in the order of the placement.
    pub async fn shares(&self, id: &str) -> Result<Vec<ShareRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM shares WHERE run = (SELECT no FROM runs WHERE id = ?) ORDER BY grp, first")
            .bind(id)
            .fetch_all(self.reader())
            .await
            .map_err(attempt("read a placement"))?;
        rows.iter()
            .map(|row| {
                Ok(ShareRow {
                    group: row.get("grp"),
                    worker: worker_id("shares", row)?,
                    worker_name: row.get("worker_name"),
                    first: row.get("first"),
                    count: row.get("count"),
                })
            })
            .collect()
    }

    /// The messages of a run, with what is applied of the workers' own.
    pub async fn links(&self, id: &str) -> Result<Vec<LinkRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT links.*, COALESCE(applied.seq, 0) AS applied_seq FROM links
             LEFT JOIN applied ON applied.run = links.run AND applied.worker = links.worker
             WHERE links.run = (SELECT no FROM runs WHERE id = ?) ORDER BY links.worker",
        )
        .bind(id)
        .fetch_all(self.reader())
        .await
        .map_err(attempt("read the messages of a run"))?;
        rows.iter()
            .map(|row| {
                let worker = worker_id("links", row)?;
                let instance = row
                    .get::<Vec<u8>, _>("instance")
                    .try_into()
                    .map(InstanceId)
                    .map_err(|_| StoreError::Corrupt {
                        table: "links",
                        id: worker.to_string(),
                        column: "instance",
                    })?;
                Ok(LinkRow {
                    worker,
                    instance,
                    next_seq: row.get::<i64, _>("next_seq") as u64,
                    ended: row.get("ended"),
                    lost_ms: row.get("lost_ms"),
                    messages: row.get("messages"),
                    applied: row.get::<i64, _>("applied_seq") as u64,
                })
            })
            .collect()
    }

    /// The endpoints of a run that told any state.
    pub async fn endpoints(&self, id: &str) -> Result<Vec<EndpointRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM endpoints WHERE run = (SELECT no FROM runs WHERE id = ?)")
                .bind(id)
                .fetch_all(self.reader())
                .await
                .map_err(attempt("read the endpoints of a run"))?;
        let state = |row: &SqliteRow| Endpoint {
            ready: row
                .get::<Option<String>, _>("contact")
                .map(|contact| Reachable {
                    contact,
                    aor: row.get::<Option<String>, _>("aor").unwrap_or_default(),
                }),
            phase: Phase::try_from(row.get::<i32, _>("phase")).unwrap_or(Phase::Unspecified),
            call: row.get("call"),
            ended: None,
        };
        let row = |row: &SqliteRow| EndpointRow {
            group: row.get("grp"),
            endpoint: row.get("endpoint"),
            state: state(row),
        };
        Ok(rows.iter().map(row).collect())
    }

    /// The outcomes of a run.
    pub async fn outcomes(&self, id: &str) -> Result<Vec<StoredOutcome>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM outcomes WHERE run = (SELECT no FROM runs WHERE id = ?)")
                .bind(id)
                .fetch_all(self.reader())
                .await
                .map_err(attempt("read the outcomes of a run"))?;
        let stored = |row: &SqliteRow| StoredOutcome {
            group: row.get("grp"),
            row: OutcomeRow {
                group: 0,
                endpoint: row.get("endpoint"),
                call: row.get("call"),
                outcome: outcome(row.get("outcome")),
                sip_status: row.get("sip_status"),
                detail: row.get("detail"),
                outgoing: row.get("outgoing"),
                completed: row.get("completed"),
            },
        };
        Ok(rows.iter().map(stored).collect())
    }

    /// Stores outcomes the gateway itself decided.
    pub async fn insert_outcomes(
        &self,
        id: &str,
        rows: &[StoredOutcome],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        put_outcomes(&mut tx, id, rows).await?;
        tx.commit().await.map_err(attempt("commit outcomes"))
    }
}

/// Stores state of endpoints within the transaction of [`super::Applied::Next`].
pub(crate) async fn put_endpoints(
    tx: &mut Transaction<'static, Sqlite>,
    run: &str,
    rows: &[EndpointRow],
) -> Result<(), StoreError> {
    let no = run_no(tx, run).await?;
    for EndpointRow {
        group,
        endpoint,
        state,
    } in rows
    {
        let Endpoint {
            ready,
            phase,
            call,
            ended: _,
        } = state;
        sqlx::query(
            "INSERT OR REPLACE INTO endpoints (run, grp, endpoint, phase, call, contact, aor)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(no)
        .bind(group)
        .bind(endpoint)
        .bind(i32::from(*phase))
        .bind(call)
        .bind(ready.as_ref().map(|r| &r.contact))
        .bind(ready.as_ref().map(|r| &r.aor))
        .execute(&mut **tx)
        .await
        .map_err(attempt("store the state of an endpoint"))?;
    }
    Ok(())
}

/// Stores outcomes within a transaction; a later word on the same call replaces an earlier one.
pub(crate) async fn put_outcomes(
    tx: &mut Transaction<'static, Sqlite>,
    run: &str,
    rows: &[StoredOutcome],
) -> Result<(), StoreError> {
    let no = run_no(tx, run).await?;
    for StoredOutcome { group, row } in rows {
        let OutcomeRow {
            group: _,
            endpoint,
            call,
            outcome,
            sip_status,
            detail,
            outgoing,
            completed,
        } = row;
        sqlx::query(
            "INSERT OR REPLACE INTO outcomes (run, grp, endpoint, call, outcome, sip_status, detail, outgoing, completed)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(no)
        .bind(group)
        .bind(endpoint)
        .bind(call)
        .bind(i32::from(*outcome))
        .bind(sip_status)
        .bind(detail)
        .bind(outgoing)
        .bind(completed)
        .execute(&mut **tx)
        .await
        .map_err(attempt("store an outcome"))?;
    }
    Ok(())
}

fn outcome(number: i32) -> Outcome {
    Outcome::try_from(number).unwrap_or(Outcome::Unspecified)
}

fn worker_id(table: &'static str, row: &SqliteRow) -> Result<WorkerId, StoreError> {
    let text: String = row.get("worker");
    text.parse().map_err(|_| StoreError::Corrupt {
        table,
        id: text,
        column: "worker",
    })
}
