//! The database: SQLite in WAL mode, one writer, embedded migrations.
//!
//! Tenant data is read and written through [`Tenant`], the one place that scopes by organisation.
//! What has no caller (the session and run layers) goes by ids that came from there.

mod keys;
mod pools;
mod run_rows;
mod runs;
mod samples;
mod sessions;
mod workers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

pub use keys::{ApiKey, Role};
pub use run_rows::{EndpointRow, LinkRow, ShareRow, StoredOutcome};
pub(crate) use run_rows::{put_endpoints, put_outcomes};
pub(crate) use runs::put_progress;
pub use runs::{NewRun, RunProgress, RunRecord};
pub use samples::{Applied, SampleRow, insert_samples};
pub use sessions::StoredSession;
pub use workers::{Licence, NewWorker, StoredFence, WorkerRecord};

/// Organisation of a fresh install.
pub const DEFAULT_ORGANISATION: &str = "default";
/// Project of a fresh install.
pub const DEFAULT_PROJECT: &str = "default";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file could not be opened or created.
    #[error("open database {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// The schema could not be brought to this version.
    #[error("migrate database {path}")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("{attempt}")]
    Query {
        /// What was attempted.
        attempt: &'static str,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value cannot be read back.
    #[error("{table} {id}: column {column} cannot be read")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Row.
        id: String,
        /// Column.
        column: &'static str,
    },
}

/// Turns a database error into "what was attempted".
pub(crate) fn attempt(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query {
        attempt: what,
        source,
    }
}

/// The database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    reader: SqlitePool,
    writer: SqlitePool,
}

/// The data of one organisation.
#[derive(Debug, Clone)]
pub struct Tenant {
    store: Store,
    organisation: String,
}

impl Store {
    /// Opens or creates the database file and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let opened = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        // The writer opens first: it creates the file the readers need.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(opened)?;
        MIGRATIONS
            .run(&writer)
            .await
            .map_err(|source| StoreError::Migrate {
                path: path.to_owned(),
                source,
            })?;
        let reader = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.create_if_missing(false))
            .await
            .map_err(opened)?;
        let store = Self { reader, writer };
        store.make_defaults().await?;
        Ok(store)
    }

    /// Connections for reading.
    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// The one connection for writing.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// A transaction on the writer.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(attempt("begin a transaction"))
    }

    /// The data of one organisation and no other.
    pub fn tenant(&self, organisation: &str) -> Tenant {
        Tenant {
            store: self.clone(),
            organisation: organisation.to_owned(),
        }
    }

    /// Answers once a trivial query works; for readiness probes.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(self.reader())
            .await
            .map_err(attempt("ask the database"))?;
        Ok(())
    }

    /// Writes what is pending and closes the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn make_defaults(&self) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT OR IGNORE INTO organisations (slug, name, worker_licence) VALUES (?, ?, 'enterprise')")
            .bind(DEFAULT_ORGANISATION)
            .bind("Default")
            .execute(&mut *tx)
            .await
            .map_err(attempt("make the default organisation"))?;
        sqlx::query("INSERT OR IGNORE INTO projects (organisation, slug, name) VALUES (?, ?, ?)")
            .bind(DEFAULT_ORGANISATION)
            .bind(DEFAULT_PROJECT)
            .bind("Default")
            .execute(&mut *tx)
            .await
            .map_err(attempt("make the default project"))?;
        tx.commit().await.map_err(attempt("commit the defaults"))
    }
}

impl Tenant {
    /// Slug of the organisation.
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// The database below, for statements that bind [`Tenant::organisation`] themselves.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Slugs of the organisation's projects, in order.
    pub async fn projects(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT slug FROM projects WHERE organisation = ? ORDER BY slug")
            .bind(&self.organisation)
            .fetch_all(self.store.reader())
            .await
            .map_err(attempt("list projects"))
    }
}
