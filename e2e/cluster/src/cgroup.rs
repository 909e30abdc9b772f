//! Control groups, version 1, 2 and both side by side.
//!
//! Each component runs in a cgroup of its own, so that whatever it starts (containerd's shims
//! outlive it) is found without trusting process ids or names. Pods live below one directory per
//! node, the same in every hierarchy.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) path: PathBuf,
    pub(crate) unified: bool,
    /// Version 1 controllers, as in the mount's options; empty for the unified one.
    controllers: Vec<String>,
}

/// The hierarchies mounted on this machine, each once.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let found = parse_mountinfo(&text);
    if found.is_empty() {
        bail!("no cgroup hierarchy is mounted; mount cgroup2 at /sys/fs/cgroup");
    }
    Ok(found)
}

/// The hierarchy that tells which component a process belongs to: the unified one where there is
/// one, as nothing else of ours limits anything there.
pub(crate) fn tracking() -> Result<PathBuf> {
    let all = hierarchies()?;
    let chosen = all
        .iter()
        .find(|hierarchy| hierarchy.unified)
        .or_else(|| {
            all.iter()
                .find(|hierarchy| hierarchy.controllers.iter().any(|c| c == "pids"))
        })
        .context("neither a unified cgroup hierarchy nor the pids controller is mounted")?;
    Ok(chosen.path.clone())
}

fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        // proc_pid_mountinfo(5): the optional fields end at " - "; then type, source, options.
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (left, right): (Vec<_>, Vec<_>) =
            (left.split(' ').collect(), right.split(' ').collect());
        let (Some(root), Some(path), Some(kind)) = (left.get(3), left.get(4), right.first()) else {
            continue;
        };
        if *root != "/" || (*kind != "cgroup" && *kind != "cgroup2") {
            continue;
        }
        let unified = *kind == "cgroup2";
        let controllers = if unified {
            Vec::new()
        } else {
            right.get(2).map_or_else(Vec::new, |options| {
                options
                    .split(',')
                    .filter(|o| *o != "rw")
                    .map(str::to_owned)
                    .collect()
            })
        };
        let hierarchy = Hierarchy {
            path: PathBuf::from(path),
            unified,
            controllers,
        };
        let known = |other: &Hierarchy| {
            other.unified == hierarchy.unified && other.controllers == hierarchy.controllers
        };
        if !found.iter().any(known) {
            found.push(hierarchy);
        }
    }
    found
}

/// Makes the directory `name` in every hierarchy, ready to hold pods.
pub(crate) fn make_everywhere(name: &str) -> Result<()> {
    let all = hierarchies()?;
    if let [only] = all.as_slice() {
        enable_controllers(&only.path)?;
    }
    for hierarchy in all {
        let dir = hierarchy.path.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        if hierarchy.controllers.iter().any(|c| c == "cpuset") {
            // A version 1 cpuset starts empty and accepts no process until both are set.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = fs::read_to_string(hierarchy.path.join(file))
                    .with_context(|| format!("read {file} of {}", hierarchy.path.display()))?;
                fs::write(dir.join(file), value.trim())
                    .with_context(|| format!("write {file} of {}", dir.display()))?;
            }
        }
    }
    Ok(())
}

/// Where there is only the unified hierarchy, a cgroup has the controllers that its parent hands
/// down; a kubelet refuses a root that lacks any it limits pods with.
fn enable_controllers(root: &Path) -> Result<()> {
    let read = |file: &str| {
        let path = root.join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let enabled = read("cgroup.subtree_control")?;
    for controller in read("cgroup.controllers")?.split_whitespace() {
        if !enabled.split_whitespace().any(|other| other == controller) {
            fs::write(
                root.join("cgroup.subtree_control"),
                format!("+{controller}"),
            )
            .with_context(|| format!("enable the cgroup controller {controller}"))?;
        }
    }
    Ok(())
}

/// Kills every process in `dir` and below, until none is left or `limit` has passed.
pub(crate) fn kill_all(dir: &Path, limit: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let pids = processes(dir);
        if pids.is_empty() {
            return Ok(());
        }
        if start.elapsed() > limit {
            bail!("processes {pids:?} in {} do not end", dir.display());
        }
        for pid in pids {
            if let Some(pid) = Pid::from_raw(pid) {
                // It may have ended since it was listed.
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes in `dir` and below; none if there is no such directory.
pub(crate) fn processes(dir: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        // 0 stands for a process outside our own process namespace.
        .filter(|pid| *pid > 0)
        .collect();
    for child in children(dir) {
        pids.extend(processes(&child));
    }
    pids
}

/// Removes `dir` and every cgroup below it; the kernel needs a moment after the last exit.
pub(crate) fn remove(dir: &Path, limit: Duration) -> Result<()> {
    for child in children(dir) {
        remove(&child, limit)?;
    }
    let start = Instant::now();
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if start.elapsed() > limit => {
                return Err(error).with_context(|| format!("remove cgroup {}", dir.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
28 30 0:24 / /elsewhere/pids rw,relatime - cgroup cgroup rw,pids
29 30 0:25 /pod /inner rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_hierarchies_are_found_once_and_whole() {
        let found = parse_mountinfo(HYBRID);
        let paths: Vec<_> = found
            .iter()
            .map(|h| h.path.to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/pids",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert!(found[2].unified);
    }

    #[test]
    fn no_process_where_there_is_no_directory() {
        assert!(processes(Path::new("/sys/fs/cgroup/callmeter-not-there")).is_empty());
    }
}
