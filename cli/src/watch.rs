//! Follows a run to its end.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::client::{Client, Refused};
use crate::model::{Group, LiveGroup, Progress};

const POLL: Duration = Duration::from_secs(1);
/// A gateway that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Without a terminal unchanged progress is told this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress until the run is over; answers with the last state.
pub(crate) async fn follow(client: &Client, run: &str) -> Result<Progress> {
    let mut screen = Screen::new(std::io::stdout().is_terminal());
    let mut poll = tokio::time::interval(POLL);
    let mut answered = Instant::now();
    loop {
        poll.tick().await;
        let progress: Progress = match client.get(&format!("/runs/{run}/live")).await {
            Ok(progress) => progress,
            Err(error) => {
                let refused = error
                    .downcast_ref::<Refused>()
                    .is_some_and(|r| r.status.is_client_error());
                if refused || answered.elapsed() >= PATIENCE {
                    screen.end()?;
                    bail!(error.context(format!("run {run} cannot be followed")));
                }
                continue;
            }
        };
        answered = Instant::now();
        screen.show(&progress)?;
        if is_over(&progress.status) {
            screen.end()?;
            return Ok(progress);
        }
    }
}

fn is_over(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED" | "CANNOT_RUN_FOR_NOW")
}

/// A terminal is drawn over; elsewhere lines follow each other.
struct Screen {
    terminal: bool,
    drawn: usize,
    last: String,
    told: Option<Instant>,
}

impl Screen {
    fn new(terminal: bool) -> Self {
        Self {
            terminal,
            drawn: 0,
            last: String::new(),
            told: None,
        }
    }

    fn show(&mut self, progress: &Progress) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.terminal {
            let text = block(progress);
            // Up to the first line drawn, then clear to the end of the screen.
            if self.drawn > 0 {
                write!(out, "\x1b[{}A\r\x1b[J", self.drawn)?;
            }
            // Without line wrap, so that each line is one row however narrow the terminal is.
            write!(out, "\x1b[?7l{text}\x1b[?7h")?;
            self.drawn = text.lines().count();
        } else {
            let head = head(progress);
            let due = self.told.is_none_or(|told| told.elapsed() >= LINE_EVERY);
            if head != self.last || due {
                writeln!(out, "{}", line(progress))?;
                self.last = head;
                self.told = Some(Instant::now());
            }
        }
        out.flush()
    }

    fn end(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.drawn) > 0 || self.told.is_some() {
            writeln!(std::io::stdout().lock())?;
        }
        Ok(())
    }
}

/// Status and what it waits for.
fn head(progress: &Progress) -> String {
    let Progress {
        id,
        status,
        reason,
        queue,
        groups: _,
        verdict: _,
        live: _,
    } = progress;
    let mut text = format!("{status} run {id}");
    // Writing to a String cannot fail.
    if let Some(queue) = queue {
        let _ = write!(
            text,
            ", position {} in the queue, {} endpoints missing",
            queue.position, queue.missing_endpoints
        );
    }
    if !reason.is_empty() {
        let _ = write!(text, ": {reason}");
    }
    text
}

/// Progress in one line.
fn line(progress: &Progress) -> String {
    let mut text = head(progress);
    let running = matches!(progress.status.as_str(), "RUNNING" | "STOPPING");
    for group in progress.groups.iter().filter(|_| running) {
        let Group {
            name,
            endpoints,
            ready,
            in_call,
            ended,
            calls,
            calls_succeeded,
        } = group;
        let _ = write!(
            text,
            " | {name}: {ready}/{endpoints} ready, {in_call} in call, {ended} ended, {calls_succeeded}/{calls} calls ok"
        );
    }
    text
}

/// Progress as a table.
fn block(progress: &Progress) -> String {
    let mut text = head(progress);
    text.push('\n');
    if let Some(live) = &progress.live {
        let _ = writeln!(text, "second {}", live.second);
    }
    let _ = writeln!(
        text,
        "{:<16} {:>9} {:>6} {:>7} {:>6} {:>9} {:>6} {:>9} {:>7} {:>13} {:>10}",
        "group",
        "endpoints",
        "ready",
        "in call",
        "ended",
        "calls ok",
        "MOS",
        "jitter ms",
        "loss %",
        "sent/received",
        "late p99"
    );
    let none = LiveGroup::default();
    for (i, group) in progress.groups.iter().enumerate() {
        let Group {
            name,
            endpoints,
            ready,
            in_call,
            ended,
            calls,
            calls_succeeded,
        } = group;
        let live = progress
            .live
            .as_ref()
            .and_then(|l| l.groups.get(i))
            .unwrap_or(&none);
        let LiveGroup {
            mos,
            jitter_ms,
            loss_percent,
            packets_sent,
            packets_received,
            tx_lateness_p99_ms,
        } = live;
        let ok = format!("{calls_succeeded}/{calls}");
        let packets = format!(
            "{}/{}",
            number(*packets_sent, 0),
            number(*packets_received, 0)
        );
        let _ = writeln!(
            text,
            "{name:<16.16} {endpoints:>9} {ready:>6} {in_call:>7} {ended:>6} {ok:>9} {:>6} {:>9} {:>7} {packets:>13} {:>10}",
            number(*mos, 2),
            number(*jitter_ms, 3),
            number(*loss_percent, 2),
            number(*tx_lateness_p99_ms, 3),
        );
    }
    text
}

/// A figure, or a dash if it was not measured.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        serde_json::from_str(
            r#"{"id": "r1", "status": "RUNNING", "reason": "", "queue": null, "verdict": "",
                "groups": [{"name": "callers", "endpoints": 20, "ready": 20, "inCall": 18, "ended": 0,
                    "calls": 5, "callsSucceeded": 4, "mos": 4.4, "workers": ["a"]}],
                "live": {"second": 12, "groups": [{"mos": 4.385, "packetsSent": 900.0, "packetsReceived": 899.0}]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_terminal_shows_a_table() {
        insta::assert_snapshot!(block(&progress()));
    }

    #[test]
    fn elsewhere_a_line_says_the_same() {
        let text = line(&progress());
        assert_eq!(
            text,
            "RUNNING run r1 | callers: 20/20 ready, 18 in call, 0 ended, 4/5 calls ok"
        );
        let queued: Progress = serde_json::from_str(
            r#"{"id": "r1", "status": "QUEUED", "reason": "pool demo/fra: 40 endpoints asked, 0 free",
                "queue": {"position": 1, "missingEndpoints": 40}}"#,
        )
        .unwrap();
        let expected = "QUEUED run r1, position 1 in the queue, 40 endpoints missing: pool demo/fra: 40 endpoints asked, 0 free";
        assert_eq!(line(&queued), expected);
    }
}
