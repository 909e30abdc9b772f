//! SIP on this host: ports, sockets and the shards that run the engine.

mod handle;
mod messages;

pub use handle::{Room, ShardHandle};
pub use messages::{Command, Report, StopCause};
