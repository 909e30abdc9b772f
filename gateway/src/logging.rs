//! The log: one JSON object per line, or text, on standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Least level of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Something failed and was dealt with.
    Warn,
    /// What people did took effect.
    Info,
    /// Detailed diagnostics.
    Debug,
    /// Every message.
    Trace,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One object per line.
    Json,
    /// For people.
    Pretty,
}

/// Sets up the log of the process; call it once. Lines go to standard error, so that a printed key
/// stands alone on standard output.
pub fn init(level: Level, format: Format) {
    let (ours, others) = match level {
        Level::Error => ("error", "error"),
        Level::Warn => ("warn", "warn"),
        Level::Info => ("info", "warn"),
        // Libraries may log what they carry, tokens among it: below INFO they stay silent.
        Level::Debug => ("debug", "info"),
        Level::Trace => ("trace", "info"),
    };
    let filter = EnvFilter::new(format!("{others},callmeter_gateway={ours}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Format::Json => log.json().flatten_event(true).init(),
        Format::Pretty => log.init(),
    }
}
