//! The gateway's fleet API: a client for requests, and an index of what the gateway reports.

mod client;
mod index;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use client::{Fleet, FleetConfig};
pub(crate) use index::{Demand, Index, View};
pub(crate) use watch::{Triggers, run};
