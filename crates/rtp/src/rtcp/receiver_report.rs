//! Receiver report, RFC 3550 §6.4.2: <https://www.rfc-editor.org/rfc/rfc3550#section-6.4.2>
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|    RC   |   PT=RR=201   |             length            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     SSRC of packet sender                     |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |                     report blocks (RC of them)                |
//! ```

use super::{ReportBlock, kind, write_header};

/// Appends a receiver report of `ssrc` with at most one block.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, block: Option<&ReportBlock>) {
    let blocks = u8::from(block.is_some());
    let body = 4 + usize::from(blocks) * ReportBlock::LEN;
    write_header(out, blocks, kind::RECEIVER_REPORT, body);
    out.extend(ssrc.to_be_bytes());
    if let Some(block) = block {
        block.write(out);
    }
}
