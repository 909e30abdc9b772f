//! The line as a user runs it: registered calls through Kamailio, every column filled, and no secret
//! anywhere but in its Secret, with every component at its most talkative. R7, R99, R100, R103.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{Case, Nodes, Rest, on_system_node, pool, run};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(180);
/// Planted: looked for in everything a component says.
const PASSWORD: &str = "planted-7f3a9c51e2";
const ENDPOINTS: u64 = 4;

#[tokio::test]
async fn registered_calls_through_kamailio_are_measured_and_no_secret_shows() -> Result<()> {
    run("line", values(), |case| async move {
        kamailio(&case).await?;
        let rest = Rest::connect(&case).await?;
        let made = rest
            .post("/workers", &json!({"name": "by-hand", "capacity": 4}))
            .await?;
        let token = made["token"].as_str().context("no token")?.to_owned();
        case.apply(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "cmw-hand"},
            "stringData": {"token": token},
        }))
        .await?;

        let claimed = json!({"replicas": 1, "tokens": {"claim": {}}});
        let by_hand = json!({
            "replicas": 1,
            "tokens": {"secrets": [{"name": "cmw-hand", "key": "token"}]},
        });
        for (name, more) in [("claimed", claimed), ("by-hand", by_hand)] {
            let mut pool = pool(name, 4, &more);
            pool["spec"]["template"]["log"] = json!({"level": "trace"});
            case.apply(&pool).await?;
        }
        case.await_online("claimed", 1, START).await?;
        case.await_online("by-hand", 1, START).await?;

        case.apply(&test(&case.namespace)).await?;
        case.await_phase("line", &["RUNNING"], START).await?;
        let done = case.await_phase("line", &["COMPLETED"], START).await?;
        ensure!(
            done["status"]["verdict"] == "Passed",
            "verdict: {}",
            done["status"]
        );

        let run = done["status"]["run"].as_str().context("no run")?;
        measured(&rest.get(&format!("/runs/{run}/results")).await?)?;
        columns(&case).await?;
        no_secret_shows(&case, &token).await
    })
    .await
}

fn values() -> Value {
    let mut values = on_system_node();
    values["gateway"]["accountSecrets"] = json!(["sip-accounts"]);
    values["gateway"]["log"] = json!({"level": "trace"});
    values["operator"]["log"] = json!({"level": "trace"});
    values
}

async fn kamailio(case: &Case) -> Result<()> {
    let rows: Vec<_> = (1..=20).map(|i| format!("u{i},{PASSWORD}\n")).collect();
    case.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sip-accounts"},
        "stringData": {"accounts.csv": rows.concat(), "password": PASSWORD},
    }))
    .await?;
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/demo/kamailio.yaml");
    case.kubectl(&["apply", "--filename", manifest]).await?;
    let wait = ["rollout", "status", "deployment/kamailio", "--timeout=180s"];
    case.kubectl(&wait).await.map(drop)
}

fn test(namespace: &str) -> Value {
    let registrar = json!({"domain": format!("kamailio.{namespace}.svc.cluster.local")});
    json!({
        "apiVersion": "callmeter.io/v1alpha1",
        "kind": "CallTest",
        "metadata": {"name": "line"},
        "spec": {
            "duration": "45s",
            "groups": [
                {
                    "name": "answerers",
                    "endpoints": ENDPOINTS,
                    "placement": {"pool": "claimed"},
                    "role": "callee",
                    "registrar": registrar,
                    "accounts": {"secretRef": {"name": "sip-accounts"}, "first": 1},
                    "audio": {"codec": "pcmu"},
                    "call": {"ringFor": "500ms"},
                },
                {
                    "name": "callers",
                    "endpoints": ENDPOINTS,
                    "placement": {"pool": "by-hand"},
                    "role": "caller",
                    "target": {"group": "answerers"},
                    "registrar": registrar,
                    "accounts": {"secretRef": {"name": "sip-accounts"}, "first": 11},
                    "audio": {"codec": "pcmu"},
                    "call": {"duration": "8s", "repeat": true},
                },
            ],
            "expect": [
                // The least a MOS can be: that there is a figure is judged, not how loaded the
                // machine is.
                {"metric": "mos", "stat": "p05", "min": 1.0},
                {"metric": "call_success_rate", "min": 100},
            ],
        },
    })
}

