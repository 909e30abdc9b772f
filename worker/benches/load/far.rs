//! The far end: `benches/peers/endpoints.c` as a process.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::Deserialize;

/// Longest window in seconds; bounds what a far end records.
const LONGEST: u32 = 10;

/// A far end; killed when dropped.
pub(crate) struct Far {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a far end saw in a window.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Judged {
    pub(crate) window_s: f64,
    pub(crate) received: u64,
    pub(crate) streams: u32,
    pub(crate) judged: u64,
    pub(crate) lost: i64,
    /// Packets later than 1 ms.
    pub(crate) late: u64,
    pub late_p99_us: f64,
    pub(crate) late_max_us: f64,
    pub(crate) slot_mean: f64,
    pub slot_p99: f64,
    pub(crate) slot_max: f64,
    pub(crate) turn_peak: f64,
    pub(crate) send_errors: u64,
}

impl Judged {
    /// Packets received, in percent of those that so many endpoints owe in the window.
    pub(crate) fn rate_percent(&self, endpoints: u32) -> f64 {
        self.received as f64 * 100.0 / (self.window_s * 50.0 * f64::from(endpoints))
    }

    /// Share of packets more than 1 ms late, in percent.
    pub(crate) fn late_percent(&self) -> f64 {
        self.late as f64 * 100.0 / self.judged.max(1) as f64
    }
}

/// Compiles the program into a folder.
pub(crate) fn build(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/endpoints.c");
    let program = folder.join("endpoints");
    let done = Command::new("cc")
        .args(["-O2", "-Wall", "-o"])
        .arg(&program)
        .args([source, "-lm"])
        .status()
        .unwrap_or_else(|error| panic!("cc, the C compiler, cannot be run: {error}"));
    assert!(done.success(), "{source} could not be compiled");
    program
}

impl Far {
    /// `endpoints` of them on an address; with `remote` bare ones that talk to the same ports
    /// there. `prefix` says where and how it runs.
    pub(crate) fn spawn(
        prefix: &[String],
        program: &Path,
        endpoints: u32,
        address: &str,
        remote: Option<&str>,
    ) -> Self {
        let mut words: Vec<String> = prefix.to_vec();
        words.push(program.display().to_string());
        words.extend([endpoints.to_string(), address.into(), LONGEST.to_string()]);
        words.extend(remote.map(str::to_owned));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut far = Self {
            child,
            commands,
            answers,
        };
        assert_eq!(far.line(), "ready\n", "{words:?}");
        far
    }

    /// Its folder in /proc.
    pub(crate) fn proc_folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    /// Begins a window.
    pub(crate) fn begin(&mut self) {
        self.commands.write_all(b"b").unwrap();
    }

    /// Ends the window.
    pub(crate) fn end(&mut self) -> Judged {
        self.commands.write_all(b"e").unwrap();
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
