//! Limits of the process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of open files to the hard limit and gives it; `u64::MAX` when unlimited.
pub fn raise_open_files() -> io::Result<u64> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: hard,
            maximum: hard,
        },
    )?;
    Ok(hard.unwrap_or(u64::MAX))
}

/// No core file of this process: it would hold credentials.
pub fn forbid_core_files() -> io::Result<()> {
    Ok(setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_reach_the_hard_limit_and_core_files_end() {
        let given = raise_open_files().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(
            (limit.current, limit.maximum.unwrap_or(u64::MAX)),
            (limit.maximum, given)
        );
        forbid_core_files().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
