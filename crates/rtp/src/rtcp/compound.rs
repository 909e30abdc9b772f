//! Compound packets, RFC 3550 §6.1 and the validity checks of A.2:
//! <https://www.rfc-editor.org/rfc/rfc3550#appendix-A.2>

use super::{ReportBlock, SenderInfo, kind};

/// One packet of a compound, as far as the measurement needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Sender report.
    SenderReport {
        /// Its author.
        ssrc: u32,
        /// What it sent.
        info: SenderInfo,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// Receiver report.
    ReceiverReport {
        /// Its author.
        ssrc: u32,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// Source description; the text is of no use to the measurement.
    SourceDescription,
    /// Goodbye of the first source it names; `None` for one that names none.
    Bye {
        /// Who leaves.
        ssrc: Option<u32>,
    },
    /// Any other type (feedback, XR, APP), skipped as §6.1 asks.
    Other {
        /// RTCP payload type.
        kind: u8,
    },
}

/// Report blocks of one report, read on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<{ ReportBlock::LEN }>()?;
        self.0 = rest;
        Some(ReportBlock::parse(block))
    }
}

/// Why a datagram is no compound packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The version of one packet is not 2.
    #[error("RTCP version {0}, accepted is 2")]
    Version(u8),
    /// The first packet is neither a sender nor a receiver report.
    #[error("compound starts with packet type {0}, accepted are 200 and 201")]
    First(u8),
    /// The lengths of the packets do not add up to the datagram, or a packet is too short for
    /// what its count promises.
    #[error("packet at octet {at} does not fit the datagram")]
    Length {
        /// Where the packet starts.
        at: usize,
    },
    /// Padding on a packet other than the last (A.2).
    #[error("padding on a packet that is not the last one, at octet {at}")]
    Padding {
        /// Where the packet starts.
        at: usize,
    },
}

/// A compound packet that passed the checks of A.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compound<'a> {
    wire: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks the whole datagram, so that [`Compound::packets`] cannot fail.
    pub fn parse(wire: &'a [u8]) -> Result<Self, RtcpError> {
        let mut at = 0;
        while at < wire.len() || at == 0 {
            let Some(raw) = Raw::at(wire, at) else {
                return Err(RtcpError::Length { at });
            };
            if raw.version != 2 {
                return Err(RtcpError::Version(raw.version));
            }
            let report = matches!(raw.kind, kind::SENDER_REPORT | kind::RECEIVER_REPORT);
            if at == 0 && !report {
                return Err(RtcpError::First(raw.kind));
            }
            if raw.padding && raw.end != wire.len() {
                return Err(RtcpError::Padding { at });
            }
            if raw.packet().is_none() {
                return Err(RtcpError::Length { at });
            }
            at = raw.end;
        }
        Ok(Self { wire })
    }

    /// The packets in order.
    pub fn packets(self) -> impl Iterator<Item = Packet<'a>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let raw = Raw::at(self.wire, at)?;
            at = raw.end;
            raw.packet()
        })
    }
}

/// The common header and the body of one packet.
struct Raw<'a> {
    version: u8,
    padding: bool,
    count: u8,
    kind: u8,
    body: &'a [u8],
    end: usize,
}

