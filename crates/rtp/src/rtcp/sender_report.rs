//! Sender report, RFC 3550 §6.4.1: <https://www.rfc-editor.org/rfc/rfc3550#section-6.4.1>
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|    RC   |   PT=SR=200   |             length            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         SSRC of sender                        |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |              NTP timestamp, most significant word             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             NTP timestamp, least significant word             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         RTP timestamp                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     sender's packet count                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      sender's octet count                     |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |                     report blocks (RC of them)                |
//! ```

use super::{ReportBlock, kind, write_header};
use crate::NtpTime;

/// What a sender says about its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// When the report was sent.
    pub ntp: NtpTime,
    /// The same instant in the units of the RTP timestamps.
    pub rtp_timestamp: u32,
    /// RTP packets sent since the start, modulo 2³².
    pub packet_count: u32,
    /// Payload octets of these packets, modulo 2³².
    pub octet_count: u32,
}

impl SenderInfo {
    pub(super) const LEN: usize = 20;

    pub(super) fn parse(octets: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
        };
        Self {
            ntp: NtpTime(u64::from(word(0)) << 32 | u64::from(word(4))),
            rtp_timestamp: word(8),
            packet_count: word(12),
            octet_count: word(16),
        }
    }
}

/// Appends a sender report of `ssrc` with at most one block.
pub fn write_sender_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    info: &SenderInfo,
    block: Option<&ReportBlock>,
) {
    let blocks = u8::from(block.is_some());
    let body = 4 + SenderInfo::LEN + usize::from(blocks) * ReportBlock::LEN;
    write_header(out, blocks, kind::SENDER_REPORT, body);
    out.extend(ssrc.to_be_bytes());
    out.extend(info.ntp.0.to_be_bytes());
    out.extend(info.rtp_timestamp.to_be_bytes());
    out.extend(info.packet_count.to_be_bytes());
    out.extend(info.octet_count.to_be_bytes());
    if let Some(block) = block {
        block.write(out);
    }
}
