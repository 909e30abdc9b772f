//! What an operator process leaves behind when it dies: no core file, no secret in its last words.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../../crates/process/tests/support/child.rs"]
mod child;

use std::{net::TcpListener, path::Path, process::Stdio};

use callmeter_operator::{
    args::{Cli, Command},
    logging,
};
use callmeter_process::{OnPanic, harden};
use clap::Parser as _;

const REQUIRED: [&str; 8] = [
    "--fleet-url=https://127.0.0.1:9",
    "--fleet-token-file=/nonexistent/token",
    "--gateway-url=127.0.0.1:9",
    "--worker-image=worker:latest",
    "--metrics-addr=127.0.0.1:0",
    "--health-addr=127.0.0.1:0",
    "--log-level=trace",
    "--log-format=json",
];

/// R7
#[test]
fn a_panic_hides_its_message_in_the_log() {
    child::panic_if_child(|| {
        harden(OnPanic::Unwind).unwrap();
        let given = ["callmeter-operator", "run"].into_iter().chain(REQUIRED);
        let Command::Run(args) = Cli::parse_from(given).command else {
            panic!("run is run");
        };
        logging::init(&args).unwrap();
    });
    child::assert_panics_hide_secrets("a_panic_hides_its_message_in_the_log");
}

/// The API server of this process takes connections and never answers.
#[test]
fn an_operator_process_forbids_core_files() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let folder = std::env::temp_dir().join(format!("callmeter-operator-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\n\
         users: [{{name: c, user: {{}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut operator =
        child::with_core_files_allowed(Path::new(env!("CARGO_BIN_EXE_callmeter-operator")))
            .arg("run")
            .args(REQUIRED)
            .env("KUBECONFIG", &config)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
    child::assert_forbids_core_files(operator.id());
    operator.kill().unwrap();
    operator.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
