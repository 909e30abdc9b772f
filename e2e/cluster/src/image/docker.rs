//! Archives for `docker load`, which keep what an OCI image has no place for: the HEALTHCHECK.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Archive, build_named, buildah};
use crate::process::{output, succeeds};
use crate::progress::Progress;

/// As [`build_named`], as an archive for `docker load`.
pub(crate) fn docker_archive(
    name: &str,
    tag: &str,
    programs: &Path,
    progress: &Progress,
) -> Result<Archive> {
    let built = build_named(name, tag, programs, progress)?;
    let stored = succeeds(buildah()?.args(["inspect", "--type", "image", &built.reference]));
    let key_file = built.path.with_extension("tar.key");
    if !stored {
        // The archive outlived the store it came from.
        fs::remove_file(&key_file).with_context(|| format!("remove {}", key_file.display()))?;
        build_named(name, tag, programs, progress)?;
    }
    let key = fs::read(&key_file).with_context(|| format!("read {}", key_file.display()))?;
    let path = built.path.with_extension("docker.tar");
    let own_key_file = path.with_extension("tar.key");
    let archive = Archive {
        path,
        reference: built.reference,
    };
    if archive.path.exists() && fs::read(&own_key_file).is_ok_and(|known| known == key) {
        return Ok(archive);
    }
    if archive.path.exists() {
        // buildah does not write over an archive.
        fs::remove_file(&archive.path)
            .with_context(|| format!("remove {}", archive.path.display()))?;
    }
    let target = format!(
        "docker-archive:{}:{}",
        archive.path.display(),
        archive.reference
    );
    output(buildah()?.args(["push", "--quiet", &archive.reference, &target]))?;
    fs::write(&own_key_file, key).with_context(|| format!("write {}", own_key_file.display()))?;
    Ok(archive)
}
