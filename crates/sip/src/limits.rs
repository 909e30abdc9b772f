//! What a peer may send: the most that is taken of everything it controls.
//!
//! Comments are skipped, never descended into, so their nesting needs no limit. Counts of calls and
//! server transactions are settings: [`crate::UaConfig`].

/// Bytes of a message: what a UDP datagram can hold.
pub const MESSAGE: usize = 65_535;
/// Bytes of a request by UDP while nothing is known of the path's MTU (RFC 3261 §18.1.1).
pub const BY_UDP: usize = 1300;
/// Bytes of start line and header fields of a message on a stream; the rest of [`MESSAGE`] is its
/// body's.
pub(crate) const STREAM_HEAD: usize = 32_768;
/// Header fields of a message.
pub(crate) const HEADERS: usize = 256;
/// Bytes of one header field, its folds included.
pub(crate) const HEADER: usize = 8192;
/// Elements of Via in a message: more than Max-Forwards of 70 lets any request collect.
pub(crate) const VIAS: usize = 128;
/// Elements of Contact, Route or Record-Route in a message.
pub(crate) const ADDRESSES: usize = 64;
/// Challenges of a message that are looked at.
pub(crate) const CHALLENGES: usize = 16;
/// Bytes of a URI.
pub(crate) const URI: usize = 2048;
/// Parameters of a URI.
pub(crate) const URI_PARAMETERS: usize = 64;
/// Bytes of a session description.
pub(crate) const SDP: usize = 16_384;
/// Media descriptions of a session description.
pub(crate) const SDP_MEDIA: usize = 32;
/// Attributes of a session description, those of its media included.
pub(crate) const SDP_ATTRIBUTES: usize = 512;
/// Payload types and rtpmaps of a stream that are looked at.
pub(crate) const SDP_FORMATS: usize = 64;
