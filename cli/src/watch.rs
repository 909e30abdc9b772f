//! `callmeter watch`: a run live in the terminal, then its report.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::report;
use crate::table::table;
use crate::value::{array, number, shown, text};

const INTERVAL: Duration = Duration::from_secs(1);
/// A gateway that restarts is back well within this.
const PATIENCE: Duration = Duration::from_secs(90);

/// Shows the run until it is over. Answers 0 if it passed, or had nothing expected of it and
/// completed whole; else 1.
pub(crate) async fn watch(client: &Client, run: &str) -> Result<ExitCode> {
    let mut screen = Screen::new();
    let mut last_answer = Instant::now();
    loop {
        match client.get(&format!("/runs/{run}")).await {
            Ok(state) => {
                last_answer = Instant::now();
                let over = ["COMPLETED", "FAILED", "CANNOT_RUN_FOR_NOW"];
                if over.contains(&text(&state, "/status")) {
                    break;
                }
                let live = client
                    .get(&format!("/runs/{run}/live"))
                    .await
                    .unwrap_or(Value::Null);
                screen.show(&frame(&state, &live), &summary(&state))?;
            }
            // No patience with what waiting cannot mend: a wrong key, a run that is not there.
            Err(error) if last_answer.elapsed() > PATIENCE || !is_outage(&error) => bail!(error),
            Err(error) => screen.show(&format!("{error:#}\n"), &format!("{error:#}"))?,
        }
        sleep(INTERVAL).await;
    }
    screen.clear()?;
    let results = client.get(&format!("/runs/{run}/results")).await?;
    print!("{}", report::render(&results));
    let whole = text(&results, "/status") == "COMPLETED" && results["partial"] != true;
    let as_expected = match text(&results, "/verdict") {
        "Passed" => true,
        "Failed" => false,
        _ => array(&results, "/expects").is_empty(),
    };
    Ok(if whole && as_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<reqwest::Error>()
            .is_some_and(|e| e.is_connect() || e.is_timeout())
    })
}

/// One screen of a run: its status, and its groups with the figures of the last whole second.
fn frame(state: &Value, live: &Value) -> String {
    let mut out = format!(
        "Run {} ({}): {}\n",
        text(state, "/id"),
        text(state, "/name"),
        status(state)
    );
    let groups = array(state, "/groups");
    let figures = array(live, "/groups");
    let row = |(index, group): (usize, &Value)| {
        let live = figures.get(index).unwrap_or(&Value::Null);
        let count = |field: &str| shown(number(group, &format!("/{field}")), 0, "");
        vec![
            text(group, "/group").to_owned(),
            count("endpoints"),
            count("ready"),
            count("inCall"),
            count("ended"),
            count("calls"),
            count("callsSucceeded"),
            shown(number(live, "/mos"), 2, ""),
            shown(number(live, "/jitterMs"), 2, ""),
            shown(number(live, "/lossPercent"), 2, ""),
            shown(number(live, "/txLatenessP99Ms"), 2, ""),
        ]
    };
    let rows: Vec<_> = groups.iter().enumerate().map(row).collect();
    if !rows.is_empty() {
        let header = [
            "GROUP",
            "ENDPOINTS",
            "READY",
            "IN CALL",
            "ENDED",
            "CALLS",
            "SUCCEEDED",
            "MOS",
            "JITTER ms",
            "LOSS %",
            "LATE p99 ms",
        ];
        out += &table(&header, &rows);
    }
    out
}

fn status(state: &Value) -> String {
    let mut out = text(state, "/status").to_owned();
    if out == "QUEUED" {
        if let Some(position) = number(state, "/queuePosition").filter(|p| *p > 0.0) {
            out += &format!(", position {position}");
        }
        if let Some(missing) = number(state, "/missingEndpoints").filter(|m| *m > 0.0) {
            out += &format!(", {missing} endpoints missing");
        }
    }
    match text(state, "/reason") {
        "" => out,
        reason => format!("{out}, {reason}"),
    }
}

/// The same in one line, for logs.
fn summary(state: &Value) -> String {
    let groups = array(state, "/groups").iter().map(|group| {
        format!(
            "{} {}/{} ready, {} in call, {} calls",
            text(group, "/group"),
            shown(number(group, "/ready"), 0, ""),
            shown(number(group, "/endpoints"), 0, ""),
            shown(number(group, "/inCall"), 0, ""),
            shown(number(group, "/calls"), 0, ""),
        )
    });
    let mut parts = vec![status(state)];
    parts.extend(groups);
    parts.join("; ")
}

/// Redraws in place on a terminal; elsewhere prints a line when something changed.
struct Screen {
    terminal: bool,
    drawn: usize,
    last: String,
}

impl Screen {
    fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            drawn: 0,
            last: String::new(),
        }
    }

    fn show(&mut self, frame: &str, line: &str) -> Result<()> {
        if self.terminal {
            self.clear()?;
            print!("{frame}");
            self.drawn = frame.lines().count();
        } else if self.last != line {
            println!("{line}");
            line.clone_into(&mut self.last);
        }
        Ok(std::io::stdout().flush()?)
    }

    /// Takes the last frame off the terminal.
    fn clear(&mut self) -> Result<()> {
        if self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
        Ok(std::io::stdout().flush()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waiting_run_shows_its_place_and_what_is_missing() {
        let state = json!({
            "id": "r1", "name": "demo", "status": "QUEUED", "reason": "pool demo/fra grows",
            "queuePosition": 1, "missingEndpoints": 40, "groups": [],
        });
        assert_eq!(
            status(&state),
            "QUEUED, position 1, 40 endpoints missing, pool demo/fra grows"
        );
    }

    #[test]
    fn a_running_run_shows_its_groups_with_the_last_second() {
        let state = json!({
            "id": "r1", "name": "demo", "status": "RUNNING", "reason": "",
            "groups": [{"group": "callers", "endpoints": 20, "ready": 20, "inCall": 19, "ended": 0,
                "calls": 21, "callsSucceeded": 21}],
        });
        let live =
            json!({"second": 7, "groups": [{"mos": 4.38, "jitterMs": 0.03, "lossPercent": 0.0}]});
        insta::assert_snapshot!(frame(&state, &live));
    }
}
