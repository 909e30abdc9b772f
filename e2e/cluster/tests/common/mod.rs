//! What both test programs need.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `false`, with a message, where the real cluster cannot or shall not run.
pub(crate) fn enabled() -> bool {
    if env::var_os("CALLMETER_E2E").is_none_or(|value| value != "1") {
        eprintln!("skipped: CALLMETER_E2E is not 1");
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return false;
    }
    true
}

/// Runs the harness and returns what it printed, whatever the outcome.
pub(crate) fn cluster_output(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs the harness, which must succeed, and returns its standard output.
pub(crate) fn cluster(args: &[&str]) -> String {
    let output = cluster_output(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cluster {args:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A program the harness built.
pub(crate) fn program(name: &str) -> PathBuf {
    let cache = env::var_os("CALLMETER_CACHE").map_or_else(
        || Path::new(&env::var_os("HOME").unwrap()).join(".cache/callmeter"),
        PathBuf::from,
    );
    cache.join("bin").join(name)
}

/// `kubectl` as the administrator.
pub(crate) fn kubectl_command() -> Command {
    let mut command = Command::new(program("kubectl"));
    command.env("KUBECONFIG", "/var/lib/callmeter-cluster/kubeconfig");
    command
}

/// Runs `kubectl`, which must succeed, with `input` on standard input.
pub(crate) fn kubectl_input(args: &[&str], input: &str) -> String {
    let mut child = kubectl_command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "kubectl {args:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn kubectl(args: &[&str]) -> String {
    kubectl_input(args, "")
}

/// Asks `ready` until it says yes; fails the test after `limit`.
pub(crate) fn await_condition(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(100));
    }
}
