//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::client::Client;
use crate::{report, table, watch};

/// Tests, runs and workers of a CallMeter gateway.
///
/// Exit status: 0 done, or the run passed; 1 the run failed, was partial or could not run; 2 an
/// error.
#[derive(Parser, Debug)]
#[command(name = "callmeter", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Action,
}

/// Where the gateway is and who asks. The key is never an argument: others could read it.
#[derive(Args, Debug)]
pub(crate) struct Server {
    /// The gateway's REST API, `https://host:port`
    #[arg(
        long = "server",
        value_name = "URL",
        global = true,
        env = "CALLMETER_SERVER",
        default_value = "https://localhost:8080"
    )]
    pub(crate) url: String,
    /// CA certificates (PEM) to check it against; absent: the system's
    #[arg(long, global = true, env = "CALLMETER_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File that holds the API key; absent: the environment variable CALLMETER_API_KEY
    #[arg(long, global = true, env = "CALLMETER_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Show a run live, and its report at the end
    Watch {
        /// Id of the run
        run: String,
    },
    /// Print the report of a run
    Report {
        /// Id of the run
        run: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Start a test from a file (YAML or JSON); prints the run's id
    Submit {
        /// The test definition
        file: PathBuf,
        /// Name of the run; absent: the file's
        #[arg(long)]
        name: Option<String>,
    },
    /// Stop a run: its calls are hung up and what was measured is reported
    Stop {
        /// Id of the run
        run: String,
    },
    /// List runs
    Runs,
    /// List workers
    Workers,
    /// Print the metric catalogue
    Metrics {
        /// As the page of the documentation
        #[arg(long)]
        markdown: bool,
    },
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let connect = || Client::new(&self.server);
        match self.command {
            Action::Watch { run } => return watch::watch(&connect()?, &run).await,
            Action::Report { run, json } => {
                let results = connect()?.get(&format!("/runs/{run}/results")).await?;
                if json {
                    println!("{}", serde_json::to_string_pretty(&results)?);
                } else {
                    print!("{}", report::render(&results));
                }
            }
            Action::Submit { file, name } => {
                let definition = std::fs::read_to_string(&file)
                    .with_context(|| format!("read the test definition {}", file.display()))?;
                let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or("test");
                let name = name.as_deref().unwrap_or(stem);
                let run = connect()?.submit(name, definition).await?;
                println!(
                    "{}",
                    run["id"].as_str().context("the answer holds no run id")?
                );
            }
            Action::Stop { run } => {
                connect()?
                    .post(&format!("/runs/{run}/stop"), &Value::Null)
                    .await?;
            }
            Action::Runs => print!("{}", table::runs(&connect()?.list("/runs").await?)),
            Action::Workers => print!("{}", table::workers(&connect()?.list("/workers").await?)),
            Action::Metrics { markdown: true } => print!("{}", callmeter_metrics::catalogue_page()),
            Action::Metrics { markdown: false } => print!("{}", table::metrics()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
