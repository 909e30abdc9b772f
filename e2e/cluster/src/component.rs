//! One long-running process of the cluster: start it, find it, say why it failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::layout::{self, COMPONENTS_CGROUP};
use crate::process::{last_lines, wait_until};
use crate::{cgroup, tools};

/// How many lines of a failed component's log are shown.
const LOG_TAIL: usize = 40;

/// How long a process may take to tell its id; a loaded machine starts it late.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Puts itself into its cgroup and writes its process id before it becomes the component, so
/// that not even an interrupted `up` leaves a process that nobody knows.
const LAUNCHER: &str = r#"
echo $$ >"$1/cgroup.procs" && echo $$ >"$2" && shift 2 && exec "$@"
"#;

/// A component and how to start it.
#[derive(Debug)]
pub(crate) struct Component {
    /// As shown to the user: `etcd`, `kubelet@worker-1`.
    pub(crate) name: String,
    pub(crate) netns: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
}

impl Component {
    pub(crate) fn log(&self) -> PathBuf {
        layout::logs().join(format!("{}.log", self.name))
    }

    /// The process id, if the component runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(pid_file(&self.name))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        runs_in(pid, &format!("/{COMPONENTS_CGROUP}/{}", self.name)).then_some(pid)
    }

    /// Starts the component in the background. Its log grows over restarts.
    pub(crate) fn start(&self) -> Result<()> {
        let dir = cgroup::tracking()?.join(COMPONENTS_CGROUP).join(&self.name);
        let pid_file = pid_file(&self.name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for parent in [pid_file.parent(), self.log().parent()]
            .into_iter()
            .flatten()
        {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        if pid_file.exists() {
            fs::remove_file(&pid_file).with_context(|| format!("remove {}", pid_file.display()))?;
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .with_context(|| format!("open {}", self.log().display()))?;
        let mut launched = Command::new("sh")
            .args(["-c", LAUNCHER, "sh"])
            .args([&dir, &pid_file])
            // A session of its own: an interrupt of the terminal ends `up`, not the component.
            .args(["setsid", "nsenter"])
            .arg(format!(
                "--net={}",
                layout::netns_path(self.netns).display()
            ))
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .current_dir("/")
            .env_clear()
            .env("PATH", tools::search_path()?)
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicate the log's descriptor")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        wait_until(&format!("start of {}", self.name), START_LIMIT, || {
            if pid_file.metadata().is_ok_and(|file| file.len() > 0) {
                return Ok(true);
            }
            match launched.try_wait()? {
                Some(status) => Err(self.failure(&format!("cannot be started, {status}"))),
                None => Ok(false),
            }
        })
    }

    /// Starts the component unless it runs; `true` if it had to be started.
    pub(crate) fn ensure(&self) -> Result<bool> {
        if self.pid().is_some() {
            return Ok(false);
        }
        self.start()?;
        Ok(true)
    }

    /// Waits until `ready`; the end of the component or of `limit` is an error with its log.
    pub(crate) fn await_ready(
        &self,
        limit: Duration,
        mut ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let waited = wait_until(&format!("{} is ready", self.name), limit, || {
            if self.pid().is_none() {
                bail!("it ended");
            }
            ready()
        });
        waited.map_err(|error| self.failure(&format!("{error:#}")))
    }

    /// The error for this component: its name, what happened, the end of its log.
    pub(crate) fn failure(&self, what: &str) -> anyhow::Error {
        let path = self.log();
        let text = fs::read(&path).unwrap_or_default();
        let tail = last_lines(&String::from_utf8_lossy(&text), LOG_TAIL);
        anyhow!(
            "component {} failed: {what}\nlast {LOG_TAIL} lines of {}:\n{tail}",
            self.name,
            path.display()
        )
    }
}

fn pid_file(name: &str) -> PathBuf {
    layout::state().join("run").join(format!("{name}.pid"))
}

/// `true` if `pid` lives, is no zombie, and is in `cgroup`: a process id alone may have been given
/// to somebody else.
fn runs_in(pid: i32, cgroup: &str) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    let Ok(groups) = fs::read_to_string(proc.join("cgroup")) else {
        return false;
    };
    let Ok(stat) = fs::read_to_string(proc.join("stat")) else {
        return false;
    };
    // The state follows the name, which is in brackets and may hold anything.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
        && groups.lines().any(|line| line.ends_with(cgroup))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_for_in_its_cgroup() {
        let me = std::process::id() as i32;
        assert!(!runs_in(me, "/callmeter-cluster/not-mine"));
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mine = groups.lines().next().unwrap();
        assert!(runs_in(me, mine.rsplit(':').next().unwrap()));
    }
}
