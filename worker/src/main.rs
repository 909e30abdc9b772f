//! The worker process: everything it needs is in its environment.

use std::process::ExitCode;

fn main() -> ExitCode {
    callmeter_worker::app::run(&callmeter_worker::app::environment())
}
