//! RTP packets, RFC 3550 §5.1: <https://www.rfc-editor.org/rfc/rfc3550#section-5.1>
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           timestamp                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           synchronization source (SSRC) identifier            |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |            contributing source (CSRC) identifiers             |
//! |                             ....                              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

/// Octets of a header without contributing sources and extension.
pub const HEADER_LEN: usize = 12;

/// The fixed header of an RTP packet and where its payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit; for audio the first packet of a talkspurt (RFC 3551 §4.1).
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Why a datagram is no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its own header, contributing sources and extension say.
    #[error("datagram of {len} octets ends inside the RTP header")]
    Truncated {
        /// Length of the datagram.
        len: usize,
    },
    /// The version field is not 2.
    #[error("RTP version {0}, accepted is 2")]
    Version(u8),
    /// The octet count at the end of the padding does not fit the packet.
    #[error("padding of {0} octets does not fit the packet")]
    Padding(u8),
}

impl RtpHeader {
    /// Reads the header of `datagram` and gives it with the payload, padding removed.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), RtpError> {
        let truncated = RtpError::Truncated {
            len: datagram.len(),
        };
        let Some((fixed, mut rest)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(truncated);
        };
        let [b0, b1, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(RtpError::Version(b0 >> 6));
        }
        rest = rest.get(usize::from(b0 & 0x0f) * 4..).ok_or(truncated)?;
        if b0 & 0x10 != 0 {
            // Header extension, §5.3.1: 16 bits of profile, 16 bits of length in words.
            let Some(([_, _, l0, l1], after)) = rest.split_first_chunk::<4>() else {
                return Err(truncated);
            };
            let words = usize::from(u16::from_be_bytes([*l0, *l1]));
            rest = after.get(words * 4..).ok_or(truncated)?;
        }
        if b0 & 0x20 != 0 {
            let count = rest.last().copied().ok_or(truncated)?;
            let kept = rest.len().checked_sub(usize::from(count));
            match kept {
                Some(kept) if count > 0 => rest = &rest[..kept],
                _ => return Err(RtpError::Padding(count)),
            }
        }
        let header = Self {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        Ok((header, rest))
    }

    /// The header on the wire: version 2, no padding, extension or contributing source.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = 2 << 6;
        out[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: RtpHeader = RtpHeader {
        marker: true,
        payload_type: 8,
        sequence: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 0xdead_beef,
    };

    #[test]
    fn known_octets_both_ways() {
        let mut wire = vec![0x80, 0x88, 0xff, 0xfe, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(HEADER.to_bytes().as_slice(), wire);
        wire.extend([9, 9, 9]);
        assert_eq!(RtpHeader::parse(&wire), Ok((HEADER, [9, 9, 9].as_slice())));
    }

    #[test]
    fn contributing_sources_extension_and_padding_are_no_payload() {
        let mut wire = HEADER.to_bytes().to_vec();
        wire[0] |= 0x20 | 0x10 | 2;
        wire.extend([0; 8]); // two contributing sources
        wire.extend([0xbe, 0xde, 0, 1, 1, 1, 1, 1]); // extension of one word
        wire.extend([7, 7, 7, 0, 2]); // payload and two octets of padding
        assert_eq!(RtpHeader::parse(&wire), Ok((HEADER, [7, 7, 7].as_slice())));
    }

    #[test]
    fn refusals_name_their_cause() {
        assert_eq!(
            RtpHeader::parse(&[0x80; 11]),
            Err(RtpError::Truncated { len: 11 })
        );
        assert_eq!(RtpHeader::parse(&[0x40; 12]), Err(RtpError::Version(1)));
        let mut wire = HEADER.to_bytes().to_vec();
        wire[0] |= 0x20;
        wire.extend([1, 2, 9]);
        assert_eq!(RtpHeader::parse(&wire), Err(RtpError::Padding(9)));
        wire[14] = 0;
        assert_eq!(RtpHeader::parse(&wire), Err(RtpError::Padding(0)));
        let mut wire = HEADER.to_bytes().to_vec();
        wire[0] |= 0x10;
        wire.extend([0, 0, 0xff, 0xff]);
        assert_eq!(
            RtpHeader::parse(&wire),
            Err(RtpError::Truncated { len: 16 })
        );
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(wire in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((header, payload)) = RtpHeader::parse(&wire) {
                prop_assert!(payload.len() + HEADER_LEN <= wire.len());
                prop_assert_eq!(&header.to_bytes()[1..], &wire[1..12]);
            }
        }
    }
}
