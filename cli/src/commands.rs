//! What each command does.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::args::{Args, Command};
use crate::client::Client;
use crate::model::Report;
use crate::{report, table, watch};

/// Exit codes of a run that is over; `--help` tells them.
const VERDICT_FAILED: u8 = 3;
const VERDICT_UNKNOWN: u8 = 4;
const RUN_FAILED: u8 = 5;

#[derive(Deserialize)]
struct Submitted {
    id: String,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let Args {
        connection,
        command,
    } = args;
    let client = || Client::new(&connection);
    match command {
        Command::Submit { file, name, watch } => {
            let client = client()?;
            let run = submit(&client, &file, name).await?;
            println!("{run}");
            if watch {
                follow(&client, &run).await
            } else {
                Ok(ExitCode::SUCCESS)
            }
        }
        Command::Watch { run } => follow(&client()?, &run).await,
        Command::Report { run, json } => {
            let value: Value = client()?.get(&format!("/runs/{run}/results")).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&value)?);
            } else {
                let report: Report = serde_json::from_value(value).context("unexpected report")?;
                print!("{}", report::render(&report));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Stop { run } => {
            let _: Value = client()?
                .post(
                    &format!("/runs/{run}/stop"),
                    "application/json",
                    b"{}".to_vec(),
                )
                .await?;
            println!("run {run} stops");
            Ok(ExitCode::SUCCESS)
        }
        Command::Runs => {
            print!("{}", table::runs(client()?.list("/runs").await?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Workers => {
            print!("{}", table::workers(client()?.list("/workers").await?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics { markdown: true } => {
            print!("{}", callmeter_metrics::catalogue_page());
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics { markdown: false } => {
            print!("{}", table::metrics());
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            println!("callmeter {}", env!("CARGO_PKG_VERSION"));
            let gateway: Value = client()?.get("/version").await?;
            println!(
                "gateway {}",
                gateway["version"].as_str().unwrap_or("unknown")
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn submit(client: &Client, file: &Path, name: Option<String>) -> Result<String> {
    let text = if file.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin()
            .read_to_end(&mut text)
            .context("read standard input")?;
        text
    } else {
        std::fs::read(file).with_context(|| format!("read {}", file.display()))?
    };
    let json = file
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let kind = if json {
        "application/json"
    } else {
        "application/yaml"
    };
    let path = match name {
        Some(name) => {
            let query = name
                .bytes()
                .fold(String::new(), |query, b| query + &format!("%{b:02X}"));
            format!("/runs?name={query}")
        }
        None => "/runs".to_owned(),
    };
    let Submitted { id } = client.post(&path, kind, text).await?;
    Ok(id)
}

async fn follow(client: &Client, run: &str) -> Result<ExitCode> {
    let last = watch::follow(client, run).await?;
    let value: Report = client.get(&format!("/runs/{run}/results")).await?;
    print!("{}", report::render(&value));
    Ok(match (last.status.as_str(), value.verdict.as_str()) {
        ("COMPLETED", "Passed") => ExitCode::SUCCESS,
        ("COMPLETED", "Failed") => VERDICT_FAILED.into(),
        ("COMPLETED", _) => VERDICT_UNKNOWN.into(),
        _ => RUN_FAILED.into(),
    })
}
