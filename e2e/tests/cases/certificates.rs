//! TLS as a user sets it up: certificates in Secrets, a test that names them, calls by TLS and by
//! secure WebSocket; an authority that is not the right one fails by name, and no key shows.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, Rest, on_system_node, pool, run};
use serde_json::{Value, json};

#[path = "../../../worker/tests/support/certificates.rs"]
#[expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a helper of the worker's tests"
)]
mod issued;

const START: Duration = Duration::from_secs(180);
const ENDPOINTS: u64 = 4;

#[tokio::test]
async fn calls_are_secured_with_certificates_from_secrets() -> Result<()> {
    let mut values = on_system_node();
    values["gateway"]["accountSecrets"] = json!(["answerers-tls", "other-ca"]);
    values["gateway"]["log"] = json!({"level": "trace"});
    run("certificates", values, |case| async move {
        let mut pool = pool("fra", 4, &json!({"replicas": 2}));
        pool["spec"]["template"]["log"] = json!({"level": "trace"});
        case.apply(&pool).await?;
        case.await_online("fra", 2, START).await?;
        let (own, other) = secrets(&case).await?;

        let rest = Rest::connect(&case).await?;
        for transport in ["tls", "wss"] {
            case.apply(&test(transport, transport, "answerers-tls"))
                .await?;
            let done = case.await_phase(transport, &["COMPLETED"], START).await?;
            let status = &done["status"];
            ensure!(status["verdict"] == "Passed", "{transport}: {status}");
            let run = status["run"].as_str().context("no run")?;
            let results = rest.get(&format!("/runs/{run}/results")).await?;
            let callers = group(&results, "callers")?;
            ensure!(callers["calls"]["succeeded"] == ENDPOINTS, "{callers}");
        }

        case.apply(&test("stranger", "tls", "other-ca")).await?;
        let done = case.await_phase("stranger", &["COMPLETED"], START).await?;
        let status = &done["status"];
        ensure!(status["verdict"] == "Failed", "stranger: {status}");
        let run = status["run"].as_str().context("no run")?;
        let results = rest.get(&format!("/runs/{run}/results")).await?;
        let callers = group(&results, "callers")?;
        ensure!(callers["calls"]["succeeded"] == 0, "{callers}");
        let reason = callers["failures"][0]["reason"].as_str();
        ensure!(
            reason.is_some_and(|why| why.contains("certificate signed by unknown authority")),
            "{callers}"
        );
        no_key_shows(&case, &[own, other]).await
    })
    .await
}

/// The Secrets of two authorities; the first certificate is for the workers' addresses.
async fn secrets(case: &Case) -> Result<(String, String)> {
    // A worker is online at the gateway before its kubelet has written its address.
    let ready = [
        "wait",
        "pods",
        "--selector=callmeter.io/pool=fra",
        "--for=condition=Ready",
        "--timeout=60s",
    ];
    case.kubectl(&ready).await?;
    let addresses = [
        "get",
        "pods",
        "--selector=callmeter.io/pool=fra",
        "--output=jsonpath={.items[*].status.podIP}",
    ];
    let addresses = case.kubectl(&addresses).await?;
    let addresses: Vec<&str> = addresses.split_whitespace().collect();
    ensure!(addresses.len() == 2, "addresses of workers: {addresses:?}");
    let own = issued::certificates(&addresses, false);
    let other = issued::certificates(&addresses, false);
    for (name, certificates) in [("answerers-tls", &own), ("other-ca", &other)] {
        case.apply(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name},
            "stringData": {
                "ca.crt": certificates.ca,
                "tls.crt": certificates.certificate,
                "tls.key": certificates.key,
            },
        }))
        .await?;
    }
    let line = |key: &str| key.lines().nth(1).map(str::to_owned);
    line(&own.key)
        .zip(line(&other.key))
        .context("a key of one line")
}

fn test(name: &str, transport: &str, trusted: &str) -> Value {
    json!({
        "apiVersion": "callmeter.io/v1alpha1",
        "kind": "CallTest",
        "metadata": {"name": name},
        "spec": {
            "duration": "20s",
            "groups": [
                {
                    "name": "answerers",
                    "endpoints": ENDPOINTS,
                    "role": "callee",
                    "registrar": {
                        "register": false,
                        "transport": transport,
                        "tls": {"serverCertRef": {"name": "answerers-tls"}},
                    },
                },
                {
                    "name": "callers",
                    "endpoints": ENDPOINTS,
                    "role": "caller",
                    "target": {"group": "answerers"},
                    "registrar": {
                        "register": false,
                        "transport": transport,
                        "tls": {"verify": "custom", "caRef": {"name": trusted}},
                    },
                    "call": {"duration": "5s"},
                },
            ],
            "expect": [{"metric": "call_success_rate", "min": 100}],
        },
    })
}

fn group<'a>(results: &'a Value, name: &str) -> Result<&'a Value> {
    let groups = results["groups"].as_array().context("no groups")?;
    let found = groups.iter().find(|group| group["name"] == name);
    found.with_context(|| format!("no group {name}: {results}"))
}

async fn no_key_shows(case: &Case, keys: &[String]) -> Result<()> {
    let mut said = vec![
        ("gateway".to_owned(), case.gateway_log().await?),
        (
            "objects".to_owned(),
            case.kubectl(&["get", "calltests,events,pods", "--output=yaml"])
                .await?,
        ),
    ];
    for worker in case.online_workers("fra").await? {
        let log = case.kubectl(&["logs", &worker, "--tail=-1"]).await?;
        said.push((worker, log));
    }
    for (source, text) in &said {
        ensure!(text.len() > 20, "{source} said nothing: {text:?}");
        for key in keys {
            ensure!(!text.contains(key.as_str()), "{source} shows a key");
        }
    }
    Ok(())
}
