//! The command line: every option also by environment.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use crate::auth::Auth;
use crate::disk;
use crate::ensure_tls::EnsureTls;
use crate::keys::{KeyFiles, Keys};
use crate::logging::{self, Format, Level};
use crate::serve::Serve;
use crate::store::{DEFAULT_ORGANISATION, Role, Store};
use crate::timestamp;

/// Longest name of an API key, characters.
const MAX_KEY_NAME: usize = 100;

/// The CallMeter gateway.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Least level of log lines.
    #[arg(
        long,
        env = "LOG_LEVEL",
        default_value = "info",
        ignore_case = true,
        global = true
    )]
    log_level: Level,
    /// Form of log lines.
    #[arg(
        long,
        env = "LOG_FORMAT",
        default_value = "json",
        ignore_case = true,
        global = true
    )]
    log_format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve workers, operators and the REST API.
    Serve(Serve),
    /// Manage API keys on the machine of the database.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Make the TLS certificates if they are absent; renew them before they end.
    EnsureTls(EnsureTls),
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make an API key and print it once.
    Create {
        /// What the key may do.
        #[arg(long)]
        role: Role,
        /// Name for people.
        #[arg(long, default_value = "command line", value_parser = key_name)]
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// List the API keys, without their secrets.
    List {
        #[command(flatten)]
        data: Data,
    },
    /// End an API key at once.
    Delete {
        /// Id of the key, as `keys list` shows it.
        id: String,
        #[command(flatten)]
        data: Data,
    },
}

impl KeysCommand {
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { role, name, data } => {
                let (store, keys) = data.open().await?;
                let auth = Auth::new(store.clone(), keys.pepper, None);
                let (key, text) = auth.make_key(DEFAULT_ORGANISATION, &name, role).await?;
                store.close().await;
                tracing::info!(key = key.id, name, %role, "API key made; it is shown this once");
                println!("{}", text.expose());
            }
            Self::List { data } => {
                let (store, _) = data.open().await?;
                for key in store.tenant(DEFAULT_ORGANISATION).api_keys().await? {
                    let made = timestamp::text(key.created_ms);
                    println!("{}  {:7}  {made}  {}", key.id, key.role.as_str(), key.name);
                }
                store.close().await;
            }
            Self::Delete { id, data } => {
                let (store, _) = data.open().await?;
                let ended = store
                    .tenant(DEFAULT_ORGANISATION)
                    .delete_api_key(&id)
                    .await?;
                store.close().await;
                if !ended {
                    bail!("id: \"{id}\" is no API key; accepted: an id of `keys list`");
                }
                tracing::info!(key = id, "API key ended");
            }
        }
        Ok(())
    }
}

/// Where the gateway keeps its state.
#[derive(Debug, Clone, clap::Args)]
pub struct Data {
    /// Directory of the database and the gateway's own keys.
    #[arg(long, env = "DATA_DIR", default_value = "/var/lib/callmeter")]
    pub data_dir: PathBuf,
    /// File of the pepper under which tokens are hashed; default: made in the data directory.
    #[arg(long, env = "PEPPER_FILE")]
    pub pepper_file: Option<PathBuf>,
    /// File of the key under which stored secrets are sealed; default: made in the data directory.
    #[arg(long, env = "SEAL_KEY_FILE")]
    pub seal_key_file: Option<PathBuf>,
}

impl Args {
    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self {
            log_level,
            log_format,
            command,
        } = self;
        logging::init(log_level, log_format);
        match command {
            Command::Serve(serve) => serve.run().await,
            Command::Keys { command } => command.run().await,
            Command::EnsureTls(ensure) => Ok(ensure.run().await?),
        }
    }
}

impl Data {
    /// The same as [`Data::open`], once the disk has room to work with.
    pub async fn open_with_room(&self) -> anyhow::Result<(Store, Keys)> {
        let dir = &self.data_dir;
        make_private_dir(dir).with_context(|| format!("make data directory {}", dir.display()))?;
        disk::await_room(dir).await?;
        self.open().await.map_err(|error| disk::explain(error, dir))
    }

    /// Opens the database and the keys, making what is absent.
    pub async fn open(&self) -> anyhow::Result<(Store, Keys)> {
        let Self {
            data_dir,
            pepper_file,
            seal_key_file,
        } = self;
        make_private_dir(data_dir)
            .with_context(|| format!("make data directory {}", data_dir.display()))?;
        let store = Store::open(&data_dir.join("callmeter.db")).await?;
        let beside = KeyFiles::beside(data_dir);
        let files = KeyFiles {
            pepper: pepper_file.clone().unwrap_or(beside.pepper),
            seal: seal_key_file.clone().unwrap_or(beside.seal),
        };
        let keys = Keys::load(&files, &store).await?;
        Ok((store, keys))
    }
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    // Existing directories, such as mounted volumes, keep their mode.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn key_name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if (1..=MAX_KEY_NAME).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "accepted: 1 to {MAX_KEY_NAME} printable characters"
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_charts_arguments_are_understood() {
        let serve = "g serve --data-dir=/d --tls-cert=/c --tls-key=/k --workers-addr=0.0.0.0:8443 \
                     --fleet-addr=0.0.0.0:9443 --rest-addr=0.0.0.0:8080 --fleet-subjects=system:serviceaccount:a:b,system:serviceaccount:c:d.e";
        Args::try_parse_from(serve.split_whitespace()).unwrap();
        let ensure =
            "g ensure-tls --namespace=n --secret=s --ca-config-map=c --service=v --san=a --san=b";
        Args::try_parse_from(ensure.split_whitespace()).unwrap();
        Args::try_parse_from(["g", "keys", "create", "--role", "owner"]).unwrap();
    }

    #[test]
    fn bad_values_name_what_is_accepted() {
        let error = Args::try_parse_from(["g", "keys", "create", "--role", "king"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("king") && error.contains("viewer, tester, editor, admin, owner"),
            "{error}"
        );
        let error = Args::try_parse_from([
            "g",
            "--log-level",
            "loud",
            "keys",
            "create",
            "--role",
            "owner",
        ]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("loud") && error.contains("error, warn, info, debug, trace"),
            "{error}"
        );
        let error = Args::try_parse_from(["g", "serve", "--tls-cert", "/c"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("--tls-key"), "{error}");
    }
}
