//! What the machine was like before the cluster, so that `down` can put it back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::layout;

/// The kernel settings a kubelet changes for the whole machine when it starts.
const KUBELET_SYSCTLS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Where `ip netns` mounts a file system of its own on first use.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// Taken before the first change, kept in the state directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    boot_id: String,
    sysctls: BTreeMap<String, String>,
    pub(crate) netns_dir_existed: bool,
    pub(crate) netns_dir_mounted: bool,
}

impl Machine {
    /// Describes the machine as it is now.
    pub(crate) fn observe() -> Result<Self> {
        let mut sysctls = BTreeMap::new();
        for name in KUBELET_SYSCTLS {
            // A kernel without the setting has nothing to restore.
            if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) {
                sysctls.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        Ok(Self {
            boot_id: boot_id()?,
            sysctls,
            netns_dir_existed: Path::new(NETNS_DIR).exists(),
            netns_dir_mounted: mount_points()?
                .iter()
                .any(|path| path == Path::new(NETNS_DIR)),
        })
    }

    /// What was saved by an `up`, if it was since the machine started.
    pub(crate) fn saved() -> Result<Option<Self>> {
        let Ok(text) = fs::read_to_string(file()) else {
            return Ok(None);
        };
        let Ok(saved) = serde_json::from_str::<Self>(&text) else {
            return Ok(None);
        };
        Ok((saved.boot_id == boot_id()?).then_some(saved))
    }

    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file(), text).with_context(|| format!("write {}", file().display()))
    }

    /// Puts the kernel settings back.
    pub(crate) fn restore_sysctls(&self) -> Result<()> {
        for (name, value) in &self.sysctls {
            let path = Path::new("/proc/sys").join(name);
            if fs::read_to_string(&path).is_ok_and(|now| now.trim() != value) {
                fs::write(&path, value).with_context(|| format!("write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn file() -> PathBuf {
    layout::state().join("machine.json")
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path)
        .with_context(|| format!("read {path}"))?
        .trim()
        .to_owned())
}

/// Every mount point, in the order of mounting; one mounted twice is there twice.
pub(crate) fn mount_points() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .collect())
}

/// The kernel writes blanks and backslashes of a path as `\ooo`.
fn unescape(path: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_mount_points_are_read_back() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), Path::new(r"/mnt/a b\c"));
        assert_eq!(unescape("/plain/123"), Path::new("/plain/123"));
    }

    #[test]
    fn root_is_mounted() {
        assert!(mount_points().unwrap().contains(&PathBuf::from("/")));
    }
}
