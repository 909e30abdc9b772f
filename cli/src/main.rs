//! `callmeter`: the gateway's REST API from a terminal.

mod args;
mod client;
mod report;
mod table;
mod value;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("callmeter: a second TLS provider was installed");
        return ExitCode::FAILURE;
    }
    match args::Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callmeter: {error:#}");
            ExitCode::from(2)
        }
    }
}
