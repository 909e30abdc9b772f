//! Source description, RFC 3550 §6.5: <https://www.rfc-editor.org/rfc/rfc3550#section-6.5>
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|    SC   |  PT=SDES=202  |             length            |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |                          SSRC/CSRC_1                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    CNAME=1    |     length    | user and domain name        ...
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |      items end with a zero octet, padded to 32 bits           |
//! ```

use super::{kind, write_header};

const CNAME: u8 = 1;

/// Appends the canonical name of `ssrc`, the one item every compound must carry (§6.5.1); names
/// longer than 255 octets are cut.
pub fn write_cname(out: &mut Vec<u8>, ssrc: u32, name: &[u8]) {
    let name = &name[..name.len().min(255)];
    // At least one zero octet ends the list of items.
    let items = (2 + name.len() + 1).next_multiple_of(4);
    write_header(out, 1, kind::SOURCE_DESCRIPTION, 4 + items);
    out.extend(ssrc.to_be_bytes());
    out.extend([CNAME, name.len() as u8]);
    out.extend(name);
    out.extend(std::iter::repeat_n(0, items - 2 - name.len()));
}
