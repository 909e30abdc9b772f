//! Sequence number validation and loss, RFC 3550 A.1 and A.3:
//! <https://www.rfc-editor.org/rfc/rfc3550#appendix-A.1>
//!
//! Differences to the algorithm as printed, all towards exact counts: the caller hands both
//! packets of a probation in, so that the first one counts too; a second copy is told from a late
//! packet; a packet that is late past the very first one moves the start of the numbering back.

/// Largest forward step that is still loss.
pub const MAX_DROPOUT: u16 = 3000;
/// Largest backward step that is still disorder.
pub const MAX_MISORDER: u16 = 100;

/// What one sequence number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A new highest number.
    Advanced {
        /// Position in the stream, without wraps.
        extended: u64,
        /// Numbers skipped just before it.
        gap: u32,
    },
    /// First copy of a number below the highest.
    Late {
        /// Position in the stream, without wraps.
        extended: u64,
    },
    /// Second or further copy.
    Duplicate,
    /// Too far off. Counts nothing; if the next number follows it, that one is a `Restart`.
    Suspect,
    /// Follows a suspect number: the far end restarted its numbering there. The caller calls
    /// [`Sequence::restart`] with the suspect's number and hands both packets in.
    Restart {
        /// The numbering went on far ahead (true) or fell back (false).
        forward: bool,
    },
}

/// Numbering of one source.
///
/// Extended numbers start above 2¹⁶, so that the first packets may turn out late, and go on
/// growing over a restart, with a hole that is not loss.
#[derive(Debug, Clone, Copy)]
pub struct Sequence {
    /// First extended number of the present numbering.
    base: u64,
    /// Highest extended number.
    highest: u64,
    /// Cycle of the first number handed in; reports count cycles from it.
    first_cycle: u64,
    /// Bit i: number `highest − i` was received.
    seen: u128,
    /// Packets received in the present numbering, duplicates included.
    received: u64,
    /// Number that would confirm a restart.
    suspect_next: Option<u16>,
    /// `expected` and `received` of earlier numberings.
    earlier_expected: u64,
    earlier_received: u64,
    /// Of the present numbering, at the last report (A.3).
    expected_reported: u64,
    received_reported: u64,
}

impl Sequence {
    /// Starts at `first`; that packet itself is handed to [`Sequence::update`] next.
    pub fn new(first: u16) -> Self {
        // One below the first number, so that handing it in advances by one.
        let highest = (1 << 16) + u64::from(first) - 1;
        Self {
            base: highest + 1,
            highest,
            first_cycle: (highest + 1) >> 16,
            seen: 0,
            received: 0,
            suspect_next: None,
            earlier_expected: 0,
            earlier_received: 0,
            expected_reported: 0,
            received_reported: 0,
        }
    }

    /// Begins a new numbering at `first` (a restart, or another SSRC); totals go on.
    pub fn restart(&mut self, first: u16) {
        let mut next = Self::new(first);
        // The next extended number with the right low bits that is beyond the disorder window.
        let from = self.highest + 1 + u64::from(MAX_MISORDER);
        let ahead = u64::from(first.wrapping_sub(from as u16));
        next.highest = from + ahead - 1;
        next.base = next.highest + 1;
        next.first_cycle = next.base >> 16;
        next.earlier_expected = self.expected();
        next.earlier_received = self.received();
        *self = next;
    }

    /// Judges one number and counts it.
    pub fn update(&mut self, sequence: u16) -> Verdict {
        let step = sequence.wrapping_sub(self.highest as u16);
        if step == 0 || step > u16::MAX - MAX_MISORDER {
            let behind = u64::from(step.wrapping_neg());
            self.suspect_next = None;
            self.received += 1;
            let bit = 1_u128 << behind;
            if self.seen & bit != 0 {
                return Verdict::Duplicate;
            }
            self.seen |= bit;
            let extended = self.highest - behind;
            self.base = self.base.min(extended);
            return Verdict::Late { extended };
        }
        if step < MAX_DROPOUT {
            self.suspect_next = None;
            self.received += 1;
            self.seen = self.seen.checked_shl(u32::from(step)).unwrap_or(0) | 1;
            self.highest += u64::from(step);
            return Verdict::Advanced {
                extended: self.highest,
                gap: u32::from(step) - 1,
            };
        }
        self.suspect(sequence, step)
    }

    fn suspect(&mut self, sequence: u16, step: u16) -> Verdict {
        if self.suspect_next == Some(sequence) {
            self.suspect_next = None;
            return Verdict::Restart {
                forward: step < 0x8000,
            };
        }
        self.suspect_next = Some(sequence.wrapping_add(1));
        Verdict::Suspect
    }

    /// Packets expected over all numberings (A.3).
    pub fn expected(&self) -> u64 {
        self.earlier_expected + self.expected_now()
    }

    /// Packets received over all numberings, duplicates included (A.3).
    pub fn received(&self) -> u64 {
        self.earlier_received + self.received
    }

