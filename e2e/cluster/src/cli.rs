//! The command line.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::layout::{self, CONTROL_PLANE, CONTROL_PLANE_NETNS, Node};
use crate::lock::Lock;
use crate::progress::Progress;
use crate::{down, fault, image, load, network, status, tools, up};

/// A real Kubernetes cluster on this machine: etcd, API server, controller manager, scheduler and
/// three nodes in network namespaces without an uplink.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the cluster up, or back up if a part of it has ended
    Up,
    /// Take the cluster down, leaving nothing but its logs
    Down,
    /// Print what runs; exit with 1 if a part does not
    Status,
    /// Print the path of the administrator's kubeconfig
    Kubeconfig,
    /// Print shell commands that set KUBECONFIG, CALLMETER_AUDIT_LOG and PATH: eval "$(cluster env)"
    Env,
    /// Load OCI archives on every node that does not have them
    LoadImage {
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Run a command in the network of a node or of the control plane
    Exec {
        /// A node's name, or control-plane
        place: String,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// End a component as kill -9 does; `up` brings it back
    Kill {
        /// As `status` names it: kube-apiserver, kubelet@worker-1 …
        component: String,
    },
    /// Let a node die: its link goes down, then every process on it ends; `up` brings it back
    NodeDown {
        /// The node's name
        node: String,
    },
    /// Build the programs of the cluster from their Go modules
    Build,
    /// Build images and load them on the nodes
    Images {
        /// operator, gateway, worker, peers, busybox; all of them by default
        names: Vec<String>,
        #[arg(long, default_value = "dev")]
        tag: String,
        /// Folder of the compiled programs, by default debug of the Cargo target folder
        #[arg(long)]
        programs: Option<PathBuf>,
        /// Only build; the archives' paths are printed
        #[arg(long)]
        no_load: bool,
        /// Only build, for `docker load`: the archives keep what an OCI image has no place for
        #[arg(long)]
        docker: bool,
    },
}

impl Args {
    /// Does what was asked; a command that only failed to find things well returns 1.
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !rustix::process::geteuid().is_root() {
            bail!("must run as root: namespaces, mounts and cgroups belong to it");
        }
        match self.command {
            Action::Up => {
                let _lock = Lock::cluster()?;
                let _cache = Lock::cache(&layout::cache()?)?;
                up::up()?;
            }
            Action::Down => {
                let _lock = Lock::cluster()?;
                down::down()?;
            }
            Action::Status => {
                return Ok(if status::print()? {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                });
            }
            Action::Kubeconfig => println!("{}", layout::kubeconfig().display()),
            Action::Env => {
                println!("export KUBECONFIG={}", layout::kubeconfig().display());
                println!(
                    "export CALLMETER_AUDIT_LOG={}",
                    layout::audit_log().display()
                );
                println!("export PATH={}:\"$PATH\"", tools::programs_dir()?.display());
            }
            Action::LoadImage { archives } => {
                let _lock = Lock::cluster()?;
                let archives: Vec<_> = archives.iter().map(PathBuf::as_path).collect();
                load::load_everywhere(&archives, &Progress::new())?;
            }
            Action::Exec { place, command } => return exec(&place, &command),
            Action::Kill { component } => fault::kill(&component)?,
            Action::NodeDown { node } => {
                let _lock = Lock::cluster()?;
                fault::node_down(&node)?;
            }
            Action::Build => {
                let _cache = Lock::cache(&layout::cache()?)?;
                up::build(&Progress::new())?;
            }
            Action::Images {
                names,
                tag,
                programs,
                no_load,
                docker,
            } => {
                let then = match (docker, no_load) {
                    (true, _) => Then::DockerArchives,
                    (false, true) => Then::Nothing,
                    (false, false) => Then::Load,
                };
                images(names, &tag, programs, then)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What happens to built images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Load,
    DockerArchives,
    Nothing,
}

fn images(names: Vec<String>, tag: &str, programs: Option<PathBuf>, then: Then) -> Result<()> {
    let progress = Progress::new();
    let names = if names.is_empty() {
        image::BUILDABLE.map(str::to_owned).to_vec()
    } else {
        names
    };
    let programs = programs.map_or_else(default_programs, Ok)?;
    let mut archives = Vec::new();
    {
        let _cache = Lock::cache(&layout::cache()?)?;
        for name in &names {
            archives.push(if then == Then::DockerArchives {
                image::docker_archive(name, tag, &programs, &progress)?
            } else {
                image::build_named(name, tag, &programs, &progress)?
            });
        }
    }
    for archive in &archives {
        println!("{} {}", archive.reference, archive.path.display());
    }
    if then == Then::Load {
        let _lock = Lock::cluster()?;
        let paths: Vec<_> = archives
            .iter()
            .map(|archive| archive.path.as_path())
            .collect();
        load::load_everywhere(&paths, &progress)?;
    }
    Ok(())
}

fn default_programs() -> Result<PathBuf> {
    let target = match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => env::current_dir()
            .context("find the current directory")?
            .join(dir),
        None => layout::source_root().join("target"),
    };
    Ok(target.join("debug"))
}

/// Becomes the command, so that signals and its exit code are its own.
fn exec(place: &str, command: &[OsString]) -> Result<ExitCode> {
    let (netns, socket) = if place == CONTROL_PLANE {
        (CONTROL_PLANE_NETNS, None)
    } else {
        let node = Node::named(place).with_context(|| format!("and {CONTROL_PLANE}"))?;
        (node.netns, Some(node.containerd_socket()))
    };
    if !network::is_complete() {
        bail!("the cluster is not up; run `e2e/cluster/cluster up`");
    }
    let (program, args) = command.split_first().context("a command is needed")?;
    let mut inside = network::enter(netns, program);
    inside
        .args(args)
        .env("PATH", tools::search_path()?)
        .env("KUBECONFIG", layout::kubeconfig());
    if let Some(socket) = socket {
        // What `ctr` talks to.
        inside
            .env("CONTAINERD_ADDRESS", socket)
            .env("CONTAINERD_NAMESPACE", "k8s.io");
    }
    Err(inside.exec()).with_context(|| format!("run {}", program.display()))
}
