//! Report block, RFC 3550 §6.4.1: <https://www.rfc-editor.org/rfc/rfc3550#section-6.4.1>
//!
//! ```text
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |                 SSRC_1 (SSRC of first source)                 |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | fraction lost |       cumulative number of packets lost       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           extended highest sequence number received           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      interarrival jitter                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         last SR (LSR)                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                   delay since last SR (DLSR)                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

/// One receiver's view of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// Lost ÷ expected since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start of reception, 24 bits signed.
    pub cumulative_lost: i32,
    /// Highest sequence number received, cycles in the high 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 without one.
    pub last_sr: u32,
    /// Delay between that report's arrival and this block, in 1/65536 s; 0 without one.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Octets of a block.
    pub const LEN: usize = 24;

    /// Limits of the 24-bit loss counter; beyond them it stays at the limit (RFC 3550 A.3).
    const LOST_LIMITS: (i32, i32) = (-0x80_0000, 0x7f_ffff);

    pub(super) fn parse(octets: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
        };
        Self {
            ssrc: word(0),
            fraction_lost: octets[4],
            // The shift brings the 24-bit sign into place.
            cumulative_lost: ((word(4) << 8) as i32) >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (low, high) = Self::LOST_LIMITS;
        let lost = self.cumulative_lost.clamp(low, high) as u32 & 0x00ff_ffff;
        out.extend(self.ssrc.to_be_bytes());
        out.extend((u32::from(self.fraction_lost) << 24 | lost).to_be_bytes());
        out.extend(self.highest_sequence.to_be_bytes());
        out.extend(self.jitter.to_be_bytes());
        out.extend(self.last_sr.to_be_bytes());
        out.extend(self.delay_since_last_sr.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_loss_and_the_limits_survive_24_bits() {
        for (lost, back) in [
            (-1, -1),
            (5, 5),
            (0x7f_ffff, 0x7f_ffff),
            (i32::MAX, 0x7f_ffff),
            (i32::MIN, -0x80_0000),
        ] {
            let block = ReportBlock {
                cumulative_lost: lost,
                fraction_lost: 255,
                ..Default::default()
            };
            let mut out = Vec::new();
            block.write(&mut out);
            let parsed = ReportBlock::parse(out.as_slice().try_into().unwrap());
            assert_eq!((parsed.cumulative_lost, parsed.fraction_lost), (back, 255));
        }
    }
}
