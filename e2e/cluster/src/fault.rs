//! Faults for the tests: parts of the cluster end as they do in an accident. `up` brings them back.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::layout::{COMPONENTS_CGROUP, Node};
use crate::process::wait_until;
use crate::progress::Progress;
use crate::{cgroup, network, status};

/// How long the kernel may take to end killed processes.
const LIMIT: Duration = Duration::from_secs(60);

/// Ends one component as `kill -9` does; what it had started (a containerd's shims) lives on.
pub(crate) fn kill(name: &str) -> Result<()> {
    let components = status::components()?;
    let component = components.iter().find(|c| c.name == name);
    let component = component.with_context(|| {
        let names: Vec<_> = components.iter().map(|c| c.name.as_str()).collect();
        format!("no component {name:?}; there are {}", names.join(", "))
    })?;
    let pid = component.pid().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{name} does not run"))?;
    kill_process(pid, Signal::KILL).with_context(|| format!("end {name}"))?;
    wait_until(&format!("the end of {name}"), LIMIT, || {
        Ok(component.pid().is_none())
    })
}

/// Lets a node die: its link goes down first, so that nothing on it says goodbye, then every
/// process on it ends, its pods included.
pub(crate) fn node_down(name: &str) -> Result<()> {
    let node = Node::named(name)?;
    let progress = Progress::new();
    network::set_link(node, false)?;
    let components = cgroup::tracking()?.join(COMPONENTS_CGROUP);
    for part in ["kubelet", "kube-proxy", "containerd"] {
        cgroup::kill_all(&components.join(format!("{part}@{name}")), LIMIT)?;
    }
    for hierarchy in cgroup::hierarchies()? {
        cgroup::kill_all(&hierarchy.path.join(node.cgroup()), LIMIT)?;
    }
    progress.step(&format!("{name} is dead; `up` brings it back"));
    Ok(())
}
