//! Bringing archives to the nodes, as there is no registry to pull from.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::layout::{NODES, Node};
use crate::node::{self, ctr};
use crate::process::output;
use crate::progress::Progress;

/// Loads each archive on each of `nodes` that does not have its very content; the nodes side by
/// side.
pub(crate) fn load(archives: &[&Path], nodes: &[&Node], progress: &Progress) -> Result<()> {
    let mut images = Vec::new();
    for path in archives {
        images.push((*path, describe(path)?));
    }
    let results: Vec<Result<usize>> = thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| load_on(node, &images)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow!("a loading thread ended early"))?
            })
            .collect()
    });
    let mut loaded = 0;
    for result in results {
        loaded += result?;
    }
    if loaded > 0 {
        progress.step(&format!(
            "{loaded} image(s) loaded on {} node(s)",
            nodes.len()
        ));
    }
    Ok(())
}

/// Loads `archives` on every node of the running cluster.
pub(crate) fn load_everywhere(archives: &[&Path], progress: &Progress) -> Result<()> {
    for node in &NODES {
        if !node::containerd_answers(node)? {
            bail!(
                "containerd@{} does not answer; run `e2e/cluster/cluster up`",
                node.name
            );
        }
    }
    load(archives, &NODES.iter().collect::<Vec<_>>(), progress)
}

struct Described {
    name: String,
    digest: String,
}

fn load_on(node: &Node, images: &[(&Path, Described)]) -> Result<usize> {
    let present = output(ctr(node)?.args(["images", "list"]))?;
    let mut loaded = 0;
    for (path, image) in images {
        if has(&present, image) {
            continue;
        }
        output(ctr(node)?.args(["images", "import"]).arg(path))
            .with_context(|| format!("load {} on {}", path.display(), node.name))?;
        loaded += 1;
    }
    Ok(loaded)
}

/// Looks `image` up in a table of names, types and digests.
fn has(table: &str, image: &Described) -> bool {
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(&image.name) && words.nth(1) == Some(&image.digest)
    })
}

/// Name and digest from the index of an OCI archive.
fn describe(path: &Path) -> Result<Described> {
    let text = output(Command::new("tar").arg("-xOf").arg(path).arg("index.json"))
        .with_context(|| format!("{} is no OCI archive", path.display()))?;
    let index: Value = serde_json::from_str(&text)
        .with_context(|| format!("index.json of {} is no JSON", path.display()))?;
    let manifest = &index["manifests"][0];
    let name = manifest["annotations"]["org.opencontainers.image.ref.name"].as_str();
    match (name, manifest["digest"].as_str()) {
        (Some(name), Some(digest)) => Ok(Described {
            name: name.to_owned(),
            digest: digest.to_owned(),
        }),
        _ => bail!(
            "{} does not name its image; write it with `buildah push IMAGE oci-archive:FILE:IMAGE`",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
REF                         TYPE                                       DIGEST      SIZE
docker.io/callmeter/pause:1 application/vnd.oci.image.manifest.v1+json sha256:aaaa 1.0 MiB
";

    fn image(name: &str, digest: &str) -> Described {
        Described {
            name: name.to_owned(),
            digest: digest.to_owned(),
        }
    }

    #[test]
    fn an_image_is_there_only_with_its_digest() {
        assert!(has(
            TABLE,
            &image("docker.io/callmeter/pause:1", "sha256:aaaa")
        ));
        assert!(!has(
            TABLE,
            &image("docker.io/callmeter/pause:1", "sha256:bbbb")
        ));
        assert!(!has(
            TABLE,
            &image("docker.io/callmeter/pause", "sha256:aaaa")
        ));
    }
}
