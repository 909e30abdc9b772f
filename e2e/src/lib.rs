//! End-to-end tests on a real cluster: what every case shares.
//!
//! A case gets a namespace, an operator and a gateway of its own, so that cases run side by side.
//! `CALLMETER_E2E=1` turns the cases on (`make test` does); without it they skip with a message.
//! With `KUBECONFIG` set they use that cluster, else the one `e2e/cluster/cluster up` made.

mod case;
mod cluster;
mod forward;
mod nodes;
mod observer;
mod operator;
mod pods;
mod proxy;
mod rest;
mod shapes;
mod wait;

pub use case::{Case, run, run_bare};
pub use cluster::{Cluster, output};
pub use forward::Forward;
pub use nodes::{Nodes, OnWire, WORKER_NODES, Wire};
pub use observer::{AuditEvent, Observer};
pub use operator::{OperatorHome, OperatorProcess};
pub use pods::PodWatch;
pub use proxy::WriteProxy;
pub use rest::Rest;
pub use shapes::{condition, direct_test, on_system_node, passed_whole, pool};
pub use wait::{eventually, eventually_some};
