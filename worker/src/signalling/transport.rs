//! SIP over connections: TCP and TLS (RFC 3261 §18), on the shard's own thread.

mod connect;
mod connection;
mod limits;
mod settings;
mod streams;
mod tls;

pub(super) use connect::{any_port, listen};
pub(super) use limits::check as check_connections;
pub(super) use settings::StreamSettings;
pub(super) use streams::{StreamEvent, Streams};
