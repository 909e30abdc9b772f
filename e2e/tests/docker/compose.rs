//! The documented docker-compose examples, taken from the documentation as they are. What is
//! particular to this machine stands in a second file, as docker-compose wants it: where the
//! gateway of the documented name is, which CA signed its certificate, and a second worker.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use callmeter_e2e::output;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::documentation::example;
use crate::gateway::{Gateway, Record};
use crate::{HOST, Site};

const PAGE: &str = "docs/worker.md";
/// Length of a run and of a call is short of what `docker stop` waits for.
const RUN_SECONDS: u32 = 30;
const STOP_SECONDS: &str = "60";

/// A folder with compose files, the tokens of its workers in the environment of each command.
struct Project<'a> {
    site: &'a Site,
    folder: PathBuf,
    tokens: Vec<(&'static str, String)>,
}

/// R86, R45, R82: the production example is accepted and runs: published health port, healthy by
/// its own check (R51), limits, log options. R20, R29: two composed workers call each other on the
/// default network, nothing set and no RTP port published.
pub(crate) async fn the_production_example_runs(site: &Site) -> Result<()> {
    let gateway = site.gateway(3).await?;
    let (first, second) = (
        gateway.record("first").await?,
        gateway.record("second").await?,
    );
    let text = example(PAGE, "## Compose", "callmeter-worker")?;
    let simple: Value = serde_yaml::from_str(&example("README.md", "## Operating", "image:")?)?;
    let mut other = simple["services"]["callmeter-worker"].clone();
    let mut service = particulars(&gateway);
    if let (Some(other), Some(more)) = (other.as_object_mut(), service.as_object()) {
        // The README's example runs beside the other one: under a name and a port of its own.
        other.extend(more.clone());
        other.insert("container_name".into(), json!("second"));
        other.insert("ports".into(), json!(["3031:3030"]));
        other["environment"] = json!({
            "WORKER_TOKEN": "${SECOND_TOKEN}",
            "CLOUD_URL": simple["services"]["callmeter-worker"]["environment"]["CLOUD_URL"],
            "CLOUD_CA_FILE": "/ca.crt",
        });
    }
    // The engine refuses to promise more cores than the machine has.
    let cores = std::thread::available_parallelism()?.get().min(4);
    service["deploy"] = json!({"resources": {
        "limits": {"cpus": format!("{cores}.0")},
        "reservations": {"cpus": "0.5", "memory": "128M"},
    }});
    let project = Project::new(
        site,
        "production",
        &text,
        &json!({
            "version": "3.8",
            "services": {"callmeter-worker": service, "second": other},
        }),
    )?
    .with("WORKER_TOKEN", &first)
    .with("SECOND_TOKEN", &second);

    assert_production(&text, &project.config().await?)?;
    project.run(&["up", "--detach"]).await?;
    gateway.await_online(&first).await?;
    gateway.await_online(&second).await?;

    let running = site.inspect("callmeter-worker", "").await?;
    let host = &running["HostConfig"];
    ensure!(host["RestartPolicy"]["Name"] == "unless-stopped", "{host}");
    // R82: the limits of the example (but for the cores) are those of the container.
    ensure!(host["Memory"] == 4_u64 << 30, "{}", host["Memory"]);
    ensure!(
        host["NanoCpus"] == cores as u64 * 1_000_000_000,
        "{}",
        host["NanoCpus"]
    );
    let log = json!({"Type": "json-file", "Config": {"max-size": "50m", "max-file": "5"}});
    ensure!(host["LogConfig"] == log, "{}", host["LogConfig"]);
    for name in ["callmeter-worker", "second"] {
        let published = site.inspect(name, "/NetworkSettings/Ports").await?;
        let ports: Vec<_> = published
            .as_object()
            .context("no ports")?
            .iter()
            .filter(|(_, bindings)| !bindings.is_null())
            .map(|(port, _)| port.as_str())
            .collect();
        ensure!(ports == ["3030/tcp"], "{name} publishes {ports:?}");
        let networks = site.inspect(name, "/NetworkSettings/Networks").await?;
        ensure!(networks.get("production_default").is_some(), "{networks}");
    }
    for port in [3030, 3031] {
        let answer = health(&format!("{HOST}:{port}")).await?;
        ensure!(answer["status"] == "healthy", "{answer}");
    }
    let run = gateway.calls(RUN_SECONDS).await?;
    assert_measured(&gateway.report(&run).await?)?;
    // By the documented check, every 30 s.
    let check = json!(["CMD", "curl", "-f", "http://localhost:3030/health"]);
    let configured = &running["Config"]["Healthcheck"];
    ensure!(configured["Test"] == check, "{configured}");
    ensure!(configured["Interval"] == 30_000_000_000_u64, "{configured}");
    site.await_health("callmeter-worker", "healthy").await?;
    project.run(&["stop", "--timeout", "30"]).await?;
    for name in ["callmeter-worker", "second"] {
        site.ended_well(name).await?;
    }
    project.run(&["down"]).await.map(drop)
}

