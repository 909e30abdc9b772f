//! A real Kubernetes cluster on one machine, in network namespaces without an uplink, for the
//! end-to-end tests and the demo.

mod cgroup;
mod cli;
mod component;
mod configs;
mod control_plane;
mod down;
mod fault;
mod files;
mod image;
mod kubectl;
mod layout;
mod load;
mod lock;
mod machine;
mod network;
mod node;
mod objects;
mod pki;
mod process;
mod progress;
mod status;
mod tools;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Args::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}
