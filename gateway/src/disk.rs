//! Room on the disk of the data directory: a full one ends the gateway with a message that says so,
//! and the next start waits for room. Nothing is lost: what was not stored was not confirmed to any
//! worker, and workers keep it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;
use tokio::time::{Instant, sleep};

/// SQLite writes its log in pages and needs room to fold it back: with less there is no use to start.
const NEEDED: u64 = 4 * 1024 * 1024;
/// How long a start waits for room before it gives up; startup probes allow 60 s.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);
/// SQLITE_FULL, the primary result code of a write that found no room.
const SQLITE_FULL: &str = "13";

/// Free and total bytes of the file system that holds a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    free: u64,
    total: u64,
}

impl Room {
    /// What there is; errors are those of statvfs(3).
    fn of(dir: &Path) -> std::io::Result<Self> {
        let found = statvfs(dir)?;
        Ok(Self {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
}

/// A disk without room.
#[derive(Debug, thiserror::Error)]
#[error(
    "the disk of the data directory {dir} is full: {free} of {total} KiB are free, at least {needed} KiB are needed; \
     free space or enlarge the volume, the gateway then goes on where it stopped: workers keep what was not stored",
    dir = dir.display(), free = room.free / 1024, total = room.total / 1024, needed = NEEDED / 1024
)]
pub struct DiskFull {
    dir: PathBuf,
    room: Room,
}

/// Waits until the data directory's disk has room to work with, and says what it waits for.
pub async fn await_room(dir: &Path) -> Result<(), DiskFull> {
    let begin = Instant::now();
    let mut told = None;
    loop {
        // A file system that does not tell is no full one.
        let Ok(room) = Room::of(dir) else {
            return Ok(());
        };
        if room.free >= NEEDED {
            return Ok(());
        }
        let full = DiskFull {
            dir: dir.to_owned(),
            room,
        };
        if begin.elapsed() >= PATIENCE {
            return Err(full);
        }
        if told.is_none_or(|at: Instant| at.elapsed() >= TELL_EVERY) {
            tracing::error!("waiting for room: {full}");
            told = Some(Instant::now());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The failure with what to do about it, if it is that the disk is full.
pub fn explain(error: anyhow::Error, dir: &Path) -> anyhow::Error {
    let is_full = error.chain().any(|cause| {
        let code = cause
            .downcast_ref::<sqlx::Error>()
            .and_then(sqlx::Error::as_database_error)
            .and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code == SQLITE_FULL)
    });
    match Room::of(dir) {
        Ok(room) if is_full => error.context(DiskFull {
            dir: dir.to_owned(),
            room,
        }),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_with_room_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        await_room(dir.path()).await.unwrap();
        let room = Room::of(dir.path()).unwrap();
        assert!(room.free > NEEDED && room.total >= room.free, "{room:?}");
    }

    #[test]
    fn only_a_full_disk_is_called_one() {
        let dir = tempfile::tempdir().unwrap();
        let other = explain(anyhow::anyhow!("no route"), dir.path());
        assert_eq!(format!("{other:#}"), "no route");
    }

    /// SQLite's own limit on pages ends a write with the very code that a full disk does.
    #[tokio::test]
    async fn a_write_without_room_names_the_directory_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(&dir.path().join("db"))
            .await
            .unwrap();
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(store.writer())
            .await
            .unwrap();
        let mut failed = None;
        for table in 0..200 {
            let statement = format!("CREATE TABLE filler{table} (a TEXT)");
            let answer = sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(store.writer())
                .await;
            if let Err(error) = answer {
                failed = Some(error);
                break;
            }
        }
        let failed = crate::store::attempt("store samples")(failed.expect("no room is left"));
        let told = format!("{:#}", explain(failed.into(), dir.path()));
        assert!(
            told.contains(&format!("data directory {} is full", dir.path().display())),
            "{told}"
        );
        assert!(told.contains("store samples"), "{told}");
    }
}
