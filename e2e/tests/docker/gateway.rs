//! A real gateway process beside the engine, reachable from its containers.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use callmeter_e2e::{Rest, eventually, eventually_some, output};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// The name in every documented example; `extra_hosts` says where it is.
pub(crate) const NAME: &str = "wg.callmeter.io";
const START: Duration = Duration::from_secs(90);
const ONLINE: Duration = Duration::from_secs(180);
const RUN: Duration = Duration::from_secs(180);

/// A gateway with its own CA and data; killed when dropped.
pub(crate) struct Gateway {
    process: Child,
    address: Ipv4Addr,
    folder: PathBuf,
    rest: Rest,
}

/// A record of a worker, and the token that was shown once.
pub(crate) struct Record {
    pub(crate) token: String,
    id: String,
}

impl Gateway {
    /// Starts on an address of this namespace: workers at the documented port, 443.
    pub(crate) async fn start(folder: PathBuf, address: Ipv4Addr) -> Result<Self> {
        std::fs::create_dir_all(folder.join("data"))?;
        let tls = folder.join("tls");
        let mut certificates = program(&folder)?;
        certificates.args(["ensure-tls", "--san", NAME, "--san", &address.to_string()]);
        output(certificates.arg("--out-dir").arg(&tls)).await?;
        let mut keys = program(&folder)?;
        keys.args(["keys", "create", "--role=owner", "--data-dir=data"]);
        let printed = output(&mut keys).await?;
        let key = printed
            .split_whitespace()
            .find(|word| word.starts_with("cmk_"))
            .context("`keys create` printed no key")?;
        let log = File::create(folder.join("gateway.log"))?;
        let process = program(&folder)?
            .args(["serve", "--data-dir=data"])
            .args(["--tls-cert=tls/tls.crt", "--tls-key=tls/tls.key"])
            .arg(format!("--workers-addr={address}:443"))
            .arg(format!("--fleet-addr={address}:9443"))
            .arg(format!("--rest-addr={address}:8080"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start callmeter-gateway")?;
        let base = format!("https://{address}:8080/api/v1");
        let rest = Rest::at(base, key.to_owned(), &std::fs::read(tls.join("ca.crt"))?)?;
        let gateway = Self {
            process,
            address,
            folder,
            rest,
        };
        eventually("the gateway to answer", START, || async {
            gateway.rest.get("/workers").await.map(|_| None)
        })
        .await
        .with_context(|| gateway.log())?;
        Ok(gateway)
    }

    /// Where the documented name leads, as Docker's clients take it.
    pub(crate) fn host_entry(&self) -> String {
        format!("{NAME}:{}", self.address)
    }

    /// The certificate of its CA.
    pub(crate) fn ca_file(&self) -> String {
        self.folder.join("tls/ca.crt").display().to_string()
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("gateway.log")).unwrap_or_default()
    }

    /// Ends it as a lost machine does.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("kill the gateway")
    }

    /// Makes a worker's record.
    pub(crate) async fn record(&self, name: &str) -> Result<Record> {
        let made = self
            .rest
            .post("/workers", &json!({"name": name, "capacity": 5}))
            .await?;
        let text = |field: &str| {
            let value = made[field].as_str().map(str::to_owned);
            value.with_context(|| format!("no {field} in {made}"))
        };
        Ok(Record {
            token: text("token")?,
            id: text("id")?,
        })
    }

    /// Waits until the worker is ONLINE.
    pub(crate) async fn await_online(&self, record: &Record) -> Result<()> {
        let what = format!("worker {} to be ONLINE", record.id);
        eventually(&what, ONLINE, || async {
            let worker = self.rest.get(&format!("/workers/{}", record.id)).await?;
            Ok((worker["status"] != "ONLINE").then(|| worker.to_string()))
        })
        .await
        .with_context(|| self.log())
    }

    /// Starts a run of four callers and four answerers, `seconds` long with calls of half that;
    /// answers with its id once all are in a call.
    pub(crate) async fn calls(&self, seconds: u32) -> Result<String> {
        let definition = json!({
            "duration": format!("{seconds}s"),
            "groups": [
                {"name": "answerers", "endpoints": 4, "role": "callee"},
                {
                    "name": "callers",
                    "endpoints": 4,
                    "role": "caller",
                    "target": {"group": "answerers"},
                    "call": {"duration": format!("{}s", seconds / 2)},
                },
            ],
            "expect": [{"metric": "call_success_rate", "min": 100}],
        });
        let made = self.rest.post("/runs", &definition).await?;
        let run = made["id"].as_str().context("no id of a run")?.to_owned();
        eventually("all endpoints to be in a call", RUN, || async {
            let state = self.rest.get(&format!("/runs/{run}")).await?;
            let groups = state["groups"].as_array().cloned().unwrap_or_default();
            let talking = !groups.is_empty() && groups.iter().all(|group| group["inCall"] == 4);
            Ok((!talking).then(|| state.to_string()))
        })
        .await?;
        Ok(run)
    }

    /// The report of a run, once it is over.
    pub(crate) async fn report(&self, run: &str) -> Result<Value> {
        eventually_some("the run to be over", RUN, || async {
            let state = self.rest.get(&format!("/runs/{run}")).await?;
            let over = ["COMPLETED", "FAILED", "CANNOT_RUN_FOR_NOW"];
            if !over.iter().any(|status| state["status"] == *status) {
                anyhow::bail!("{state}");
            }
            self.rest
                .get(&format!("/runs/{run}/results"))
                .await
                .map(Some)
        })
        .await
    }
}

/// The gateway as it was built with these tests.
fn program(folder: &Path) -> Result<Command> {
    let tests = std::env::current_exe().context("find this program")?;
    let built = tests.parent().and_then(Path::parent);
    let path = built
        .context("this program is in no target folder")?
        .join("callmeter-gateway");
    // It ends with this thread, however that ends.
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(path)
        .env_clear()
        .env("LOG_LEVEL", "debug")
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}
