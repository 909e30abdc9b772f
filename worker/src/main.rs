//! The worker process: everything it needs is in its environment.

use std::process::ExitCode;

use callmeter_process::{OnPanic, harden};

/// Messages, rows and events are allocated by one thread and freed by another, thousands a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = harden(OnPanic::EndProcess) {
        eprintln!("callmeter-worker: core files cannot be forbidden: {error}");
        return ExitCode::FAILURE;
    }
    callmeter_worker::app::run(&callmeter_worker::app::environment())
}
