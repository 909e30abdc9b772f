//! SIP peers from Debian packages as child processes.

use std::{
    fs::File,
    net::SocketAddrV4,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use super::{eventually, inspect::udp_is_bound, ports::Ports};

/// Lines of a peer's output shown when a test fails; SIPp writes one for each message it sends
/// again.
const LAST_LINES: usize = 60;

/// Whether the peers, and the root that some of them need, have to be there: `make test` says so by
/// `CALLMETER_PEERS=1`. Elsewhere the tests that miss them are skipped with a message.
pub fn must_be_there() -> bool {
    std::env::var("CALLMETER_PEERS").is_ok_and(|value| value == "1")
}

/// The path of a program; none, with a message, where it is missing and may be.
pub fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        assert!(
            !must_be_there(),
            "{name} is missing; install it with scripts/prerequisites"
        );
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A child process with a folder of its own; killed when dropped.
pub struct PeerProcess {
    child: Child,
    pub folder: TempDir,
}

impl PeerProcess {
    /// Starts it in its folder, output to the file `out` there.
    pub fn spawn(program: &Path, folder: TempDir, arguments: &[String]) -> Self {
        let mut command = Command::new(program);
        // With the processes it makes it ends as one.
        command.args(arguments).process_group(0);
        Self::start(command, folder)
    }

    /// The same by a launcher that becomes the program, which starts no others. `setsid` does that
    /// unless it leads a group: then it forks, and what was started has ended at once.
    pub fn spawn_by(launcher: Command, folder: TempDir) -> Self {
        Self::start(launcher, folder)
    }

    fn start(mut command: Command, folder: TempDir) -> Self {
        let out = File::create(folder.path().join("out")).unwrap();
        let child = command
            .current_dir(folder.path())
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// What it printed, and its log of errors if it keeps one.
    pub fn output(&self) -> String {
        let read = |name: &str| std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        let bytes = [read("out"), read("errors.log")].concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its folder in /proc.
    pub fn proc_folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub async fn exit_code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the peer ends", async || child.try_wait().unwrap())
            .await
            .code()
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // They fail only for processes that have ended, and groups that never were.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("--- end of the peer's output ---\n{}", last.join("\n"));
        }
    }
}

/// SIPp 3.6.1 with RTP echo on loopback.
pub struct Sipp(pub PeerProcess);

/// Figures of its statistics file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SippTotals {
    pub successful: u64,
    pub failed: u64,
    pub retransmissions: u64,
    pub unexpected: u64,
}

impl Sipp {
    /// Starts it on the first ports of `ports`, with more arguments of its own.
    pub fn spawn(path: &Path, folder: TempDir, ports: Ports, more: &[&str]) -> Self {
        let fixed = [
            "-i",
            "127.0.0.1",
            "-mi",
            "127.0.0.1",
            "-nostdin",
            "-rtp_echo",
            "-trace_stat",
            "-stf",
            "stat.csv",
            "-fd",
            "1",
            "-trace_err",
            "-error_file",
            "errors.log",
            "-buff_size",
            "4194304",
        ];
        let mut arguments: Vec<String> = fixed.map(str::to_owned).into();
        arguments.extend(["-p".into(), ports.sip_first.to_string()]);
        arguments.extend(["-mp".into(), ports.rtp_first.to_string()]);
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        Self(PeerProcess::spawn(path, folder, &arguments))
    }

    /// Waits until its SIP port is open.
    pub async fn listens(&self, port: u16) {
        self.listens_at("127.0.0.1", port).await;
    }

    /// The same at another address of this host.
    pub async fn listens_at(&self, address: &str, port: u16) {
        eventually("SIPp listens", async || {
            let at = SocketAddrV4::new(address.parse().unwrap(), port);
            udp_is_bound(&self.0.proc_folder(), at).then_some(())
        })
        .await;
    }

    /// Asks it to end and reads its last figures.
    pub async fn stop(&mut self) -> SippTotals {
        self.0.signal(Signal::USR1);
        self.0.exit_code().await;
        self.totals()
    }

    pub fn totals(&self) -> SippTotals {
        let value = |name: &str| -> u64 { self.last(name).parse().unwrap() };
        SippTotals {
            successful: value("SuccessfulCall(C)"),
            failed: value("FailedCall(C)"),
            retransmissions: value("Retransmissions(C)"),
            unexpected: value("FailedUnexpectedMessage(C)") + value("OutOfCallMsgs(C)"),
        }
    }

    /// Calls a second since it began.
    pub fn call_rate(&self) -> f64 {
        self.last("CallRate(C)").parse().unwrap()
    }

    /// What the last line of its statistics has in a column.
    fn last(&self, column: &str) -> String {
        let table = std::fs::read_to_string(self.0.folder.path().join("stat.csv")).unwrap();
        let mut lines = table.lines();
        let at = lines.next().unwrap().split(';').position(|c| c == column);
        let at = at.unwrap_or_else(|| panic!("no column {column}"));
        let last = lines.next_back().unwrap();
        last.split(';').nth(at).unwrap().to_owned()
    }
}
