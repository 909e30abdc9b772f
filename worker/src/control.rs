//! The gateway connection: a pure session and delivery core, and the task that gives it a stream.

mod backoff;
mod delivery;
mod drain;
mod link;
mod refusal;
mod session;
mod task;

pub use backoff::Backoff;
pub use drain::{Drain, DrainStep};
pub use link::{Dialer, LinkEvent};
pub use refusal::Refusal;
pub use session::{Identity, Session};
pub use task::{Control, Exit, Parts};
