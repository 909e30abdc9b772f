//! SIP over connections: TCP and TLS (RFC 3261 §18) and WebSocket (RFC 7118), on the shard's own
//! thread.

mod carrier;
mod connect;
mod connection;
mod limits;
mod settings;
mod stream;
mod streams;
mod tls;
mod web_socket;
mod wire;

pub(super) use connect::{any_port, listen};
pub(super) use limits::{Held, check as check_connections, unavailable};
pub(super) use settings::{StreamSettings, keep_alive};
pub(super) use streams::{MOST_ACCEPTED, StreamEvent, Streams};
