//! Configuration files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes `text` to `path` unless that is what it holds: kube-proxy ends when its file is written,
/// even if nothing in it has changed.
pub(crate) fn write_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_file_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_changed(&path, "one").unwrap();
        let before = path.metadata().unwrap().modified().unwrap();
        write_changed(&path, "one").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), before);
        write_changed(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }
}
