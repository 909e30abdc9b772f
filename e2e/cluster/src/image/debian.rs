//! The Debian that images are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::images_dir;
use crate::process::output;
use crate::progress::Progress;

const DEBIAN_SUITE: &str = "bookworm";

/// The C library of `DEBIAN_SUITE`: programs compiled here against a newer one do not start there.
const DEBIAN_GLIBC: (u32, u32) = (2, 36);

/// A mirror that does not answer for a moment is asked again.
const ATTEMPTS: u32 = 3;

/// A Debian root file system with the packages listed in `list`, made once per list.
pub(super) fn root_file_system(name: &str, list: &Path, progress: &Progress) -> Result<PathBuf> {
    let text = fs::read_to_string(list).with_context(|| format!("read {}", list.display()))?;
    let packages = parse_packages(&text);
    let key = hex::encode(&Sha256::digest(packages.join(","))[..8]);
    let path = images_dir()?.join(format!("rootfs-{name}-{key}.tar"));
    if path.exists() {
        return Ok(path);
    }
    progress.step(&format!(
        "making a Debian root file system with {}",
        packages.join(", ")
    ));
    for attempt in 1.. {
        match bootstrap(&packages, &path) {
            Ok(()) => break,
            Err(error) if attempt < ATTEMPTS => {
                progress.step(&format!(
                    "attempt {attempt} of {ATTEMPTS} failed: {error:#}"
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

/// Makes a root file system with `packages`; `path` is there only once it is whole.
fn bootstrap(packages: &[&str], path: &Path) -> Result<()> {
    let fresh = path.with_extension("new.tar");
    if fresh.exists() {
        // Of an attempt that failed.
        fs::remove_file(&fresh).with_context(|| format!("remove {}", fresh.display()))?;
    }
    let mut command = Command::new("mmdebstrap");
    command.args([
        "--quiet",
        "--variant=minbase",
        "--aptopt=Acquire::Retries \"3\"",
        // It is thrown away if it does not come to its end: nothing needs to be on the disk before.
        "--dpkgopt=force-unsafe-io",
    ]);
    for excluded in ["man", "info", "locale", "doc"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{excluded}/*"));
    }
    // Licences stay with what they license.
    command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    command
        .arg(format!("--include={}", packages.join(",")))
        .arg(DEBIAN_SUITE)
        .arg(&fresh);
    output(&mut command)?;
    fs::rename(&fresh, path).with_context(|| format!("rename to {}", path.display()))
}

/// One package a line; `#` starts a comment.
fn parse_packages(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect()
}

pub(super) fn check_glibc() -> Result<()> {
    let text = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let version = text.trim().rsplit(' ').next().unwrap_or_default();
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found > DEBIAN_GLIBC {
        bail!(
            "programs compiled here need glibc {version}, the images have {}.{} (Debian {DEBIAN_SUITE}); \
             compile on Debian 12, or build the images with docker and name them by IMAGES",
            DEBIAN_GLIBC.0,
            DEBIAN_GLIBC.1
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_lists_have_comments() {
        assert_eq!(
            parse_packages("# why\ncurl # health check\n\n dnsutils\n"),
            ["curl", "dnsutils"]
        );
    }
}
