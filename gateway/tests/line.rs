//! The line without Kubernetes: a test over REST, two workers that call each other, a report. Real
//! processes on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test; what it compares are whole numbers"
)]

mod processes;

use std::net::SocketAddr;
use std::time::Duration;

use processes::report::{count, figure, metric, mos_at};
use processes::{Gateway, LASTING, files_with, folder, holds_bytes, measured};
use serde_json::Value;
use tokio::sync::RwLock;

/// Long enough for a loaded machine.
const WITHIN: Duration = Duration::from_secs(60);
const ENDPOINTS: u64 = 10;

/// Held to write by a test that measures: the others do not run beside it.
static QUIET: RwLock<()> = RwLock::const_new(());

/// The SIP password of [`DIRECT`].
const PASSWORD: &str = "planted-7f3a9c51e2";

/// Two groups without a registrar; 9 s, a call takes 3 s. Each caller is asked for a call every
/// second, and places every fourth.
const DIRECT: &str = "
duration: 9s
groups:
  - name: answerers
    endpoints: 10
    role: callee
    registrar: {domain: 127.0.0.1, register: false}
    accounts: {pattern: 'answerer{n}', password: planted-7f3a9c51e2}
    call: {ringFor: 300ms}
  - name: callers
    endpoints: 10
    role: caller
    target: {group: answerers}
    load: {arrivalRate: 10/s}
    call: {duration: 3s, repeat: true}
expect:
  - {metric: mos, stat: p05, min: 4.0}
  - {metric: call_success_rate, min: 100}
";

/// Calls over TCP that are held, resumed and ended by a digit, from the definition to the figures.
const SCENARIO: &str = "
duration: 9s
groups:
  - name: answerers
    endpoints: 4
    role: callee
    registrar: {transport: tcp, register: false}
    reliable: supported
    call: {ringFor: 300ms}
    scenario:
      - {when: {event: dtmf, digits: '#'}, do: hangUp}
  - name: callers
    endpoints: 4
    role: caller
    target: {group: answerers}
    registrar: {transport: tcp, register: false}
    reliable: supported
    headers: [{name: X-Test, value: line}]
    call: {duration: 8s}
    scenario:
      - {when: {at: 1s}, do: hold}
      - {when: {at: 2s}, do: resume}
      - {when: {at: 3s}, do: sendDtmf, digits: '12#'}
expect:
  - {metric: call_success_rate, min: 100}
";

/// What a whole, undisturbed run of [`DIRECT`] shows.
fn assert_measured(report: &Value) {
    assert_nothing_lost(report);
    assert_eq!(report["verdict"], "Passed", "{report:#}");
    for (sender, receiver) in [("callers", "answerers"), ("answerers", "callers")] {
        let sent = count(report, sender, "/packets/sent");
        assert_eq!(count(report, receiver, "/packets/received"), sent);
        let delay = metric(report, receiver, "one_way_delay_ms", "recv", "mean");
        let mos = metric(report, receiver, "mos", "recv", "mean");
        assert!(
            (mos - mos_at(delay)).abs() < 0.02,
            "MOS {mos} at {delay} ms"
        );
        assert!(figure(report, sender, "/generator/seconds") > 0.0);
        assert!(figure(report, sender, "/generator/txLatenessP99Ms") >= 0.0);
    }
    // 300 ms of ringing, and hardly more.
    let setup = figure(report, "callers", "/setupMs/p50");
    assert!((300.0..400.0).contains(&setup), "setup in {setup} ms");
}

/// R88–R93, R96, R100, R101, R104: workers dial in, a test over REST runs, what one end sent the
/// other received, MOS is what the formula gives, and everything is free again afterwards.
#[tokio::test]
async fn a_test_over_rest_runs_between_two_workers_and_is_measured() {
    let _quiet = QUIET.write().await;
    let folder = folder();
    let gateway = Gateway::start(folder.path()).await;
    let _workers = [
        gateway.worker("line-a", "127.77.1.1").await,
        gateway.worker("line-b", "127.77.1.2").await,
    ];
    measured(
        async || gateway.report(DIRECT, WITHIN).await,
        assert_measured,
    )
    .await;
    assert_workers_carry(&gateway, 0).await;
}

/// Every worker of a gateway has so many endpoints in use.
async fn assert_workers_carry(gateway: &Gateway, endpoints: u64) {
    let workers = gateway.get("/workers").await.data();
    for worker in workers.as_array().unwrap() {
        assert_eq!(worker["capacity"]["active"], endpoints, "{worker}");
    }
}

