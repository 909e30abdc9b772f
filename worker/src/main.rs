//! The worker process: everything it needs is in its environment.

use std::process::ExitCode;

use callmeter_process::{OnPanic, harden};

fn main() -> ExitCode {
    if let Err(error) = harden(OnPanic::EndProcess) {
        eprintln!("callmeter-worker: core files cannot be forbidden: {error}");
        return ExitCode::FAILURE;
    }
    callmeter_worker::app::run(&callmeter_worker::app::environment())
}
