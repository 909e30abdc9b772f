//! What a gateway process leaves behind when it dies: no core file, no secret in its last words.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../../crates/process/tests/support/child.rs"]
mod child;

use std::path::Path;

use callmeter_gateway::logging::{self, Format, Level};
use callmeter_process::{OnPanic, harden};

/// R7
#[test]
fn a_panic_hides_its_message_in_the_log() {
    child::panic_if_child(|| {
        harden(OnPanic::Unwind).unwrap();
        logging::init(Level::Trace, Format::Json);
    });
    child::assert_panics_hide_secrets("a_panic_hides_its_message_in_the_log");
}

#[test]
fn a_gateway_process_forbids_core_files() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0";
    let mut gateway =
        child::with_core_files_allowed(Path::new(env!("CARGO_BIN_EXE_callmeter-gateway")))
            .args(["serve", "--workers-addr", any, "--fleet-addr", any])
            .args(["--rest-addr", any, "--log-level", "error", "--data-dir"])
            .arg(folder.path())
            .spawn()
            .unwrap();
    child::assert_forbids_core_files(gateway.id());
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}