    /// Expected − received over all numberings; negative with more duplicates than losses.
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received() as i64
    }

    /// `extended highest sequence number received` of a report block: cycles of the present
    /// numbering in the high 16 bits.
    pub fn highest_for_report(&self) -> u32 {
        let cycles = (self.highest >> 16) - self.first_cycle;
        (cycles as u32) << 16 | u32::from(self.highest as u16)
    }

    /// Packets lost of the present numbering, and the fraction in 1/256 since the last call
    /// (A.3): the two loss fields of a report block.
    pub fn report_loss(&mut self) -> (i32, u8) {
        let expected = self.expected_now();
        let cumulative = expected as i64 - self.received as i64;
        let expected_interval = expected.saturating_sub(self.expected_reported);
        let received_interval = self.received - self.received_reported;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8)
            .checked_div(expected_interval)
            .unwrap_or(0)
            .min(255);
        self.expected_reported = expected;
        self.received_reported = self.received;
        (
            cumulative.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
            fraction as u8,
        )
    }

    fn expected_now(&self) -> u64 {
        self.highest + 1 - self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn started(first: u16) -> Sequence {
        let mut sequence = Sequence::new(first);
        let extended = 65_536 + u64::from(first);
        assert_eq!(
            sequence.update(first),
            Verdict::Advanced { extended, gap: 0 }
        );
        sequence
    }

    #[test]
    fn wraps_and_gaps_extend_the_number() {
        let mut sequence = started(0xfffe);
        assert_eq!(
            sequence.update(1),
            Verdict::Advanced {
                extended: 0x2_0001,
                gap: 2
            }
        );
        assert_eq!(
            (sequence.expected(), sequence.received(), sequence.lost()),
            (4, 2, 2)
        );
        assert_eq!(sequence.highest_for_report(), 0x1_0001);
        assert_eq!(
            sequence.update(0xffff),
            Verdict::Late { extended: 0x1_ffff }
        );
        assert_eq!(sequence.update(0xffff), Verdict::Duplicate);
        assert_eq!(sequence.lost(), 0);
    }

    #[test]
    fn a_packet_late_past_the_first_moves_the_start_back() {
        let mut sequence = started(0);
        assert_eq!(sequence.update(0xffff), Verdict::Late { extended: 0xffff });
        assert_eq!((sequence.expected(), sequence.received()), (2, 2));
        assert_eq!(sequence.highest_for_report(), 0);
    }

    #[test]
    fn limits_of_dropout_and_misorder_as_in_a1() {
        let step = |by: u16| started(20_000).update(20_000_u16.wrapping_add(by));
        assert!(matches!(step(MAX_DROPOUT - 1), Verdict::Advanced { .. }));
        assert_eq!(step(MAX_DROPOUT), Verdict::Suspect);
        assert!(matches!(
            step(MAX_MISORDER.wrapping_neg()),
            Verdict::Late { .. }
        ));
        assert_eq!(step((MAX_MISORDER + 1).wrapping_neg()), Verdict::Suspect);
    }

    #[test]
    fn a_restart_needs_two_numbers_in_a_row_and_loses_no_total() {
        let mut sequence = started(100);
        sequence.update(102);
        assert_eq!(sequence.update(50_000), Verdict::Suspect);
        assert_eq!(
            sequence.update(103),
            Verdict::Advanced {
                extended: 65_639,
                gap: 0
            }
        );
        assert_eq!(sequence.update(50_001), Verdict::Suspect);
        assert_eq!(sequence.update(50_002), Verdict::Restart { forward: false });
        sequence.restart(50_001);
        let Verdict::Advanced { extended, gap: 0 } = sequence.update(50_001) else {
            panic!()
        };
        assert!(extended > 65_639 && extended as u16 == 50_001);
        sequence.update(50_002);
        assert_eq!((sequence.expected(), sequence.received()), (6, 5));
        assert_eq!(sequence.highest_for_report(), 50_002);
        let mut forward = started(100);
        forward.update(9_000);
        assert_eq!(forward.update(9_001), Verdict::Restart { forward: true });
    }

    #[test]
    fn report_fields_follow_a3() {
        let mut sequence = started(10);
        sequence.update(14); // 5 expected, 2 received
        assert_eq!(sequence.report_loss(), (3, (3 * 256 / 5) as u8));
        sequence.update(15);
        assert_eq!(sequence.report_loss(), (3, 0));
        for _ in 0..4 {
            sequence.update(15);
        }
        assert_eq!(sequence.report_loss(), (-1, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Loss, duplicates and disorder exact against the trace that made them, over wraps.
        #[test]
        fn counts_equal_the_ground_truth(
            first in any::<u16>(),
            fates in proptest::collection::vec((0..100_u8, 1..40_usize), 2..3000),
        ) {
            // Build the arrival order: 10 % lost, 5 % twice, 10 % held back by up to 40 places.
            let mut arrivals: Vec<(usize, u64)> = Vec::new();
            for (n, (fate, hold)) in fates.iter().enumerate() {
                let number = 65_536 + u64::from(first) + n as u64;
                match fate {
                    0..10 if n > 0 => {}
                    10..15 => arrivals.extend([(n, number), (n + hold, number)]),
                    15..25 if n > 0 => arrivals.push((n + hold, number)),
                    _ => arrivals.push((n, number)),
                }
            }
            arrivals.sort_by_key(|(place, _)| *place);

            let mut sequence = Sequence::new(first);
            let (mut seen, mut highest) = (HashSet::new(), 0);
            for (_, number) in &arrivals {
                let truth = if !seen.insert(*number) {
                    Verdict::Duplicate
                } else if *number < highest {
                    Verdict::Late { extended: *number }
                } else {
                    let gap = if highest == 0 { 0 } else { (number - highest - 1) as u32 };
                    highest = *number;
                    Verdict::Advanced { extended: *number, gap }
                };
                prop_assert_eq!(sequence.update(*number as u16), truth);
            }
            let expected = highest - (65_536 + u64::from(first)) + 1;
            prop_assert_eq!(sequence.expected(), expected);
            prop_assert_eq!(sequence.received(), arrivals.len() as u64);
            prop_assert_eq!(sequence.lost(), expected as i64 - arrivals.len() as i64);
        }
    }
}
