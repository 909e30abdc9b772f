//! `callmeter`: runs and workers of a gateway from the terminal.

mod args;
mod client;
mod commands;
mod model;
mod report;
mod table;
mod watch;

use std::process::ExitCode;

use callmeter_process::{OnPanic, harden};
use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Err(error) = harden(OnPanic::EndProcess) {
        eprintln!("callmeter: core files cannot be forbidden: {error}");
        return ExitCode::FAILURE;
    }
    let provider = rustls::crypto::ring::default_provider();
    if provider.install_default().is_err() {
        eprintln!("callmeter: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    match commands::run(args::Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callmeter: {error:#}");
            ExitCode::FAILURE
        }
    }
}
