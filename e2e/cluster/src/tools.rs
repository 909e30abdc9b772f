//! The cluster's programs, built from pinned Go modules into the cache.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::layout;
use crate::process::last_lines;
use crate::progress::Progress;

/// What building all of them from nothing may take on two cores.
pub(crate) const COLD_BUDGET_MINUTES: u32 = 12;

/// A module proxy that does not answer for a moment is asked again.
const BUILD_ATTEMPTS: u32 = 3;
const BUILD_PAUSE: Duration = Duration::from_secs(10);

/// One Go module of `e2e/cluster/tools` and what comes out of it.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    /// The module whose version in `go.mod` is the tool's.
    module: &'static str,
    /// Main packages; the last element of the path names the program unless `program` does.
    packages: &'static [&'static str],
    program: Option<&'static str>,
    /// Variables the linker sets to the version, for `go build -ldflags -X`.
    version_variables: &'static [&'static str],
}

pub(crate) const TOOLS: [Tool; 5] = [
    Tool {
        name: "containerd",
        module: "github.com/containerd/containerd/v2",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
        program: None,
        version_variables: &["github.com/containerd/containerd/v2/version.Version"],
    },
    Tool {
        name: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        packages: &["go.etcd.io/etcd/server/v3"],
        program: Some("etcd"),
        version_variables: &[],
    },
    Tool {
        name: "kubernetes",
        module: "k8s.io/kubernetes",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
            "k8s.io/kubernetes/cmd/kubelet",
        ],
        program: None,
        version_variables: &["k8s.io/component-base/version.gitVersion"],
    },
    Tool {
        name: "coredns",
        module: "github.com/coredns/coredns",
        packages: &["."],
        program: Some("coredns"),
        version_variables: &[],
    },
    Tool {
        name: "helm",
        module: "helm.sh/helm/v4",
        packages: &["helm.sh/helm/v4/cmd/helm"],
        program: None,
        version_variables: &["helm.sh/helm/v4/internal/version.version"],
    },
];

impl Tool {
    fn source(&self) -> PathBuf {
        layout::source_root()
            .join("e2e/cluster/tools")
            .join(self.name)
    }

    /// The version its `go.mod` pins, `v1.36.3`.
    fn version(&self) -> Result<String> {
        let path = self.source().join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        pinned_version(&text, self.module)
            .with_context(|| format!("{} does not require {}", path.display(), self.module))
    }

    fn dir(&self) -> Result<PathBuf> {
        Ok(layout::cache()?
            .join("tools")
            .join(format!("{}-{}", self.name, self.version()?)))
    }

    fn linker_flags(&self, version: &str) -> String {
        let mut flags = vec!["-s -w".to_owned()];
        for variable in self.version_variables {
            flags.push(format!(" -X {variable}={version}"));
            if let Some(package) = variable.strip_suffix(".gitVersion") {
                // Clients compare these two, not the text.
                let mut parts = version.trim_start_matches('v').split('.');
                let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
                flags.push(format!(
                    " -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
                ));
            }
        }
        flags.concat()
    }