/// R84, R54: the host networking example binds SIP, RTP and health ports on the host itself, at
/// the address it names. R29: it and a worker on Docker's default bridge without any published
/// port call each other. `docker stop` in a call cuts nothing.
pub(crate) async fn the_host_network_example_runs(site: &Site) -> Result<()> {
    let gateway = site.gateway(3).await?;
    let (host, bridged) = (
        gateway.record("host").await?,
        gateway.record("bridged").await?,
    );
    let part = example(PAGE, "## Network", "network_mode: host")?;
    let service = "version: \"3.8\"\nservices:\n  callmeter-worker:\n    image: worker:latest\n    container_name: host\n";
    let project = Project::new(
        site,
        "host",
        &format!("{service}{part}"),
        &json!({
            "version": "3.8",
            "services": {"callmeter-worker": particulars(&gateway)},
        }),
    )?
    .with("WORKER_TOKEN", &host);
    let config = project.config().await?;
    let worker = &config["services"]["callmeter-worker"];
    ensure!(worker["network_mode"] == "host", "{worker}");
    ensure!(
        worker["environment"]["SIP_IP"] == HOST.to_string(),
        "{worker}"
    );
    let before = ports().await?;
    ensure!(!before.contains(":3030 "), "port 3030 is taken: {before}");

    project.run(&["up", "--detach"]).await?;
    site.run_trusting("bridged", &bridged, &gateway, &[])
        .await?;
    gateway.await_online(&host).await?;
    gateway.await_online(&bridged).await?;
    let mode = site.inspect("host", "/HostConfig/NetworkMode").await?;
    ensure!(mode == "host", "{mode}");
    // The container's first process listens here itself: no proxy of the engine does it for it.
    let listening = ports().await?;
    let mine = listening
        .lines()
        .find(|line| line.contains(":3030 "))
        .with_context(|| format!("nothing listens at 3030: {listening}"))?;
    ensure!(mine.contains("callmeter-worke"), "{mine}");
    ensure!(health(&format!("{HOST}:3030")).await?["connected"] == true);

    let run = gateway.calls(RUN_SECONDS).await?;
    let during = ports().await?;
    for wanted in [format!("{HOST}:5060 "), format!("{HOST}:10000 ")] {
        ensure!(during.contains(&wanted), "no {wanted}: {during}");
    }
    for name in ["host", "bridged"] {
        ensure!(site.inspect(name, "/State/Running").await? == true);
    }
    let (first, second) = tokio::join!(
        project.run(&["stop", "--timeout", STOP_SECONDS]),
        site.docker(&["stop", "--time", STOP_SECONDS, "bridged"]),
    );
    first.and(second)?;
    assert_measured(&gateway.report(&run).await?)?;
    for name in ["host", "bridged"] {
        site.ended_well(name).await?;
    }
    project.run(&["down"]).await?;
    gateway.kill().await
}

/// What has to be added to a documented service so that it finds this gateway.
fn particulars(gateway: &Gateway) -> Value {
    json!({
        "extra_hosts": [gateway.host_entry()],
        "volumes": [format!("{}:/ca.crt:ro", gateway.ca_file())],
        "environment": {"CLOUD_CA_FILE": "/ca.crt"},
    })
}

