//! Bursts and gaps, RFC 3611 §4.7.2: <https://www.rfc-editor.org/rfc/rfc3611#section-4.7.2>
//!
//! A burst starts and ends with a lost or discarded packet and holds fewer than Gmin packets in a
//! row that are neither; everything else is gap. A single loss with Gmin good packets on both
//! sides (or the start or end of reception there) belongs to its gap. Bursts are counted packet by
//! packet, not estimated from transition counts, so that short calls come out exact.

use crate::BurstGap;

/// Good packets in a row that end a burst.
pub const GMIN: u64 = 16;

/// Counts since the start of the stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct BurstMeter {
    /// Packets decided.
    position: u64,
    /// The losses that may form a burst with the next one.
    open: Option<Open>,
    closed: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    first: u64,
    last: u64,
    losses: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    bursts: u64,
    burst_packets: u64,
    burst_losses: u64,
    gaps: u64,
    gap_losses: u64,
    /// Where the last burst ended: the first packet after it.
    burst_end: u64,
}

impl Counts {
    fn close(&mut self, open: Open) {
        if open.losses == 1 {
            self.gap_losses += 1;
            return;
        }
        self.bursts += 1;
        self.burst_losses += open.losses;
        self.burst_packets += open.last + 1 - open.first;
        self.gaps += u64::from(open.first > self.burst_end);
        self.burst_end = open.last + 1;
    }
}

impl BurstMeter {
    /// Takes the next packet in sequence order; `bad`: lost or discarded.
    pub fn update(&mut self, bad: bool) {
        let position = self.position;
        self.position += 1;
        if !bad {
            return;
        }
        match &mut self.open {
            Some(open) if position - open.last - 1 < GMIN => {
                open.last = position;
                open.losses += 1;
            }
            open => {
                let fresh = Open {
                    first: position,
                    last: position,
                    losses: 1,
                };
                if let Some(done) = open.replace(fresh) {
                    self.closed.close(done);
                }
            }
        }
    }

    /// The figures so far, for packets of `packet_ms`; `None` before the first packet.
    pub fn figures(&self, packet_ms: f64) -> Option<BurstGap> {
        if self.position == 0 {
            return None;
        }
        let mut counts = self.closed;
        if let Some(open) = self.open {
            counts.close(open);
        }
        let gap_packets = self.position - counts.burst_packets;
        let gaps = counts.gaps + u64::from(self.position > counts.burst_end);
        let ratio = |part: u64, of: u64| {
            if of == 0 {
                0.0
            } else {
                part as f64 / of as f64
            }
        };
        Some(BurstGap {
            burst_density: ratio(counts.burst_losses, counts.burst_packets),
            gap_density: ratio(counts.gap_losses, gap_packets),
            burst_duration_ms: ratio(counts.burst_packets, counts.bursts) * packet_ms,
            gap_duration_ms: ratio(gap_packets, gaps) * packet_ms,
            bursts: counts.bursts,
        })
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn figures(pattern: &str) -> BurstGap {
        let mut meter = BurstMeter::default();
        for packet in pattern.chars() {
            meter.update(packet != '1');
        }
        meter.figures(10.0).unwrap()
    }

    /// The example of RFC 3611 §4.7.2: 64 packets of 10 ms (its drawing shows 63, its durations
    /// need 64); 1 received, 0 lost, X discarded. One burst of 120 ms and density 0.33, gaps of
    /// 230 and 290 ms and density 0.04.
    #[test]
    fn worked_example_of_rfc_3611() {
        let found = figures("11110111111111111111111X111X1011110111111111111111111X1111111111");
        assert_eq!(found.bursts, 1);
        assert_eq!(found.burst_duration_ms, 120.0);
        assert_eq!(found.burst_density, 4.0 / 12.0);
        assert_eq!(found.gap_duration_ms, f64::midpoint(230.0, 290.0));
        assert_eq!(found.gap_density, 2.0 / 52.0);
    }

    #[test]
    fn a_burst_ends_at_sixteen_good_packets_not_at_fifteen() {
        let fifteen = figures(&format!("0{}0", "1".repeat(15)));
        assert_eq!((fifteen.bursts, fifteen.burst_duration_ms), (1, 170.0));
        assert_eq!(fifteen.gap_duration_ms, 0.0);
        let sixteen = figures(&format!("0{}0", "1".repeat(16)));
        assert_eq!((sixteen.bursts, sixteen.gap_density), (0, 2.0 / 18.0));
    }

    #[test]
    fn nothing_decided_says_nothing_and_no_loss_is_one_gap() {
        assert_eq!(BurstMeter::default().figures(20.0), None);
        let clean = figures("1111");
        assert_eq!(
            (clean.bursts, clean.gap_duration_ms, clean.gap_density),
            (0, 40.0, 0.0)
        );
    }

    proptest! {
        /// Against a direct reading of the definition over the whole pattern.
        #[test]
        fn equals_the_definition(bad in proptest::collection::vec(
            prop_oneof![6 => Just(false), 1 => Just(true)], 1..400)
        ) {
            let mut meter = BurstMeter::default();
            for packet in &bad {
                meter.update(*packet);
            }
            let found = meter.figures(1.0).unwrap();
            let losses: Vec<usize> = (0..bad.len()).filter(|n| bad[*n]).collect();
            let mut groups: Vec<Vec<usize>> = Vec::new();
            for loss in losses {
                match groups.last_mut() {
                    Some(group) if loss - group[group.len() - 1] <= 16 => group.push(loss),
                    _ => groups.push(vec![loss]),
                }
            }
            groups.retain(|group| group.len() > 1);
            let inside: usize = groups.iter().map(|g| g[g.len() - 1] - g[0] + 1).sum();
            prop_assert_eq!(found.bursts, groups.len() as u64);
            let mean = if groups.is_empty() { 0.0 } else { inside as f64 / groups.len() as f64 };
            prop_assert!((found.burst_duration_ms - mean).abs() < 1e-9);
        }
    }
}
