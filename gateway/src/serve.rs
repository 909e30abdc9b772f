//! `serve`: puts the parts together, and takes them apart again at the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

use crate::args::Data;
use crate::auth::{Auth, Reviewer};
use crate::definition::is_label;
use crate::disk;
use crate::fleet_service::FleetService;
use crate::keys::Keys;
use crate::link::SESSION_EVENTS;
use crate::rest::{self, RestState};
use crate::run::secrets::SecretReader;
use crate::run::service::{RunConfig, RunService};
use crate::sessions::Sessions;
use crate::store::Store;
use crate::tls::{Certificate, Incoming, listen};
use crate::worker_service::WorkerService;

/// HTTP/2 ping interval on every connection.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A connection that does not answer a ping for this long is dead.
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Time to end after SIGTERM; the chart's grace period is 15 s.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What to serve, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// Where the state is kept.
    #[command(flatten)]
    pub data: Data,
    /// Server certificate chain (PEM); without it only loopback addresses are accepted.
    #[arg(long, env = "TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the server certificate (PEM).
    #[arg(long, env = "TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Where workers connect.
    #[arg(long, env = "WORKERS_ADDR", default_value = "0.0.0.0:8443")]
    pub workers_addr: SocketAddr,
    /// Where operators connect.
    #[arg(long, env = "FLEET_ADDR", default_value = "0.0.0.0:9443")]
    pub fleet_addr: SocketAddr,
    /// Where the REST API is.
    #[arg(long, env = "REST_ADDR", default_value = "0.0.0.0:8080")]
    pub rest_addr: SocketAddr,
    /// ServiceAccounts the fleet API accepts (`system:serviceaccount:namespace:name`).
    #[arg(long, env = "FLEET_SUBJECTS", value_delimiter = ',', value_parser = subject)]
    pub fleet_subjects: Vec<String>,
}

/// A ServiceAccount as a TokenReview names it.
fn subject(text: &str) -> Result<String, String> {
    let account = text.strip_prefix("system:serviceaccount:");
    let (namespace, name) = account.and_then(|a| a.split_once(':')).unwrap_or_default();
    if is_label(namespace) && name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err("accepted: system:serviceaccount:namespace:name".to_owned())
}

/// The gateway's tasks; each has a name, and none may end before the gateway does.
#[derive(Debug, Default)]
struct Tasks(JoinSet<(&'static str, anyhow::Result<()>)>);

impl Tasks {
    fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.0.spawn(async move { (name, task.await) });
    }

    fn spawn_endless(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn(name, async move {
            task.await;
            Ok(())
        });
    }

    /// Resolves when a task ends that should not.
    async fn unexpected_end(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow::anyhow!("{name} ended"),
            Some(Ok((name, Err(failed)))) => failed.context(format!("{name} failed")),
            // The error itself repeats the message of the panic, which may hold anything.
            Some(Err(joined)) if joined.is_panic() => anyhow::anyhow!("a task panicked"),
            Some(Err(_)) => anyhow::anyhow!("a task was cancelled"),
            None => anyhow::anyhow!("there is nothing to do"),
        }
    }
}

