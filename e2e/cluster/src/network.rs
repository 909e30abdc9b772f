//! Namespaces, links and routes. Nothing here leads to the machine's uplink: the root namespace
//! does not forward, and the control plane's namespace has no default route.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::layout::{
    self, CONTROL_PLANE_IP, CONTROL_PLANE_NETNS, NODE_RANGE, NODES, Node, POD_RANGE, ROOT_LINK,
    ROOT_LINK_IP, SERVICE_RANGE, UPLINK_IP,
};
use crate::machine::{Machine, NETNS_DIR};
use crate::process::{feed, output, succeeds};

const BRIDGE: &str = "cm-br";
/// The metric of the routes that swallow stray packets once the link is gone.
const BLACKHOLE_METRIC: &str = "4000";
const RANGES: [&str; 3] = [NODE_RANGE, POD_RANGE, SERVICE_RANGE];

/// `true` if all namespaces and the link into them are there.
pub(crate) fn is_complete() -> bool {
    marker().exists()
        && layout::namespaces().all(|name| layout::netns_path(name).exists())
        && Path::new("/sys/class/net").join(ROOT_LINK).exists()
}

/// Written last, so that an interrupted start is not taken for a whole network.
fn marker() -> PathBuf {
    layout::state().join("network.ready")
}

/// Makes everything; expects none of it to be there.
pub(crate) fn create() -> Result<()> {
    for name in layout::namespaces() {
        output(Command::new("ip").args(["netns", "add", name]))?;
        batch(Some(name), "link set lo up\n")?;
        sysctl(name, "net/ipv4/ip_forward", "1")?;
        // Service addresses of a pod on the same bridge need the bridge to show its packets to
        // the firewall; the setting is there only where the module is loaded.
        sysctl(name, "net/bridge/bridge-nf-call-iptables", "1").ok();
    }
    batch(Some(CONTROL_PLANE_NETNS), &control_plane_links())?;
    for node in &NODES {
        batch(Some(node.netns), &node_links(node))?;
    }
    batch(None, &root_routes())?;
    batch(
        Some(CONTROL_PLANE_NETNS),
        &format!("address add {UPLINK_IP}/30 dev uplink\nlink set uplink up\n"),
    )?;
    fs::write(marker(), "").with_context(|| format!("write {}", marker().display()))
}

fn control_plane_links() -> String {
    let mut lines = vec![format!(
        "link add {BRIDGE} type bridge\n\
         address add {CONTROL_PLANE_IP}/24 dev {BRIDGE}\n\
         link set {BRIDGE} up\n"
    )];
    for node in &NODES {
        let Node {
            name,
            netns,
            ip,
            pod_range,
            ..
        } = node;
        lines.push(format!(
            "link add to-{name} type veth peer name eth0 netns {netns}\n\
             link set to-{name} master {BRIDGE} up\n\
             route add {pod_range} via {ip}\n"
        ));
    }
    lines.concat()
}

fn node_links(node: &Node) -> String {
    let mut lines = vec![format!(
        "address add {}/24 dev eth0\n\
         link set eth0 up\n\
         route add default via {CONTROL_PLANE_IP}\n",
        node.ip
    )];
    for other in NODES.iter().filter(|other| other.name != node.name) {
        lines.push(format!("route add {} via {}\n", other.pod_range, other.ip));
    }
    lines.concat()
}

fn root_routes() -> String {
    let mut lines = vec![format!(
        "link add {ROOT_LINK} type veth peer name uplink netns {CONTROL_PLANE_NETNS}\n\
         address add {ROOT_LINK_IP}/30 dev {ROOT_LINK}\n\
         link set {ROOT_LINK} up\n"
    )];
    for range in RANGES {
        lines.push(format!(
            "route add {range} via {UPLINK_IP}\n\
             route add blackhole {range} metric {BLACKHOLE_METRIC}\n"
        ));
    }
    lines.concat()
}

/// Removes what is there; what is not there is no error.
pub(crate) fn remove(before: Option<&Machine>) -> Result<()> {
    if marker().exists() {
        fs::remove_file(marker()).context("remove the network's marker")?;
    }
    // Deleting one end of a pair deletes the other, even if a dying process holds its namespace.
    succeeds(Command::new("ip").args(["link", "delete", ROOT_LINK]));
    for range in RANGES {
        let metric = ["metric", BLACKHOLE_METRIC];
        succeeds(
            Command::new("ip")
                .args(["route", "delete", "blackhole", range])
                .args(metric),
        );
    }
    for name in layout::namespaces().filter(|name| layout::netns_path(name).exists()) {
        if name == CONTROL_PLANE_NETNS {
            for node in &NODES {
                let link = format!("to-{}", node.name);
                succeeds(enter(name, "ip").args(["link", "delete", &link]));
            }
            succeeds(enter(name, "ip").args(["link", "delete", BRIDGE]));
        }
        output(Command::new("ip").args(["netns", "delete", name]))?;
    }
    if let Some(before) = before {
        leave_netns_dir(before)?;
    }
    Ok(())
}

/// `ip netns` turned its directory into a mount; undone if it was none and nobody else uses it.
fn leave_netns_dir(before: &Machine) -> Result<()> {
    let Ok(mut entries) = fs::read_dir(NETNS_DIR) else {
        return Ok(());
    };
    if entries.next().is_some() {
        return Ok(());
    }
    drop(entries);
    if !before.netns_dir_mounted {
        succeeds(Command::new("umount").arg(NETNS_DIR));
    }
    if !before.netns_dir_existed {
        fs::remove_dir(NETNS_DIR).with_context(|| format!("remove {NETNS_DIR}"))?;
    }
    Ok(())
}

/// Cuts a node's link to all others, or brings it back; no error if it is so already.
pub(crate) fn set_link(node: &Node, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    batch(
        Some(CONTROL_PLANE_NETNS),
        &format!("link set to-{} {state}\n", node.name),
    )
}

/// A command inside the namespace `name`. `ip netns exec` would hide the cgroup mounts.
pub(crate) fn enter(name: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", layout::netns_path(name).display()))
        .arg("--")
        .arg(program);
    command
}

fn batch(netns: Option<&str>, lines: &str) -> Result<()> {
    let mut command = netns.map_or_else(|| Command::new("ip"), |name| enter(name, "ip"));
    feed(command.args(["-batch", "-"]), lines).map(drop)
}

fn sysctl(netns: &str, name: &str, value: &str) -> Result<()> {
    // /proc/sys/net shows the namespace of the process that opens it.
    let script = r#"echo "$1" >"/proc/sys/$2""#;
    output(enter(netns, "sh").args(["-c", script, "sh", value, name])).map(drop)
}
