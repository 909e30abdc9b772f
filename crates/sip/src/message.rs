//! SIP messages (RFC 3261 §7): a zero-copy index over the received bytes, typed views of the
//! headers the stack needs, and a builder.

pub(crate) mod scan;
mod uri;

pub use uri::{Host, HostName, Scheme, Uri, UriError};
