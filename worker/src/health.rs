//! What `/health` and `/live` answer: a pure state and the small HTTP server that shows it.

mod http;
mod state;

pub use http::{HealthServer, bind};
pub use state::{GatewayLink, Health, Pulse, Report};
