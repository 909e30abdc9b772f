//! Runs: what was asked for, how far each has come, and its report.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::run_rows::{LinkRow, ShareRow};
use super::{Store, StoreError, Tenant, attempt};

/// A run to be stored for the first time.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Id.
    pub id: String,
    /// Project slug.
    pub project: String,
    /// The submitter's own key; empty: none.
    pub key: String,
    /// Namespace of the test; empty: none.
    pub namespace: String,
    /// Name for people.
    pub name: String,
    /// `CallTestSpec` as JSON; no password in it.
    pub definition: String,
    /// Accounts given with it, sealed.
    pub accounts: Option<Vec<u8>>,
    /// JSON array of texts.
    pub warnings: String,
    /// Submission, Unix milliseconds.
    pub created_ms: i64,
}

/// One row of `runs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Id.
    pub id: String,
    /// Organisation slug.
    pub organisation: String,
    /// Project slug.
    pub project: String,
    /// Namespace of the test.
    pub namespace: String,
    /// Name for people.
    pub name: String,
    /// `CallTestSpec` as JSON.
    pub definition: String,
    /// Sealed accounts.
    pub accounts: Option<Vec<u8>>,
    /// Status as others see it.
    pub status: String,
    /// Stage of the state machine.
    pub stage: String,
    /// What it waits for or why it ended.
    pub reason: String,
    /// Submission, Unix milliseconds.
    pub created_ms: i64,
    /// Start, Unix milliseconds.
    pub started_ms: Option<i64>,
    /// End, Unix milliseconds.
    pub ended_ms: Option<i64>,
    /// JSON array.
    pub partial_reasons: String,
    /// JSON array of texts.
    pub warnings: String,
    /// Why it ends FAILED.
    pub failed: Option<String>,
    /// Why it was told to stop.
    pub stopped: Option<String>,
    /// The report as JSON, once it is over.
    pub summary: Option<String>,
    /// `Passed`, `Failed`, `Unknown`; empty while it goes on.
    pub verdict: String,
}

/// The part of a run that changes.
#[derive(Debug, Clone)]
pub struct RunProgress {
    /// Status.
    pub status: &'static str,
    /// Stage.
    pub stage: &'static str,
    /// Reason.
    pub reason: String,
    /// Start.
    pub started_ms: Option<i64>,
    /// End.
    pub ended_ms: Option<i64>,
    /// JSON array.
    pub partial_reasons: String,
    /// JSON array of texts.
    pub warnings: String,
    /// Why it ends FAILED.
    pub failed: Option<String>,
    /// Why it was told to stop.
    pub stopped: Option<String>,
    /// Where it is placed.
    pub shares: Vec<ShareRow>,
    /// Its messages.
    pub links: Vec<LinkRow>,
}

impl Store {
    /// The runs that are not over or have no report yet, oldest first: the end of a run is stored
    /// before its report, which alone sets a verdict.
    pub async fn open_runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM runs WHERE stage <> 'over' OR verdict = '' ORDER BY created_ms, no",
        )
        .fetch_all(self.reader())
        .await
        .map_err(attempt("read the open runs"))?;
        Ok(rows.iter().map(run_record).collect())
    }

    /// A run of any organisation; for what workers send of it.
    pub async fn run_by_id(&self, id: &str) -> Result<Option<RunRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE id = ?")
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(attempt("read a run"))?;
        Ok(row.as_ref().map(run_record))
    }

    /// Stores how far a run has come.
    pub async fn save_run(&self, id: &str, progress: &RunProgress) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        put_progress(&mut tx, id, progress).await?;
        tx.commit()
            .await
            .map_err(attempt("commit the state of a run"))
    }

    /// Stores the report of a run that is over; its messages are forgotten, and `accounts` takes the
    /// place of the sealed ones.
    pub async fn finish_run(
        &self,
        id: &str,
        summary: &str,
        verdict: &str,
        partial_reasons: &str,
        accounts: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let no = run_no(&mut tx, id).await?;
        sqlx::query("UPDATE runs SET summary = ?, verdict = ?, partial_reasons = ?, accounts = ? WHERE no = ?")
            .bind(summary)
            .bind(verdict)
            .bind(partial_reasons)
            .bind(accounts)
            .bind(no)
            .execute(&mut *tx)
            .await
            .map_err(attempt("store the report of a run"))?;
        sqlx::query("UPDATE links SET messages = x'' WHERE run = ?")
            .bind(no)
            .execute(&mut *tx)
            .await
            .map_err(attempt("forget the messages of a run"))?;
        tx.commit()
            .await
            .map_err(attempt("commit the report of a run"))
    }

    /// Ends a stored run that cannot go on; one that was over and lacks its report stays as it ended.
    pub async fn fail_run(&self, id: &str, reason: &str, ended_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE runs SET verdict = 'Unknown', stage = 'over',
             status = CASE stage WHEN 'over' THEN status ELSE 'FAILED' END,
             reason = CASE WHEN stage = 'over' AND reason <> '' THEN reason ELSE ? END,
             ended_ms = COALESCE(ended_ms, ?)
             WHERE id = ?",
        )
        .bind(reason)
        .bind(ended_ms)
        .bind(id)
        .execute(self.writer())
        .await
        .map_err(attempt("end a run that cannot go on"))?;
        Ok(())
    }
}

