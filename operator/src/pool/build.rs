//! The objects of a pool.

mod config_map;
mod worker;

pub(crate) use config_map::build_ca;
pub(crate) use worker::{build_worker, converge, drain_request};
