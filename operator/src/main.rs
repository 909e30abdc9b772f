//! The binary of the operator.

use anyhow::Context as _;
use callmeter_operator::{args, crd, logging, rbac, run, uninstall};
use callmeter_process::{OnPanic, harden};
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    harden(OnPanic::Unwind).context("core files cannot be forbidden")?;
    match args::Cli::parse().command {
        args::Command::Crd { name } => print!("{}", crd::print(name.as_deref())?),
        args::Command::Rbac => print!("{}", rbac::print()?),
        args::Command::UninstallGuard { watch_namespace } => {
            uninstall::guard(watch_namespace.as_deref()).await?;
        }
        args::Command::Run(args) => {
            logging::init(&args)?;
            run::run(*args).await?;
        }
    }
    Ok(())
}
