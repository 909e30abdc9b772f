//! Taking the cluster down, whatever state it is in, and leaving nothing but its logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::layout::{self, COMPONENTS_CGROUP, NODES};
use crate::machine::{Machine, mount_points};
use crate::process::succeeds;
use crate::progress::Progress;
use crate::{cgroup, network};

/// How long the kernel may take to end killed processes and let go of their cgroups.
const LIMIT: Duration = Duration::from_secs(60);

/// What must stop before containers are killed, lest it starts them again.
const BEFORE_CONTAINERS: [&str; 4] = [
    "kubelet@",
    "kube-proxy@",
    "kube-controller-manager",
    "kube-scheduler",
];

/// Takes everything down; the caller holds the cluster's lock.
pub(crate) fn down() -> Result<()> {
    let progress = Progress::new();
    let was_there = layout::state().exists();
    clean()?;
    if was_there {
        progress.step(&format!(
            "down; logs are kept in {}",
            layout::logs().display()
        ));
    } else {
        progress.step("down; there was nothing");
    }
    Ok(())
}

/// Removes every process, mount, link, namespace, route and cgroup of the cluster, and its state.
pub(crate) fn clean() -> Result<()> {
    let before = Machine::saved()?;
    end_processes()?;
    unmount()?;
    network::remove(before.as_ref())?;
    remove_cgroups()?;
    if let Some(before) = &before {
        before.restore_sysctls()?;
    }
    remove_strays()?;
    remove_state()
}

fn end_processes() -> Result<()> {
    let components = cgroup::tracking()?.join(COMPONENTS_CGROUP);
    for dir in subdirectories(&components) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if BEFORE_CONTAINERS
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            cgroup::kill_all(&dir, LIMIT)?;
        }
    }
    end_containers()?;
    // Each containerd with its shims, the API server, etcd.
    cgroup::kill_all(&components, LIMIT)?;
    // What a containerd was about to start when it ended.
    end_containers()
}

fn end_containers() -> Result<()> {
    for hierarchy in cgroup::hierarchies()? {
        for node in &NODES {
            cgroup::kill_all(&hierarchy.path.join(node.cgroup()), LIMIT)?;
        }
    }
    Ok(())
}

/// Unmounts everything below the state directory, the innermost first.
fn unmount() -> Result<()> {
    let mounted = || -> Result<Vec<PathBuf>> {
        let mut points = mount_points()?;
        points.retain(|path| path.starts_with(layout::state()));
        points.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
        Ok(points)
    };
    for path in mounted()? {
        let gone = succeeds(Command::new("umount").arg(&path));
        if !gone {
            succeeds(Command::new("umount").arg("--lazy").arg(&path));
        }
    }
    match mounted()?.as_slice() {
        [] => Ok(()),
        left => bail!("cannot unmount {left:?}"),
    }
}

fn remove_cgroups() -> Result<()> {
    for hierarchy in cgroup::hierarchies()? {
        let nodes = NODES.iter().map(layout::Node::cgroup);
        for name in nodes.chain([COMPONENTS_CGROUP.to_owned()]) {
            cgroup::remove(&hierarchy.path.join(name), LIMIT)?;
        }
    }
    Ok(())
}

/// What components leave in places they cannot be told to leave alone: the CNI library caches
/// results by network, the kubelet links every container's log.
fn remove_strays() -> Result<()> {
    for dir in ["/var/lib/cni/results", "/var/lib/cni/cache/results"] {
        for path in entries(Path::new(dir)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if NODES
                .iter()
                .any(|node| name.starts_with(&format!("{}-", node.cni_network())))
            {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
    }
    for path in entries(Path::new("/var/log/containers")) {
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(layout::state())) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Everything in the state directory but the logs.
fn remove_state() -> Result<()> {
    for path in entries(layout::state()) {
        if path == layout::logs() {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    entries(dir)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect()
}

/// What is in `dir`; nothing if there is no such directory.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect()
}