/// R107: while a run goes on it is shown, and what it takes. R7, R61: neither the password given
/// with the test nor the workers' tokens nor the API key are in any log or in any file of the
/// database.
#[tokio::test]
async fn a_run_is_shown_while_it_goes_on_and_leaves_no_secret_anywhere() {
    let _shared = QUIET.read().await;
    let folder = folder();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let gateway = Gateway::start_with(folder.path(), any, "trace").await;
    let workers = [
        gateway.worker("shown-a", "127.77.7.1").await,
        gateway.worker("shown-b", "127.77.7.2").await,
    ];

    // The calls last until the run is stopped.
    let definition = DIRECT
        .replacen("duration: 9s", "duration: 10m", 1)
        .replacen("duration: 3s", "duration: 10m", 1);
    let run = gateway.submit(&definition).await;
    let talking = |state: &Value| {
        let groups = state["groups"].as_array().unwrap();
        state["status"] == "RUNNING" && groups.iter().all(|g| g["inCall"] == ENDPOINTS)
    };
    let running = gateway.until(&run, WITHIN, talking).await;
    let on: Vec<&Value> = running["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| &g["workers"])
        .collect();
    assert!(
        on[0] != on[1],
        "groups that call each other are on different workers: {on:?}"
    );
    assert_workers_carry(&gateway, ENDPOINTS).await;
    let live = gateway.get(&format!("/runs/{run}/live")).await.data();
    assert_eq!(live["id"], run.as_str());
    let early = gateway.get(&format!("/runs/{run}/results")).await;
    assert_eq!(
        (early.status, &early.body["error"]["code"]),
        (409, &"CONFLICT".into())
    );

    gateway
        .post(&format!("/runs/{run}/stop"), "{}")
        .await
        .data();
    let over = gateway.over(&run, WITHIN).await;
    assert_eq!(over["status"], "COMPLETED", "{over:#}");
    let report = gateway.get(&format!("/runs/{run}/results")).await.data();
    assert_eq!(count(&report, "callers", "/calls/succeeded"), ENDPOINTS);
    assert_workers_carry(&gateway, 0).await;

    assert!(gateway.log().contains(&run), "the gateway logs at trace");
    assert!(!over.to_string().contains(PASSWORD), "{over:#}");
    // Nowhere: logs of all three at trace, the database, its write-ahead log, its index of that.
    let data = folder.path().join("data");
    assert!(!files_with(&data, &run).is_empty(), "the database is read");
    assert!(
        files_with(&data, &run)
            .iter()
            .any(|path| path.ends_with("callmeter.db-wal")),
        "so is what is not in it yet"
    );
    let mut secrets = vec![
        PASSWORD.to_owned(),
        gateway.key()["cmk_".len()..].to_owned(),
    ];
    for worker in &workers {
        let body = worker.token["cmw_".len()..].to_owned();
        // Neither as it is nor as the bytes it stands for.
        let bytes: Vec<u8> = (0..body.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&body[at..at + 2], 16).unwrap())
            .collect();
        assert!(!holds_bytes(&data, &bytes), "the token's bytes are stored");
        secrets.push(body);
    }
    for secret in secrets {
        let files = files_with(folder.path(), &secret);
        assert_eq!(files, Vec::<std::path::PathBuf>::new());
    }
}

/// What a scenario says is done in every call, over the transport asked for, and measured.
#[tokio::test]
async fn a_scenario_over_tcp_is_done_and_measured() {
    let _quiet = QUIET.write().await;
    let folder = folder();
    let gateway = Gateway::start(folder.path()).await;
    let _workers = [
        gateway.worker("line-a", "127.77.5.1").await,
        gateway.worker("line-b", "127.77.5.2").await,
    ];
    measured(
        async || gateway.report(SCENARIO, WITHIN).await,
        assert_scenario_done,
    )
    .await;
}

/// What a whole, undisturbed run of [`SCENARIO`] shows.
fn assert_scenario_done(report: &Value) {
    assert_eq!(
        (&report["status"], &report["verdict"]),
        (&"COMPLETED".into(), &"Passed".into()),
        "{report:#}"
    );
    assert_eq!(count(report, "callers", "/calls/succeeded"), 4);
    let sum = |group, key, direction| metric(report, group, key, direction, "sum");
    let mean = |group, key| metric(report, group, key, "none", "mean");
    assert_eq!(sum("callers", "scenario_actions_executed", "send"), 12.0);
    assert_eq!(sum("callers", "scenario_actions_failed", "send"), 0.0);
    assert_eq!(sum("answerers", "scenario_actions_executed", "recv"), 4.0);
    assert_eq!(sum("callers", "hold_count", "send"), 4.0);
    assert_eq!(sum("callers", "dtmf_sent", "send"), 12.0);
    assert_eq!(sum("answerers", "dtmf_received", "recv"), 12.0);
    assert!(mean("callers", "hold_delay_ms") > 0.0);
    assert!(mean("callers", "tcp_connect_ms") >= 0.0);
    // The digits begin 3 s after the answer, each takes 200 ms with its pause; without them a call
    // takes 8 s.
    let lasted = mean("callers", "call_duration_ms");
    assert!((3400.0..7900.0).contains(&lasted), "{lasted} ms");
}

/// R94: a gateway that is killed in the middle of a run goes on with it; nothing is lost.
#[tokio::test]
async fn a_run_survives_a_crash_of_the_gateway() {
    let _shared = QUIET.read().await;
    measured(crash_in_a_run, assert_nothing_lost).await;
}

