//! The operator as a process of the test, with its ServiceAccount's rights, so that it can be ended
//! at an exact write.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::case::Case;
use crate::forward::Forward;
use crate::proxy::WriteProxy;

const SERVICE_ACCOUNT: &str = "callmeter-operator";

/// What the operator's process is started with, again and again.
#[derive(Debug)]
pub struct OperatorHome {
    folder: PathBuf,
    namespace: String,
    fleet: Forward,
    proxy: WriteProxy,
    worker_image: String,
}

/// A running operator; it ends with it.
#[derive(Debug)]
pub struct OperatorProcess(Child);

impl OperatorHome {
    /// Makes its credentials and its ways to the API server and to the gateway. The release of the
    /// case runs none of its own (`operator.replicas: 0`).
    pub async fn make(case: &Case) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("{}-operator", case.namespace));
        std::fs::create_dir_all(&folder)?;
        let config = case
            .kubectl(&[
                "config",
                "view",
                "--raw",
                "--minify",
                "--flatten",
                "--output",
                "json",
            ])
            .await?;
        let config: serde_json::Value = serde_json::from_str(&config)?;
        let cluster = &config["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().context("no server")?;
        let authority = case.object("configmap", "kube-root-ca.crt").await?;
        let authority = authority.context("no kube-root-ca.crt")?;
        let authority = authority["data"]["ca.crt"].as_str().context("no ca.crt")?;
        let proxy = WriteProxy::start(server, authority.as_bytes()).await?;

        let account = ["create", "token", SERVICE_ACCOUNT, "--duration=1h"];
        let token = case.kubectl(&account).await?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": proxy.url}}],
            "users": [{"name": "operator", "user": {"token": token.trim()}}],
            "contexts": [{"name": "proxy", "context": {
                "cluster": "proxy", "user": "operator", "namespace": case.namespace}}],
        });
        private(&folder.join("kubeconfig"), &kubeconfig.to_string())?;
        let mut account = account.to_vec();
        account.push("--audience=callmeter-gateway");
        private(
            &folder.join("fleet-token"),
            case.kubectl(&account).await?.trim(),
        )?;
        let ca = case.object("configmap", "callmeter-gateway-ca").await?;
        let ca = ca.context("no CA of the gateway")?;
        let ca = ca["data"]["ca.crt"].as_str().context("no ca.crt")?;
        std::fs::write(folder.join("ca.crt"), ca)?;
        Ok(Self {
            fleet: Forward::to(case, "callmeter-gateway", 9443).await?,
            namespace: case.namespace.clone(),
            worker_image: case.image("worker"),
            folder,
            proxy,
        })
    }

    /// Its way to the API server.
    pub fn proxy(&self) -> &WriteProxy {
        &self.proxy
    }

    /// Starts the operator under a fixed name in the lease, so that its successor goes on at once.
    pub fn start(&self) -> Result<OperatorProcess> {
        let file = |name: &str| self.folder.join(name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(file("log"))?;
        let child = Command::new(program("callmeter-operator")?)
            .arg("run")
            .env_clear()
            .env("KUBECONFIG", file("kubeconfig"))
            .env(
                "FLEET_URL",
                format!("https://localhost:{}", self.fleet.port),
            )
            .env("FLEET_CA_FILE", file("ca.crt"))
            .env("FLEET_TOKEN_FILE", file("fleet-token"))
            .env(
                "GATEWAY_URL",
                format!("callmeter-gateway.{}.svc:443", self.namespace),
            )
            .env("GATEWAY_CA_FILE", file("ca.crt"))
            .env("WORKER_IMAGE", &self.worker_image)
            .env("WATCH_NAMESPACE", &self.namespace)
            .env("POD_NAMESPACE", &self.namespace)
            .env("POD_NAME", "operator-of-the-test")
            .env("METRICS_ADDR", "127.0.0.1:0")
            .env("HEALTH_ADDR", "127.0.0.1:0")
            .env("LOG_LEVEL", "debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start the operator")?;
        Ok(OperatorProcess(child))
    }

    /// The log of all its processes.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("log"))?)
    }
}

impl Drop for OperatorHome {
    fn drop(&mut self) {
        // Credentials that are worth nothing once the namespace is gone; the log stays.
        for file in ["kubeconfig", "fleet-token"] {
            let _ = std::fs::remove_file(self.folder.join(file));
        }
    }
}

impl OperatorProcess {
    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        self.0.id().context("the operator has ended")
    }

    /// Waits until it has been ended.
    pub async fn ended(&mut self, deadline: Duration) -> Result<()> {
        timeout(deadline, self.0.wait())
            .await
            .with_context(|| {
                format!(
                    "waited {} s for the operator to be ended",
                    deadline.as_secs()
                )
            })?
            .map(drop)
            .context("wait for the operator")
    }
}

/// A program of the workspace, built beside this test.
fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent);
    let path = folder.context("no target folder")?.join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not built; scripts/e2e builds it",
        path.display()
    );
    Ok(path)
}

/// Writes a file that only its owner reads.
fn private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;

    let mut file: File = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
