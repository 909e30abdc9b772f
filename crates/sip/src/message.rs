//! SIP messages (RFC 3261 §7): a zero-copy index over the received bytes, typed views of the
//! headers the stack needs, and a builder.

mod auth;
mod builder;
mod error;
mod index;
mod lines;
mod masked;
mod name_addr;
mod names;
pub(crate) mod scan;
mod uri;
mod via;

pub(crate) use auth::next_nonce;
pub use auth::{Algorithm, Challenge, Hash, Qop};
pub(crate) use builder::{Builder, reason_phrase};
pub use error::{HeaderProblem, ParseError};
pub use index::{CSeq, Message};
pub(crate) use index::{Essentials, Malformed};
pub use lines::StartLine;
pub(crate) use lines::content_lengths;
pub use masked::masked;
pub use name_addr::NameAddr;
pub use names::{HeaderName, Method};
pub use scan::is_token;
pub(crate) use scan::list as split_list;
pub(crate) use uri::percent_decode;
pub use uri::{Host, HostName, Scheme, Uri, UriError};
pub use via::Via;