/// The report of a run whose gateway was killed and started again.
async fn crash_in_a_run() -> Value {
    let folder = folder();
    let gateway = Gateway::start_with(folder.path(), SocketAddr::from((LASTING, 0)), "info").await;
    let _workers = [
        gateway.worker("crash-a", "127.77.2.1").await,
        gateway.worker("crash-b", "127.77.2.2").await,
    ];
    let run = gateway.submit(DIRECT).await;
    let placed = |state: &Value| {
        state["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|g| g["calls"].as_u64() >= Some(1))
    };
    gateway.until(&run, WITHIN, placed).await;
    let address = gateway.workers;
    gateway.kill();

    let gateway = Gateway::start_with(folder.path(), address, "info").await;
    gateway.over(&run, WITHIN).await;
    gateway.get(&format!("/runs/{run}/results")).await.data()
}

/// What every whole run of [`DIRECT`] shows, also one whose figures came in part after a crash. How
/// long things took is not asked: a process that starts takes time from the others.
fn assert_nothing_lost(report: &Value) {
    assert_eq!(
        (&report["status"], &report["partial"]),
        (&"COMPLETED".into(), &false.into()),
        "{report:#}"
    );
    for (sender, receiver) in [("callers", "answerers"), ("answerers", "callers")] {
        let calls = count(report, sender, "/calls/total");
        assert!(calls >= 2 * ENDPOINTS, "{calls} calls");
        assert_eq!(count(report, sender, "/calls/succeeded"), calls);
        let sent = count(report, sender, "/packets/sent");
        // Each call lasts 3 s of 50 packets.
        assert!(sent > calls * 100, "{sent} packets");
        assert_eq!(count(report, receiver, "/packets/lost"), 0);
        let received = count(report, receiver, "/packets/received");
        // A packet may arrive after the end of its call.
        assert!(
            received <= sent && sent - received <= calls * 10,
            "{received} of {sent} packets"
        );
    }
}

/// A worker that is lost for good takes its group with it: the run FAILED, is partial and says so;
/// what is left of it is stopped.
#[tokio::test]
async fn a_lost_worker_fails_a_run_that_has_nobody_else() {
    let _shared = QUIET.read().await;
    let folder = folder();
    let gateway = Gateway::start(folder.path()).await;
    let a = gateway.worker("lost-a", "127.77.3.1").await;
    let b = gateway.worker("lost-b", "127.77.3.2").await;
    let run = gateway
        .submit(&DIRECT.replacen("duration: 9s", "duration: 10m", 1))
        .await;
    let talking = |state: &Value| {
        state["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|g| g["inCall"].as_u64() >= Some(1))
    };
    let state = gateway.until(&run, WITHIN, talking).await;
    let answerers = state["groups"][0]["workers"][0].as_str().unwrap();
    let (gone, _left) = if answerers == "lost-a" {
        (a, b)
    } else {
        (b, a)
    };
    gone.kill();

    let over = gateway.over(&run, Duration::from_secs(120)).await;
    assert_eq!(
        (&over["status"], &over["verdict"]),
        (&"FAILED".into(), &"Unknown".into()),
        "{over:#}"
    );
    let reason = format!("group answerers lost all its endpoints with worker {answerers}");
    assert_eq!(over["reason"], reason.as_str());
    let partial = &over["partialReasons"][0];
    assert_eq!(
        (&partial["cause"], &partial["worker"]),
        (&"WorkerLost".into(), &answerers.into())
    );
    assert_eq!(
        (&partial["group"], &partial["endpoints"]),
        (&"answerers".into(), &ENDPOINTS.into())
    );
    let report = gateway.get(&format!("/runs/{run}/results")).await.data();
    assert_eq!(report["partial"], true);
    assert!(figure(&report, "callers", "/packets/received") > 0.0);
}

/// A run that is stopped hangs up and reports; a run that nothing can hold says the numbers (R107).
#[tokio::test]
async fn a_run_can_be_stopped_and_an_impossible_one_is_refused() {
    let _shared = QUIET.read().await;
    let folder = folder();
    let gateway = Gateway::start(folder.path()).await;
    let _workers = [
        gateway.worker("stop-a", "127.77.4.1").await,
        gateway.worker("stop-b", "127.77.4.2").await,
    ];
    let run = gateway
        .submit(&DIRECT.replacen("duration: 9s", "duration: 10m", 1))
        .await;
    let talking = |state: &Value| state["groups"][0]["inCall"].as_u64() >= Some(1);
    gateway.until(&run, WITHIN, talking).await;
    gateway
        .post(
            &format!("/runs/{run}/stop"),
            "{\"reason\": \"seen enough\"}",
        )
        .await
        .data();
    let over = gateway.over(&run, WITHIN).await;
    assert_eq!(
        (&over["status"], &over["reason"]),
        (&"COMPLETED".into(), &"stopped: seen enough".into())
    );
    assert_eq!(over["partial"], false, "{over:#}");

    let big = gateway.submit("{duration: 5s, groups: [{name: big, endpoints: 51, role: callee, target: {external: true}}]}").await;
    let over = gateway.over(&big, WITHIN).await;
    assert_eq!(over["status"], "CANNOT_RUN_FOR_NOW");
    let reason = "project default: 51 endpoints asked, at most 50 (2 workers ONLINE with 50, no pool that can grow)";
    assert_eq!(over["reason"], reason);
}
