//! Command line and environment of the operator.

mod value;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Turns pools into workers and call tests into runs.
#[derive(Parser, Debug)]
#[command(name = "callmeter-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the controllers.
    Run(Box<RunArgs>),
    /// Print the definitions of the custom resources as YAML.
    Crd {
        /// Only this one, by its plural name.
        name: Option<String>,
    },
    /// Print the rules that the operator's role needs as YAML.
    Rbac,
    /// Fail while pools exist, naming them: their workers drain through the operator.
    UninstallGuard {
        /// Only this namespace is looked at; absent: all.
        #[arg(long, env = "WATCH_NAMESPACE", value_parser = value::label)]
        watch_namespace: Option<String>,
    },
}

/// Settings of the controllers.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// The gateway's fleet API, `https://host:port`.
    #[arg(long, env = "FLEET_URL", value_parser = value::fleet_url)]
    pub fleet_url: String,
    /// CA certificates (PEM) that the fleet API is checked against; absent: the system's.
    #[arg(long, env = "FLEET_CA_FILE")]
    pub fleet_ca_file: Option<PathBuf>,
    /// Projected service account token with the audience `callmeter-gateway`; read again for use.
    #[arg(long, env = "FLEET_TOKEN_FILE")]
    pub fleet_token_file: PathBuf,
    /// Where workers dial in, `host:port`, for pools that name no gateway.
    #[arg(long, env = "GATEWAY_URL", value_parser = value::gateway_url)]
    pub gateway_url: String,
    /// CA certificates (PEM) that workers check the gateway against; absent: their system's.
    #[arg(long, env = "GATEWAY_CA_FILE")]
    pub gateway_ca_file: Option<PathBuf>,
    /// Image of workers whose pool names none.
    #[arg(long, env = "WORKER_IMAGE", value_parser = value::image)]
    pub worker_image: String,
    /// The gateway's project that call tests run in.
    #[arg(long, env = "PROJECT", default_value = "default", value_parser = value::name)]
    pub project: String,
    /// Only this namespace is looked after; absent: all.
    #[arg(long, env = "WATCH_NAMESPACE", value_parser = value::label)]
    pub watch_namespace: Option<String>,
    /// Namespace of the lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_parser = value::label)]
    pub namespace: String,
    /// Name of this process in the lease and in events.
    #[arg(long, env = "POD_NAME", default_value = "callmeter-operator",
        value_parser = value::name)]
    pub pod_name: String,
    /// Where `/metrics` is served.
    #[arg(long, env = "METRICS_ADDR", default_value = "0.0.0.0:8080")]
    pub metrics_addr: SocketAddr,
    /// Where `/healthz` and `/readyz` are served.
    #[arg(long, env = "HEALTH_ADDR", default_value = "0.0.0.0:8081")]
    pub health_addr: SocketAddr,
    /// Least level of log lines.
    #[arg(long, env = "LOG_LEVEL", default_value = "info",
        value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
    /// `json` or `pretty`.
    #[arg(long, env = "LOG_FORMAT", default_value = "json", value_parser = ["json", "pretty"])]
    pub log_format: String,
}
