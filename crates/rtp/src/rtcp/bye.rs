//! Goodbye, RFC 3550 §6.6: <https://www.rfc-editor.org/rfc/rfc3550#section-6.6>
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|    SC   |   PT=BYE=203  |             length            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           SSRC/CSRC                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::{kind, write_header};

/// Appends the goodbye of `ssrc`, without a reason.
pub fn write_bye(out: &mut Vec<u8>, ssrc: u32) {
    write_header(out, 1, kind::BYE, 4);
    out.extend(ssrc.to_be_bytes());
}
