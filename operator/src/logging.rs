//! Logs: one JSON object per line, or coloured text.

use tracing_subscriber::EnvFilter;

use crate::args::RunArgs;

/// Sets up logging for the process.
pub fn init(args: &RunArgs) -> anyhow::Result<()> {
    // Libraries may log what they carry, tokens among it: below INFO they stay silent.
    let others = match args.log_level.as_str() {
        "error" => "error",
        "warn" | "info" => "warn",
        _ => "info",
    };
    let ours = &args.log_level;
    let filter = EnvFilter::new(format!("{others},callmeter_operator={ours}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let done = if args.log_format == "pretty" {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    done.map_err(|error| anyhow::anyhow!("set up logging: {error}"))
}
