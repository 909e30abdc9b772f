//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Runs and workers of a CallMeter gateway.
#[derive(Debug, Parser)]
#[command(
    name = "callmeter",
    version,
    after_help = "\
The API key comes from CALLMETER_API_KEY, or from the file of --api-key-file.

Exit codes: 0 done, of a run: passed · 1 an error · 2 wrong usage · 3 the verdict is Failed · \
4 the verdict is Unknown (measurements are missing) · 5 the run ended FAILED or CANNOT_RUN_FOR_NOW"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which gateway, and how to reach it.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// Address of the gateway's REST API, like <https://gateway.example:8080>
    #[arg(
        long,
        env = "CALLMETER_SERVER",
        default_value = "https://localhost:8080",
        global = true
    )]
    pub(crate) server: String,
    /// CA certificates to trust (PEM); default: those of the system
    #[arg(long, env = "CALLMETER_CA_FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// File that holds the API key
    #[arg(long, env = "CALLMETER_API_KEY_FILE", global = true)]
    pub(crate) api_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a test definition (YAML, or JSON if it ends in .json; - for standard input)
    Submit {
        /// The definition, or a whole `CallTest`
        file: PathBuf,
        /// Name of the run
        #[arg(long)]
        name: Option<String>,
        /// Follow the run to its end
        #[arg(long)]
        watch: bool,
    },
    /// Follow a run to its end, then print its report
    Watch {
        /// Id of the run
        run: String,
    },
    /// Print the report of a run that is over
    Report {
        /// Id of the run
        run: String,
        /// As JSON, with every metric
        #[arg(long)]
        json: bool,
    },
    /// Stop a run: its calls hang up and it reports
    Stop {
        /// Id of the run
        run: String,
    },
    /// List runs, newest first
    Runs,
    /// List workers
    Workers,
    /// Print the metric catalogue of this program
    Metrics {
        /// As the page of the documentation
        #[arg(long)]
        markdown: bool,
    },
    /// Versions of this program and of the gateway
    Version,
}
