//! Short-lived commands: run them, and say what they said when they fail.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs `command` to its end and returns its standard output; a failure carries the end of its
/// standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    feed(command, "")
}

/// As [`output`], with `input` on standard input.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<String> {
    let name = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let stdin = child.stdin.take();
    let written = thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes())));
        let done = child.wait_with_output();
        (writer.join(), done)
    });
    let result = written.1.with_context(|| format!("cannot wait for {name}"))?;
    if !result.status.success() {
        let stderr = String::from_utf8_lossy(&result.stderr);
        let tail = last_lines(stderr.trim_end(), 20);
        bail!("{name}: {}\n{tail}", result.status);
    }
    // A command that ended well without reading all of its input did not need it.
    drop(written.0);
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
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

/// Runs `command` with the terminal's output; an error if it fails.
pub(crate) fn visible(command: &mut Command) -> Result<()> {
    let name = describe(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
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
    words.extend(command.get_args().take(8).map(|arg| arg.to_string_lossy().into_owned()));
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
    fn last_lines_of_shorter_text_is_all_of_it() {
        assert_eq!(last_lines("a\nb", 40), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}