/// R86 and what it names: R4, R6, R45, R51, R82.
fn assert_production(text: &str, config: &Value) -> Result<()> {
    let whole: Value = serde_yaml::from_str(text)?;
    ensure!(whole["version"] == "3.8", "{}", whole["version"]);
    let service = &whole["services"]["callmeter-worker"];
    for (field, expected) in [
        ("image", json!("worker:latest")),
        ("container_name", json!("callmeter-worker")),
        ("restart", json!("unless-stopped")),
        ("ports", json!(["3030:3030"])),
        (
            "environment",
            json!({"WORKER_TOKEN": "${WORKER_TOKEN}", "CLOUD_URL": "wg.callmeter.io:443"}),
        ),
        (
            "healthcheck",
            json!({
                "test": ["CMD", "curl", "-f", "http://localhost:3030/health"],
                "interval": "30s",
                "timeout": "5s",
                "retries": 3,
                "start_period": "15s",
            }),
        ),
        (
            "deploy",
            json!({"resources": {
                "limits": {"cpus": "4.0", "memory": "4G"},
                "reservations": {"cpus": "2.0", "memory": "2G"},
            }}),
        ),
        (
            "logging",
            json!({"driver": "json-file", "options": {"max-size": "50m", "max-file": "5"}}),
        ),
    ] {
        ensure!(service[field] == expected, "{field}: {}", service[field]);
    }
    for commented in [
        "SIP_IP",
        "MEDIA_IP",
        "SDP_IP",
        "RTP_PORT_MIN",
        "RTP_PORT_MAX",
    ] {
        let there = text
            .lines()
            .any(|line| line.trim_start().starts_with(&format!("# {commented}: ")));
        ensure!(there, "{commented} is not there as a comment");
    }
    // What docker-compose understood, with the token from its environment.
    let understood = &config["services"]["callmeter-worker"];
    let token = understood["environment"]["WORKER_TOKEN"].as_str();
    ensure!(
        token.is_some_and(|token| token.starts_with("cmw_") && token.len() == 68),
        "the token of the environment is not in its place"
    );
    ensure!(understood["container_name"] == "callmeter-worker");
    ensure!(understood["healthcheck"]["interval"] == "30s");
    Ok(())
}

/// All calls of both sides succeeded, what one sent the other received, and it sounded well.
fn assert_measured(report: &Value) -> Result<()> {
    ensure!(report["status"] == "COMPLETED", "{report:#}");
    ensure!(
        report["partial"] == false && report["verdict"] == "Passed",
        "{report:#}"
    );
    let group = |name: &str| {
        let groups = report["groups"].as_array();
        let found = groups.and_then(|all| all.iter().find(|group| group["name"] == name));
        found
            .cloned()
            .with_context(|| format!("no {name}: {report:#}"))
    };
    let (callers, answerers) = (group("callers")?, group("answerers")?);
    for (from, to) in [(&callers, &answerers), (&answerers, &callers)] {
        let number = |group: &Value, pointer: &str| {
            let found = group.pointer(pointer).and_then(Value::as_f64);
            found.with_context(|| format!("no {pointer}: {group:#}"))
        };
        let calls = number(from, "/calls/total")?;
        let succeeded = number(from, "/calls/succeeded")?;
        ensure!(calls >= 4.0 && succeeded >= calls, "{from:#}");
        let (sent, received) = (
            number(from, "/packets/sent")?,
            number(to, "/packets/received")?,
        );
        // Each of four calls has 50 packets a second; those that a late machine owed are skipped.
        ensure!(
            sent > 4.0 * 50.0 * f64::from(RUN_SECONDS / 2 - 5),
            "{from:#}"
        );
        ensure!((sent - received).abs() < 0.5, "{sent} sent: {to:#}");
    }
    Ok(())
}

/// `GET /health` of a worker, from the engine's host.
async fn health(address: &str) -> Result<Value> {
    let answer = reqwest::get(format!("http://{address}/health")).await?;
    Ok(answer.json().await?)
}

/// Sockets of the engine's host and who holds them.
async fn ports() -> Result<String> {
    crate::engine::command("ss", &["--no-header", "--numeric", "--processes", "-lntu"]).await
}

impl<'a> Project<'a> {
    fn new(site: &'a Site, name: &str, documented: &str, particular: &Value) -> Result<Self> {
        let folder = site.engine.path(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("docker-compose.yml"), documented)?;
        // Read beside the first one without being named.
        let more = serde_yaml::to_string(particular)?;
        std::fs::write(folder.join("docker-compose.override.yml"), more)?;
        Ok(Self {
            site,
            folder,
            tokens: Vec::new(),
        })
    }

    fn with(mut self, variable: &'static str, record: &Record) -> Self {
        self.tokens.push((variable, record.token.clone()));
        self
    }

    fn command(&self) -> Command {
        let mut command = self.site.engine.client("/usr/bin/docker-compose");
        command
            .envs(self.tokens.iter().map(|(name, token)| (name, token)))
            .current_dir(&self.folder);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        output(self.command().args(arguments)).await
    }

    /// What docker-compose makes of the documented file alone.
    async fn config(&self) -> Result<Value> {
        let text = self
            .run(&["--file", "docker-compose.yml", "config"])
            .await?;
        serde_yaml::from_str(&text).context("docker-compose config printed no YAML")
    }
}
