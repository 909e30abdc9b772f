//! RTCP, RFC 3550 §6: <https://www.rfc-editor.org/rfc/rfc3550#section-6>
//!
//! Every packet of a compound opens with the same 32 bits:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|  count  |      PT       |     length in words − 1       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

mod bye;
mod compound;
mod interval;
mod receiver_report;
mod report_block;
mod sdes;
mod sender_report;
mod session;

pub use bye::write_bye;
pub use compound::{Compound, Packet, RtcpError};
pub use receiver_report::write_receiver_report;
pub use report_block::ReportBlock;
pub use sdes::write_cname;
pub use sender_report::{SenderInfo, write_sender_report};
pub(crate) use session::{ReceptionReport, RtcpConfig, RtcpSession};

/// Payload types of RTCP packets (RFC 3550 §12.1).
pub(crate) mod kind {
    pub(crate) const SENDER_REPORT: u8 = 200;
    pub(crate) const RECEIVER_REPORT: u8 = 201;
    pub(crate) const SOURCE_DESCRIPTION: u8 = 202;
    pub(crate) const BYE: u8 = 203;
}

/// Appends the common header; `body_len` octets, a multiple of four, follow it.
fn write_header(out: &mut Vec<u8>, count: u8, kind: u8, body_len: usize) {
    debug_assert!(
        body_len.is_multiple_of(4) && count < 32,
        "caller pads and bounds"
    );
    out.extend([2 << 6 | count, kind]);
    out.extend(((body_len / 4) as u16).to_be_bytes());
}
