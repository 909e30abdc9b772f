//! The gateway and workers as processes on loopback, and the REST API as a user calls it.

mod machine;
pub(crate) mod report;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::machine::measured;

/// Waits for a process to be ready.
const START: Duration = Duration::from_secs(60);
/// The address of a gateway that comes back: no other connection may take its port meanwhile.
pub(crate) const LASTING: Ipv4Addr = Ipv4Addr::new(127, 77, 6, 1);

/// A gateway process. Its folder outlives it for the next one.
pub(crate) struct Gateway {
    process: Process,
    pub(crate) workers: SocketAddr,
    rest: SocketAddr,
    log: PathBuf,
    folder: PathBuf,
    client: reqwest::Client,
    key: String,
    level: &'static str,
}

/// A process; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker process.
pub(crate) struct Worker {
    process: Process,
    log: PathBuf,
    /// Its token; shown once, kept nowhere.
    pub(crate) token: String,
}

/// What the REST API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// `data` of a success.
    pub(crate) fn data(mut self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body["data"].take()
    }
}

/// Makes certificates and a first API key in a new folder.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = gateway_command(folder.path())
        .args(["ensure-tls", "--san", "127.0.0.1"])
        .args(["--san", &LASTING.to_string(), "--out-dir"])
        .arg(folder.path().join("tls"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
}

fn gateway_command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callmeter-gateway"));
    command.env_clear().current_dir(folder);
    command
}

