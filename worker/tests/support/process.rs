//! The worker binary as a process.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{calm, eventually, gateway::TestGateway, ports::Ports};

/// A token of the documented form; its body must never show up in a log.
pub const TOKEN_BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What a worker that is asked at its end may take to answer.
const LAST_WORD: Duration = Duration::from_secs(1);

const BINARY: &str = env!("CARGO_BIN_EXE_callmeter-worker");

/// A running worker; killed when dropped.
pub struct Worker {
    child: Child,
    folder: TempDir,
    health: Option<u16>,
}

/// The environment of a worker at that gateway.
pub fn environment(gateway: &TestGateway, ports: Ports) -> Vec<(String, String)> {
    let pairs = [
        ("WORKER_TOKEN", format!("cmw_{TOKEN_BODY}")),
        ("CLOUD_URL", gateway.address()),
        ("CLOUD_CA_FILE", gateway.ca_file().display().to_string()),
        ("HEALTH_PORT", ports.health.to_string()),
        ("SIP_IP", "127.0.0.1".into()),
        ("SIP_PORT_START", ports.sip_first.to_string()),
        ("SIP_PORT_END", ports.sip_last.to_string()),
        ("RTP_PORT_MIN", ports.rtp_first.to_string()),
        ("RTP_PORT_MAX", ports.rtp_last.to_string()),
        ("LOG_LEVEL", "debug".into()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

impl Worker {
    /// Starts the binary with this environment and no other variable.
    pub fn spawn<N: AsRef<str>, V: AsRef<str>>(environment: &[(N, V)]) -> Self {
        Self::start(Command::new(BINARY), environment)
    }

    /// The same by a launcher, which takes the binary as its last argument.
    pub fn spawn_by<N: AsRef<str>, V: AsRef<str>>(
        mut launcher: Command,
        environment: &[(N, V)],
    ) -> Self {
        launcher.arg(BINARY);
        Self::start(launcher, environment)
    }

    fn start<N: AsRef<str>, V: AsRef<str>>(mut command: Command, environment: &[(N, V)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let last_words = folder.path().join("termination-log");
        File::create(&last_words).unwrap();
        command.env_clear().env("TERMINATION_LOG", &last_words);
        let mut health = None;
        for (name, value) in environment {
            command.env(name.as_ref(), value.as_ref());
            if name.as_ref() == "HEALTH_PORT" {
                health = value.as_ref().parse().ok();
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        Self {
            child,
            folder,
            health,
        }
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it left for the kubelet.
    pub fn last_words(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("termination-log")).unwrap()
    }

    /// Its folder in /proc.
    pub fn proc_folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its exit code, once it has ended.
    pub async fn exit_code(&mut self) -> i32 {
        let child = &mut self.child;
        let status: ExitStatus =
            eventually("the worker ends", async || child.try_wait().unwrap()).await;
        status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {status}"))
    }

    /// Packets its media threads were too late for; none if it does not say any more.
    fn skipped(&self) -> Option<u64> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.health?));
        let mut stream = TcpStream::connect_timeout(&address, LAST_WORD).ok()?;
        stream.set_read_timeout(Some(LAST_WORD)).ok()?;
        stream.write_all(request("/metrics").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let name = "callmeter_worker_rtp_send_skipped_total ";
        let mut lines = answer.lines();
        lines.find_map(|line| line.strip_prefix(name))?.parse().ok()
    }

    /// Waits for a line of the log that holds `text`.
    pub async fn logs(&self, text: &str) {
        let waited = async {
            loop {
                if self.log().contains(text) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let logged = tokio::time::timeout(super::PATIENCE, waited).await;
        assert!(logged.is_ok(), "not in the log: {text}\n{}", self.log());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        calm::skipped(self.skipped().unwrap_or_default());
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the worker ---\n{}", self.log());
        }
    }
}

/// `GET path` of the health port: status code and body. None while nothing listens.
pub async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    stream.write_all(request(path).as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((status, body))
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
}
