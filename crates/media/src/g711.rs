//! G.711: A-law and µ-law, ITU-T Recommendation G.711 (11/1988), tables 1a, 1b, 2a and 2b.
//!
//! Samples are 16-bit linear; the recommendation counts in 13 bits (A-law) and 14 bits (µ-law), in
//! the high bits of the sample.

/// Which of the two companding laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// A-law, PCMA of RFC 3551 §4.5.14.
    A,
    /// µ-law, PCMU of RFC 3551 §4.5.14.
    Mu,
}

impl Law {
    /// Sampling rate, and so octets per second.
    pub const RATE: u32 = 8000;

    /// Encodes one sample.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::A => encode_a(sample),
            Self::Mu => encode_mu(sample),
        }
    }

    /// Decodes one code.
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::A => decode_a(code),
            Self::Mu => decode_mu(code),
        }
    }
}

/// Inverts the even bits of the character signal (note 2 of table 1a).
const A_EVEN_BITS: u8 = 0x55;

fn encode_a(sample: i16) -> u8 {
    // Sign and magnitude; the negative half mirrors the positive one without a code for −0.
    let sign = if sample >= 0 { 0x80 } else { 0 };
    let magnitude = (if sample >= 0 { sample } else { !sample }) as u16 >> 4;
    // 11 bits: segments 0 and 1 are linear with the same step, each further one doubles it.
    let segment = (16 - magnitude.leading_zeros()).saturating_sub(4) as u8;
    let mantissa = (magnitude >> segment.saturating_sub(1)) as u8 & 0x0f;
    (sign | segment << 4 | mantissa) ^ A_EVEN_BITS
}

fn decode_a(code: u8) -> i16 {
    let code = code ^ A_EVEN_BITS;
    let (segment, mantissa) = (code >> 4 & 7, i16::from(code & 0x0f));
    // The middle of the interval: half a step above its lower end.
    let magnitude = match segment {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// What makes the segments of µ-law powers of two (in 16-bit units: 33 × 4).
const MU_BIAS: i32 = 0x84;
/// Largest magnitude µ-law tells apart.
const MU_CLIP: i32 = 32_635;

fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(MU_CLIP) + MU_BIAS;
    // Magnitudes run from 0x84 to 0x7fff: the highest set bit, 7 to 14, is the segment.
    let segment = (24 - magnitude.leading_zeros()) as u8;
    let mantissa = (magnitude >> (segment + 3)) as u8 & 0x0f;
    !(sign | segment << 4 | mantissa)
}

fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let (segment, mantissa) = (code >> 4 & 7, i32::from(code & 0x0f));
    let magnitude = ((((mantissa << 3) + MU_BIAS) << segment) - MU_BIAS) as i16;
    if code & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decoder output values of the positive half, table 1a column 8 (13 bits), by code from the
    /// smallest: first value, step, count.
    const A_TABLE: [(i32, i32, i32); 7] = [
        (1, 2, 32),
        (66, 4, 16),
        (132, 8, 16),
        (264, 16, 16),
        (528, 32, 16),
        (1056, 64, 16),
        (2112, 128, 16),
    ];
    /// The same of table 2a column 8 (14 bits).
    const MU_TABLE: [(i32, i32, i32); 8] = [
        (0, 2, 16),
        (33, 4, 16),
        (99, 8, 16),
        (231, 16, 16),
        (495, 32, 16),
        (1023, 64, 16),
        (2079, 128, 16),
        (4191, 256, 16),
    ];

    fn outputs(table: &[(i32, i32, i32)], scale: i32) -> Vec<i16> {
        let rows = table.iter().flat_map(|(first, step, count)| {
            (0..*count).map(move |n| ((first + n * step) * scale) as i16)
        });
        rows.collect()
    }

    /// Q5: every code decodes to the value of the ITU tables.
    #[test]
    fn all_codes_decode_as_in_the_itu_tables() {
        let (a, mu) = (outputs(&A_TABLE, 8), outputs(&MU_TABLE, 4));
        assert_eq!((a.len(), mu.len()), (128, 128));
        for n in 0..128_u8 {
            let value = a[usize::from(n)];
            assert_eq!(Law::A.decode((n | 0x80) ^ 0x55), value);
            assert_eq!(Law::A.decode(n ^ 0x55), -value);
            let value = mu[usize::from(n)];
            assert_eq!(Law::Mu.decode(!n), value);
            assert_eq!(Law::Mu.decode(!(n | 0x80)), -value);
        }
    }

    /// Q5: every code survives decoding and encoding; µ-law's second zero becomes the first.
    #[test]
    fn all_codes_round_trip() {
        for code in 0..=255_u8 {
            assert_eq!(
                Law::A.encode(Law::A.decode(code)),
                code,
                "A-law {code:#04x}"
            );
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(
                Law::Mu.encode(Law::Mu.decode(code)),
                expected,
                "µ-law {code:#04x}"
            );
        }
    }

    /// Every sample falls into the interval of its code: not farther from the decoded value than
    /// half the step there, and larger samples never get smaller values.
    #[test]
    fn all_samples_land_in_their_interval() {
        for (law, clip) in [(Law::A, 32_256 + 512), (Law::Mu, 32_124 + 512)] {
            let mut last = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let value = law.decode(law.encode(sample));
                assert!(value >= last, "{law:?} {sample}");
                last = value;
                let distance = (i32::from(sample) - i32::from(value)).abs();
                // The largest step of a magnitude's segment is a sixteenth of it (and 16 at least).
                let half_step = (i32::from(value).abs() / 16).max(16) / 2 + 8;
                let clipped = i32::from(sample).abs() > clip - 512;
                assert!(
                    clipped || distance <= half_step,
                    "{law:?} {sample} → {value}"
                );
            }
        }
    }

    #[test]
    fn known_codes() {
        assert_eq!((Law::A.encode(0), Law::A.encode(-1)), (0xd5, 0x55));
        assert_eq!((Law::Mu.encode(0), Law::Mu.encode(i16::MAX)), (0xff, 0x80));
        assert_eq!(
            (Law::A.encode(i16::MAX), Law::A.encode(i16::MIN)),
            (0xaa, 0x2a)
        );
        assert_eq!(Law::Mu.encode(i16::MIN), 0x00);
    }
}
