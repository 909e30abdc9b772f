//! The command line holds an API key: no core file of it. It has no log; how its panics show is
//! the business of `callmeter-process`, whose one function forbids core files too.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../../crates/process/tests/support/child.rs"]
mod child;

use std::{net::TcpListener, path::Path};

/// The gateway of this process takes connections and never answers.
#[test]
fn a_command_forbids_core_files() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let mut command = child::with_core_files_allowed(Path::new(env!("CARGO_BIN_EXE_callmeter")))
        .args(["--server", &server, "runs"])
        .env("CALLMETER_API_KEY", format!("cmk_{}", "0".repeat(32)))
        .spawn()
        .unwrap();
    child::assert_forbids_core_files(command.id());
    command.kill().unwrap();
    command.wait().unwrap();
}
