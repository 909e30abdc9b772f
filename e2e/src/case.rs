//! One case: a namespace with an operator and a gateway of its own, taken away whatever happens.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::cluster::{Cluster, output};
use crate::observer::Observer;
use crate::wait::eventually;

/// Label of every namespace a case makes; `scripts/e2e` removes leftovers by it.
const CASE_LABEL: &str = "callmeter.io/e2e";
/// Install, start of operator and gateway, and their images are on the nodes already. Eight cases
/// begin at once.
const READY: Duration = Duration::from_secs(300);

/// A running case.
#[derive(Debug)]
pub struct Case {
    /// The cluster under it.
    pub cluster: Cluster,
    /// The case's own namespace; the release in it is called `callmeter`.
    pub namespace: String,
    /// What the API server saw in the namespace, where the cluster is our own.
    pub observer: Option<Observer>,
}

/// Runs one case: install, `body`, and removal; on failure what helps to understand it is kept.
///
/// `values` are merged over the chart's values. Skips with a message where no cluster is asked for.
pub async fn run<F, Fut>(name: &str, values: Value, body: F) -> Result<()>
where
    F: FnOnce(Arc<Case>) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    run_bare(name, |case| async move {
        case.install(values).await?;
        body(case).await
    })
    .await
}

/// As [`run`], but `body` installs the release itself, once what it needs is there.
pub async fn run_bare<F, Fut>(name: &str, body: F) -> Result<()>
where
    F: FnOnce(Arc<Case>) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let Some(cluster) = Cluster::find()? else {
        return Ok(());
    };
    let case = Arc::new(Case::create(cluster, name).await?);
    let result = AssertUnwindSafe(body(case.clone())).catch_unwind().await;
    let failure = match &result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:?}")),
        Err(_) => Some("panicked".to_owned()),
    };
    if let Some(failure) = failure {
        match case.keep_evidence(&failure).await {
            Ok(folder) => eprintln!("case {name} failed; logs and objects: {}", folder.display()),
            Err(error) => eprintln!("case {name} failed; no evidence kept: {error:#}"),
        }
    }
    let removed = case.remove().await;
    match result {
        Ok(result) => result.and(removed),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Case {
    async fn create(cluster: Cluster, name: &str) -> Result<Self> {
        let namespace = format!("cm-e2e-{name}-{}", std::process::id());
        let observer = match cluster.audit_log() {
            Some(path) => Some(Observer::start(path.to_owned(), &namespace)?),
            None => None,
        };
        let case = Self {
            cluster,
            namespace,
            observer,
        };
        case.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": case.namespace, "labels": {CASE_LABEL: "true"}},
        }))
        .await?;
        Ok(case)
    }

    /// The image of a component, as the nodes find it.
    pub fn image(&self, component: &str) -> String {
        let (repository, tag) = images();
        format!("{repository}/{component}:{tag}")
    }

    /// `helm install` of the release, with `values` over those of every case.
    pub async fn install(&self, values: Value) -> Result<()> {
        let (repository, tag) = images();
        let fixed = json!({
            "image": {"repository": repository, "tag": tag},
            "crds": {"install": false},
            "watchNamespace": self.namespace,
            "gateway": {"persistence": {"enabled": true}, "log": {"level": "debug"}},
            "operator": {"log": {"level": "debug"}},
        });
        let merged = merge(fixed, values);
        let mut command = self.cluster.helm();
        command
            .args([
                "install",
                "callmeter",
                &chart(),
                "--namespace",
                &self.namespace,
            ])
            .args([
                "--values",
                "-",
                "--wait",
                "--timeout",
                &format!("{}s", READY.as_secs()),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start helm")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(merged.to_string().as_bytes()).await?;
        }
        let done = child.wait_with_output().await?;
        if !done.status.success() {
            bail!("helm install: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// Applies an object as a user would, with `kubectl apply`.
    pub async fn apply(&self, object: &Value) -> Result<String> {
        let mut command = self.cluster.kubectl();
        command.args(["apply", "--filename", "-"]);
        if object["kind"] != "Namespace" {
            command.args(["--namespace", &self.namespace]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(object.to_string().as_bytes()).await?;
        }
        let done = child.wait_with_output().await?;
        if !done.status.success() {
            bail!("kubectl apply: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// `kubectl` in the case's namespace; answers with its standard output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.cluster.kubectl();
        output(
            command
                .args(["--namespace", &self.namespace])
                .args(arguments),
        )
        .await
    }

    /// `kubectl` on what is in no namespace; answers with its standard output.
    pub async fn cluster_kubectl(&self, arguments: &[&str]) -> Result<String> {
        output(self.cluster.kubectl().args(arguments)).await
    }

    /// `helm` in the case's namespace; answers with its standard output.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.cluster.helm();
        output(
            command
                .args(arguments)
                .args(["--namespace", &self.namespace]),
        )
        .await
    }

    /// An object of the case's namespace as JSON; `None` if there is none.
    pub async fn object(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self
            .kubectl(&["get", kind, name, "--ignore-not-found", "--output", "json"])
            .await?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// All objects of a kind in the case's namespace.
    pub async fn objects(&self, kind: &str) -> Result<Vec<Value>> {
        let text = self.kubectl(&["get", kind, "--output", "json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The gateway's log, one JSON object a line.
    pub async fn gateway_log(&self) -> Result<String> {
        self.kubectl(&["logs", "callmeter-gateway-0", "--tail=-1"])
            .await
    }

    /// At once, since a test program tells of failures only at its end.
    async fn keep_evidence(&self, failure: &str) -> Result<PathBuf> {
        let root = std::env::var_os("CALLMETER_EVIDENCE")
            .map_or_else(|| std::env::temp_dir().join("callmeter-e2e"), PathBuf::from);
        let folder = root.join(&self.namespace);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("failure.txt"), failure)?;
        let objects = "pods,events,workerpools,callmeterworkers,calltests,statefulsets,deployments";
        let kept = [
            ("objects.yaml", vec!["get", objects, "--output", "yaml"]),
            (
                "gateway.log",
                vec!["logs", "callmeter-gateway-0", "--tail=-1"],
            ),
            (
                "operator.log",
                vec!["logs", "deployment/callmeter-operator", "--tail=-1"],
            ),
            (
                "workers.log",
                vec![
                    "logs",
                    "--selector=callmeter.io/pool",
                    "--tail=-1",
                    "--prefix=true",
                ],
            ),
        ];
        for (file, arguments) in kept {
            let text = self
                .kubectl(&arguments)
                .await
                .unwrap_or_else(|error| format!("{error:#}"));
            std::fs::write(folder.join(file), text)?;
        }
        Ok(folder)
    }

    /// Pools first, since their finalizers need the operator, then the release and the namespace.
    async fn remove(&self) -> Result<()> {
        let gone = async {
            self.kubectl(&["delete", "calltests,workerpools", "--all", "--wait=false"])
                .await?;
            eventually(
                "pools and workers to be gone",
                Duration::from_secs(180),
                || async {
                    let left = self
                        .objects("workerpools,callmeterworkers,calltests")
                        .await?
                        .len();
                    Ok((left > 0).then(|| format!("{left} left")))
                },
            )
            .await?;
            let uninstall = ["uninstall", "callmeter", "--ignore-not-found", "--wait"];
            // The removal is not what cases are about: an API server that was slow is asked again.
            match self.helm(&uninstall).await {
                Ok(said) => Ok(said),
                Err(_) => self.helm(&uninstall).await,
            }
        }
        .await;
        let mut command = self.cluster.kubectl();
        command.args(["delete", "namespace", &self.namespace, "--wait=false"]);
        output(&mut command).await?;
        gone.map(drop)
    }
}

/// Where the nodes find the images, and their tag.
fn images() -> (String, String) {
    let given =
        |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    (
        given("CALLMETER_IMAGE_REPOSITORY", "docker.io/callmeter"),
        given("CALLMETER_IMAGE_TAG", "dev"),
    )
}

fn chart() -> String {
    format!("{}/../charts/callmeter", env!("CARGO_MANIFEST_DIR"))
}

/// `over` wins; objects are merged key by key.
fn merge(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                let merged = merge(under.remove(&key).unwrap_or(Value::Null), value);
                under.insert(key, merged);
            }
            Value::Object(under)
        }
        (under, Value::Null) => under,
        (_, over) => over,
    }
}
