//! Logs: one JSON object per line, or coloured text.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::args::RunArgs;

/// Sets up logging for the process.
pub fn init(args: &RunArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_level).with_context(|| {
        format!("--log-level: `{}` is no filter; accepted: error, warn, info, debug, trace or a list like info,kube=warn", args.log_level)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let done = if args.log_format == "pretty" {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    done.map_err(|error| anyhow::anyhow!("set up logging: {error}"))
}
