//! `callmeter-gateway`: the control plane that workers dial into.

use std::process::ExitCode;

use callmeter_gateway::args::Args;
use callmeter_process::{OnPanic, harden};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = harden(OnPanic::Unwind) {
        eprintln!("callmeter-gateway: core files cannot be forbidden: {error}");
        return ExitCode::FAILURE;
    }
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("callmeter-gateway: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    match Args::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain: what was attempted, and why it failed.
            eprintln!("callmeter-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
