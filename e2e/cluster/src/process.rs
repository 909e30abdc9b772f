//! Short-lived commands: run them, and say what they said when they fail.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a command may take; building an image is the longest.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// Runs `command` to its end and returns its standard output; a failure carries the end of its
/// standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    feed(command, "")
}

/// As [`output`], with `input` on standard input.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<String> {
    feed_within(command, input, COMMAND_LIMIT)
}

fn feed_within(command: &mut Command, input: &str, limit: Duration) -> Result<String> {
    let name = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) = thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends without reading all of its input did not need it.
            stdin.map(|mut pipe| pipe.write_all(input.as_bytes()))
        });
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        let status = wait_or_kill(&mut child, limit);
        (status, stdout.join(), stderr.join())
    });
    let stderr = stderr.unwrap_or_default();
    match status.with_context(|| format!("cannot wait for {name}"))? {
        None => bail!(
            "{name}: not done within {} s\n{}",
            limit.as_secs(),
            tail(&stderr)
        ),
        Some(status) if !status.success() => bail!("{name}: {status}\n{}", tail(&stderr)),
        Some(_) => Ok(stdout.unwrap_or_default()),
    }
}

/// The exit status, or none if the child had to be killed after `limit`.
fn wait_or_kill(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(30));
    }
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth having.
        let _partial = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> String {
    last_lines(text.trim_end(), 20)
}

/// `true` if `command` ran and exited with 0; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Asks `ready` every 100 ms until it says yes, fails, or `limit` has passed.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .take(8)
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_carries_standard_error() {
        let error = output(Command::new("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("reason"), "{error:#}");
    }

    #[test]
    fn input_larger_than_a_pipe_arrives() {
        let input = "x".repeat(1 << 20);
        assert_eq!(feed(&mut Command::new("cat"), &input).unwrap(), input);
    }

    #[test]
    fn input_nobody_reads_is_no_error() {
        let input = "x".repeat(1 << 20);
        assert_eq!(feed(&mut Command::new("true"), &input).unwrap(), "");
    }

    #[test]
    fn command_over_its_limit_is_ended_and_named() {
        let limit = Duration::from_millis(50);
        let error = feed_within(Command::new("sleep").arg("60"), "", limit).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("sleep 60: not done"),
            "{error:#}"
        );
    }

    #[test]
    fn last_lines_of_shorter_text_is_all_of_it() {
        assert_eq!(last_lines("a\nb", 40), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}
