//! The process: reads the environment, starts every part, and ends with the documented code.
//!
//! Exit codes: 0 drained after a signal; 1 a part failed; 2 the environment is wrong; 3 the gateway
//! refused the token.

mod start;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use callmeter_proto::INVALID_TOKEN;

use crate::{
    config::{Config, ConfigError, LogFormat, Vars},
    control::Exit,
    logging,
};

/// Overrides where the last words go; the default is the kubelet's own path.
const TERMINATION_LOG: &str = "TERMINATION_LOG";

/// Why a worker process ends with another code than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A variable is missing, malformed or contradicts another one or the host.
    Environment(String),
    /// A part of the process failed.
    Part(String),
    /// The token was refused; logged when it happened.
    Token,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Environment(error.to_string())
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Part(_) => 1,
            Self::Environment(_) => 2,
            Self::Token => 3,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Environment(message) | Self::Part(message) => message,
            Self::Token => INVALID_TOKEN,
        }
    }
}

/// The variables of this process; what is not UTF-8 is replaced and fails its check.
pub fn environment() -> Vars {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Runs a worker to its end.
pub fn run(vars: &Vars) -> ExitCode {
    let last_words = vars.get(TERMINATION_LOG).filter(|path| !path.is_empty());
    let last_words = PathBuf::from(last_words.map_or(logging::TERMINATION_LOG, String::as_str));
    match work(vars) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, &last_words),
    }
}

fn work(vars: &Vars) -> Result<(), Failure> {
    let config = match Config::from_vars(vars) {
        Ok(config) => config,
        Err(error) => {
            // The format is taken as far as it is known, so that the line reads like the others.
            let pretty = vars
                .get("LOG_FORMAT")
                .is_some_and(|format| format == "pretty");
            let format = if pretty {
                LogFormat::Pretty
            } else {
                LogFormat::Json
            };
            logging::init(tracing::Level::ERROR, format);
            return Err(error.into());
        }
    };
    logging::init(config.log_level, config.log_format);
    match start::run(config)? {
        Exit::Drained => {
            tracing::info!("drained");
            Ok(())
        }
        Exit::InvalidToken => Err(Failure::Token),
        Exit::Failed(failed) => Err(Failure::Part(failed.to_string())),
    }
}

fn fail(failure: &Failure, last_words: &Path) -> ExitCode {
    match failure {
        Failure::Environment(message) | Failure::Part(message) => tracing::error!("{message}"),
        Failure::Token => {}
    }
    logging::write_termination_log(last_words, failure.message());
    ExitCode::from(failure.code())
}