    /// Changes whenever a build would come out differently.
    fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let path = self.source().join(file);
            if path.exists() {
                let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                hash.update(bytes);
            }
        }
        hash.update(self.linker_flags(&self.version()?));
        Ok(hex::encode(hash.finalize()))
    }

    fn is_built(&self) -> Result<bool> {
        let stamp = fs::read_to_string(self.dir()?.join("fingerprint")).unwrap_or_default();
        Ok(stamp == self.fingerprint()?)
    }

    fn build(&self, progress: &Progress) -> Result<()> {
        let (dir, version) = (self.dir()?, self.version()?);
        let fresh = dir.join("bin.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).with_context(|| format!("remove {}", fresh.display()))?;
        }
        fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        let target = self.program.map_or_else(
            || format!("{}/", fresh.display()),
            |p| format!("{}/{p}", fresh.display()),
        );
        let mut command = Command::new("go");
        command
            .arg("build")
            .arg("-C")
            .arg(self.source())
            .args([
                "-v",
                "-trimpath",
                "-ldflags",
                &self.linker_flags(&version),
                "-o",
                &target,
            ])
            .args(self.packages)
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .env("CGO_ENABLED", "0");
        let start = Instant::now();
        let what = format!("{} {version}", self.name);
        // Each goes on where the one before it came to: what was fetched and compiled is kept.
        for attempt in 1.. {
            match watch_build(&mut command, &what, progress) {
                Ok(()) => break,
                Err(error) if attempt < BUILD_ATTEMPTS => {
                    progress.step(&format!(
                        "attempt {attempt} of {BUILD_ATTEMPTS} failed: {error:#}"
                    ));
                    thread::sleep(BUILD_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        let bin = dir.join("bin");
        if bin.exists() {
            fs::remove_dir_all(&bin).with_context(|| format!("remove {}", bin.display()))?;
        }
        fs::rename(&fresh, &bin).with_context(|| format!("rename to {}", bin.display()))?;
        fs::write(dir.join("fingerprint"), self.fingerprint()?)
            .with_context(|| format!("write to {}", dir.display()))?;
        progress.step(&format!(
            "{} {version} built in {:.0} s",
            self.name,
            start.elapsed().as_secs_f64()
        ));
        Ok(())
    }
}

/// Builds what is missing or changed; `true` if there was anything to do.
pub(crate) fn build(progress: &Progress) -> Result<bool> {
    let mut missing = Vec::new();
    for tool in &TOOLS {
        if !tool.is_built()? {
            missing.push(tool);
        }
    }
    if missing.is_empty() {
        link_programs()?;
        return Ok(false);
    }
    let names: Vec<_> = missing.iter().map(|tool| tool.name).collect();
    progress.step(&format!(
        "building {} from Go modules (budget for all, cold: {COLD_BUDGET_MINUTES} min)",
        names.join(", ")
    ));
    for tool in missing {
        tool.build(progress)?;
    }
    link_programs()?;
    Ok(true)
}

/// One folder that shows every program, for people and scripts.
pub(crate) fn programs_dir() -> Result<PathBuf> {
    Ok(layout::cache()?.join("bin"))
}

fn link_programs() -> Result<()> {
    let dir = programs_dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for tool in &TOOLS {
        let bin = tool.dir()?.join("bin");
        let entries = fs::read_dir(&bin).with_context(|| format!("list {}", bin.display()))?;
        for entry in entries {
            let program = entry?.path();
            let Some(name) = program.file_name() else {
                continue;
            };
            let link = dir.join(name);
            if fs::read_link(&link).is_ok_and(|target| target == program) {
                continue;
            }
            if link.symlink_metadata().is_ok() {
                fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
            }
            symlink(&program, &link).with_context(|| format!("link {}", link.display()))?;
        }
    }
    Ok(())
}

/// The built program `name`.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = programs_dir()?.join(name);
    if !path.exists() {
        bail!(
            "{} is not built; run `e2e/cluster/cluster build`",
            path.display()
        );
    }
    Ok(path)
}

/// `PATH` with the built programs first.
pub(crate) fn search_path() -> Result<String> {
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    Ok(format!("{}:{system}", programs_dir()?.display()))
}

/// The version of `coredns`, which names its image.
pub(crate) fn coredns_version() -> Result<String> {
    let tool = TOOLS
        .iter()
        .find(|tool| tool.name == "coredns")
        .context("no coredns")?;
    tool.version()
}

/// Runs `go build -v`, which names each package on standard error, and tells every 15 s how far
/// it is.
fn watch_build(command: &mut Command, what: &str, progress: &Progress) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start go; is it on PATH?")?;
    let stderr = child.stderr.take().context("go has no standard error")?;
    let (sender, lines) = mpsc::sync_channel(64);
    let reader = thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut said = String::new();
    let mut packages = 0;
    let mut told = Instant::now();
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                packages += usize::from(!line.starts_with("go: downloading"));
                said += &line;
                said.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if told.elapsed() >= Duration::from_secs(15) {
            progress.step(&format!("{what}: {packages} packages compiled"));
            told = Instant::now();
        }
    }
    let status = child.wait().context("wait for go")?;
    drop(reader);
    if !status.success() {
        bail!("building {what}: {status}\n{}", last_lines(&said, 40));
    }
    Ok(())
}

/// The version `go.mod` requires of `module`.
fn pinned_version(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ").trim();
        let mut words = line.split_whitespace();
        let version = (words.next() == Some(module))
            .then(|| words.next())
            .flatten()?;
        version.starts_with('v').then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_pins_its_module() {
        for tool in &TOOLS {
            let version = tool.version().unwrap();
            assert!(version.starts_with('v'), "{}: {version}", tool.name);
        }
    }

    #[test]
    fn a_replaced_or_longer_module_is_not_taken_for_the_required_one() {
        let text = "replace (\n\tk8s.io/api => k8s.io/api v0.36.3\n)\n\
                    require k8s.io/api/more v9.0.0\nrequire k8s.io/api v0.36.4 // indirect\n";
        assert_eq!(
            pinned_version(text, "k8s.io/api").as_deref(),
            Some("v0.36.4")
        );
    }

    #[test]
    fn kubernetes_carries_its_version_in_three_variables() {
        let tool = TOOLS.iter().find(|tool| tool.name == "kubernetes").unwrap();
        let flags = tool.linker_flags("v1.36.3");
        for wanted in ["gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36"] {
            assert!(flags.contains(wanted), "{flags}");
        }
    }
}
