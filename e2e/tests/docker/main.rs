//! The worker's image as its users run it: a real Docker engine, real docker-compose, the very
//! examples of the documentation, and a real gateway that decides what came of it.
//!
//! Not run here: the compile stage of `docker build`, which pulls its base image from a registry;
//! `cluster images` runs the rest of `Dockerfile.worker` with the programs of this machine.

mod compose;
mod documentation;
mod engine;
mod gateway;

use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callmeter_e2e::{eventually, eventually_some, output};
use futures::FutureExt as _;
use serde_json::Value;

use engine::Engine;
use gateway::{Gateway, Record};

/// Addresses of the engine's host. The first is the one of the host networking example.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 50);
const GATEWAYS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 0, 1, 10),
    Ipv4Addr::new(10, 0, 1, 11),
    Ipv4Addr::new(10, 0, 1, 12),
    Ipv4Addr::new(10, 0, 1, 13),
];
/// How long a worker stays healthy without its gateway (R51, R52).
const GRACE: Duration = Duration::from_secs(60);
/// Longest wait for the result of health checks.
const HEALTH: Duration = Duration::from_secs(120);
/// The store of certificates `CLOUD_CA_FILE` stands in for.
const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What the cases share.
pub(crate) struct Site {
    engine: Engine,
}

#[tokio::test]
async fn the_image_runs_as_documented() -> Result<()> {
    if std::env::var_os("CALLMETER_E2E").is_none_or(|value| value != "1") {
        eprintln!("skipped: needs a Docker engine; `make test` runs it (CALLMETER_E2E=1)");
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: not root");
        return Ok(());
    }
    engine::installed()?;
    let archive = std::env::var("CALLMETER_WORKER_ARCHIVE")
        .context("CALLMETER_WORKER_ARCHIVE is not set; scripts/e2e sets it")?;
    eprintln!("not run: the compile stage of `docker build`, which pulls its base image");
    let addresses: Vec<_> = std::iter::once(HOST).chain(GATEWAYS).collect();
    let site = Site {
        engine: Engine::start(&addresses).await?,
    };
    let cases = Box::pin(all(&site, Path::new(&archive)));
    let result = AssertUnwindSafe(cases).catch_unwind().await;
    if !matches!(result, Ok(Ok(()))) {
        eprintln!("--- log of the engine ---\n{}", site.engine.log());
    }
    let stopped = site.engine.stop().await;
    match result {
        Ok(result) => result.and(stopped),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn all(site: &Site, archive: &Path) -> Result<()> {
    let loaded = site
        .docker(&["load", "--quiet", "--input", &archive.display().to_string()])
        .await?;
    let name = loaded
        .trim()
        .strip_prefix("Loaded image: ")
        .with_context(|| format!("no image in {loaded:?}"))?;
    site.docker(&["tag", name, "worker:latest"]).await?;
    let (outage, two, own_port, composed) = tokio::join!(
        case("outage", an_outage_makes_a_container_unhealthy(site)),
        case("two variables", two_variables_are_enough(site)),
        case("HEALTH_PORT", the_health_check_follows_its_port(site)),
        async {
            // Both hold port 3030 of the engine's host.
            case("host network", compose::the_host_network_example_runs(site)).await?;
            case("production", compose::the_production_example_runs(site)).await
        },
    );
    outage.and(two).and(own_port).and(composed)
}

/// Says how a case went and how long it took.
async fn case(name: &str, body: impl Future<Output = Result<()>>) -> Result<()> {
    let start = Instant::now();
    let result = body.await.with_context(|| format!("case {name}"));
    let verdict = if result.is_ok() { "passed" } else { "FAILED" };
    eprintln!("{name}: {verdict} after {} s", start.elapsed().as_secs());
    result
}

/// R5, R1: `docker run` with the two required variables comes ONLINE. The trust store of the
/// container has the gateway's CA, as it has a public one's; with `CLOUD_CA_FILE` alone the other
/// cases do. R44: all it writes is on standard output and error.
async fn two_variables_are_enough(site: &Site) -> Result<()> {
    let gateway = site.gateway(0).await?;
    let record = gateway.record("two-variables").await?;
    let trust = format!("{}:{SYSTEM_TRUST}:ro", gateway.ca_file());
    site.run("two-variables", &record, &gateway, &["--volume", &trust])
        .await?;
    gateway.await_online(&record).await?;
    let environment = site
        .inspect("two-variables", "/Config/Env")
        .await?
        .to_string();
    ensure!(
        environment.matches('=').count() == 3,
        "more than the two variables and PATH: {environment}"
    );
    let changed = site.docker(&["diff", "two-variables"]).await?;
    ensure!(
        !changed.contains("log"),
        "a file of a log in the container: {changed}"
    );
    // Control: a certificate nobody vouches for is refused.
    let stranger = gateway.record("stranger").await?;
    site.run("stranger", &stranger, &gateway, &[]).await?;
    site.await_log("stranger", "UnknownIssuer").await?;
    site.docker(&["rm", "--force", "stranger"]).await?;
    stop(site, "two-variables").await
}

/// R12, R51: the image's own HEALTHCHECK asks the port of `HEALTH_PORT`.
async fn the_health_check_follows_its_port(site: &Site) -> Result<()> {
    let gateway = site.gateway(1).await?;
    let record = gateway.record("own-port").await?;
    let more = ["--env", "HEALTH_PORT=8080", "--health-interval", "1s"];
    site.run_trusting("own-port", &record, &gateway, &more)
        .await?;
    gateway.await_online(&record).await?;
    site.await_health("own-port", "healthy").await?;
    let test = site.inspect("own-port", "/Config/Healthcheck/Test").await?;
    let documented = [
        "CMD-SHELL",
        "curl -f \"http://localhost:${HEALTH_PORT:-3030}/health\"",
    ];
    ensure!(test == serde_json::json!(documented), "{test}");
    // Control: nothing answers at the default port, so a check of that one would fail.
    let ask = |port: u16| {
        let url = format!("http://localhost:{port}/health");
        async move {
            site.docker(&["exec", "own-port", "curl", "-fsS", &url])
                .await
        }
    };
    let answer = ask(8080).await?;
    ensure!(answer.contains("\"status\":\"healthy\""), "{answer}");
    ensure!(ask(3030).await.is_err(), "something answers at 3030");
    stop(site, "own-port").await
}

/// R52, R53: with the documented health check (asked more often) a container whose gateway is gone
/// stays healthy for the grace of 60 s and is unhealthy after it.
async fn an_outage_makes_a_container_unhealthy(site: &Site) -> Result<()> {
    let gateway = site.gateway(2).await?;
    let record = gateway.record("outage").await?;
    let check = "curl -f http://localhost:3030/health";
    let more = ["--health-cmd", check, "--health-interval", "2s"];
    site.run_trusting("outage", &record, &gateway, &more)
        .await?;
    gateway.await_online(&record).await?;
    site.await_health("outage", "healthy").await?;
    let lost = Instant::now();
    gateway.kill().await?;
    site.await_log("outage", "gateway connection failed")
        .await?;
    site.await_health("outage", "unhealthy").await?;
    let after = lost.elapsed();
    ensure!(
        after >= GRACE,
        "unhealthy after {after:?}, within the grace"
    );
    let tries = site
        .inspect("outage", "/State/Health/FailingStreak")
        .await?;
    ensure!(tries.as_u64() >= Some(3), "{tries} failed checks, not 3");
    // The engine says so to whoever restarts by it; the worker itself goes on and tries.
    let state = site.inspect("outage", "/State/Running").await?;
    ensure!(state == true, "the container has ended");
    let listed = ["ps", "--quiet", "--filter", "health=unhealthy"];
    ensure!(!site.docker(&listed).await?.trim().is_empty(), "not listed");
    stop(site, "outage").await
}

/// `docker stop` (SIGTERM) ends an idle worker at once with exit code 0.
async fn stop(site: &Site, name: &str) -> Result<()> {
    site.docker(&["stop", "--time", "30", name]).await?;
    site.ended_well(name).await
}

impl Site {
    /// A gateway at the n-th of [`GATEWAYS`].
    async fn gateway(&self, n: usize) -> Result<Gateway> {
        let folder = self.engine.path(&format!("gateway-{n}"));
        Gateway::start(folder, GATEWAYS[n]).await
    }

    async fn docker(&self, arguments: &[&str]) -> Result<String> {
        self.engine.docker(arguments).await
    }

    /// `docker run` with the two required variables and `more`. The token is taken from the
    /// client's environment (R6).
    async fn run(
        &self,
        name: &str,
        record: &Record,
        gateway: &Gateway,
        more: &[&str],
    ) -> Result<()> {
        let mut command = self.engine.client("/usr/bin/docker");
        command
            .env("WORKER_TOKEN", &record.token)
            .args(["run", "--detach", "--name", name])
            .args(["--add-host", &gateway.host_entry()])
            .args(["--env", "WORKER_TOKEN"])
            .arg("--env")
            .arg(format!("CLOUD_URL={}:443", gateway::NAME))
            .args(more)
            .arg("worker:latest");
        output(&mut command).await.map(drop)
    }

    /// [`Self::run`] with `CLOUD_CA_FILE`.
    async fn run_trusting(
        &self,
        name: &str,
        record: &Record,
        gateway: &Gateway,
        more: &[&str],
    ) -> Result<()> {
        let ca = format!("{}:/ca.crt:ro", gateway.ca_file());
        let trusting = ["--env", "CLOUD_CA_FILE=/ca.crt", "--volume", &ca];
        let all: Vec<&str> = trusting.iter().chain(more).copied().collect();
        self.run(name, record, gateway, &all).await
    }

    /// A part of what the engine knows of a container; null if it is not there.
    async fn inspect(&self, name: &str, pointer: &str) -> Result<Value> {
        let text = self.docker(&["container", "inspect", name]).await?;
        let all: Value = serde_json::from_str(&text)?;
        Ok(all[0].pointer(pointer).cloned().unwrap_or_default())
    }

    async fn await_health(&self, name: &str, wanted: &str) -> Result<()> {
        eventually(&format!("{name} to be {wanted}"), HEALTH, || async {
            let health = self.inspect(name, "/State/Health").await?;
            Ok((health["Status"] != wanted).then(|| health.to_string()))
        })
        .await
    }

    async fn await_log(&self, name: &str, text: &str) -> Result<()> {
        eventually_some(
            &format!("{text:?} in the log of {name}"),
            HEALTH,
            || async {
                let log = output(self.engine.client("/bin/sh").args([
                    "-c",
                    "docker logs \"$0\" 2>&1",
                    name,
                ]))
                .await?;
                ensure!(log.contains(text), "{log}");
                Ok(Some(()))
            },
        )
        .await
    }

    /// The container was not killed and says that all went well.
    async fn ended_well(&self, name: &str) -> Result<()> {
        let state = self.inspect(name, "/State").await?;
        ensure!(
            state["Running"] == false && state["ExitCode"] == 0 && state["OOMKilled"] == false,
            "{name}: {state}"
        );
        Ok(())
    }
}