impl Gateway {
    /// Starts on the data of a folder.
    pub(crate) async fn start(folder: &Path) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_with(folder, any, "info").await
    }

    /// The same with an address for workers and a log level, which is its workers' too. At trace
    /// they write a line for every packet: nothing may be measured then.
    pub(crate) async fn start_with(
        folder: &Path,
        workers: SocketAddr,
        level: &'static str,
    ) -> Self {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let made = gateway_command(folder)
            .args(["keys", "create", "--role", "owner", "--data-dir"])
            .arg(&data)
            .output()
            .unwrap();
        let printed = String::from_utf8(made.stdout).unwrap();
        let key = printed
            .split_whitespace()
            .find(|word| word.starts_with("cmk_"))
            .unwrap()
            .to_owned();

        let starts = std::fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("gateway-{starts}.log"));
        let file = File::create(&log).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let process = gateway_command(folder)
            .env("LOG_LEVEL", level)
            .arg("serve")
            .args([
                "--data-dir",
                "data",
                "--tls-cert",
                "tls/tls.crt",
                "--tls-key",
                "tls/tls.key",
            ])
            .args(["--workers-addr", &workers.to_string()])
            .args([
                "--fleet-addr",
                &any.to_string(),
                "--rest-addr",
                &any.to_string(),
            ])
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .map(Process)
            .unwrap();
        // Fails only if another test of this process has done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pem = std::fs::read(folder.join("tls/ca.crt")).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
            .timeout(START)
            .build()
            .unwrap();
        let (workers, rest) = listeners(&log).await;
        Self {
            process,
            workers,
            rest,
            log,
            folder: folder.to_owned(),
            client,
            key,
            level,
        }
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(self) {
        drop(self.process);
    }

    /// The API key it is asked with.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(self.client.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.request(self.client.post(self.url(path)).body(body))
            .await
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/api/v1{path}", self.rest)
    }

    async fn request(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.bearer_auth(&self.key).send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            body: answer.json().await.unwrap(),
        }
    }

    /// Submits a definition; answers with the run's id.
    pub(crate) async fn submit(&self, definition: &str) -> String {
        let made = self.post("/runs", definition.to_owned()).await.data();
        made["id"].as_str().unwrap().to_owned()
    }

    /// The report of a run, once it is over.
    pub(crate) async fn report(&self, definition: &str, within: Duration) -> Value {
        let run = self.submit(definition).await;
        self.over(&run, within).await;
        self.get(&format!("/runs/{run}/results")).await.data()
    }

    /// The run once `wanted` holds of it.
    pub(crate) async fn until(
        &self,
        run: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let state = self.get(&format!("/runs/{run}")).await.data();
            if wanted(&state) {
                return state;
            }
            let late = Instant::now() >= deadline;
            assert!(
                !late && !is_over(&state),
                "the run is not as wanted in {within:?}: {state:#}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The run once it is over.
    pub(crate) async fn over(&self, run: &str, within: Duration) -> Value {
        self.until(run, within, is_over).await
    }

    /// Makes a record and starts its process on a loopback address of its own.
    pub(crate) async fn worker(&self, name: &str, address: &str) -> Worker {
        let body = format!("{{\"name\": \"{name}\", \"capacity\": 25}}");
        let made = self.post("/workers", body).await.data();
        let token = made["token"].as_str().unwrap();
        let id = made["id"].as_str().unwrap().to_owned();
        let log = self.folder.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let process = Command::new(worker_binary())
            .env_clear()
            .env("WORKER_TOKEN", token)
            .env("CLOUD_URL", self.workers.to_string())
            .env("CLOUD_CA_FILE", self.folder.join("tls/ca.crt"))
            .env("HEALTH_PORT", health_port().to_string())
            .env("SIP_IP", address)
            .env("LOG_LEVEL", self.level)
            .env("TERMINATION_LOG", self.folder.join(format!("{name}.end")))
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .map(Process)
            .unwrap();
        let mut worker = Worker {
            process,
            log,
            token: token.to_owned(),
        };
        let deadline = Instant::now() + START;
        while self.get(&format!("/workers/{id}")).await.data()["status"] != "ONLINE" {
            assert!(
                Instant::now() < deadline && worker.process.0.try_wait().unwrap().is_none(),
                "worker {name} is not ONLINE: {}",
                worker.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        worker
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Worker {
    /// Ends it as a lost node does.
    pub(crate) fn kill(self) {
        drop(self.process);
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// Files below a folder that hold a text of ASCII.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    files_of(folder)
        .into_iter()
        .filter(|path| String::from_utf8_lossy(&content(path)).contains(text))
        .collect()
}

/// Whether a file below a folder holds these bytes.
pub(crate) fn holds_bytes(folder: &Path, bytes: &[u8]) -> bool {
    let holds = |path: &PathBuf| content(path).windows(bytes.len()).any(|w| w == bytes);
    files_of(folder).iter().any(holds)
}

/// A file that went in the meantime holds nothing.
fn content(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_of(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn is_over(state: &Value) -> bool {
    matches!(
        state["status"].as_str(),
        Some("COMPLETED" | "FAILED" | "CANNOT_RUN_FOR_NOW")
    )
}

/// Addresses of the worker and REST listeners, from the log.
async fn listeners(log: &Path) -> (SocketAddr, SocketAddr) {
    let deadline = Instant::now() + START;
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        let address = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.contains("\"listening\"") && line.contains(name))?;
            let fields: Value = serde_json::from_str(line).ok()?;
            fields["address"].as_str()?.parse().ok()
        };
        if let (Some(workers), Some(rest)) = (address("for workers"), address("of REST")) {
            return (workers, rest);
        }
        assert!(
            Instant::now() < deadline,
            "the gateway does not listen: {text}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port that no other worker gets, and that is free on every address. No connection takes it
/// before the worker does: it is below the ephemeral range.
fn health_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 1_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        // Test processes that run side by side start at different places.
        let port = (FIRST + (std::process::id() * 17 + turn) % PORTS) as u16;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// The worker beside the gateway, built if it is not up to date.
fn worker_binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "callmeter-worker"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "callmeter-worker does not build");
        Path::new(env!("CARGO_BIN_EXE_callmeter-gateway")).with_file_name("callmeter-worker")
    };
    BUILT.get_or_init(build).clone()
}
