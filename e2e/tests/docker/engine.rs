//! A Docker engine of its own: its network, mounts and processes are in namespaces that end with
//! it, its files in a folder that is removed, its control groups under one name.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use callmeter_e2e::{eventually, output};
use tokio::process::{Child, Command};

/// Debian's programs, whatever else stands on the caller's PATH.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const START: Duration = Duration::from_secs(180);
/// Killed processes leave their control groups within a moment.
const GONE: Duration = Duration::from_secs(90);
const CGROUPS: &str = "/sys/fs/cgroup";
/// Begins the names of its folder and control groups; the process id of the test follows.
const PREFIX: &str = "callmeter-docker-";

/// A running engine; killed with everything in it when dropped.
pub(crate) struct Engine {
    daemon: Child,
    folder: PathBuf,
    name: String,
}

impl Engine {
    /// Moves this thread, and what it starts from now on, into a network namespace without a way
    /// out, gives that one the `addresses`, and starts the engine there.
    pub(crate) async fn start(addresses: &[Ipv4Addr]) -> Result<Self> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .context("make a network namespace")?;
        command("ip", &["link", "set", "lo", "up"]).await?;
        for address in addresses {
            let address = format!("{address}/24");
            command("ip", &["address", "add", &address, "dev", "lo"]).await?;
        }
        sweep()?;
        let name = format!("{PREFIX}{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder).context("make a folder for the engine")?;
        let log = File::create(folder.join("dockerd.log"))?;
        let daemon = Command::new("/usr/bin/setpriv")
            .env_clear()
            .env("PATH", PATH)
            // Whatever happens to this thread, the init of the engine's process namespace dies
            // with it, and the kernel kills the rest of that namespace.
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
            ])
            .args(["--kill-child", "--mount-proc", "--", "dockerd"])
            .arg("--host")
            .arg(format!("unix://{}", socket(&folder).display()))
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("dockerd.pid"))
            .args(["--storage-driver", "overlay2", "--cgroup-parent"])
            .arg(format!("/{name}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start dockerd")?;
        let engine = Self {
            daemon,
            folder,
            name,
        };
        if let Err(error) = engine.await_up().await {
            let log = engine.log();
            engine.stop().await?;
            return Err(error.context(log));
        }
        Ok(engine)
    }

    async fn await_up(&self) -> Result<()> {
        eventually("the Docker engine to answer", START, || async {
            self.docker(&["version"]).await.map(|_| None)
        })
        .await
    }

    /// A file or folder of the engine, and of what shares its life.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The engine's own log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("dockerd.log")).unwrap_or_default()
    }

    /// The classic client with these arguments; answers with its standard output.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> Result<String> {
        output(self.client("/usr/bin/docker").args(arguments)).await
    }

    /// A client program of the engine, with no environment but what it needs to find it.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .env(
                "DOCKER_HOST",
                format!("unix://{}", socket(&self.folder).display()),
            )
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Kills everything and waits until no process, mount, control group or file is left.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.daemon.kill().await.context("kill dockerd")?;
        eventually("the engine's control groups to be gone", GONE, || async {
            let left: Vec<_> = groups()?
                .into_iter()
                .filter(|group| group.ends_with(&self.name) && !remove(group))
                .collect();
            Ok((!left.is_empty()).then(|| format!("{left:?}")))
        })
        .await?;
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        ensure!(!mounts.contains(&self.name), "a mount is left: {mounts}");
        std::fs::remove_dir_all(&self.folder).context("remove the engine's folder")
    }
}

/// Removes what tests left that were killed themselves. Their processes ended with them.
fn sweep() -> Result<()> {
    let gone = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        let process = name.as_deref().and_then(|name| name.strip_prefix(PREFIX));
        process.is_some_and(|id| !Path::new("/proc").join(id).exists())
    };
    for group in groups()?.iter().filter(|group| gone(group)) {
        ensure!(remove(group), "a process is left in {}", group.display());
    }
    let folders = std::fs::read_dir(std::env::temp_dir())?.flatten();
    for folder in folders.map(|entry| entry.path()).filter(|path| gone(path)) {
        std::fs::remove_dir_all(&folder).context("remove an older engine's folder")?;
    }
    Ok(())
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

/// Runs a program of the machine.
pub(crate) async fn command(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    output(command.env("PATH", PATH).args(arguments)).await
}

/// The engines' folders in every hierarchy of control groups.
fn groups() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let root = Path::new(CGROUPS);
    let hierarchies = std::fs::read_dir(root).context("list the control groups")?;
    let bases = hierarchies.flatten().map(|entry| entry.path());
    for base in bases.chain([root.to_owned()]) {
        // Files, and a hierarchy that went away.
        let entries = std::fs::read_dir(&base).into_iter().flatten().flatten();
        let own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
        found.extend(own.map(|entry| entry.path()));
    }
    // `cpu` and `cpuacct` may be names of one hierarchy.
    let mut real: Vec<_> = found.iter().flat_map(std::fs::canonicalize).collect();
    real.sort();
    real.dedup();
    Ok(real)
}

/// Removes a control group with those in it, innermost first; false if a process is left.
fn remove(group: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(group) else {
        return true;
    };
    let mut inner = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    inner.all(|path| remove(&path)) && std::fs::remove_dir(group).is_ok()
}

/// Whether a program of Debian's packages is there.
pub(crate) fn installed() -> Result<()> {
    for program in ["dockerd", "docker", "docker-compose"] {
        let found = PATH
            .split(':')
            .any(|folder| Path::new(folder).join(program).exists());
        if !found {
            bail!("{program} is missing; install it with scripts/prerequisites");
        }
    }
    Ok(())
}
