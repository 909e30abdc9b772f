//! Transactions (RFC 3261 §17, RFC 6026): the two state machines, and the layer that matches
//! messages to them.

mod client;
mod key;
mod layer;
mod server;

use std::time::Duration;

pub(crate) use key::{ClientKey, parse_token};
pub(crate) use layer::{Expired, Owner, Request, Response, ServerId, Transactions, Unsent, Way};

/// Round-trip estimate (RFC 3261 §17.1.1.1).
pub(crate) const T1: Duration = Duration::from_millis(500);
/// Longest retransmission interval of non-INVITE requests and INVITE responses.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// Longest time a message stays in the network.
pub(crate) const T4: Duration = Duration::from_secs(5);
/// 64·T1: timers B, F, H, J, L and M, and D of unreliable transports.
pub(crate) const LIFETIME: Duration = Duration::from_secs(32);
/// After which a server transaction sends 100 to an INVITE by itself (RFC 3261 §17.2.1).
pub(crate) const TRYING_AFTER: Duration = Duration::from_millis(200);