/// Every call answered, two per caller at least, and nothing lost between the two ends.
fn measured(results: &Value) -> Result<()> {
    let groups = results["groups"]
        .as_array()
        .context("no groups in the results")?;
    let group = |name: &str| {
        let found = groups.iter().find(|g| g["name"] == name);
        found.with_context(|| format!("no group {name}: {results}"))
    };
    let (callers, answerers) = (group("callers")?, group("answerers")?);
    let calls = callers["calls"]["total"].as_u64().unwrap_or(0);
    ensure!(calls >= 2 * ENDPOINTS, "{calls} calls: {callers}");
    ensure!(
        callers["calls"]["succeeded"].as_u64() == Some(calls),
        "a call failed: {callers}"
    );
    for (sender, receiver) in [(callers, answerers), (answerers, callers)] {
        let (sent, received) = (&sender["packets"]["sent"], &receiver["packets"]["received"]);
        ensure!(
            sent.as_f64().is_some_and(|sent| sent > 0.0),
            "nothing sent: {results}"
        );
        ensure!(
            sent == received,
            "{sent} sent, {received} received: {results}"
        );
    }
    Ok(())
}

/// Every column of the three resources is filled in at least one row. E3
async fn columns(case: &Case) -> Result<()> {
    for kind in ["workerpools", "callmeterworkers", "calltests"] {
        let mut empty = case.empty_columns(kind).await?;
        // The reason of a test is a sentence that only trouble fills; the case of the queue has it.
        empty.retain(|column| (kind, &**column) != ("calltests", "REASON"));
        ensure!(empty.is_empty(), "{kind}: no row fills {empty:?}");
    }
    Ok(())
}

async fn no_secret_shows(case: &Case, token: &str) -> Result<()> {
    // Every kind there is, their Secret apart; also those of other namespaces.
    let kinds = [
        "api-resources",
        "--verbs=list",
        "--namespaced",
        "--output=name",
    ];
    let kinds = case.cluster_kubectl(&kinds).await?;
    let kinds: Vec<_> = kinds.lines().filter(|kind| *kind != "secrets").collect();
    let everything = kinds.join(",");
    let objects = ["get", &*everything, "--all-namespaces", "--output=yaml"];
    let mut said = vec![
        ("objects".to_owned(), case.cluster_kubectl(&objects).await?),
        (
            "description".to_owned(),
            case.kubectl(&["describe", &everything]).await?,
        ),
        ("gateway".to_owned(), case.gateway_log().await?),
    ];
    for source in ["deployment/callmeter-operator", "deployment/kamailio"] {
        said.push((
            source.to_owned(),
            case.kubectl(&["logs", source, "--tail=-1"]).await?,
        ));
    }
    for pool in ["claimed", "by-hand"] {
        for worker in case.online_workers(pool).await? {
            let log = case.kubectl(&["logs", &worker, "--tail=-1"]).await?;
            ensure!(
                log.contains("INVITE sip:"),
                "{worker} does not log SIP at trace"
            );
            let fetch = [
                "exec",
                &worker,
                "--",
                "curl",
                "-s",
                "http://localhost:3030/metrics",
            ];
            said.push((format!("metrics of {worker}"), case.kubectl(&fetch).await?));
            said.push((worker, log));
        }
    }
    match database(case).await? {
        Some(files) => said.push(("the database".to_owned(), files)),
        None => eprintln!("not run: the database file is looked into on a node of our own"),
    }
    let body = token.trim_start_matches("cmw_");
    for (source, text) in &said {
        ensure!(text.len() > 20, "{source} said nothing: {text:?}");
        // Kamailio's own configuration reads its password from the Secret by name.
        for (what, secret) in [("token", body), ("SIP password", PASSWORD)] {
            ensure!(!text.contains(secret), "{source} shows the {what}");
        }
    }
    Ok(())
}

/// Everything in the gateway's volume, its database with its log among it; none: on a cluster that is
/// not ours. R61
async fn database(case: &Case) -> Result<Option<String>> {
    if Nodes::of(&case.cluster).is_none() {
        return Ok(None);
    }
    let claim = case
        .object("persistentvolumeclaim", "data-callmeter-gateway-0")
        .await?
        .context("no claim of the gateway")?;
    let name = claim["spec"]["volumeName"].as_str().context("no volume")?;
    let path = [
        "get",
        "persistentvolume",
        name,
        "--output=jsonpath={.spec.local.path}",
    ];
    let folder = case.cluster_kubectl(&path).await?;
    let mut text = String::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
        text += &String::from_utf8_lossy(&std::fs::read(entry?.path())?);
    }
    ensure!(text.contains("SQLite format 3"), "no database in {folder}");
    Ok(Some(text))
}