impl Tenant {
    /// Stores a run; with a key that exists, answers with that run's id and false.
    pub async fn insert_run(&self, run: &NewRun) -> Result<(String, bool), StoreError> {
        let NewRun {
            id,
            project,
            key,
            namespace,
            name,
            definition,
            accounts,
            warnings,
            created_ms,
        } = run;
        let key = Some(key).filter(|key| !key.is_empty());
        let mut tx = self.store().begin().await?;
        let known: Option<String> =
            sqlx::query_scalar("SELECT id FROM runs WHERE organisation = ? AND key = ?")
                .bind(self.organisation())
                .bind(key)
                .fetch_optional(&mut *tx)
                .await
                .map_err(attempt("look up a run by its key"))?;
        if let Some(known) = known {
            return Ok((known, false));
        }
        sqlx::query(
            "INSERT INTO runs (id, organisation, project, key, namespace, name, definition, accounts, warnings, status, created_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'PENDING', ?)",
        )
        .bind(id)
        .bind(self.organisation())
        .bind(project)
        .bind(key)
        .bind(namespace)
        .bind(name)
        .bind(definition)
        .bind(accounts)
        .bind(warnings)
        .bind(created_ms)
        .execute(&mut *tx)
        .await
        .map_err(attempt("store a run"))?;
        tx.commit().await.map_err(attempt("commit a run"))?;
        Ok((id.clone(), true))
    }

    /// A run of the organisation.
    pub async fn run(&self, id: &str) -> Result<Option<RunRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE organisation = ? AND id = ?")
            .bind(self.organisation())
            .bind(id)
            .fetch_optional(self.store().reader())
            .await
            .map_err(attempt("read a run"))?;
        Ok(row.as_ref().map(run_record))
    }

    /// One page of the organisation's runs, newest first, and how many there are in all.
    pub async fn runs(&self, limit: u32, offset: u32) -> Result<(Vec<RunRecord>, u64), StoreError> {
        let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE organisation = ?")
            .bind(self.organisation())
            .fetch_one(self.store().reader())
            .await
            .map_err(attempt("count runs"))?;
        let rows = sqlx::query(
            "SELECT * FROM runs WHERE organisation = ? ORDER BY created_ms DESC, no DESC LIMIT ? OFFSET ?",
        )
        .bind(self.organisation())
        .bind(limit)
        .bind(offset)
        .fetch_all(self.store().reader())
        .await
        .map_err(attempt("list runs"))?;
        Ok((rows.iter().map(run_record).collect(), total as u64))
    }
}

/// Stores how far a run has come within a transaction.
pub(crate) async fn put_progress(
    tx: &mut Transaction<'static, Sqlite>,
    id: &str,
    progress: &RunProgress,
) -> Result<(), StoreError> {
    let RunProgress {
        status,
        stage,
        reason,
        started_ms,
        ended_ms,
        partial_reasons,
        warnings,
        failed,
        stopped,
        shares,
        links,
    } = progress;
    let no = run_no(tx, id).await?;
    sqlx::query(
        "UPDATE runs SET status = ?, stage = ?, reason = ?, started_ms = ?, ended_ms = ?, partial_reasons = ?,
         warnings = ?, failed = ?, stopped = ? WHERE no = ?",
    )
    .bind(status)
    .bind(stage)
    .bind(reason)
    .bind(started_ms)
    .bind(ended_ms)
    .bind(partial_reasons)
    .bind(warnings)
    .bind(failed)
    .bind(stopped)
    .bind(no)
    .execute(&mut **tx)
    .await
    .map_err(attempt("store the state of a run"))?;
    for share in shares {
        let ShareRow {
            group,
            worker,
            worker_name,
            first,
            count,
        } = share;
        sqlx::query(
            "INSERT OR IGNORE INTO shares (run, worker, grp, first, count, worker_name) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(no)
        .bind(worker.to_string())
        .bind(group)
        .bind(first)
        .bind(count)
        .bind(worker_name)
        .execute(&mut **tx)
        .await
        .map_err(attempt("store a placement"))?;
    }
    for link in links {
        let LinkRow {
            worker,
            instance,
            next_seq,
            ended,
            lost_ms,
            messages,
            applied: _,
        } = link;
        sqlx::query(
            "INSERT OR REPLACE INTO links (run, worker, instance, next_seq, ended, lost_ms, messages)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(no)
        .bind(worker.to_string())
        .bind(&instance.0[..])
        .bind(*next_seq as i64)
        .bind(ended)
        .bind(lost_ms)
        .bind(messages)
        .execute(&mut **tx)
        .await
        .map_err(attempt("store the messages of a run"))?;
    }
    Ok(())
}

pub(super) async fn run_no(
    tx: &mut Transaction<'static, Sqlite>,
    id: &str,
) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT no FROM runs WHERE id = ?")
        .bind(id)
        .fetch_one(&mut **tx)
        .await
        .map_err(attempt("look up a run"))
}

fn run_record(row: &SqliteRow) -> RunRecord {
    RunRecord {
        id: row.get("id"),
        organisation: row.get("organisation"),
        project: row.get("project"),
        namespace: row.get("namespace"),
        name: row.get("name"),
        definition: row.get("definition"),
        accounts: row.get("accounts"),
        status: row.get("status"),
        stage: row.get("stage"),
        reason: row.get("reason"),
        created_ms: row.get("created_ms"),
        started_ms: row.get("started_ms"),
        ended_ms: row.get("ended_ms"),
        partial_reasons: row.get("partial_reasons"),
        warnings: row.get("warnings"),
        failed: row.get("failed"),
        stopped: row.get("stopped"),
        summary: row.get("summary"),
        verdict: row.get("verdict"),
    }
}
