//! SIP without IO: messages, transactions, digest, dialogs, a user agent for many endpoints, and
//! SDP offer/answer.
//!
//! Nothing here has a socket, a clock, a task or randomness of its own: the caller passes `now`,
//! received bytes and a seed, and takes messages to send and events from [`UserAgent`].

mod compose;
mod core;
mod counters;
mod dialog;
mod digest;
mod flow;
mod framer;
mod limits;
pub mod locate;
pub mod message;
mod own_map;
mod password;
pub mod sdp;
mod timers;
mod transaction;
mod ua;

pub use counters::{EndpointKey, UaCounters};
pub use flow::{Flow, Listener, LocalId, Transport};
pub use framer::{Frame, FrameError, Framer, PING, PONG};
pub use limits::{BY_UDP as LARGEST_BY_UDP, MESSAGE as LARGEST_MESSAGE};
pub use message::{Host, Uri, UriError};
pub use own_map::{OwnHasher, OwnMap};
pub use password::{Credentials, Password};
pub use ua::{
    CallEnd, CallEvent, CallKey, CallTimes, EndReason, EndpointConfig, Failure, Held, Incoming,
    Invite, MidTimes, OfferBy, OptionsAnswered, Output, Refer, Refresher, Registered, Registration,
    RegistrationFailed, Reliable, Replaces, SessionTimer, SessionTimerMode, Transmit, UaConfig,
    UaError, UaEvent, UserAgent, instance_urn, recovery_wait,
};