impl Serve {
    /// Serves until SIGTERM or SIGINT.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        self.run_until(stop).await
    }

    /// Serves until `stop` resolves or a part fails.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let data_dir = self.data.data_dir.clone();
        let (store, keys) = self.data.open_with_room().await?;
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::default();
        let listeners = self.listen(&mut tasks, &shutdown).await?;
        let streams = TaskTracker::new();
        self.start(&store, keys, listeners, &streams, &mut tasks, &shutdown)
            .await?;

        let ended = tokio::select! {
            () = stop => Ok(()),
            failed = tasks.unexpected_end() => Err(disk::explain(failed, &data_dir)),
        };
        tracing::info!("the gateway is stopping");
        shutdown.cancel();
        streams.close();
        let stopped = timeout(STOP_WITHIN, async {
            streams.wait().await;
            while tasks.0.join_next().await.is_some() {}
        });
        if stopped.await.is_err() {
            tracing::warn!(
                seconds = STOP_WITHIN.as_secs(),
                "connections were open to the last"
            );
        }
        store.close().await;
        ended
    }

    /// Takes all addresses before anything else runs: one that is taken is found at once.
    async fn listen(
        &self,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Listeners> {
        let certificate = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some(Certificate::load(cert, key)?),
            _ => None,
        };
        if let Some(certificate) = &certificate {
            let watch = Arc::clone(certificate).keep_fresh();
            let stopping = shutdown.clone();
            tasks.spawn_endless("certificate watch", async move {
                stopping.run_until_cancelled_owned(watch).await;
            });
        }
        let mut bind = async |name, address, protocol| -> anyhow::Result<Incoming> {
            let (incoming, accepting) = listen(address, certificate.as_ref(), protocol).await?;
            let tls = certificate.is_some();
            tracing::info!(listener = name, address = %incoming.address(), tls, "listening");
            tasks.spawn_endless(name, accepting);
            Ok(incoming)
        };
        Ok(Listeners {
            workers: bind("listener for workers", self.workers_addr, b"h2").await?,
            fleet: bind("listener for operators", self.fleet_addr, b"h2").await?,
            rest: bind("listener of REST", self.rest_addr, b"http/1.1").await?,
        })
    }

    /// Starts the two layers and the three services on them.
    async fn start(
        self,
        store: &Store,
        keys: Keys,
        listeners: Listeners,
        streams: &TaskTracker,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Keys { pepper, seal } = keys;
        let client = cluster_client()?;
        if client.is_none() && !self.fleet_subjects.is_empty() {
            bail!(
                "--fleet-subjects: given outside a cluster; accepted there: nothing, callers use an API key"
            );
        }
        let reviewer = client
            .clone()
            .map(|client| Reviewer::new(client, self.fleet_subjects));
        let auth = Auth::new(store.clone(), pepper.clone(), reviewer);

        let (events, inbox) = mpsc::channel(SESSION_EVENTS);
        let (sessions, task) = Sessions::start(
            store.clone(),
            pepper.clone(),
            events.clone(),
            shutdown.clone(),
        )
        .await?;
        tasks.spawn_endless("sessions", task);
        let (runs, live, service) = RunService::start(RunConfig {
            store: store.clone(),
            seal,
            sessions: sessions.clone(),
            secrets: SecretReader::new(client),
            events: inbox,
        })
        .await?;
        let stopping = shutdown.clone();
        tasks.spawn("runs", async move { Ok(service.run(stopping).await?) });

        let Listeners {
            workers,
            fleet,
            rest,
        } = listeners;
        let stopping = || shutdown.clone().cancelled_owned();
        let service = WorkerService::new(
            sessions.clone(),
            store.clone(),
            pepper,
            events,
            streams.clone(),
        );
        let server = grpc_server().add_service(service.into_server());
        let serving = server.serve_with_incoming_shutdown(workers, stopping());
        tasks.spawn("worker service", async move { Ok(serving.await?) });

        let service = FleetService::new(
            auth.clone(),
            sessions.clone(),
            runs.clone(),
            shutdown.clone(),
        );
        let server = grpc_server().add_service(service.into_server());
        let serving = server.serve_with_incoming_shutdown(fleet, stopping());
        tasks.spawn("fleet service", async move { Ok(serving.await?) });

        let router = rest::router(RestState {
            auth,
            sessions,
            runs,
            live,
            store: store.clone(),
        });
        let serving = axum::serve(rest, router).with_graceful_shutdown(stopping());
        tasks.spawn("REST", async move { Ok(serving.await?) });
        Ok(())
    }
}

/// The three listeners.
struct Listeners {
    workers: Incoming,
    fleet: Incoming,
    rest: Incoming,
}

fn grpc_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER_WITHIN))
}

/// A client of the cluster this process runs in; none: it runs in none.
fn cluster_client() -> anyhow::Result<Option<kube::Client>> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Ok(None);
    }
    let config = kube::Config::incluster().context("read the ServiceAccount of this pod")?;
    kube::Client::try_from(config)
        .context("connect to the cluster")
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7: what ends the gateway is told without the message of a panic.
    #[tokio::test]
    async fn a_task_that_panics_is_told_without_its_message() {
        let mut tasks = Tasks::default();
        let planted = String::from("planted-secret");
        tasks.spawn_endless("sessions", async move { panic!("cannot send {planted}") });
        let told = format!("{0:#} {0:?}", tasks.unexpected_end().await);
        assert!(told.contains("a task panicked"), "{told}");
        assert!(!told.contains("planted"), "{told}");
    }
}