impl<'a> Raw<'a> {
    /// The packet at octet `at`, `None` when the datagram ends before it does.
    fn at(wire: &'a [u8], at: usize) -> Option<Self> {
        let (&[b0, kind, l0, l1], rest) = wire.get(at..)?.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1])) * 4;
        let body = rest.get(..len)?;
        Some(Self {
            version: b0 >> 6,
            padding: b0 & 0x20 != 0,
            count: b0 & 0x1f,
            kind,
            body,
            end: at + 4 + len,
        })
    }

    /// The typed packet, `None` when the body is too short for its type and count.
    fn packet(&self) -> Option<Packet<'a>> {
        let ssrc = self
            .body
            .first_chunk::<4>()
            .map(|octets| u32::from_be_bytes(*octets));
        let blocks = |from: usize| {
            let end = from + usize::from(self.count) * ReportBlock::LEN;
            self.body.get(from..end).map(Blocks)
        };
        Some(match self.kind {
            kind::SENDER_REPORT => Packet::SenderReport {
                ssrc: ssrc?,
                info: SenderInfo::parse(self.body.get(4..)?.first_chunk()?),
                blocks: blocks(4 + SenderInfo::LEN)?,
            },
            kind::RECEIVER_REPORT => Packet::ReceiverReport {
                ssrc: ssrc?,
                blocks: blocks(4)?,
            },
            kind::SOURCE_DESCRIPTION => Packet::SourceDescription,
            kind::BYE if self.count == 0 => Packet::Bye { ssrc: None },
            kind::BYE => Packet::Bye { ssrc: Some(ssrc?) },
            kind => Packet::Other { kind },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{write_bye, write_cname, write_receiver_report, write_sender_report};
    use super::*;
    use crate::NtpTime;
    use proptest::prelude::*;

    const INFO: SenderInfo = SenderInfo {
        ntp: NtpTime(0x1122_3344_5566_7788),
        rtp_timestamp: 160,
        packet_count: 7,
        octet_count: 1120,
    };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 42,
        fraction_lost: 64,
        cumulative_lost: -3,
        highest_sequence: 0x0001_0002,
        jitter: 9,
        last_sr: 0x3344_5566,
        delay_since_last_sr: 0x0001_0000,
    };

    #[test]
    fn sender_report_name_and_goodbye_round_trip() {
        let mut wire = Vec::new();
        write_sender_report(&mut wire, 7, &INFO, Some(&BLOCK));
        write_cname(&mut wire, 7, b"abc@worker");
        write_bye(&mut wire, 7);
        let packets: Vec<_> = Compound::parse(&wire).unwrap().packets().collect();
        let Packet::SenderReport {
            ssrc: 7,
            info: INFO,
            mut blocks,
        } = packets[0].clone()
        else {
            panic!("{packets:?}");
        };
        assert_eq!((blocks.next(), blocks.next()), (Some(BLOCK), None));
        assert_eq!(
            packets[1..],
            [Packet::SourceDescription, Packet::Bye { ssrc: Some(7) }]
        );
    }

    #[test]
    fn receiver_report_with_and_without_a_block() {
        for block in [None, Some(&BLOCK)] {
            let mut wire = Vec::new();
            write_receiver_report(&mut wire, 9, block);
            let packet = Compound::parse(&wire).unwrap().packets().next().unwrap();
            let Packet::ReceiverReport { ssrc: 9, blocks } = packet else {
                panic!("{packet:?}")
            };
            assert_eq!(
                blocks.collect::<Vec<_>>(),
                block.copied().into_iter().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn names_of_every_length_keep_the_compound_valid() {
        for len in 0..=300 {
            let mut wire = Vec::new();
            write_receiver_report(&mut wire, 9, None);
            write_cname(&mut wire, 9, &vec![b'x'; len]);
            assert_eq!(wire.len() % 4, 0);
            assert_eq!(Compound::parse(&wire).unwrap().packets().count(), 2);
        }
    }

    #[test]
    fn refusals_name_their_cause() {
        let mut bye = Vec::new();
        write_bye(&mut bye, 7);
        assert_eq!(Compound::parse(&bye), Err(RtcpError::First(203)));
        assert_eq!(Compound::parse(&[]), Err(RtcpError::Length { at: 0 }));

        let mut wire = Vec::new();
        write_receiver_report(&mut wire, 9, None);
        wire[0] |= 0x20;
        write_bye(&mut wire, 9);
        assert_eq!(Compound::parse(&wire), Err(RtcpError::Padding { at: 0 }));
        wire[0] = 0x40 | 0x20;
        assert_eq!(Compound::parse(&wire), Err(RtcpError::Version(1)));

        let mut wire = Vec::new();
        write_receiver_report(&mut wire, 9, None);
        wire[0] |= 1; // promises a block that is not there
        assert_eq!(Compound::parse(&wire), Err(RtcpError::Length { at: 0 }));
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(
            mut wire in proptest::collection::vec(any::<u8>(), 0..128),
            shaped in any::<bool>(),
        ) {
            if shaped && wire.len() >= 4 {
                wire[0] = 0x80 | (wire[0] & 0x1f);
                wire[1] = 200 + wire[1] % 6;
                wire[2] = 0;
                wire[3] %= 32;
            }
            if let Ok(compound) = Compound::parse(&wire) {
                for packet in compound.packets() {
                    if let Packet::SenderReport { blocks, .. }
                        | Packet::ReceiverReport { blocks, .. } = packet
                    {
                        prop_assert!(blocks.count() < 32);
                    }
                }
            }
        }
    }
}
