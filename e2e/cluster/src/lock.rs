//! One command at a time changes the cluster.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::process::wait_until;

/// Outside the state directory, which `down` removes.
const CLUSTER_LOCK: &str = "/run/lock/callmeter-cluster.lock";

/// Held until dropped; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// The lock of the running cluster; waits up to 15 minutes for another command.
    pub(crate) fn cluster() -> Result<Self> {
        Self::at(Path::new(CLUSTER_LOCK), "cluster")
    }

    /// The lock of the cache folder `cache`; waits up to 15 minutes for another build.
    pub(crate) fn cache(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
        Self::at(&cache.join("lock"), "cache")
    }

    fn at(path: &Path, what: &str) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        let mut told = false;
        wait_until(
            &format!("the {what} lock {}", path.display()),
            Duration::from_secs(900),
            || match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(true),
                Err(Errno::WOULDBLOCK) => {
                    if !told {
                        let mut holder = String::new();
                        file.rewind()?;
                        file.read_to_string(&mut holder)?;
                        eprintln!(
                            "waiting for process {} that holds the {what} lock",
                            holder.trim()
                        );
                        told = true;
                    }
                    Ok(false)
                }
                Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
            },
        )?;
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::at(&path, "test").unwrap();
        let other = File::open(&path).unwrap();
        let taken = flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(taken, Err(Errno::WOULDBLOCK));
        drop(first);
        assert_eq!(
            flock(&other, FlockOperation::NonBlockingLockExclusive),
            Ok(())
        );
    }
}
