//! What only a cluster on this machine allows: commands in a node's network, faults of its parts,
//! and the processes of its pods.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::{Cluster, output};

/// Of tcpdump's start and of the end of its output.
const DEADLINE: Duration = Duration::from_secs(60);

/// The names of the nodes that carry workers.
pub const WORKER_NODES: [&str; 2] = ["worker-1", "worker-2"];

/// The harness of our own cluster.
#[derive(Debug, Clone)]
pub struct Nodes {
    harness: PathBuf,
}

impl Nodes {
    /// The harness; `None` where the cluster is somebody else's.
    pub fn of(cluster: &Cluster) -> Option<Self> {
        cluster.audit_log().map(|_| Self {
            harness: Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster"),
        })
    }

    /// Runs the harness with `arguments` to its end; answers with its standard output.
    pub async fn harness(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new(&self.harness).args(arguments)).await
    }

    /// A command in the network of `place`, a node or `control-plane`.
    pub fn command(&self, place: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.harness);
        command
            .args(["exec", place, "--"])
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Ends the worker process in a pod as `kill -9` does, from outside its container.
    pub async fn kill_worker(&self, pod_uid: &str) -> Result<()> {
        let pid = worker_process(pod_uid)?;
        output(Command::new("kill").args(["-KILL", &pid.to_string()]))
            .await
            .map(drop)
    }
}

/// The process id of the worker in a pod, found by the pod's cgroup.
fn worker_process(pod_uid: &str) -> Result<u32> {
    // The kubelet's cgroupfs driver writes the UID as it is, systemd's with underscores.
    let names = [
        format!("pod{pod_uid}"),
        format!("pod{}", pod_uid.replace('-', "_")),
    ];
    for entry in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file));
        // A process may end while it is looked at.
        let (Ok(name), Ok(groups)) = (read("comm"), read("cgroup")) else {
            continue;
        };
        if name.trim() == "callmeter-worke" && names.iter().any(|n| groups.contains(n.as_str())) {
            return Ok(pid);
        }
    }
    bail!("no worker process in pod {pod_uid}")
}

/// A SIP request on the wire.
#[derive(Debug, Clone)]
pub struct OnWire {
    /// When it passed, seconds since 1970.
    pub at: f64,
    /// Address of who sent it.
    pub from: String,
    /// Address of who got it.
    pub to: String,
    /// Its method.
    pub method: &'static str,
}

/// Listens to SIP over UDP on a node's links, so that what was sent is told by the wire.
#[derive(Debug)]
pub struct Wire {
    child: Child,
    heard: tokio::task::JoinHandle<Vec<OnWire>>,
}

impl Wire {
    /// Starts to listen on a node; returns once the capture runs.
    pub async fn listen(nodes: &Nodes, node: &str) -> Result<Self> {
        let words = [
            "tcpdump",
            "-i",
            "any",
            "-n",
            "-tt",
            "-l",
            "-A",
            "-s",
            "256",
            "udp",
            "and",
            "portrange",
            "5060-6259",
        ];
        let mut child = nodes
            .command(node, &words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start tcpdump")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = stdout.context("no standard output of tcpdump")?;
        let mut told = BufReader::new(stderr.context("no standard error of tcpdump")?).lines();
        let begun = async {
            while let Some(line) = told.next_line().await? {
                if line.contains("listening on") {
                    return Ok(());
                }
            }
            bail!("tcpdump ended before it listened")
        };
        timeout(DEADLINE, begun)
            .await
            .context("waited 60 s for tcpdump to listen")??;
        let heard = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            let (mut requests, mut header) = (Vec::new(), None);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(found) = packet_header(&line) {
                    header = Some(found);
                } else if let (Some((at, from, to)), Some(method)) = (&header, request(&line)) {
                    requests.push(OnWire {
                        at: *at,
                        from: from.clone(),
                        to: to.clone(),
                        method,
                    });
                }
            }
            // What else tcpdump says goes nowhere, but its pipe stays open until it ends.
            drop(told);
            requests
        });
        Ok(Self { child, heard })
    }

    /// Stops and answers with every request heard; one packet may be heard on several links.
    pub async fn stop(mut self) -> Result<Vec<OnWire>> {
        self.child.kill().await.context("end tcpdump")?;
        timeout(DEADLINE, self.heard)
            .await
            .context("waited 60 s for the end of tcpdump's output")?
            .context("read tcpdump's output")
    }
}

/// `1764054000.123456 eth0  Out IP 10.244.2.5.5060 > 10.244.3.4.5060: …` gives time, sender
/// and receiver.
fn packet_header(line: &str) -> Option<(f64, String, String)> {
    let (at, rest) = line.split_once(' ')?;
    let at = at.parse().ok()?;
    let (_, addresses) = rest.split_once(" IP ")?;
    let (from, rest) = addresses.split_once(" > ")?;
    let (to, _) = rest.split_once(':')?;
    let address = |end: &str| Some(end.rsplit_once('.')?.0.to_owned());
    Some((at, address(from)?, address(to)?))
}

/// The method, if a line of a packet's text holds the start line of a request. What stands before it
/// is the packet's binary header, which may end in letters.
fn request(line: &str) -> Option<&'static str> {
    const METHODS: [&str; 7] = [
        "REGISTER", "INVITE", "CANCEL", "OPTIONS", "UPDATE", "ACK", "BYE",
    ];
    let (before, _) = line.split_once(" SIP/2.0")?;
    let (before, _) = before.rsplit_once(" sip:")?;
    METHODS.into_iter().find(|method| before.ends_with(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_in_tcpdumps_text() {
        let header = "1764054000.5 eth0  Out IP 10.244.2.5.5060 > 10.244.3.4.5061: SIP: BYE sip:a";
        assert_eq!(
            packet_header(header),
            Some((
                1_764_054_000.5,
                "10.244.2.5".to_owned(),
                "10.244.3.4".to_owned()
            ))
        );
        assert_eq!(packet_header("E..M.@.BYE sip:a@b SIP/2.0"), None);
        assert_eq!(request("E..MABYE sip:a@b SIP/2.0"), Some("BYE"));
        assert_eq!(request("INVITE sip:a@b SIP/2.0"), Some("INVITE"));
        assert_eq!(request("SIP/2.0 200 OK"), None);
    }

    #[test]
    fn a_pod_that_is_not_there_has_no_worker() {
        assert!(worker_process("0000-no-such-pod").is_err());
    }
}
