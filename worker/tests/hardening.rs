//! What a worker process leaves behind when it dies: no core file, no secret in its last words.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../../crates/process/tests/support/child.rs"]
mod child;

use std::{net::TcpListener, path::Path, process::Stdio};

use callmeter_process::{OnPanic, harden};
use callmeter_worker::{config::LogFormat, logging};

/// R7: at trace, in both forms of the log.
#[test]
fn a_panic_hides_its_message_in_the_log() {
    child::panic_if_child(|| {
        harden(OnPanic::EndProcess).unwrap();
        logging::init(tracing::Level::TRACE, LogFormat::Json);
    });
    child::assert_panics_hide_secrets("a_panic_hides_its_message_in_the_log");
    let (_, text) = child::panicking("a_panic_hides_its_message_in_the_log", "thread");
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let told = lines
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .any(|line| line["level"] == "ERROR" && line["thread"] == "dies");
    assert!(told, "{text}");
}

#[test]
fn a_worker_process_forbids_core_files() {
    let health = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = health.local_addr().unwrap().port();
    drop(health);
    let mut worker =
        child::with_core_files_allowed(Path::new(env!("CARGO_BIN_EXE_callmeter-worker")))
            .env("WORKER_TOKEN", format!("cmw_{}", "0".repeat(64)))
            .env("CLOUD_URL", "127.0.0.1:9")
            .env("SIP_IP", "127.0.0.9")
            .env("HEALTH_PORT", port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
    child::assert_forbids_core_files(worker.id());
    worker.kill().unwrap();
    worker.wait().unwrap();
}
