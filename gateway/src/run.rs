//! Runs: from submission to report.
//!
//! [`Run`] is the state machine of one run, without clock or IO. Contract: call a method with the
//! time it happened, then drain [`Run::poll_output`] and carry the outputs out in order; what is
//! stored comes before what is sent. A message of a worker is stored first, then given to the run,
//! then confirmed to the worker. [`Run::handle_timeout`] is due at [`Run::next_timeout`].
//!
//! ```text
//! PENDING → QUEUED → RUNNING: callees get ready → callers get ready → started → COMPLETED | FAILED
//!    └────────┴→ CANNOT_RUN_FOR_NOW                       └→ STOPPING ─┘
//! ```
//!
//! [`service`] is the task that owns all runs.

mod advance;
mod assign;
mod events;
mod machine;
mod restore;
pub mod secrets;
pub mod service;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use restore::StoredRun;
pub use state::{
    Cause, Endpoint, Link, OutcomeRow, Output, OwedShare, Partial, PlacedShare, Reachable, Run,
    RunIdentity,
};
